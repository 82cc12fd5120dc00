"""Certificates, intermediates and roots that are replaced while a real mesh works: no request may fail."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from e2e.identity_bed import SERVER, Bed, leaves, roots, shows
from e2e.meshes import Process, eventually, running_mesh
from e2e.traffic import traffic

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("identity")]

SHORT = ("--certificate-ttl", "1m", "--rotation-pause", "1s")


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    with running_mesh(tmp_path_factory.mktemp("rotation"), flags=SHORT) as mesh:
        yield Bed(mesh)


def authority(bed: Bed) -> Any:
    answer = bed.mesh.api("/v1/ca")
    assert answer.status == 200, answer.body
    return answer.json


def trusted(bed: Bed) -> set[int]:
    """Serial numbers of the roots in force."""
    return {x509.load_pem_x509_certificate(root["pem"].encode()).serial_number for root in authority(bed)["roots"]}


def rotate(bed: Bed, what: str) -> None:
    done = bed.mesh.command("ca", "rotate", what)
    assert done.returncode == 0, done.stderr


def steady(bed: Bed, *, seconds: float) -> None:
    eventually(lambda: not authority(bed)["rotating"], seconds=seconds, what="the end of the rotation")


def wait_trust(process: Process, wanted: set[int]) -> None:
    eventually(lambda: roots(process) == wanted, what="the roots in force to be trusted, and no others")


def wait_renewed(process: Process, old: set[int]) -> None:
    eventually(lambda: not leaves(process) & old, seconds=45, what="a renewed leaf")


def only_the_new_root(bed: Bed, before: set[int], identity: Path) -> None:
    """Every Envoy trusts the new root and nothing else, and the server shows a certificate that it proves."""
    after = trusted(bed)
    assert len(after) == 1
    assert not after & before
    for process in bed.workloads:
        wait_trust(process, after)
    pem = authority(bed)["roots"][0]["pem"]
    issued = bed.mesh.command("ca", "issue", "--service-account", "default/probe", "--out", str(identity))
    assert issued.returncode == 0, issued.stderr
    assert shows(bed.inbound, pem, identity)


def test_an_intermediate_and_a_root_give_way_under_load(bed: Bed, tmp_path: Path) -> None:
    """To the end: the old root is trusted by nobody any more, all hold other certificates, and no request failed."""
    before, held = trusted(bed), [leaves(process) for process in bed.workloads]
    began = time.monotonic()
    with traffic(bed.client.proxy, SERVER) as load:
        rotate(bed, "intermediate")
        assert trusted(bed) == before
        load.wait_for_more()
        rotate(bed, "root")
        steady(bed, seconds=60)
        took = time.monotonic() - began
        load.wait_for_more()
        only_the_new_root(bed, before, tmp_path / "probe")
    print(f"rotated in {took:.1f} s; {load}")
    for process, old in zip(bed.workloads, held, strict=True):
        assert not leaves(process) & old


@pytest.mark.timeout(240)
def test_a_rotation_goes_on_after_a_restart_while_leaves_are_renewed(bed: Bed, tmp_path: Path) -> None:
    """The control plane ends amid a rotation, by SIGKILL: another one goes on with it, and no request fails.

    It cannot know who is not connected, so it waits for the life of a certificate: long enough for each to be renewed.
    """
    before = trusted(bed)
    began = time.monotonic()
    with traffic(bed.client.proxy, SERVER) as load:
        rotate(bed, "root")
        bed.mesh.control_plane.popen.kill()
        bed.mesh.control_plane.popen.wait(10)
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
