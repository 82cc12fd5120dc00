"""Certificates, intermediates and roots that are replaced while a real mesh works: no request may fail."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from e2e.identity_bed import IDLE, SERVER, Bed, leaves, roots, shows, wait_renewed
from e2e.meshes import Process, eventually, running_mesh
from e2e.traffic import traffic

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

SHORT = ("--certificate-ttl", "1m", "--rotation-pause", "1s")


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    with running_mesh(tmp_path_factory.mktemp("rotation"), flags=SHORT) as mesh:
        yield Bed(mesh)


@pytest.fixture
def own_bed(tmp_path: Path) -> Iterator[Bed]:
    """One of whose workloads somebody may stay away, or whose control plane may have forgotten who does."""
    with running_mesh(tmp_path, flags=SHORT) as mesh:
        yield Bed(mesh)


def authority(bed: Bed) -> Any:
    answer = bed.mesh.api("/v1/ca")
    assert answer.status == 200, answer.body
    return answer.json


def missing(bed: Bed) -> list[str]:
    """For whom a rotation waits, and for what."""
    return [str(said) for said in authority(bed)["missing"]]


def trusted(bed: Bed) -> set[int]:
    """Serial numbers of the roots in force."""
    return {x509.load_pem_x509_certificate(root["pem"].encode()).serial_number for root in authority(bed)["roots"]}


def rotate(bed: Bed, *arguments: str) -> None:
    done = bed.mesh.command("ca", "rotate", *arguments)
    assert done.returncode == 0, done.stderr


def steady(bed: Bed, *, seconds: float) -> None:
    eventually(lambda: not authority(bed)["rotating"], seconds=seconds, what="the end of the rotation")


def wait_trust(process: Process, wanted: set[int]) -> None:
    eventually(lambda: roots(process) == wanted, seconds=40, what="the roots in force to be trusted, and no others")


def only_the_new_root(bed: Bed, before: set[int], identity: Path) -> None:
    """Every Envoy trusts the new root and nothing else, and the server shows a certificate that it proves."""
    after = trusted(bed)
    assert len(after) == 1
    assert not after & before
    for process in bed.workloads:
        wait_trust(process, after)
    pem = authority(bed)["roots"][0]["pem"]

    def shown() -> bool:
        """By a certificate that no later rotation has to wait for: used late, it has expired."""
        issued = bed.mesh.command(
            "ca", "issue", "--service-account", "default/probe", "--ttl", "5s", "--out", str(identity)
        )
        assert issued.returncode == 0, issued.stderr
        return shows(bed.inbound, pem, identity)

    eventually(shown, seconds=40, what="a certificate that the new root proves")


def test_an_intermediate_and_a_root_give_way_under_load(bed: Bed, tmp_path: Path) -> None:
    """To the end: the old root is trusted by nobody any more, all hold other certificates, and no request failed."""
    before, held = trusted(bed), [leaves(process) for process in bed.workloads]
    began = time.monotonic()
    with traffic(bed.client.proxy, SERVER) as load:
        rotate(bed, "intermediate")
        assert trusted(bed) == before
        load.wait_for_more()
        rotate(bed, "root", "--wait", "--timeout", "50")
        took = time.monotonic() - began
        load.wait_for_more()
        only_the_new_root(bed, before, tmp_path / "probe")
    print(f"rotated in {took:.1f} s; {load}")
    for process, old in zip(bed.workloads, held, strict=True):
        assert not leaves(process) & old


def test_a_rotation_waits_for_who_does_not_answer_and_names_it(bed: Bed, tmp_path: Path) -> None:
    before = trusted(bed)
    name = str(bed.stranger.addresses["workload"])
    os.kill(bed.stranger.popen.pid, signal.SIGSTOP)
    try:
        rotate(bed, "root")
        # After 10 s or more without a word from it, it is one who is to come back.
        eventually(lambda: [said.partition(" to ")[0] for said in missing(bed)] == [name], seconds=40, what="one name")
        assert f"missing: {name} to " in bed.mesh.command("ca", "show").stderr
        assert len(authority(bed)["roots"]) == 2
    finally:
        os.kill(bed.stranger.popen.pid, signal.SIGCONT)
    steady(bed, seconds=60)
    only_the_new_root(bed, before, tmp_path / "probe")


def test_a_rotation_waits_for_who_may_come_back_unless_it_is_forced(own_bed: Bed, tmp_path: Path) -> None:
    """A workload that broke off has a certificate that is still valid."""
    bed = own_bed
    before = trusted(bed)
    gone = bed.mesh.run("gone", *IDLE, port="")
    name = str(gone.addresses["workload"])
    gone.popen.kill()
    gone.popen.wait()
    with traffic(bed.client.proxy, SERVER):
        rotate(bed, "root")
        eventually(lambda: f"{name} to come back" in str(missing(bed)), seconds=40, what="its name")
        rotate(bed, "root", "--force")
        steady(bed, seconds=60)
    only_the_new_root(bed, before, tmp_path / "probe")


def test_a_rotation_waits_for_certificates_that_an_administrator_issued(own_bed: Bed, tmp_path: Path) -> None:
    """Nobody can tell their holders of another root."""
    bed = own_bed
    issued = bed.mesh.command("ca", "issue", "--service-account", "default/batch", "--out", str(tmp_path / "batch"))
    assert issued.returncode == 0, issued.stderr
    rotate(bed, "root")
    eventually(lambda: "default/batch to come back" in str(missing(bed)), seconds=40, what="its name")
    assert len(authority(bed)["roots"]) == 2


def test_a_rotation_goes_on_after_a_restart_while_leaves_are_renewed(own_bed: Bed, tmp_path: Path) -> None:
    """The control plane ends amid a rotation, by SIGKILL: another one goes on with it, and no request fails.

    It cannot know who is not connected, so it waits for the life of a certificate: long enough for each to be renewed.
    """
    bed = own_bed
    before = trusted(bed)
    began = time.monotonic()
    with traffic(bed.client.proxy, SERVER) as load:
        # It is waited for, so that the rotation is not over before the control plane is.
        os.kill(bed.stranger.popen.pid, signal.SIGSTOP)
        try:
            rotate(bed, "root")
        finally:
            bed.mesh.control_plane.popen.kill()
            os.kill(bed.stranger.popen.pid, signal.SIGCONT)
        bed.mesh.control_plane.popen.wait()
        load.wait_for_more()
        bed.mesh.control_plane = bed.mesh.serve()
        assert authority(bed)["rotating"]
        assert trusted(bed) > before
        both = trusted(bed)
        for process in bed.workloads:
            wait_trust(process, both)
        held = [leaves(process) for process in bed.workloads]
        for process, old in zip(bed.workloads, held, strict=True):
            wait_renewed(process, old)
        renewed = time.monotonic() - began
        steady(bed, seconds=75)
        took = time.monotonic() - began
        only_the_new_root(bed, before, tmp_path / "probe")
    print(f"all renewed after {renewed:.1f} s, rotated in {took:.1f} s; {load}")
