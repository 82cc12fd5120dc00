"""What `lateen explain` says is what real Envoy does: for random matchers and policies, and for what it advises.

No control plane: static bootstraps, one Envoy per test, direct responses or an application that is not there.
"""

from __future__ import annotations

import http.client
import json
import random
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.mesh_certificates import Root, write_leaf, write_roots
from e2e.meshes import eventually, good, running_mesh
from explain_questions import random_policies, random_rbac, random_request
from lateen.agent.envoy_process import find_envoy
from lateen.config.mesh_config import MeshConfig
from lateen.config.parsing import parse
from lateen.envoy.messages import serialise, to_json
from lateen.envoy.mutual_tls import HTTP_ALPN
from lateen.envoy.names import outbound_cluster
from lateen.explain.destinations import find_destination, with_sidecars
from lateen.explain.explanations import WorkloadVerdict
from lateen.explain.paths import normalised_path
from lateen.explain.questions import Question, question
from lateen.explain.rbac import decide
from lateen.explain.requests import Request
from lateen.explain.served import Served
from lateen.explain.verdicts import Sent, workload_verdicts
from lateen.generate.snapshot import generate
from lateen.generate.static import static_bootstrap
from lateen.mesh.build import build_state
from lateen.mesh.state import MeshState
from lateen.model.findings import has_errors
from lateen.model.identities import Identity
from lateen.model.proxies import Interception, Proxy, ProxyType
from ports import free_port

pytestmark = pytest.mark.e2e

RBAC = "envoy.config.rbac.v3.RBAC"
EXTENSIONS = "type.googleapis.com/envoy.extensions"
METADATA = {
    "envoy.filters.http.jwt_authn": {
        "payload": {
            "iss": "https://issuer.example",
            "sub": "me",
            "groups": ["dev", "ops"],
            "nested": {"level": "high"},
            "number": 3.0,
            "flag": True,
        }
    }
}
NORMALISES = {"normalize_path": True, "merge_slashes": True}
CLIENTS = {"": None, "a": "spiffe://cluster.local/ns/default/sa/a", "b": "spiffe://cluster.local/ns/web/sa/frontend"}


# --- the bed -------------------------------------------------------------------------------------------------


@contextmanager
def running(folder: Path, bootstrap: Mapping[str, Any], ready: Callable[[], bool]) -> Iterator[None]:
    """A real Envoy in a folder, until the `with` ends."""
    file = folder / "bootstrap.json"
    file.write_text(json.dumps(bootstrap))
    with (folder / "envoy.log").open("wb") as log:
        command = [find_envoy(), "-c", str(file), "--disable-hot-restart", "--concurrency", "1", "-l", "warning"]
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
        try:

            def up() -> bool:
                if process.poll() is not None:
                    raise RuntimeError((folder / "envoy.log").read_text()[-3000:])
                return ready()

            eventually(up, what="Envoy")
            yield
        finally:
            process.terminate()
            process.wait(60)


@dataclass
class Client:
    """A client with or without a certificate, that comes from an address of its own."""

    address: str
    port: int
    source: str
    context: ssl.SSLContext | None = None
    server_name: str = ""
    _open: http.client.HTTPConnection | None = field(default=None, repr=False)

    def status(self, method: str, path: str, headers: Mapping[str, str]) -> int:
        """Send a request on the connection that is open, or a new one."""
        if self._open is None:
            self._open = http.client.HTTPConnection(self.address, self.port, timeout=30)
            made = socket.create_connection((self.address, self.port), 30, source_address=(self.source, 0))
            self._open.sock = self.context.wrap_socket(made, server_hostname=self.server_name) if self.context else made
        self._open.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in headers.items():
            self._open.putheader(name, value)
        self._open.endheaders()
        response = self._open.getresponse()
        response.read()
        if response.will_close:
            self.close()
        return response.status

    def close(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None


def contexts(folder: Path, root: Root, alpn: list[str]) -> dict[str, ssl.SSLContext]:
    """TLS contexts of the clients that have certificates."""
    made = {}
    for name, identity in CLIENTS.items():
        if identity is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            context.load_cert_chain(*root.leaf(identity).files(folder, f"client-{name}"))
            context.set_alpn_protocols(alpn)
            made[name] = context
    return made


# --- matchers ------------------------------------------------------------------------------------------------


def listener(port: int, cases: list[dict[str, Any]], tls: dict[str, Any] | None) -> dict[str, Any]:
    """A listener with a route per case, each with an RBAC of its own."""
    per_route = f"{EXTENSIONS}.filters.http.rbac.v3.RBACPerRoute"
    routes = [
        {
            "match": {"prefix": "/", "headers": [{"name": "x-case", "string_match": {"exact": str(number)}}]},
            "direct_response": {"status": 200},
            "typed_per_filter_config": {"envoy.filters.http.rbac": {"@type": per_route, "rbac": {"rules": rules}}},
        }
        for number, rules in enumerate(cases)
    ]
    entries = [{"metadata_namespace": name, "value": value} for name, value in METADATA.items()]
    filters = f"{EXTENSIONS}.filters.http."
    manager = {
        "@type": f"{EXTENSIONS}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "t",
        **NORMALISES,
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [
            {"name": "metadata", "typed_config": {"@type": f"{filters}set_metadata.v3.Config", "metadata": entries}},
            {"name": "envoy.filters.http.rbac", "typed_config": {"@type": f"{filters}rbac.v3.RBAC"}},
            {"name": "router", "typed_config": {"@type": f"{filters}router.v3.Router"}},
        ],
    }
    chain: dict[str, Any] = {"filters": [{"name": "http", "typed_config": manager}]}
    made: dict[str, Any] = {
        "name": f"l{port}",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [chain],
    }
    if tls is not None:
        inspector = f"{EXTENSIONS}.filters.listener.tls_inspector.v3.TlsInspector"
        made["listener_filters"] = [{"name": "tls", "typed_config": {"@type": inspector}}]
        chain["transport_socket"] = {"name": "envoy.transport_sockets.tls", "typed_config": tls}
    return made


def test_the_evaluator_agrees_with_envoy(tmp_path: Path) -> None:
    """For any tree of matchers and any request, plain or with a certificate, from several addresses."""
    chance, root = random.Random(20261122), Root()
    plain, secure = free_port(), free_port()
    cases = [to_json(RBAC, serialise(RBAC, random_rbac(chance, ports=(plain, secure)))) for _ in range(150)]
    server = root.leaf("spiffe://cluster.local/ns/default/sa/server")
    tls = {
        "@type": f"{EXTENSIONS}.transport_sockets.tls.v3.DownstreamTlsContext",
        "require_client_certificate": True,
        "common_tls_context": {
            "tls_certificates": [
                {"certificate_chain": {"inline_string": server.chain}, "private_key": {"inline_string": server.key}}
            ],
            "validation_context": {"trusted_ca": {"inline_string": root.pem}},
        },
    }
    listeners = [listener(plain, cases, None), listener(secure, cases, tls)]
    known = contexts(tmp_path, root, [])
    clients = {
        "": Client("127.0.0.1", plain, "127.0.0.2"),
        "other": Client("127.0.0.1", plain, "127.1.0.9"),
        "a": Client("127.0.0.1", secure, "127.0.0.1", known["a"], "reviews.default"),
        "b": Client("127.0.0.1", secure, "127.0.0.3", known["b"], "ratings"),
    }

    wrong = []
    verdicts: list[bool] = []
    with running(
        tmp_path, {"static_resources": {"listeners": listeners}}, lambda: _listens(plain) and _listens(secure)
    ):
        for number, rules in enumerate(cases):
            for _ in range(8):
                name = chance.choice(list(clients))
                method, path, headers = random_request(chance)
                status = clients[name].status(method, path, {**headers, "x-case": str(number)})
                seen = _as_seen(clients[name], CLIENTS.get(name), method, path, headers)
                allowed = decide(rules, seen).allowed
                verdicts.append(allowed)
                if allowed != (status == 200) or status not in (200, 403):
                    wrong.append((status, rules, seen))
        for client in clients.values():
            client.close()

    assert not wrong, f"{len(wrong)} of {len(verdicts)}, the first: {wrong[0]}"
    assert 0.2 < sum(verdicts) / len(verdicts) < 0.8, "the cases tell something"


def _listens(port: int) -> bool:
    with closing(socket.create_connection(("127.0.0.1", port), 30)):
        return True


def _as_seen(client: Client, identity: str | None, method: str, path: str, headers: Mapping[str, str]) -> Request:
    forwarded = headers.get("x-forwarded-for", client.source)
    given = {name: value for name, value in headers.items() if name != "host"}
    pseudo = {":method": method, ":path": normalised_path(NORMALISES, path), ":authority": headers["host"]}
    return Request(
        headers={**pseudo, **given},
        source_ip=client.source,
        remote_ip=forwarded.rpartition(",")[2].strip(),
        destination_ip=client.address,
        destination_port=client.port,
        names=None if identity is None else (identity, ""),
        server_name=client.server_name,
        metadata=METADATA,
    )


# --- policies ------------------------------------------------------------------------------------------------

LABELS = {"app": "reviews", "version": "v1"}
MESH = """
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: default}
spec: {selector: {app: reviews}, ports: [{name: http, port: 9080}]}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: reviews-1, namespace: default}
spec: {address: ADDRESS, labels: {app: reviews, version: v1}, serviceAccount: reviews}
"""
ADDRESS = "127.77.5.1"
CALLERS = {
    "": Proxy(type=ProxyType.SIDECAR, name="x", namespace="other", addresses=("127.0.0.2",)),
    "a": Proxy(
        type=ProxyType.SIDECAR,
        name="a",
        namespace="default",
        service_account="a",
        addresses=("127.0.0.1",),
        certificates=True,
    ),
    "b": Proxy(
        type=ProxyType.SIDECAR,
        name="b",
        namespace="web",
        service_account="frontend",
        addresses=("127.0.0.3",),
        certificates=True,
    ),
}
SERVER_NAME = "outbound_.9080_._.reviews.default.svc.cluster.local"


def state_of(*policies: dict[str, Any]) -> MeshState:
    parsed = parse(f"{MESH.replace('ADDRESS', ADDRESS)}---\n{yaml.safe_dump_all(policies)}".encode(), "mesh.yaml")
    assert not has_errors(parsed.findings), [str(finding) for finding in parsed.findings]
    return build_state(parsed.objects, (), MeshConfig())


def asked(name: str, method: str, path: str, headers: Mapping[str, str]) -> Question:
    given = [f"{key}={value}" for key, value in headers.items()]
    return question(
        CALLERS[name], f"{method} http://reviews.default:9080{path}", headers=given, plaintext=not name,
        assumed_sidecars=True,
    )  # fmt: skip


def verdict_of(state: MeshState, asking: Question) -> WorkloadVerdict:
    """What the workload itself says, wherever a route would send a request with this Host header."""
    state, caller = with_sidecars(state), asking.proxy
    destination = find_destination(state, caller, asking.host, asking.port)
    assert destination is not None
    namespace, account = caller.namespace, caller.service_account
    sent = Sent(
        served=Served(generate(state, caller)),
        cluster=outbound_cluster(destination.service.host, destination.port.number),
        identity=Identity("cluster.local", namespace, account),
        source_ip=caller.addresses[0],
        headers=asking.as_headers,
        claims=None,
        plaintext=asking.plaintext,
    )
    [verdict] = workload_verdicts(state, destination, sent)[0]
    return verdict


class Workload:
    """A real sidecar whose policies are replaced, with clients. Its application is not there: 503 means allowed.

    Another test's may be, at its well-known port: that says 200, or 501 when it does not know the method.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._root = folder, Root()
        self.proxy = Proxy(
            type=ProxyType.SIDECAR,
            name="reviews-1",
            namespace="default",
            addresses=(ADDRESS,),
            labels=LABELS,
            service_account="reviews",
            interception=Interception.NONE,
            certificates=True,
        )
        self._contexts = contexts(folder, self._root, list(HTTP_ALPN))
        write_leaf(folder, self._root.leaf("spiffe://cluster.local/ns/default/sa/reviews"))
        write_roots(folder, [self._root])

    def answers(self, state: MeshState, questions: list[tuple[str, str, str, dict[str, str]]]) -> list[int]:
        """Start Envoy with what it would be served, and ask."""
        bootstrap = static_bootstrap(generate(state, self.proxy), self.proxy)
        with running(self._folder, bootstrap, _admin_is_live), ExitStack() as stack:
            clients = {}
            for name, caller in CALLERS.items():
                context = self._contexts.get(name)
                clients[name] = Client(ADDRESS, 9080, caller.addresses[0], context, SERVER_NAME)
                stack.callback(clients[name].close)
            statuses = [clients[name].status(method, path, headers) for name, method, path, headers in questions]
            return [503 if status in (200, 501) else status for status in statuses]


def _admin_is_live() -> bool:
    with closing(http.client.HTTPConnection(ADDRESS, 15000, timeout=30)) as connection:
        connection.request("GET", "/ready")
        return connection.getresponse().read().startswith(b"LIVE")


def some_questions(chance: random.Random, count: int) -> list[tuple[str, str, str, dict[str, str]]]:
    return [(chance.choice(list(CALLERS)), *random_request(chance)) for _ in range(count)]


@pytest.mark.parametrize("seed", range(6))
def test_verdicts_about_policies_are_those_of_envoy(tmp_path: Path, seed: int) -> None:
    """Of a real sidecar, over mutual TLS and plain text; and the advised policy does what it is advised for."""
    chance = random.Random(seed)
    state = state_of(*random_policies(chance, LABELS))
    workload, questions = Workload(tmp_path), some_questions(chance, 40)

    said = [verdict_of(state, asked(*one)) for one in questions]
    wrong = [
        (verdict, status, one)
        for verdict, status, one in zip(said, workload.answers(state, questions), questions, strict=True)
        if {"allowed": 503, "denied": 403}[verdict.verdict] != status
    ]

    assert not wrong, wrong[0]


def test_the_advised_policy_lets_the_request_through(tmp_path: Path) -> None:
    """And nothing else: a neighbour path and another caller stay refused, by the verdict and by Envoy."""
    frontend = {"from": [{"source": {"principals": ["cluster.local/ns/web/sa/frontend"]}}]}
    policy = random_policies(random.Random(1), LABELS)[0]
    policy["spec"] = {"action": "ALLOW", "rules": [frontend | {"to": [{"operation": {"methods": ["POST"]}}]}]}
    before = state_of(policy)
    questions = [(name, "GET", path, {"host": "reviews:9080"}) for name in ("a", "b") for path in ("/a/b", "/a")]

    refused = verdict_of(before, asked(*questions[0]))
    assert refused.policy is not None
    after = state_of(policy, refused.policy)

    workload = Workload(tmp_path)
    assert [verdict_of(before, asked(*one)).verdict for one in questions] == ["denied"] * 4
    assert workload.answers(before, questions) == [403] * 4
    assert [verdict_of(after, asked(*one)).verdict for one in questions] == ["allowed", "denied", "denied", "denied"]
    assert workload.answers(after, questions) == [503, 403, 403, 403]


# --- the control plane ---------------------------------------------------------------------------------------

NOBODY = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: nobody-yet}
spec: {selector: {matchLabels: {app: reviews}}, rules: [{to: [{operation: {methods: [DELETE]}}]}]}
"""


def test_the_control_plane_explains_what_connected_proxies_do(tmp_path: Path) -> None:
    """A real call is refused as it says; the advice is applied as it was printed, and then the call comes through."""
    with running_mesh(tmp_path) as mesh:
        web = mesh.run("web", wait=False, flags=("--service-account", "web"))
        reviews = mesh.run("reviews", wait=False)
        mesh.wait_addresses(web, reviews)
        eventually(lambda: good(web.get("http://reviews/x")), what="the first answer")
        mesh.apply(NOBODY)
        caller = web.addresses["workload"]

        def explained(*more: str) -> Any:
            ended = mesh.command("explain", "--proxy", caller, "--request", "GET http://reviews/x", "-o", "json", *more)
            assert ended.returncode == 0, ended.stderr
            return json.loads(ended.stdout)

        refused = explained()
        [verdict] = refused["workloads"]
        assert (verdict["verdict"], verdict["status"]) == ("denied", 403)
        # A connection that is open keeps its filters until it is drained.
        eventually(lambda: web.get("http://reviews/x").status == 403 or None, what="the refusal")
        assert verdict["principal"] == "cluster.local/ns/default/sa/web"
        assert explained("--from", "other/other")["caller"]["identity"] == "cluster.local/ns/other/sa/other"

        mesh.apply(yaml.safe_dump(verdict["policy"]))

        assert explained()["verdict"] == "allowed"
        assert eventually(lambda: good(web.get("http://reviews/x")), what="the answer that is allowed now")
        unknown = mesh.command("explain", "--proxy", caller, "--request", "GET http://review/x")
        assert (unknown.returncode, "did you mean reviews?" in " ".join(unknown.stdout.split())) == (0, True)
        unclear = mesh.command("explain", "--proxy", caller, "--request", "reviews")
        assert unclear.returncode == 2
