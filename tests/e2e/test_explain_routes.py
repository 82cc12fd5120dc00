"""Where `lateen explain` says a request goes is where real Envoy sends it: for random rules and random requests.

Two sidecars, one in explicit mode, and a gateway, from static bootstraps; applications that tell what they saw.
LATEEN_EXPLAIN_PAIRS: how many pairs of a mesh and a request, 300 unless it says otherwise (`make nightly`: 10,000).
LATEEN_EXPLAIN_SEED: which ones; always the same unless it says otherwise (`make nightly`: others every day).
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import random
import ssl
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from e2e.test_explain import running
from explain_routes import (
    ADDRESSES,
    NETWORK,
    PORT,
    TLS_HOSTS,
    Asked,
    gateway_request,
    random_mesh,
    sidecar_request,
)
from key_pairs import encoded, key_pair
from lateen.config.mesh_config import MeshConfig
from lateen.config.parsing import parse
from lateen.envoy.resources import Snapshot
from lateen.explain.explaining import explain
from lateen.explain.explanations import Explanation, ForwardedRequest, Outcome
from lateen.explain.header_changes import changed
from lateen.explain.questions import question
from lateen.explain.served import Served
from lateen.generate.snapshot import generate
from lateen.generate.static import static_bootstrap
from lateen.mesh.build import build_state
from lateen.mesh.state import MeshState
from lateen.model.findings import has_errors
from lateen.model.proxies import Interception, Proxy, ProxyType

pytestmark = [pytest.mark.e2e]

PAIRS = int(os.environ.get("LATEEN_EXPLAIN_PAIRS", "300"))
PER_MESH = 100
"""Requests to the proxies of a mesh, before there is another mesh."""
SEED = int(os.environ.get("LATEEN_EXPLAIN_SEED", "20261122")) * 1000
OWN = ("x-set", "x-add", "x-group", "x-app", "x-canary", "end-user", "x-envoy-original-path")
"""Headers of which both sides say something."""
ALLOW_ORIGIN = "access-control-allow-origin"

SIDECAR = Proxy(
    type=ProxyType.SIDECAR,
    name="web-1",
    namespace="default",
    addresses=(f"{NETWORK}.2.1",),
    interception=Interception.NONE,
)
GATEWAY = Proxy(
    type=ProxyType.GATEWAY,
    name="gw-1",
    namespace="default",
    labels={"istio": "gw"},
    addresses=(f"{NETWORK}.2.2",),
    port_map={80: 18080, 443: 18443, 8080: 18081},
)
INTERCEPTED = Proxy(type=ProxyType.SIDECAR, name="web-2", namespace="default", addresses=(f"{NETWORK}.2.3",))
"""Nothing is intercepted here: its listeners are bound, and called as if."""
PROXIES = (SIDECAR, GATEWAY, INTERCEPTED)


# --- applications --------------------------------------------------------------------------------------------


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer every request of a connection with what it was, and where it arrived."""
    at = writer.get_extra_info("sockname")[0]
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head.rstrip("\r\n").split("\r\n")
            method, target, _ = first.split(" ", 2)
            headers: dict[str, str] = {}
            for line in lines:
                name, _, value = line.partition(":")
                key = name.strip().lower()
                headers[key] = f"{headers[key]},{value.strip()}" if key in headers else value.strip()
            assert "chunked" not in headers.get("transfer-encoding", ""), head
            answer = json.dumps({"at": at, "method": method, "target": target, "headers": headers}).encode()
            lines = ["HTTP/1.1 200 OK", "x-app: told", "x-canary: told", f"content-length: {len(answer)}", "", ""]
            writer.write("\r\n".join(lines).encode() + (b"" if method == "HEAD" else answer))
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


@contextmanager
def applications() -> Iterator[None]:
    """An application at each address, in a thread."""
    loop, ready = asyncio.new_event_loop(), threading.Event()
    stop = asyncio.Event()

    async def run() -> None:
        servers = [await asyncio.start_server(serve, address, PORT) for address in ADDRESSES]
        ready.set()
        await stop.wait()
        for server in servers:
            server.close()
        connections = asyncio.all_tasks() - {asyncio.current_task()}
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    assert ready.wait(60)
    try:
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(60)
        loop.close()


# --- clients -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """What became of a request."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def by_application(self) -> dict[str, Any] | None:
        """What the application saw; None when a proxy answered."""
        found: dict[str, Any] = json.loads(self.body) if self.body.startswith(b'{"at"') else {}
        return found or None


@dataclass
class Clients:
    """Connections that are kept, by where they go."""

    open: dict[tuple[str, int, str], http.client.HTTPConnection] = field(default_factory=dict)
    context: ssl.SSLContext = field(default_factory=ssl._create_unverified_context)

    def send(self, proxy: Proxy, asked: Asked) -> Seen | None:
        """Send a request as a client of this proxy would; None when there is no connection."""
        parts = urlsplit(asked.url)
        headers = dict(asked.headers)
        headers.setdefault("host", parts.netloc)
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        if proxy is SIDECAR:
            connection = self._connection(SIDECAR.addresses[0], 15001, "")
            target = asked.url
        elif proxy is INTERCEPTED:
            connection = self._connection(INTERCEPTED.addresses[0], parts.port or 80, "")
        else:
            declared = parts.port or (443 if parts.scheme == "https" else 80)
            name = parts.hostname or ""
            connection = self._connection(
                GATEWAY.addresses[0], GATEWAY.bound_port(declared), name if declared == 443 else ""
            )
        # One that was kept may have been closed meanwhile: that says nothing of this request.
        for _ in range(2 if connection.sock is not None else 1):
            try:
                return self._exchange(connection, asked.method, target, headers)
            except (ConnectionError, ssl.SSLError, http.client.RemoteDisconnected):
                connection.close()
        return None

    def _connection(self, address: str, port: int, name: str) -> http.client.HTTPConnection:
        key = (address, port, name)
        if key not in self.open:
            self.open[key] = (
                _Named(address, port, name, self.context)
                if name
                else http.client.HTTPConnection(address, port, timeout=30)
            )
        return self.open[key]

    @staticmethod
    def _exchange(connection: http.client.HTTPConnection, method: str, target: str, headers: Mapping[str, str]) -> Seen:
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
        body = response.read()
        found: dict[str, str] = {}
        for name, value in response.getheaders():
            key = name.lower()
            found[key] = f"{found[key]},{value}" if key in found else value
        return Seen(response.status, found, body)

    def close(self) -> None:
        for connection in self.open.values():
            connection.close()


class _Named(http.client.HTTPSConnection):
    """A TLS connection to an address, with another name as its server name."""

    def __init__(self, address: str, port: int, name: str, context: ssl.SSLContext) -> None:
        super().__init__(address, port, timeout=30, context=context)
        self._name, self._tls = name, context

    def connect(self) -> None:
        http.client.HTTPConnection.connect(self)
        self.sock = self._tls.wrap_socket(self.sock, server_hostname=self._name)


# --- agreement -----------------------------------------------------------------------------------------------


def disagreement(explanation: Explanation, seen: Seen | None) -> str:
    """Why what was seen is none of the outcomes that were told; empty when it is one."""
    assert explanation.routing is not None
    outcomes = explanation.routing.outcomes
    total = sum(outcome.share for outcome in outcomes)
    if abs(total - 100) > 0.01:
        return f"the shares add up to {total}"
    reasons = [_differs(outcome, seen) for outcome in outcomes if outcome.share > 0]
    return "" if "" in reasons else "; ".join(reasons)


def _differs(outcome: Outcome, seen: Seen | None) -> str:
    if seen is None:
        return "" if outcome.action == "no filter chain" else f"{outcome.action} was told, the connection was closed"
    if outcome.status is not None:
        if seen.by_application is not None:
            return f"{outcome.status} was told, an application answered"
        if outcome.status != seen.status:
            return f"{outcome.status} was told, {seen.status} seen"
        if outcome.location != seen.headers.get("location", ""):
            return f"location {outcome.location} was told, {seen.headers.get('location', '')} seen"
        if outcome.action == "direct response" and outcome.body.encode() != seen.body:
            return "another body"
        if outcome.action == "CORS" and ("the origin is allowed" in outcome.reason) != (ALLOW_ORIGIN in seen.headers):
            return f"{outcome.reason}: {seen.headers}"
        return _headers_differ(changed({}, outcome.response_headers, {}), seen.headers, of=outcome)
    application = seen.by_application
    if outcome.action == "pass through" and seen.status == 503:
        return ""  # it was not stopped; what is not there cannot answer, and nothing was intercepted
    if application is None or outcome.cluster is None:
        return f"{outcome.action} was told, the proxy answered {seen.status} {seen.body[:80]!r}"
    return _forwarded_differs(outcome, application, seen)


def _forwarded_differs(outcome: Outcome, application: Mapping[str, Any], seen: Seen) -> str:
    assert outcome.cluster is not None
    request = outcome.request
    assert request is not None
    places = [endpoint.address for endpoint in outcome.cluster.endpoints]
    if outcome.action == "forward" and f"{application['at']}:{PORT}" not in places:
        return f"{places} was told, {application['at']} answered"
    told = (request.method, request.path, request.authority)
    got = (application["method"], application["target"], application["headers"].get("host", ""))
    if told != got:
        return f"{told} was told, {got} seen"
    if wrong := _headers_differ(request.headers, application["headers"]):
        return f"at the server: {wrong}"
    if outcome.reason.startswith("CORS: ") != (ALLOW_ORIGIN in seen.headers):
        return f"{outcome.reason or 'no CORS'}: {seen.headers}"
    sent = request_as_sent(request)
    return _headers_differ(changed({"x-app": "told", "x-canary": "told"}, outcome.response_headers, sent), seen.headers)


def request_as_sent(request: ForwardedRequest) -> dict[str, str]:
    """What `%REQ(...)%` in a response header reads: the request as it went upstream."""
    return dict(request.headers)


def _headers_differ(told: Mapping[str, str], seen: Mapping[str, str], of: Outcome | None = None) -> str:
    for name in OWN:
        if told.get(name) != seen.get(name):
            if of is not None and "%REQ(" in "".join(change.value for change in of.response_headers):
                continue  # the values of a proxy's own answer are read from a request that is not told
            return f"{name}: {told.get(name)} was told, {seen.get(name)} seen"
    return ""


# --- the test ------------------------------------------------------------------------------------------------


def secrets() -> list[dict[str, Any]]:
    made = []
    for name in TLS_HOSTS.values():
        certificate, key = key_pair(f"{name}.example.com")
        data = {"tls.crt": encoded(certificate), "tls.key": encoded(key)}
        metadata = {"name": name, "namespace": "default"}
        made.append(
            {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": metadata, "data": data}
        )
    return made


def state_of(documents: list[dict[str, Any]]) -> MeshState:
    parsed = parse(yaml.safe_dump_all(documents).encode(), "mesh.yaml")
    assert not has_errors(parsed.findings), [str(finding) for finding in parsed.findings if "ERROR" in str(finding)]
    return build_state(parsed.objects, (), MeshConfig())


def bootstrap_of(snapshot: Snapshot, proxy: Proxy) -> dict[str, Any]:
    """What the proxy runs with; one that nothing is intercepted for has the listeners that many services share."""
    made = static_bootstrap(snapshot, proxy)
    made["admin"]["address"]["socket_address"]["address"] = proxy.addresses[0]
    if proxy is INTERCEPTED:
        shared = [one for one in made["static_resources"]["listeners"] if one["name"].startswith("0.0.0.0_")]
        for listener in shared:
            listener["address"]["socket_address"]["address"] = proxy.addresses[0]
            del listener["bind_to_port"]
        made["static_resources"]["listeners"] = shared
    return made


def is_live(proxy: Proxy) -> bool:
    with closing(http.client.HTTPConnection(proxy.addresses[0], 15000, timeout=30)) as connection:
        connection.request("GET", "/ready")
        return connection.getresponse().read().startswith(b"LIVE")


@dataclass
class Tally:
    """What was told, and what was wrong."""

    told: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        return sum(self.told.values())


def compare(folder: Path, seed: int, count: int, tally: Tally) -> None:
    """Ask the proxies of one random mesh `count` times in all."""
    chance = random.Random(seed)
    documents = random_mesh(chance)
    state = state_of([*documents, *secrets()])
    clients = Clients()
    with ExitStack() as stack:
        snapshots = {}
        for proxy in PROXIES:
            snapshots[proxy.name] = snapshot = generate(state, proxy)
            own = folder / f"{seed}-{proxy.name}"
            own.mkdir()
            stack.enter_context(running(own, bootstrap_of(snapshot, proxy), partial(is_live, proxy)))
        stack.callback(clients.close)
        served = {name: Served(snapshot) for name, snapshot in snapshots.items()}
        for number in range(count):
            proxy = PROXIES[number % len(PROXIES)]
            asked = gateway_request(chance) if proxy is GATEWAY else sidecar_request(chance)
            if (
                asked.url.startswith("http://")
                and ":8080" in asked.url
                and "0.0.0.0_8080" not in str(served[proxy.name].listener_names())
            ):
                asked = Asked(asked.method, asked.url.replace(":8080", ""), asked.headers)
            given = [f"{name}={value}" for name, value in asked.headers.items()]
            explanation = explain(state, question(proxy, asked.line, headers=given), served[proxy.name])
            seen = clients.send(proxy, asked)
            assert explanation.routing is not None
            tally.told[explanation.routing.outcomes[0].action if explanation.routing.outcomes else "none"] += 1
            if why := disagreement(explanation, seen):
                steps = [f"{step.what} {step.name} {step.origin}" for step in explanation.routing.steps]
                tally.wrong.append(f"seed {seed}, {proxy.name}, {asked}: {why}; {steps}; {seen}")


@pytest.mark.timeout(60 + PAIRS)
def test_explain_agrees_with_envoy(tmp_path: Path) -> None:
    """Status, who answered, what the application saw, where a redirect leads: one of what was told."""
    tally = Tally()
    with applications():
        for seed in range(SEED, SEED + 100_000):
            compare(tmp_path, seed, min(PER_MESH, PAIRS - tally.total), tally)
            if tally.total >= PAIRS:
                break

    print(tally.total, "pairs:", dict(tally.told))
    assert not tally.wrong, f"{len(tally.wrong)} of {tally.total}, the first ones:\n" + "\n".join(tally.wrong[:10])
    assert {"forward", "redirect", "direct response", "no route"} <= set(tally.told), "the requests tell something"
