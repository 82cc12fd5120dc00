"""Probes of apps that know nothing of their sidecar: the check reaches the app where it is, and never through Envoy.

Mutual TLS is required of everybody: what went through the sidecar would be refused.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

import pytest

from e2e.meshes import APPS, Mesh, eventually, request, running_mesh
from e2e.test_interception import WHY_NOT, Caller, machine
from e2e.test_probes import AILING, App, control_file, is_ready
from ports import free_port

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT),
]

STRICT = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
"""
HEALTH = (sys.executable, str(APPS / "sick_grpc.py"))
KINDS = {
    "http": ("http://:{port}/healthz", AILING),
    "tcp": ("tcp://:{port}", AILING),
    "grpc": ("grpc://:{port}/stock", HEALTH),
    "exec": (f"exec:{sys.executable} {APPS / 'listens.py'} {{port}}", AILING),
}
SICK = {"http": "500", "tcp": "refuse", "grpc": "sick", "exec": "refuse"}
Start = Callable[..., App]


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    before = machine()
    with running_mesh(tmp_path_factory.mktemp("mesh")) as made:
        made.apply(STRICT)
        yield made
    eventually(lambda: machine() == before, what="this machine to be as it was")


@pytest.fixture(scope="module")
def caller(mesh: Mesh) -> Caller:
    return Caller(mesh, "caller", "--intercept", "netns")


@pytest.fixture
def start(mesh: Mesh) -> Iterator[Start]:
    """Start an app with a probe; it has stopped when the test ends: of those on the machine itself there is one."""
    started: list[App] = []

    def start(name: str, kind: str, port: int, *flags: str, bind: str = "") -> App:
        probe, command = KINDS[kind]
        control = control_file(mesh, name)
        times = ("--probe-period", "0.5", "--probe-timeout", "5")
        process = mesh.run(
            name,
            *command,
            port=f"{port}/{'grpc' if kind == 'grpc' else 'http'}",
            flags=(*flags, "--probe", probe.format(port=port), *times),
            wait=False,
            CONTROL=str(control),
            BIND=bind,
        )
        started.append(App(process, control))
        mesh.wait_addresses(process)
        return started[-1]

    yield start
    for app in started:
        app.process.stop()


def follows(mesh: Mesh, app: App, word: str) -> None:
    """The workload is ready while its app is well, and only then."""
    app.become(word)
    eventually(lambda: not is_ready(mesh, app), what="leaving")
    app.become("ok")
    eventually(lambda: is_ready(mesh, app), what="return")


@pytest.mark.parametrize("kind", KINDS)
def test_in_a_network_of_its_own(mesh: Mesh, start: Start, kind: str) -> None:
    """The app listens on the loopback of its own network, which nobody else reaches."""
    follows(mesh, start(f"inside-{kind}", kind, 80, "--intercept", "netns"), SICK[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_on_the_machine_itself(mesh: Mesh, start: Start, kind: str) -> None:
    follows(mesh, start(f"here-{kind}", kind, free_port(), "--intercept", "host"), SICK[kind])


@pytest.mark.parametrize("flags", [(), ("--inbound-mode", "tproxy"), ("--hops", "outbound")], ids=" ".join)
@pytest.mark.parametrize("kind", ["http", "grpc"])
def test_an_app_on_all_addresses(mesh: Mesh, start: Start, kind: str, flags: tuple[str, ...]) -> None:
    """Whatever leads its callers to it."""
    name = f"open-{kind}-{len(' '.join(flags))}"
    follows(mesh, start(name, kind, 80, "--intercept", "netns", *flags, bind="0.0.0.0"), SICK[kind])


def test_an_app_on_its_networks_address_only_is_found_and_called_there(
    mesh: Mesh, caller: Caller, start: Start
) -> None:
    """It learns of its address when it starts, as in a pod."""
    app = start("aloof", "http", 80, "--intercept", "netns", bind="own")
    assert caller.call("http_status('http://aloof/')") == 200
    follows(mesh, app, "500")
    eventually(lambda: caller.call("http_status('http://aloof/')") == 200, what="callers to know of its return")


def test_an_app_on_the_machines_address_only_is_found_and_called_there(
    mesh: Mesh, caller: Caller, start: Start
) -> None:
    port = free_port()
    app = start("hosted", "http", port, "--intercept", "host", bind="own")
    assert caller.call(f"http_status('http://hosted:{port}/')") == 200
    follows(mesh, app, "500")
    eventually(
        lambda: caller.call(f"http_status('http://hosted:{port}/')") == 200, what="callers to know of its return"
    )


def test_callers_in_plain_text_are_refused_all_the_while(start: Start) -> None:
    """Only the probe is let through: it does not ask the sidecar."""
    app = start("strict", "http", 80, "--intercept", "netns")
    with pytest.raises(OSError):  # noqa: PT011  reset or closed, as the kernel has it
        request(80, "/healthz", address=app.process.addresses["address"])
    eventually(lambda: app.readiness[0] == 200, what="readiness")
