"""A sidecar knows what it uses: everything else is fetched by the first request that needs it, on real Envoy."""

from __future__ import annotations

import re
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest

from e2e.meshes import APPS, Answer, Mesh, Process, eventually, good, request, running_mesh, tunnel

pytestmark = pytest.mark.e2e

IDLE = (sys.executable, "-c", "import signal; signal.pause()")
TCP = (sys.executable, str(APPS / "tcp.py"))
BLOCKED = 502
GIVEN_UP = 504
AT_ONCE = 4.5
"""Seconds: less than the 5 that a proxy waits for a cluster, or the 15 for a host; a busy machine may stand still."""
NUMBERS = count()


class Bed:
    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        apps = [
            *(mesh.run(name, version="v1", wait=False) for name in ("first", "second", "third")),
            mesh.run("first", version="v2", wait=False),
            mesh.run("lines", *TCP, port="7000/tcp", version="v1", wait=False),
        ]
        self.client = mesh.run("client", *IDLE, port="", wait=False)
        mesh.wait_addresses(*apps, self.client)

    def get(self, url: str, **options: object) -> Answer:
        answer: Answer = self.client.get(url, **options)
        return answer


def clusters(process: Process) -> set[str]:
    """Outbound clusters that an Envoy has."""
    address, port = process.addresses["admin"].split(":")
    text = request(int(port), "/clusters", address=address).body.decode()
    return set(re.findall(r"^(outbound\|[^:]*?)::", text, re.MULTILINE))


def stat(process: Process, name: str) -> int:
    address, port = process.addresses["admin"].split(":")
    text = request(int(port), f"/stats?filter=^{name}$", address=address).body.decode()
    return int(text.rpartition(":")[2] or 0)


def cluster(host: str, port: int = 80, subset: str = "") -> str:
    return f"outbound|{port}|{subset}|{host}.default.svc.cluster.local"


def virtual_service(host: str, http: str) -> str:
    return (
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\n"
        f"metadata: {{name: {host}}}\nspec:\n  hosts: [{host}]\n  http:\n{http}\n"
    )


SUBSETS = (
    "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: first}\nspec:\n  host: first\n"
    "  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]\n"
)


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    folder = tmp_path_factory.mktemp("mesh")
    config = folder / "mesh.yaml"
    config.write_text("outboundTrafficPolicy: {mode: REGISTRY_ONLY}\n")
    with running_mesh(folder, mesh_config=config) as mesh:
        yield Bed(mesh)


@pytest.fixture(autouse=True)
def _clean(bed: Bed) -> Iterator[None]:
    yield
    bed.mesh.delete_all("virtualservices", "destinationrules", "sidecars")


@pytest.fixture
def fresh(bed: Bed) -> Iterator[Process]:
    """A client of whose workload nobody knows whom it calls."""
    client = bed.mesh.run(f"stranger{next(NUMBERS)}", *IDLE, port="")
    yield client
    client.stop()


def test_first_request_succeeds_and_brings_what_it_needs_alone(bed: Bed, fresh: Process) -> None:
    assert clusters(fresh) == set()
    answer = fresh.get("http://second/")
    assert answer.status == 200
    assert clusters(fresh) == {cluster("second")}
    assert fresh.get("http://second.default.svc.cluster.local/").status == 200
    assert clusters(fresh) == {cluster("second")}


def test_first_request_may_have_a_body(bed: Bed, fresh: Process) -> None:
    body = b"x" * 300_000
    answer = fresh.get("http://second/", method="POST", body=body)
    assert answer.status == 200
    assert answer.json["method"] == "POST"


@pytest.mark.parametrize("body", [None, b"x" * 300_000], ids=["no body", "body"])
def test_what_filters_do_by_the_route_they_do_for_the_first_request_too(
    bed: Bed, fresh: Process, body: bytes | None
) -> None:
    """Envoy chooses a request's filters before it has the route; they are off for later requests of other routes."""
    route = "route: [{destination: {host: first}}]"
    fault = "fault: {abort: {httpStatus: 418, percentage: {value: 100}}}"
    cors = 'corsPolicy: {allowOrigins: [{exact: "https://a.example"}]}'
    broken = f"  - match: [{{headers: {{x-broken: {{exact: 'yes'}}}}}}]\n    {fault}\n    {route}\n"
    bed.mesh.apply(virtual_service("first", f"{broken}  - {cors}\n    {route}"))
    method = "POST" if body else "GET"

    def asked(**headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer: Answer = fresh.get("http://first/", method=method, body=body, headers=named)
        return answer

    for _ in range(2):
        assert asked(x_broken="yes").status == 418
        answer = asked(origin="https://a.example")
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, "https://a.example")
    bed.mesh.apply(virtual_service("first", f"  - {route}"))
    assert asked(x_broken="yes").status == 200
    assert "access-control-allow-origin" not in asked(origin="https://a.example").headers


def test_many_first_requests_at_once(bed: Bed, fresh: Process) -> None:
    """Of one host and of several, all succeed."""
    urls = [f"http://{host}/" for host in ("first", "second", "third") for _ in range(8)]
    with ThreadPoolExecutor(len(urls)) as pool:
        assert {answer.status for answer in pool.map(fresh.get, urls)} == {200}


def test_first_connection_of_a_tunnel(bed: Bed, fresh: Process) -> None:
    """TCP through CONNECT, which is how explicit mode carries it."""
    with tunnel(fresh.proxy, "lines:7000") as (connection, stream):
        connection.sendall(b"hi\n")
        assert stream.readline() == b"v1 hi\n"
    assert clusters(fresh) == {cluster("lines", 7000)}


def test_rules_bring_every_cluster_that_they_lead_to(bed: Bed, fresh: Process) -> None:
    """Subsets by weight, and the mirror, which Envoy itself would never ask for."""
    bed.mesh.apply(SUBSETS)
    route = (
        "  - route:\n    - {destination: {host: first, subset: v1}, weight: 50}\n"
        "    - {destination: {host: first, subset: v2}, weight: 50}\n    mirror: {host: third}\n"
    )
    bed.mesh.apply(virtual_service("first", route))
    before = bed.get("http://third/count").json["count"]
    assert {fresh.get("http://first/").json["version"] for _ in range(40)} == {"v1", "v2"}
    assert clusters(fresh) == {cluster("first", 80, "v1"), cluster("first", 80, "v2"), cluster("third")}
    eventually(lambda: bed.get("http://third/count").json["count"] >= before + 40, what="40 mirrored requests")


def test_change_of_rules_is_live_for_hosts_in_use(bed: Bed) -> None:
    assert bed.get("http://first/").status == 200
    bed.mesh.apply(SUBSETS)
    for version in ("v1", "v2", "v1"):
        bed.mesh.apply(virtual_service("first", f"  - route: [{{destination: {{host: first, subset: {version}}}}}]"))
        assert {bed.get("http://first/").json["version"] for _ in range(5)} == {version}


def test_change_is_sent_to_those_who_use_the_host(bed: Bed, fresh: Process) -> None:
    """Who never called it gets nothing."""
    name = r"http\.http_proxy;?\.rds\.vhds\.http_proxy\.vhds\.update_success"
    assert bed.get("http://second/").status == 200
    before = stat(fresh, name)
    bed.mesh.apply(virtual_service("second", "  - timeout: 5s\n    route: [{destination: {host: second}}]"))
    assert stat(fresh, name) == before


def test_path_that_no_rule_matches(bed: Bed, fresh: Process) -> None:
    """404 at once, the first time and later."""
    bed.mesh.apply(
        virtual_service("first", "  - match: [{uri: {prefix: /a}}]\n    route: [{destination: {host: first}}]")
    )
    for path, status in (("/b", 404), ("/b", 404), ("/a", 200), ("/b", 404)):
        answer = fresh.get(f"http://first{path}")
        assert answer.status == status
        assert answer.seconds < AT_ONCE


def test_destination_that_does_not_exist(bed: Bed, fresh: Process) -> None:
    """503 at once and every time: nobody waits for a cluster that will not come."""
    bed.mesh.apply(virtual_service("first", "  - route: [{destination: {host: nobody}}]"))
    for _ in range(3):
        answer = fresh.get("http://first/")
        assert answer.status == 503
        assert answer.seconds < AT_ONCE


def test_unknown_host_is_refused_as_the_policy_says(bed: Bed, fresh: Process) -> None:
    for _ in range(2):
        answer = fresh.get("http://nobody.example.com/")
        assert answer.status == BLOCKED
        assert answer.seconds < AT_ONCE


def test_service_that_appears_later_goes_and_comes_back(bed: Bed, fresh: Process) -> None:
    """Although Envoy asks for a host only once."""
    assert fresh.get("http://later/").status == BLOCKED
    for version in ("v1", "v2"):
        process = bed.mesh.run("later", version=version)
        answer = eventually(lambda: good(fresh.get("http://later/")), what="the service")
        assert answer.json["version"] == version
        process.stop()
        eventually(lambda: fresh.get("http://later/").status == BLOCKED, what="it to be gone")


def test_one_bad_rule_holds_back_no_other(bed: Bed) -> None:
    """What Envoy refuses is said with its reason, the last good rules act on, and the rest of the change is live."""
    assert bed.get("http://first/").status == bed.get("http://second/").status == 200
    bad = '  - headers: {response: {set: {x-bad: "%REQ(a?b?c)%"}}}\n    route: [{destination: {host: first}}]'
    both = virtual_service("first", bad) + "---\n" + virtual_service("second", "  - directResponse: {status: 418}")
    (client,) = [proxy for proxy in bed.mesh.apply(both)["proxies"] if proxy["id"].startswith("client")]
    assert client["types"]["virtualhosts"]["state"] == "rejected"
    assert "http_proxy.vhds/first: More than 1 alternative" in client["types"]["virtualhosts"]["rejection"]
    assert bed.get("http://second/").status == 418
    assert bed.get("http://first/").status == 200


def test_full_scope_by_label(bed: Bed) -> None:
    """A workload that wants to be told everything is."""
    flags = ("--label", "lateen.io/discovery-scope=full")
    client = bed.mesh.run("curious", *IDLE, port="", flags=flags)
    wanted = {cluster("first"), cluster("second"), cluster("third"), cluster("lines", 7000)}
    assert wanted <= clusters(client)
    assert client.get("http://second/").status == 200
    assert client.get("http://nobody.example.com/").status == BLOCKED
    client.stop()


def test_sidecar_that_names_hosts_is_told_them(bed: Bed) -> None:
    document = (
        "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: named}\nspec:\n"
        "  workloadSelector: {labels: {app: named}}\n"
        "  egress: [{hosts: [./second.default.svc.cluster.local]}]\n"
    )
    bed.mesh.apply(document)
    client = bed.mesh.run("named", *IDLE, port="")
    assert clusters(client) == {cluster("second")}
    assert client.get("http://second/").status == 200
    assert client.get("http://third/").status == BLOCKED
    client.stop()


def test_running_proxy_changes_between_asking_and_being_told(bed: Bed) -> None:
    """A Sidecar comes and goes: rules act before, meanwhile and afterwards."""
    sidecar = (
        "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: client}\nspec:\n"
        "  workloadSelector: {labels: {app: client}}\n  egress: [{hosts: [./first.default.svc.cluster.local]}]\n"
    )
    bed.mesh.apply(SUBSETS)
    for turn, version in enumerate(("v1", "v2", "v1", "v2")):
        if turn % 2:
            bed.mesh.apply(sidecar)
        else:
            bed.mesh.delete_all("sidecars")
        bed.mesh.apply(virtual_service("first", f"  - route: [{{destination: {{host: first, subset: {version}}}}}]"))
        assert {bed.get("http://first/").json["version"] for _ in range(5)} == {version}


def test_declared_upstream_is_there_before_the_first_request(bed: Bed) -> None:
    bed.mesh.apply(SUBSETS)
    bed.mesh.apply(virtual_service("first", "  - route: [{destination: {host: first, subset: v2}}]"))
    flags = ("--upstream", "first:80=18231", "--upstream", "lines:7000=18232")
    client = bed.mesh.run("declared", *IDLE, port="", flags=flags)
    assert {cluster("first", 80, "v2"), cluster("lines", 7000)} <= clusters(client)
    assert cluster("second") not in clusters(client)
    assert request(18231, address=client.proxy[0]).json["version"] == "v2"
    client.stop()


def until_known(process: Process, url: str) -> Answer:
    """The first answer that does not say that the host was waited for in vain."""
    for _ in range(5):
        if (answer := process.get(url, timeout=60)).status != GIVEN_UP:
            return answer
        assert answer.seconds > 14, "it was given up early"
    raise AssertionError("given up five times")


def test_control_plane_restart(bed: Bed, fresh: Process) -> None:
    """Hosts in use go on, a first request waits until it is back, and nothing that is held is sent again."""
    known = {"http://first/", "http://second/"}
    assert {fresh.get(url).status for url in known} == {200}
    held = clusters(fresh)
    updates = stat(fresh, r"cluster_manager\.cluster_modified")
    over = threading.Event()
    failed: list[Answer] = []

    def load() -> None:
        while not over.is_set():
            failed.extend(answer for url in known if (answer := fresh.get(url)).status != 200)

    with ThreadPoolExecutor(2) as pool:
        running = pool.submit(load)
        try:
            bed.mesh.control_plane.popen.kill()
            bed.mesh.control_plane.popen.wait(60)
            killed = time.monotonic()
            # A restart takes less than a request waits for its host, but not on a machine that is busy.
            waiting = pool.submit(until_known, fresh, "http://third/")
            eventually(lambda: time.monotonic() - killed > 1, what="the outage to be noticed")
            bed.mesh.control_plane = bed.mesh.serve()
            assert waiting.result().status == 200
        finally:
            over.set()
        running.result()
    assert not failed
    assert clusters(fresh) == held | {cluster("third")}
    assert stat(fresh, r"cluster_manager\.cluster_modified") == updates


def test_rules_that_came_and_went_before_anybody_called(bed: Bed, fresh: Process) -> None:
    """A host that was first called while they were there is called as if they had never been, by all."""
    bed.mesh.apply(virtual_service("third", "  - directResponse: {status: 418}"))
    assert fresh.get("http://third/").status == 418
    bed.mesh.delete_all("virtualservices")
    assert fresh.get("http://third/").status == 200
    assert bed.get("http://third/").status == 200
