"""Apps that know nothing of their sidecar: `--intercept netns` and `host`, with a real Envoy, kernel and mesh."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from e2e.meshes import APPS, Mesh, Process, eventually, request, running_mesh, runs
from ports import free_port

SYSTEM_PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
PROGRAMS = {"ip": "iproute2", "nft": "nftables", "unshare": "util-linux"}


def _why_not() -> str:
    if sys.platform != "linux" or os.geteuid() != 0:
        return "interception needs Linux and root"
    if missing := [package for name, package in PROGRAMS.items() if not shutil.which(name, path=SYSTEM_PATH)]:
        return f"not installed; on Debian and Ubuntu: apt-get install {' '.join(missing)}"
    done = subprocess.run(("unshare", "--net", "true"), capture_output=True, text=True, check=False)
    return f"no network namespaces here: {done.stderr.strip()}" if done.returncode else ""


WHY_NOT = _why_not()
pytestmark = [pytest.mark.e2e, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)]


def machine() -> set[str]:
    """What interception could change of this machine."""
    commands = ("nft list ruleset", "iptables-save", "ip6tables-save", "ip -o link", "ip -o address", "ip rule")
    said = [subprocess.run(command.split(), capture_output=True, text=True, check=False).stdout for command in commands]
    # Other tests, and other things, come and go on the machine: only what is ours counts.
    return {line for line in "\n".join(said).splitlines() if "lateen" in line.lower() or line.startswith("table")}


def as_it_was(before: set[str]) -> bool:
    """Whether nothing of ours came and nothing of others went; what other tests had left of ours may go meanwhile."""
    after = machine()
    return after <= before and {line for line in before if "lateen" not in line.lower()} <= after


class Caller:
    """An app that calls what it is told."""

    def __init__(self, mesh: Mesh, name: str, *flags: str) -> None:
        self._calls, self._answers = mesh.folder / f"{name}.calls", mesh.folder / f"{name}.answers"
        self._calls.touch()
        self._number = 0
        command = (sys.executable, str(APPS / "caller.py"))
        self.process = mesh.run(
            name, *command, port="", flags=flags, CALLS_FROM=str(self._calls), ANSWERS_TO=str(self._answers)
        )

    @property
    def address(self) -> str:
        return str(self.process.addresses["address"])

    @property
    def host_address(self) -> str:
        """This machine's address as the app sees it: the one before its own."""
        *others, last = self.address.split(".")
        return ".".join((*others, str(int(last) - 1)))

    def call(self, expression: str) -> Any:
        self._number += 1
        with self._calls.open("a") as calls:
            calls.write(f"{self._number} {expression}\n")

        def answered() -> dict[str, Any] | None:
            for line in self._answers.read_text().splitlines():
                if str(self._number) in (found := json.loads(line)):
                    return dict(found)
            return None

        return eventually(answered, seconds=40, what=expression)[str(self._number)]

    def reach(self, url: str) -> dict[str, Any]:
        """Call a service that has just come until it answers: proxies learn of it a moment after the control plane."""

        def answered() -> dict[str, Any]:
            answer = self.call(f"http({url!r})")
            assert isinstance(answer, dict), answer
            return answer

        return eventually(answered, seconds=40, what=url)


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    before = machine()
    with running_mesh(tmp_path_factory.mktemp("interception")) as made:
        yield made
    eventually(lambda: as_it_was(before), seconds=45, what="this machine to be as it was")


@pytest.fixture(scope="module")
def web(mesh: Mesh) -> Process:
    ports = ("--port", "7000/tcp", "--port", "9000/grpc")
    app = (sys.executable, str(APPS / "every_protocol.py"))
    return mesh.run("web", *app, port="80/http", flags=("--intercept", "netns", *ports))


@pytest.fixture(scope="module")
def caller(mesh: Mesh, web: Process) -> Caller:
    del web
    return Caller(mesh, "caller", "--intercept", "netns")


IDENTITY = "spiffe://cluster.local/ns/default/sa/default"


@pytest.mark.parametrize("name", ["web", "web.default", "WEB.default.svc.cluster.local"])
def test_http_by_every_name_of_a_service(caller: Caller, name: str) -> None:
    """The app calls a name, and the other app is called: by mutual TLS, which neither of them knows."""
    answer = caller.call(f"http('http://{name}/')")
    assert answer["host"].lower() == name.lower()
    assert IDENTITY in answer["caller"]


def test_grpc_tcp_and_websocket(caller: Caller, web: Process) -> None:
    """Whatever an app speaks goes through both sidecars: the other one sees its own proxy for a peer."""
    assert caller.call("grpc_say('web:9000', 'hello')") == "said hello"
    answers = caller.call(f"lines({web.addresses['address']!r}, 7000, 'one', 'two')")
    assert [answer["line"] for answer in answers] == ["one", "two"]
    assert {answer["peer"] for answer in answers} == {"127.0.0.6"}
    (by_name,) = caller.call("lines('web', 7000, 'three')")
    assert (by_name["line"], by_name["peer"]) == ("three", "127.0.0.6")
    status, echoed = caller.call("websocket('web', 80, 'web', 'x' * 5000)")
    assert status.startswith("HTTP/1.1 101")
    assert echoed == "x" * 5000


def test_ipv6(caller: Caller, web: Process) -> None:
    """Connections to IPv6 addresses are intercepted on both sides."""
    if not Path("/proc/net/if_inet6").is_file():
        pytest.skip("this machine has no IPv6")
    assert IDENTITY in caller.call("http('http://[2001:db8::7]/', 'web')")["caller"]
    *_, inner = _ipv6_of(web)
    assert request(80, "/", address=inner).json["peer"] == "127.0.0.6"


def _ipv6_of(process: Process) -> list[str]:
    config = request_inside(process, 15000, "/server_info")
    return str(config["node"]["metadata"]["INSTANCE_IPS"]).split(",")


def request_inside(process: Process, port: int, path: str) -> Any:
    """Ask the admin page, which only the inside reaches."""
    pid = children(process)["envoy"]
    script = f"import urllib.request as u; print(u.urlopen('http://127.0.0.1:{port}{path}').read().decode())"
    words = ("nsenter", f"--net=/proc/{pid}/ns/net", sys.executable, "-c", script)
    return json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


def children(process: Process) -> dict[str, int]:
    found = {}
    for pid in Path(f"/proc/{process.popen.pid}/task/{process.popen.pid}/children").read_text().split():
        with suppress(FileNotFoundError):  # one that has just ended
            found[Path(f"/proc/{pid}/exe").readlink().name] = int(pid)
    return found


def test_workloads_with_and_without_interception_call_each_other(mesh: Mesh, caller: Caller) -> None:
    """One on a loopback address of the machine is reached from inside, and reaches those inside."""
    neighbour = mesh.run("neighbour")
    assert IDENTITY in caller.reach("http://neighbour/")["headers"]["x-forwarded-client-cert"]
    assert IDENTITY in neighbour.get("http://web/").json["caller"]


def test_what_is_no_service_is_reached_as_from_the_machine(caller: Caller) -> None:
    """Also without forwarding or masquerading: the proxy connects from outside."""
    with listening() as (port, peers):
        caller.call(f"lines({caller.host_address!r}, {port}, 'x')")
        assert caller.address not in eventually(lambda: list(peers), what="a connection")


@contextmanager
def listening() -> Iterator[tuple[int, list[str]]]:
    """A server of this machine that is no service; yields its port, and who came."""
    peers: list[str] = []
    with socket.create_server(("0.0.0.0", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, (peer, _) = server.accept()
                except OSError:
                    return
                peers.append(peer)
                connection.sendall(b"{}\n")
                connection.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1], peers
        server.shutdown(socket.SHUT_RDWR)
        thread.join(30)


def test_excluded_ports_and_networks_go_past_the_proxy(mesh: Mesh) -> None:
    """The machine sees the app's own address, which a proxy would not show."""
    with listening() as (port, peers), listening() as (other, others):
        caller = Caller(mesh, "excluding", "--intercept", "netns", "--exclude-port", str(port))
        caller.call(f"lines({caller.host_address!r}, {port}, 'x')")
        assert eventually(lambda: list(peers), what="a connection") == [caller.address]
        caller.call(f"lines({caller.host_address!r}, {other}, 'x')")
        assert caller.address not in eventually(lambda: list(others), what="a connection")
        assert caller.process.stop() in (0, 143)


def test_names_of_nobody_and_of_the_machine(caller: Caller) -> None:
    """A service has addresses that nobody else has; what is none is unknown, as outside."""
    addresses = caller.call("resolve('web')")
    assert all(address.startswith(("240.24", "240.25", "2001:2::")) for address in addresses)
    assert "gaierror" in caller.call("resolve('no-such-service')")
    assert "gaierror" in caller.call("resolve('no-such-name.example.invalid.')")
    assert caller.call("open('/etc/resolv.conf').read()").count("nameserver") == 1


def test_tproxy_shows_the_client_to_the_app(mesh: Mesh, caller: Caller) -> None:
    """Not the proxy's address but the one that the client's sidecar connects from."""
    flags = ("--intercept", "netns", "--inbound-mode", "tproxy")
    process = mesh.run("seeing", sys.executable, str(APPS / "every_protocol.py"), flags=flags)
    answer = caller.reach("http://seeing/")
    assert answer["local"] == process.addresses["address"]
    assert answer["peer"] != "127.0.0.6"
    assert answer["peer"].rpartition(".")[0] == answer["local"].rpartition(".")[0]
    assert IDENTITY in answer["caller"]


def test_one_hop_only(mesh: Mesh, caller: Caller) -> None:
    """With `--hops outbound` the app is called in plain text, without a sidecar, and still calls through its own."""
    flags = ("--intercept", "netns", "--hops", "outbound")
    mesh.run("halved", sys.executable, str(APPS / "every_protocol.py"), flags=flags)
    answer = caller.reach("http://halved/")
    assert answer["caller"] == ""


def test_app_of_another_user(mesh: Mesh, caller: Caller) -> None:
    """The app is not root, and has its privileged port nevertheless."""
    python = "/usr/bin/python3"
    if not Path(python).exists():
        pytest.skip("no Python that every user may run")
    flags = ("--intercept", "netns", "--app-user", "nobody")
    mesh.run("humble", python, "-c", (APPS / "every_protocol.py").read_text(), flags=flags)
    assert caller.reach("http://humble/")["uid"] != 0


def test_killed_agent_leaves_nothing(mesh: Mesh) -> None:
    """Neither processes nor an interface; and the next one gets the same address."""
    app = (sys.executable, str(APPS / "every_protocol.py"))
    process = mesh.run("mortal", *app, flags=("--intercept", "netns"))
    address, left = process.addresses["address"], children(process)
    process.popen.send_signal(signal.SIGKILL)
    process.popen.wait()
    eventually(lambda: not any(runs(pid) for pid in left.values()), what="its processes to end")
    eventually(lambda: address.rpartition(".")[0] + "." not in _addresses(address), what="its interface to go")
    again = mesh.run("mortal", *app, flags=("--intercept", "netns"))
    assert again.addresses["address"] == address


def _addresses(address: str) -> str:
    host = f"{address.rpartition('.')[0]}.{int(address.rpartition('.')[2]) - 1}/"
    said = subprocess.run(("ip", "-o", "-4", "address"), capture_output=True, text=True, check=True).stdout
    return "\n".join(line for line in said.splitlines() if f" {host}" in line)


def test_leftover_interface_is_taken_over(mesh: Mesh) -> None:
    """What an agent left whose app outlived everything does not stop the next one."""
    app = (sys.executable, str(APPS / "every_protocol.py"))
    first = mesh.run("again", *app, flags=("--intercept", "netns"))
    address = first.addresses["address"]
    (name,) = re.findall(r"^\d+: (\S+)", _addresses(address))
    first.stop()
    eventually(lambda: not _addresses(address), what="its interface to go")
    subprocess.run(("ip", "link", "add", name, "type", "veth"), check=True)
    second = mesh.run("again", *app, flags=("--intercept", "netns"))
    assert second.addresses["address"] == address


@pytest.mark.parametrize("user", [(), ("--app-user", "root")], ids=["nobody named", "the agent's own"])
@pytest.mark.parametrize("kill", [False, True], ids=["stopped", "killed"])
def test_host_rules_go_with_the_agent(mesh: Mesh, caller: Caller, kill: bool, user: tuple[str, ...]) -> None:
    """On the machine itself: the workload is in the mesh while the agent lives, and the rules are gone afterwards."""
    app = (sys.executable, str(APPS / "every_protocol.py"))
    port = free_port()
    process = mesh.run("onhost", *app, port=f"{port}/http", flags=("--intercept", "host", *user), wait=False)
    try:
        mesh.wait_addresses(process)
    except AssertionError as error:
        if "cgroup" in str(error):
            pytest.skip(f"no cgroup to intercept here: {error}")
        raise
    rules = subprocess.run(("nft", "list", "ruleset"), capture_output=True, text=True, check=True).stdout
    assert "table inet lateen_run_" in rules
    other = mesh.run(
        "other", "sleep", "9", port="", flags=("--intercept", "host", "--address", "127.9.9.9"), wait=False
    )
    assert other.popen.wait(45) == 1
    assert "another agent intercepts on this machine already" in other.tail()
    assert IDENTITY in caller.reach(f"http://onhost:{port}/")["caller"]
    assert request(port, "/", address=process.addresses["address"]).json["peer"] == "127.0.0.6"
    if kill:
        process.popen.send_signal(signal.SIGKILL)
        process.popen.wait()
    else:
        process.stop()

    def gone() -> bool:
        listed = subprocess.run(("nft", "list", "ruleset"), capture_output=True, text=True, check=True).stdout
        return "lateen_run_" not in listed

    eventually(gone, what="the rules to go")
