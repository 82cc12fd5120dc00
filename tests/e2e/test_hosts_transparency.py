"""Apps on hosts of their own that know nothing of the mesh: what they speak arrives, and they see what they should.

Everybody is STRICT: whatever is answered came by mutual TLS. One pair of hosts has both IP versions, the other IPv6
alone; the callers are intercepted in a network of their own, or on the host.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from e2e.hosts_bed import Agent, HostMesh, ask, file_on, host_mesh, python_of_everybody
from e2e.meshes import APPS, eventually
from e2e.virtual_hosts import VirtualHost, network, why_not

WHY_NOT = why_not() or ("" if Path("/proc/net/if_inet6").is_file() else "this machine has no IPv6")
pytestmark = [pytest.mark.e2e, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)]

STRICT = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
"""
GATEWAY = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: front}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: front}
spec:
  hosts: ["*"]
  gateways: [front]
  http: [{route: [{destination: {host: six, port: {number: 80}}}]}]
"""
MESH = "defaultConfig: {drainDuration: 90s}\n"
"""Envoys that were relieved go on for so long, so that what is held is not cut."""
IDENTITY = "spiffe://cluster.local/ns/default/sa/{}"
EXPECTED = re.compile(
    "host|user-agent|accept-encoding|connection|content-length|x-forwarded-(proto|for|client-cert)|x-request-id|"
    "x-envoy-(attempt-count|internal)|traceparent|tracestate|x-b3-.*"
)
"""What an app behind a sidecar of Istio may find in a request that its caller's app did not send."""
SHOWN = re.compile("server|date|content-length|content-type|x-envoy-upstream-service-time|connection")


class Caller:
    """An app on a host that calls what it is told (apps/caller.py)."""

    def __init__(self, mesh: HostMesh, host: VirtualHost, name: str, *flags: str, python: str, version: int) -> None:
        self._numbers = count(1)
        calls, answers = f"/run/{name}.calls", f"/run/{name}.answers"
        self._calls, self._answers = file_on(host, calls), file_on(host, answers)
        for file in (self._calls, self._answers):
            file.touch()
            file.chmod(0o666)
        command = (python, "-c", (APPS / "caller.py").read_text())
        self.agent = mesh.agent(
            host, name, "run", "--service", name, *flags, "--", *command, account="caller", version=version,
            CALLS_FROM=calls, ANSWERS_TO=answers,
        )  # fmt: skip
        self.agent.start()

    def call(self, expression: str) -> Any:
        number = str(next(self._numbers))
        with self._calls.open("a") as calls:
            calls.write(f"{number} {expression}\n")

        def answered() -> tuple[Any] | None:
            for line in self._answers.read_text().splitlines():
                if number in (found := json.loads(line)):
                    return (found[number],)
            return None

        return eventually(answered, seconds=40, what=expression)[0]


@dataclass
class Bed:
    mesh: HostMesh
    servers: dict[str, Agent]
    callers: dict[str, Caller]

    @property
    def caller(self) -> Caller:
        return self.callers["netns"]


def without_ipv4(host: VirtualHost) -> VirtualHost:
    """Take the host's IPv4 away; loopback stays, as it does on real ones."""
    host.run("ip", "-4", "address", "flush", "dev", "up0", check=True)
    del host.addresses[4]
    # Nobody is there; the sidecar answers in its place.
    file_on(host, "/etc/resolv.conf").write_text("nameserver fd00:18::53\n")
    return host


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    folder = tmp_path_factory.mktemp("transparency")
    (folder / "mesh-config.yaml").write_text(MESH)
    with ExitStack() as stack:
        net = stack.enter_context(network(folder))
        flags = ("--certificate-ttl", "1m", "--mesh-config", str(folder / "mesh-config.yaml"))
        mesh = stack.enter_context(host_mesh(net, folder, STRICT, *flags))

        def server(name: str, host: VirtualHost, version: int) -> Agent:
            ports = {"PORT": "80", "PORT_7000": "7", "PORT_9000": "9"}
            host.start(sys.executable, str(APPS / "every_protocol.py"), log="app", **ports)
            declared = [word for port in ("80/http", "7000/tcp", "9000/grpc") for word in ("--port", port)]
            made = mesh.agent(
                host, name, "proxy", "sidecar", "--service", name, *declared, "--intercept", "host",
                "--app-user", "nobody", version=version,
            )  # fmt: skip
            made.start()
            return made

        both, six = net.host("both"), without_ipv4(net.host("six"))
        servers = {"both": server("both", both, 4), "six": server("six", six, 6)}
        own = ("--intercept", "netns")
        callers = {
            "netns": Caller(mesh, net.host("client"), "netns", *own, python=sys.executable, version=4),
            "netns6": Caller(mesh, without_ipv4(net.host("client6")), "netns6", *own, python=sys.executable, version=6),
        }
        if python := python_of_everybody():
            on_host = ("--intercept", "host", "--app-user", "nobody")
            callers["host"] = Caller(mesh, net.host("client-h"), "onhost", *on_host, python=python, version=4)
            six_host = without_ipv4(net.host("client-h6"))
            callers["host6"] = Caller(mesh, six_host, "onhost6", *on_host, python=python, version=6)
        for agent in (*servers.values(), *(caller.agent for caller in callers.values() if "host" in caller.agent.name)):
            agent.until(agent.ready, "an agent to be ready")
        yield Bed(mesh, servers, callers)


CALLERS = ["netns", "netns6", "host", "host6"]
SERVERS = ["both", "six"]
PAIRS = [(name, server) for name in CALLERS for server in SERVERS if server == "six" or not name.endswith("6")]
"""A workload is registered with one address, of IPv4 if its host has any: hosts without IPv4 do not reach it."""


def caller_of(bed: Bed, name: str) -> Caller:
    return bed.callers.get(name) or pytest.skip("no Python that every user may run")


@pytest.mark.parametrize(("name", "server"), PAIRS)
def test_http_from_every_host_to_every_host(bed: Bed, name: str, server: str) -> None:
    """Whatever IP versions the two have: the client's sidecar chooses one that both have."""
    caller = caller_of(bed, name)
    answer = eventually(lambda: _answer(caller, f"http('http://{server}/')"), seconds=40, what="an answer")
    assert answer["host"] == server
    assert IDENTITY.format("caller") in answer["caller"]
    assert answer["peer"] == "127.0.0.6"


def _answer(caller: Caller, expression: str) -> dict[str, Any]:
    answer = caller.call(expression)
    assert isinstance(answer, dict), answer
    return answer


def test_apps_see_what_istio_shows_them_and_no_more(bed: Bed) -> None:
    """Of the mesh: who calls, by what scheme, and a number of the request. Nothing that sidecars tell each other."""
    headers = _answered(bed.caller, "both")["headers"]
    assert headers["x-forwarded-proto"] == "http"
    assert headers["x-request-id"]
    assert f"URI={IDENTITY.format('caller')}" in headers["x-forwarded-client-cert"]
    assert f"By={IDENTITY.format('both')}" in headers["x-forwarded-client-cert"]
    assert not [name for name in headers if not EXPECTED.fullmatch(name)], headers
    shown = bed.caller.call("headers_of('http://both/')")
    assert not [name for name in shown if not SHOWN.fullmatch(name)], shown


def test_every_protocol_between_hosts(bed: Bed) -> None:
    """HTTP/2 without an upgrade, gRPC one way and both ways, lines of TCP, WebSocket; to either IP version."""
    for server in SERVERS:
        _answered(bed.caller, server)
        found = json.loads(bed.caller.call(f"http2('{server}', 80, '{server}')"))
        assert (found["host"], found["headers"]["x-forwarded-proto"]) == (server, "http")
        assert bed.caller.call(f"grpc_say('{server}:9000', 'hello')") == "said hello"
        lines = bed.caller.call(f"lines('{server}', 7000, 'one', 'two')")
        assert [line["line"] for line in lines] == ["one", "two"]
        status, echoed = bed.caller.call(f"websocket('{server}', 80, '{server}', 'x' * 70000)")
        assert (status.split()[1], echoed) == ("101", "x" * 70000)


@pytest.mark.timeout(240)
def test_what_is_held_is_not_cut(bed: Bed) -> None:
    """By a control plane that is killed and comes back, new certificates of both sides, hot restarts of both sides."""
    caller = bed.caller
    held: dict[str, str] = {}
    for server in SERVERS:
        _answered(caller, server)
        held |= {
            f"lines-{server}": f"'{server}', 7000",
            f"websocket-{server}": f"'{server}', 80",
            f"grpc-{server}": f"'{server}:9000'",
        }
    for name, where in held.items():
        begun = caller.call(f"hold_{name.partition('-')[0]}('{name}', {where})")
        assert begun in (None, "", "HTTP/1.1 101 Switching Protocols"), (name, begun)

    def still_held(word: str) -> None:
        said = {name: caller.call(f"say('{name}', '{word}')") for name in held}
        assert said == {name: f"heard {word}" if name.startswith("grpc") else word for name in held}

    sides = (caller.agent, *bed.servers.values())
    renewals, registrations = [renewed(agent) for agent in sides], [registered(agent) for agent in sides]
    still_held("before")
    bed.mesh.kill()
    still_held("without-control-plane")
    bed.mesh.serve()
    still_held("control-plane-is-back")
    for agent, before in zip(sides, registrations, strict=True):
        # An Envoy that is started before that stands alone, and is relieved again: the first would go with the third.
        eventually(partial(_registered_since, agent, before), seconds=40, what=f"{agent.name} to be back")
    for agent in sides:
        serving = agent.envoys()[-1]
        agent.restart_envoy().join(60)
        envoys = agent.envoys()
        assert serving in envoys[:-1], agent.log()[-3000:]
        still_held(f"hot-restart-of-{agent.name}")
        agent.until(agent.ready, "the new Envoy to serve")
    for agent, before in zip(sides, renewals, strict=True):
        # Certificates live for a minute here, and are renewed at half of it.
        eventually(partial(_renewed_since, agent, before), seconds=70, what=f"a new certificate of {agent.name}")
    still_held("with-new-certificates")


def _answered(caller: Caller, server: str) -> dict[str, Any]:
    return eventually(lambda: _answer(caller, f"http('http://{server}/')"), seconds=40, what="an answer")


def _registered_since(agent: Agent, before: int) -> bool:
    return registered(agent) > before


def registered(agent: Agent) -> int:
    """How often this agent has registered."""
    return agent.log().count("registered with the control plane")


def _renewed_since(agent: Agent, before: int) -> bool:
    return renewed(agent) > before


def renewed(agent: Agent) -> int:
    """How often this agent's certificate was replaced; its page is where it is itself."""
    return agent.log().count("has a new certificate")


NAMED = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: NAME}
spec:
  hosts: [NAME.example.test]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
"""


def test_names_change_while_a_relieved_envoy_drains(bed: Bed) -> None:
    """Stock Envoy crashes when a UDP listener that it shares with the one before it is replaced: they share none."""
    caller, file = bed.caller, bed.mesh.folder / "config" / "named.yaml"
    bed.caller.agent.restart_envoy().join(60)
    _answered(caller, "both")
    serving = caller.agent.envoys()[-1]
    assert len(caller.agent.envoys()) > 1
    for name in ("one", "two", "three"):
        file.write_text(NAMED.replace("NAME", name))
        eventually(partial(_resolves, caller, f"{name}.example.test"), seconds=40, what=f"{name} to be known")
        for _ in range(5):
            assert _resolves(caller, "both")
    file.unlink()
    assert caller.agent.envoys()[-1] == serving
    assert not list(caller.agent.state.rglob("crash-*"))


def _resolves(caller: Caller, name: str) -> bool:
    found = caller.call(f"resolve('{name}')")
    assert isinstance(found, list), found
    return bool(found)


def test_a_host_with_both_versions_is_reached_by_the_client_s_own_address_with_tproxy(bed: Bed) -> None:
    """An app in a network of its own, to which its host forwards, sees who its callers' sidecars are."""
    host = bed.mesh.net.host("forwarding")
    app = (sys.executable, str(APPS / "every_protocol.py"))
    flags = ("--service", "seeing", "--port", "80/http", "--intercept", "netns", "--inbound-mode", "tproxy")
    agent = bed.mesh.agent(host, "seeing", "run", *flags, "--print-addresses", "--", *app)
    agent.start()
    agent.until(lambda: '"address": "100.120.' in agent.log(), "the app's address")
    (address,) = set(re.findall(r'"address": "(100\.120\.[0-9.]+)"', agent.log()))
    agent.until(agent.ready, "the agent to be ready")
    host.run("sysctl", "-qw", "net.ipv4.ip_forward=1", check=True)
    router = bed.mesh.net.router
    assert router is not None
    router.run("ip", "route", "add", f"{address}/32", "via", host.ip, check=True)
    try:
        answer = eventually(lambda: _answer(bed.caller, "http('http://seeing/')"), seconds=40, what="an answer")
        assert answer["peer"] == bed.caller.agent.host.ip
        assert answer["local"] == address
        assert IDENTITY.format("caller") in answer["caller"]
    finally:
        agent.end()
    agent.gone()


def test_a_gateway_serves_and_calls_by_ipv6_alone(bed: Bed) -> None:
    """From a host without IPv4, to one without and to one with both."""
    config = bed.mesh.folder / "config" / "gateway.yaml"
    config.write_text(GATEWAY)
    host = without_ipv4(bed.mesh.net.host("gateway6"))
    flags = ("--name", "front", "--address", host.addresses[6], "--label", "istio=ingressgateway")
    agent = bed.mesh.agent(host, "front", "proxy", "gateway", *flags, version=6)
    agent.start()
    try:
        agent.until(agent.ready, "the gateway to be ready")
        outside = bed.callers["netns6"].agent.host
        answer = eventually(lambda: _served(outside, host.addresses[6]), seconds=40, what="an answer by the gateway")
        assert IDENTITY.format("front") in answer["caller"]
        assert answer["headers"]["x-forwarded-for"].split(",")[0] == outside.addresses[6]
    finally:
        agent.end()
        config.unlink()


def _served(outside: VirtualHost, address: str) -> dict[str, Any]:
    status, body = ask(outside, address, 80)
    assert status == 200, body
    return dict(json.loads(body))
