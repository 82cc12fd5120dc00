"""Locality load balancing against real Envoy: who answers a client, by where both run."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from e2e.meshes import Mesh, Process, eventually, running_mesh

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("locality")]

PLACES = {"near": "r1/z1/s1", "zone": "r1/z2", "far": "r2/z1", "farther": "r3/z1"}
"""Version of each echo, and where it runs; the client is in r1/z1/s1."""
DETECTION = "outlierDetection: {consecutive5xxErrors: 1, interval: 0.2s, maxEjectionPercent: 100, baseEjectionTime: 9s}"


@dataclass(frozen=True)
class Bed:
    mesh: Mesh
    client: Process


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    with running_mesh(tmp_path_factory.mktemp("mesh")) as mesh:
        apps = [
            mesh.run("echo", version=name, flags=("--locality", place), wait=False) for name, place in PLACES.items()
        ]
        sleeper = (sys.executable, "-c", "import signal; signal.pause()")
        client = mesh.run("client", *sleeper, port="", flags=("--locality", PLACES["near"]), wait=False)
        mesh.wait_addresses(*apps, client)
        found = Bed(mesh, client)
        eventually(lambda: set(answers(found, 16)) == set(PLACES), what="all four answer")
        yield found


@pytest.fixture(autouse=True)
def _clean(bed: Bed) -> Iterator[None]:
    yield
    bed.mesh.delete_all("destinationrules", "virtualservices")


def answers(bed: Bed, times: int) -> Counter[str]:
    """Versions that answered, or the status of those that failed."""
    found = (bed.client.get("http://echo/") for _ in range(times))
    return Counter(answer.json["version"] if answer.status == 200 else str(answer.status) for answer in found)


def policy(text: str) -> str:
    return (
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: echo}\n"
        f"spec: {{host: echo, trafficPolicy: {{{text}}}}}\n"
    )


def setting(text: str) -> str:
    return policy(f"{DETECTION}, loadBalancer: {{localityLbSetting: {{{text}}}}}")


def test_the_nearest_answers_while_it_is_well(bed: Bed) -> None:
    bed.mesh.apply(policy(DETECTION))
    assert answers(bed, 20) == {"near": 20}


def test_switched_off_all_answer(bed: Bed) -> None:
    bed.mesh.apply(setting("enabled: false"))
    assert set(answers(bed, 60)) == set(PLACES)


def test_labels_say_who_comes_first(bed: Bed) -> None:
    bed.mesh.apply(setting('failoverPriority: ["version=far"]'))
    assert answers(bed, 20) == {"far": 20}


def test_shares_by_locality(bed: Bed) -> None:
    bed.mesh.apply(policy('loadBalancer: {localityLbSetting: {distribute: [{from: "r1/*", to: {r1/z2: 70, r2: 30}}]}}'))
    found = answers(bed, 200)
    assert set(found) == {"zone", "far"}
    assert 110 <= found["zone"] <= 170


def test_shares_of_elsewhere_are_not_ours(bed: Bed) -> None:
    bed.mesh.apply(policy("loadBalancer: {localityLbSetting: {distribute: [{from: r9, to: {r2: 100}}]}}"))
    assert set(answers(bed, 60)) == set(PLACES)


def test_failover_goes_to_the_named_region(bed: Bed) -> None:
    """When the own region fails, the region that is named comes before the others: those here answer 5xx on demand."""
    sick = [
        bed.mesh.run("shaky", version=name, flags=("--locality", place), FAIL=fail)
        for name, place, fail in (("near", "r1/z1/s1", "1"), ("far", "r2/z1", ""), ("farther", "r3/z1", ""))
    ]
    try:
        bed.mesh.apply(
            setting("failover: [{from: r1, to: r3}]").replace("echo", "shaky")
            + "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: shaky}\nspec:\n"
            "  hosts: [shaky]\n  http: [{retries: {attempts: 0}, route: [{destination: {host: shaky}}]}]\n"
        )

        def seen() -> Counter[str]:
            found = (bed.client.get("http://shaky/") for _ in range(20))
            return Counter(answer.json["version"] if answer.status == 200 else str(answer.status) for answer in found)

        assert eventually(lambda: (found := seen()) == {"farther": 20} and found, what="r3 answers")
    finally:
        stopped = [process.stop() for process in sick]
    assert all(status >= 0 for status in stopped)
