"""How workloads join: from other machines by a token, and again when the control plane comes back or is another one."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from e2e.identity_bed import IDLE, SERVER, Bed, leaves, roots, wait_renewed
from e2e.meshes import Mesh, Process, eventually, good, running_mesh
from e2e.traffic import traffic

pytestmark = pytest.mark.e2e


def outer_address() -> str:
    """An address of this machine that is not loopback: the one that it would go out with."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as probe:
        try:
            probe.connect(("203.0.113.1", 9))  # sends nothing
        except OSError:
            pytest.skip("this machine has no address but loopback")
        address: str = probe.getsockname()[0]
    if address.startswith("127."):
        pytest.skip("this machine has no address but loopback")
    return address


# --- beyond loopback -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def outer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    with running_mesh(tmp_path_factory.mktemp("outer"), secure_address=outer_address()) as mesh:
        mesh.wait_addresses(mesh.run("server", wait=False))
        yield mesh


def token(mesh: Mesh, account: str, *flags: str) -> Path:
    """Make a token, in a file."""
    made = mesh.command("token", "create", "--service-account", account, *flags)
    assert made.returncode == 0, made.stderr
    file = mesh.folder / f"{len(list(mesh.folder.glob('*.token')))}.token"
    file.write_text(made.stdout)
    return file


def joining(mesh: Mesh, account: str, *flags: str) -> Process:
    """Start a workload that is told the control plane's outer address."""
    where = ("--service-account", account, "--control-plane", f"{outer_address()}:{mesh.secure}")
    return mesh.run(account, *IDLE, port="", flags=(*where, *flags), wait=False)


def says(process: Process, *words: str) -> bool:
    """Whether a line of the log holds all these words."""
    return any(all(word in line for word in words) for line in process.log.read_text().splitlines())


def wait_said(process: Process, *words: str) -> None:
    def said() -> bool:
        assert process.popen.poll() is None, f"ended:\n{process.tail()}"
        return says(process, *words)

    eventually(said, what=f"{words} in {process.log}")


def test_a_token_is_all_that_another_machine_needs(outer: Mesh) -> None:
    """It holds the roots and the join port; of what opened the door, nothing is in the log."""
    file = token(outer, "default/reviews")
    reviews = joining(outer, "reviews", "--token", str(file))
    outer.wait_addresses(reviews)
    assert eventually(lambda: good(reviews.get(SERVER)), what="an answer").json["app"] == "server"
    assert says(reviews, "has a certificate", "spiffe://cluster.local/ns/default/sa/reviews")
    assert file.read_text().strip() not in reviews.log.read_text()


def test_without_a_token_it_ends_and_says_how_to_get_one(outer: Mesh) -> None:
    process = joining(outer, "details")
    assert process.popen.wait(45) == 2
    assert "lateen token create --service-account default/details" in process.log.read_text()
    assert "--token FILE" in process.log.read_text()


def test_a_token_for_one_use_lets_one_in(outer: Mesh) -> None:
    file = token(outer, "default/once", "--one-time")
    first = joining(outer, "once", "--token", str(file))
    outer.wait_addresses(first)
    second = joining(outer, "once", "--token", str(file))
    wait_said(second, "gives no certificate", "used", "lateen token create --service-account default/once")
    assert second.stop() == 128 + 15
    assert first.popen.poll() is None


def test_a_token_of_another_one_is_named_and_a_right_one_in_its_place_taken(outer: Mesh) -> None:
    """Nobody needs to start the workload again."""
    file = token(outer, "default/somebody")
    process = joining(outer, "ratings", "--token", str(file))
    wait_said(process, "default/somebody", "default/ratings", "lateen token create")
    file.write_text(token(outer, "default/*").read_text())
    outer.wait_addresses(process)


def test_a_revoked_token_and_what_is_none_open_nothing(outer: Mesh) -> None:
    file = token(outer, "default/revoked")
    listed = json.loads(outer.command("token", "list", "-o", "json").stdout)
    mine = next(each["id"] for each in listed if each["subject"] == "default/revoked")
    assert outer.command("token", "revoke", mine[:12]).returncode == 0
    revoked = joining(outer, "revoked", "--token", str(file))
    nonsense = outer.folder / "nonsense"
    nonsense.write_text("this is no token\n")
    other = joining(outer, "other", "--token", str(nonsense))
    missing = joining(outer, "other", "--token", str(outer.folder / "missing"))
    assert missing.popen.wait(45) == 2
    assert "is not a file" in missing.log.read_text()
    wait_said(revoked, "revoked", "make a new one with `lateen token create --service-account default/revoked")
    wait_said(other, f"the token file {nonsense} holds no token", "lateen token create")
    assert "this is no token" not in other.log.read_text()


def test_the_plaintext_port_is_not_to_be_had_beyond_loopback(outer: Mesh) -> None:
    refused = outer.command("serve", "--grpc", f"{outer_address()}:0", "--http", "127.0.0.1:0")
    assert refused.returncode == 2
    assert "loopback" in refused.stderr


# --- coming back ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    with running_mesh(tmp_path_factory.mktemp("returning")) as mesh:
        yield Bed(mesh)


def kill(bed: Bed) -> None:
    bed.mesh.control_plane.popen.kill()
    bed.mesh.control_plane.popen.wait()


def attached(bed: Bed) -> set[str]:
    """Workloads that registered with the control plane that runs now."""
    lines = bed.mesh.control_plane.log.read_text().splitlines()
    return {str(json.loads(line)["workload"]) for line in lines if '"workload attached"' in line}


def names(bed: Bed) -> set[str]:
    return {str(process.addresses["workload"]) for process in bed.workloads}


def test_workloads_come_back_by_their_certificates(bed: Bed) -> None:
    """A control plane that is killed and started again gives out no new ones, and no request fails meanwhile."""
    with traffic(bed.client.proxy, SERVER):
        kill(bed)
        bed.mesh.control_plane = bed.mesh.serve()
        eventually(lambda: attached(bed) == names(bed), what="all to be back")
    assert "certificate issued" not in bed.mesh.control_plane.log.read_text()


def test_a_new_authority_is_joined_by_itself_on_one_machine(bed: Bed) -> None:
    """Its folder is gone, and with it all trust: workloads of the same user find the new token by themselves."""
    kill(bed)
    before, held = roots(bed.server), [leaves(process) for process in bed.workloads]
    # In one step: agents write there too.
    (bed.mesh.folder / "state").rename(bed.mesh.folder / "state-of-before")
    bed.mesh.control_plane = bed.mesh.serve()
    eventually(lambda: attached(bed) == names(bed), seconds=60, what="all to be back")
    eventually(lambda: not any(roots(process) & before for process in bed.workloads), seconds=40, what="the new root")
    for process, old in zip(bed.workloads, held, strict=True):
        wait_renewed(process, old)
    with traffic(bed.client.proxy, SERVER):
        bed.mesh.apply(STRICT)
        eventually(lambda: bed.straight() == 0, what="STRICT")


STRICT = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
"""
