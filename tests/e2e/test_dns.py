"""Names of services, as apps see them that know nothing of the mesh: a real Envoy, kernel, libc, dig and DNS server."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from e2e.meshes import APPS, LATEEN, Mesh, Process, eventually, running_mesh
from e2e.test_interception import SYSTEM_PATH, WHY_NOT, Caller, children

MISSING = [
    package
    for name, package in {"dnsmasq": "dnsmasq-base", "dig": "bind9-dnsutils"}.items()
    if not shutil.which(name, path=SYSTEM_PATH)
]
WHY = WHY_NOT or (f"not installed; on Debian and Ubuntu: apt-get install {' '.join(MISSING)}" if MISSING else "")
pytestmark = [pytest.mark.e2e, pytest.mark.skipif(bool(WHY), reason=WHY)]

RESOLVER, SILENT = "127.53.0.1", "127.53.0.9"
RECORDS = (
    "--host-record=known.test,192.0.2.7,2001:db8::7",
    "--host-record=only4.test,192.0.2.8",
    "--txt-record=api.example.test,hello",
    *(f"--host-record=many.test,192.0.2.{number}" for number in range(1, 61)),
)
NAMES = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: own}
spec:
  hosts: [own.example.test]
  addresses: [203.0.113.9]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: api}
spec:
  hosts: [api.example.test, '*.wild.example.test']
  resolution: STATIC
  ports: [{number: 443, name: tls, protocol: TLS}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: hidden, namespace: other}
spec:
  hosts: [hidden.example.test]
  exportTo: [.]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
---
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {clusterIP: None, ports: [{port: 5432, name: tcp}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: db-1, labels: {kubernetes.io/service-name: db}}
addressType: IPv4
ports: [{port: 5432, name: tcp}]
endpoints:
- {addresses: [198.51.100.1], targetRef: {kind: Pod, name: db-0, namespace: default}}
- {addresses: [198.51.100.2], targetRef: {kind: Pod, name: db-1, namespace: default}}
"""


@contextmanager
def dns_server() -> Iterator[None]:
    """The machine's resolver."""
    program = shutil.which("dnsmasq", path=SYSTEM_PATH) or ""
    flags = ("-k", "--no-resolv", "--no-hosts", "--bind-interfaces", f"--listen-address={RESOLVER}", "--conf-file=")
    popen = subprocess.Popen((program, *flags, "--local=/#/", "--pid-file=", *RECORDS), stderr=subprocess.PIPE)
    try:
        eventually(lambda: "192.0.2.8" in _dig(f"@{RESOLVER}", "only4.test"), what="the DNS server")
        yield
    finally:
        popen.terminate()
        popen.communicate()


def _dig(*words: str) -> str:
    return subprocess.run(("dig", *words), capture_output=True, text=True, check=False).stdout


def on_machine_with_resolver(mesh: Mesh, folder: Path) -> None:
    """Have what this mesh starts from now on see a resolv.conf of ours: its first resolver never answers."""
    conf = folder / "resolv.conf"
    conf.write_text(f"nameserver {SILENT}\nnameserver {RESOLVER}\nsearch corp.test\n")
    script = f'mount --bind {conf} /etc/resolv.conf && exec "$@"'
    start = mesh.start

    def inside(name: str, arguments: list[str], environment: Any = None) -> Process:
        LATEEN[:0] = ["unshare", "--mount", "sh", "-c", script, "sh"]
        try:
            return start(name, arguments, environment)
        finally:
            del LATEEN[:6]

    mesh.start = inside  # type: ignore[method-assign]


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    folder = tmp_path_factory.mktemp("dns")
    with dns_server(), running_mesh(folder) as made:
        on_machine_with_resolver(made, folder)
        made.apply(NAMES)
        yield made


@pytest.fixture(scope="module")
def web(mesh: Mesh) -> Process:
    app = (sys.executable, str(APPS / "every_protocol.py"))
    return mesh.run("web", *app, flags=("--intercept", "netns", "--port", "7000/tcp"))


@pytest.fixture(scope="module")
def caller(mesh: Mesh, web: Process) -> Caller:
    del web
    return Caller(mesh, "caller", "--intercept", "netns")


def run(caller: Caller, *words: str) -> str:
    """Return what a program says beside the app."""
    return str(caller.call(f"__import__('subprocess').run({list(words)!r}, capture_output=True, text=True).stdout"))


def dig(caller: Caller, name: str, kind: str = "A", *flags: str) -> tuple[str, list[str]]:
    """Return the status and the answers' data."""
    said = run(caller, "dig", "+tries=1", "+time=20", *flags, name, kind)
    status = said.partition("status: ")[2].partition(",")[0]
    lines = [line.split() for line in said.splitlines() if line and not line.startswith(";")]
    return status, sorted(words[4] for words in lines if words[3] == kind)


def virtual(address: str) -> bool:
    return address.startswith(("240.24", "240.25", "2001:2:"))


@pytest.mark.parametrize("name", ["web", "WEB", "web.default", "Web.Default.svc", "web.default.svc.cluster.local."])
def test_every_name_of_a_service_has_one_address(caller: Caller, name: str) -> None:
    """By libc, which asks for both IP versions, and whatever the letters' case."""
    found = caller.call(f"resolve({name!r})")
    assert found == caller.call("resolve('web')")
    assert all(map(virtual, found)), found


def test_getent_and_dig_agree(caller: Caller) -> None:
    """UDP and TCP, with and without EDNS0, in any case."""
    (address,) = dig(caller, "web.default")[1]
    assert address in run(caller, "getent", "ahostsv4", "web")
    for flags in (("+tcp",), ("+noedns",), ("+bufsize=4096",)):
        assert dig(caller, "wEb.dEfault", "A", *flags) == ("NOERROR", [address])


def test_plain_tcp_by_name(caller: Caller) -> None:
    """What has no host name in it reaches the service by its virtual address, through both sidecars."""
    (answer,) = caller.call("lines('web', 7000, 'hello')")
    assert (answer["line"], answer["peer"]) == ("hello", "127.0.0.6")


@pytest.mark.parametrize("kind", ["AAAA", "HTTPS", "TXT", "MX"])
def test_a_name_that_is_known_never_does_not_exist(caller: Caller, kind: str) -> None:
    """Some resolvers give up a name for an error of any type."""
    assert dig(caller, "own.example.test", kind) == ("NOERROR", [])


def test_declared_addresses_and_wildcards(caller: Caller) -> None:
    """A ServiceEntry's own address stands; one without has a virtual one, also below a wildcard."""
    assert dig(caller, "own.example.test") == ("NOERROR", ["203.0.113.9"])
    below = dig(caller, "a.b.wild.example.test")
    assert below == dig(caller, "C.wild.example.test")
    assert all(map(virtual, below[1]))
    assert below != dig(caller, "api.example.test")
    assert dig(caller, "wild.example.test")[0] == "NXDOMAIN"


def test_other_types_of_known_names_are_the_machines(caller: Caller) -> None:
    """A text record of a host that the mesh calls too."""
    assert dig(caller, "api.example.test", "TXT") == ("NOERROR", ['"hello"'])


def test_headless_service_is_its_endpoints(caller: Caller) -> None:
    """And each of its workloads has a name of its own, as those of a StatefulSet."""
    assert dig(caller, "db.default.svc.cluster.local") == ("NOERROR", ["198.51.100.1", "198.51.100.2"])
    assert dig(caller, "db-1.db.default.svc.cluster.local") == ("NOERROR", ["198.51.100.2"])
    assert sorted(caller.call("resolve('db')")) == ["198.51.100.1", "198.51.100.2"]


def test_what_is_not_exported_is_not_known(caller: Caller) -> None:
    """The scope of names is that of calls."""
    assert dig(caller, "hidden.example.test")[0] == "NXDOMAIN"


def test_everything_else_is_the_machines(caller: Caller) -> None:
    """Though its first resolver is silent: both versions, no name, no data, long answers by TCP."""
    assert dig(caller, "known.test") == ("NOERROR", ["192.0.2.7"])
    assert dig(caller, "known.test", "AAAA") == ("NOERROR", ["2001:db8::7"])
    assert dig(caller, "only4.test", "AAAA") == ("NOERROR", [])
    assert dig(caller, "nobody.test")[0] == "NXDOMAIN"
    assert len(dig(caller, "many.test", "A", "+noedns")[1]) == 60
    assert dig(caller, "many.test", "A", "+noedns", "+ignore")[1] != dig(caller, "many.test", "A", "+tcp")[1]


def test_service_that_comes_and_goes(mesh: Mesh, caller: Caller) -> None:
    """Known as soon as every proxy has acknowledged it, unknown as soon as it is gone."""
    entry = NAMES.partition("---")[0].replace("own", "passing").replace("203.0.113.9", "203.0.113.77")
    assert dig(caller, "passing.example.test")[0] == "NXDOMAIN"
    mesh.apply(entry)
    assert dig(caller, "passing.example.test") == ("NOERROR", ["203.0.113.77"])
    answer = mesh.api("/v1/config/serviceentry/default/passing?wait=50", method="DELETE")
    assert answer.status == 200, answer.body
    assert dig(caller, "passing.example.test")[0] == "NXDOMAIN"


def test_the_control_plane_says_which_address_it_gave(mesh: Mesh, caller: Caller) -> None:
    """In its list of services."""
    items = {item["host"]: item for item in mesh.api("/v1/services").json["items"]}
    said = items["api.example.test"]["virtual_addresses"]
    assert dig(caller, "api.example.test")[1] == said[:1]
    assert items["own.example.test"]["virtual_addresses"] == []


def test_host_mode_captures_the_dns_of_its_user(mesh: Mesh, web: Process) -> None:
    """Others, the agent and Envoy among them, are left alone; with the agent the rules go."""
    del web
    flags = ["proxy", "sidecar", "--intercept", "host", "--service", "onhost", "--app-user", "nobody"]
    address = "127.53.0.44"
    process = mesh.start(
        "onhost", [*flags, "--address", address, "--control-plane", f"127.0.0.1:{mesh.grpc}", "--print-addresses"]
    )
    mesh.wait_addresses(process)
    as_nobody = ("setpriv", "--reuid", "nobody", "--clear-groups")

    def asked(name: str, *before: str) -> list[str]:
        words = (*before, "dig", "+short", "+tries=1", "+time=20", f"@{RESOLVER}", name)
        return subprocess.run(words, capture_output=True, text=True, check=False).stdout.split()

    (found,) = eventually(lambda: asked("web.default", *as_nobody), what="an answer")
    assert virtual(found)
    assert asked("known.test", *as_nobody) == ["192.0.2.7"]
    assert asked("web.default") == []
    process.stop()
    assert asked("web.default", *as_nobody) == []


def test_names_of_services_fail_while_envoy_is_away(caller: Caller) -> None:
    """Not knowing is not the same as there being none; what the machine knows is answered on."""
    envoy = children(caller.process)["envoy"]
    os.kill(envoy, signal.SIGSTOP)
    try:
        assert dig(caller, "known.test") == ("NOERROR", ["192.0.2.7"])
        assert dig(caller, "web.default")[0] == "SERVFAIL"
    finally:
        os.kill(envoy, signal.SIGCONT)
    assert eventually(lambda: dig(caller, "web.default")[1], what="the name to be known again")
