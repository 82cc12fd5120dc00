"""A change of AuthorizationPolicies acts on open connections and cuts nothing; without settings nothing opens.

The first tests are of a mesh: `echo` speaks HTTP, `lines` TCP. The others feed real Envoy with handmade resources.
"""

from __future__ import annotations

import asyncio
import http.client
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from e2e.meshes import APPS, Mesh, Process, eventually, good, request, running_mesh
from e2e.test_envoy_ads import Envoy, address, both, running_envoy, synced
from flow.discovery_server import Handmade, serving
from lateen.envoy import rbac
from lateen.envoy.extensions import discovered_filter, filter_settings
from lateen.envoy.messages import Fields, typed_extension
from lateen.envoy.resources import EXTENSION, LISTENER, Resource, make_resource

pytestmark = pytest.mark.e2e

LONG = 12
"""Seconds; a listener that is replaced cuts what lasts longer than 5."""
CHANGED = "listener_manager.listener_(modified|in_place_updated)"
TCP = (sys.executable, str(APPS / "tcp.py"))


@dataclass
class Bed:
    mesh: Mesh
    echo: Process
    lines: Process

    def policy(self, spec: str, name: str = "one") -> None:
        """Apply an AuthorizationPolicy about every workload of the namespace."""
        self.mesh.apply(
            "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n"
            f"metadata: {{name: {name}}}\nspec: {{{spec}}}\n"
        )

    def clean(self) -> None:
        self.mesh.delete_all("authorizationpolicies")

    def statistic(self, name: str, *, of: str = "echo") -> int:
        """Read a counter of a workload's Envoy."""
        process: Process = getattr(self, of)
        host, _, port = process.addresses["admin"].rpartition(":")
        shown = request(int(port), f"/stats?format=json&filter=^{name}$", address=host).json["stats"]
        return sum(int(one["value"]) for one in shown)


def inbound(process: Process, port: str) -> tuple[str, int]:
    host, _, number = process.addresses["inbound"][port].rpartition(":")
    return host, int(number)


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    with running_mesh(tmp_path_factory.mktemp("mesh")) as mesh:
        echo = mesh.run("echo", wait=False)
        lines = mesh.run("lines", *TCP, port="7000/tcp", wait=False)
        mesh.wait_addresses(echo, lines)
        host, port = inbound(echo, "80")
        eventually(lambda: good(request(port, address=host, headers={"host": "echo"})), what="echo")
        yield Bed(mesh, echo, lines)


@pytest.fixture(autouse=True)
def _clean(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "bed" in request.fixturenames:
        request.getfixturevalue("bed").clean()


class Kept:
    """One connection that is never opened again."""

    def __init__(self, place: tuple[str, int]) -> None:
        self._connection = http.client.HTTPConnection(*place, timeout=LONG + 60)
        self._connection.connect()
        self._socket = self._connection.sock

    def status(self, path: str = "/") -> int:
        assert self._connection.sock is self._socket, "the server has closed the connection"
        self._connection.request("GET", path, headers={"host": "echo"})
        answer = self._connection.getresponse()
        answer.read()
        assert answer.getheader("connection") != "close"
        return answer.status

    def close(self) -> None:
        self._connection.close()


@contextmanager
def kept(place: tuple[str, int]) -> Iterator[Kept]:
    connection = Kept(place)
    try:
        yield connection
    finally:
        connection.close()


def test_changes_act_on_open_connections_and_cut_nothing(bed: Bed, tmp_path: Path) -> None:
    """From the first policy to the last, for every action: when the change is acknowledged, the next request on a
    connection that has been open all the time is judged by it; a request that began before goes on to its end."""
    place = inbound(bed.echo, "80")
    changed = bed.statistic(CHANGED)
    gate = tmp_path / "gate"
    with ThreadPoolExecutor(2) as pool, kept(place) as connection, kept(place) as slow, ExitStack() as at_the_end:
        at_the_end.callback(gate.touch)
        assert (connection.status("/no"), slow.status()) == (200, 200)
        answer = pool.submit(slow.status, f"/delay/{LONG}?until={gate}")
        eventually(lambda: bed.statistic("http.inbound_.*downstream_rq_active") > 0, what="the long request")
        bed.policy("action: DENY, rules: [{to: [{operation: {paths: [/no]}}]}]")
        assert (connection.status("/no"), connection.status("/yes")) == (403, 200)
        bed.policy("action: DENY, rules: [{to: [{operation: {paths: [/yes]}}]}]")
        assert (connection.status("/no"), connection.status("/yes")) == (200, 403)
        bed.policy("rules: [{to: [{operation: {paths: [/yes]}}]}]")
        assert (connection.status("/no"), connection.status("/yes")) == (403, 200)
        bed.policy("action: CUSTOM, provider: {name: nobody}, rules: [{to: [{operation: {paths: [/yes]}}]}]")
        assert (connection.status("/no"), connection.status("/yes")) == (200, 403)
        bed.policy("action: AUDIT, rules: [{}]")
        assert (connection.status("/no"), connection.status("/yes")) == (200, 200)
        bed.policy("")
        assert connection.status("/no") == 403
        assert not answer.done()
        gate.touch()
        assert answer.result() == 200
        assert connection.status("/yes") == 403
        bed.clean()
        assert (connection.status("/no"), slow.status()) == (200, 200)
    assert bed.statistic(CHANGED) == changed
    assert bed.statistic("listener_manager.total_filter_chains_draining") == 0


def spoken(connection: socket.socket) -> bool:
    """Whether a line comes back."""
    try:
        connection.sendall(b"ping\n")
        return connection.recv(100).endswith(b" ping\n")
    except ConnectionError:
        return False


def test_a_new_connection_is_judged_by_the_newest_rules(bed: Bed) -> None:
    """TCP: one that is open was judged when its first bytes came, and stays; nobody drains it."""
    place = inbound(bed.lines, "7000")
    changed = bed.statistic(CHANGED, of="lines")

    def fresh() -> bool:
        with socket.create_connection(place, 30) as connection:
            return spoken(connection)

    with socket.create_connection(place, 30) as old:
        assert spoken(old)
        for spec, passes in (
            ("action: DENY, rules: [{to: [{operation: {ports: ['7000']}}]}]", False),
            ("action: DENY, rules: [{to: [{operation: {ports: ['7001']}}]}]", True),
            ("rules: [{to: [{operation: {ports: ['7001']}}]}]", False),
            ("", False),
        ):
            bed.policy(spec)
            assert fresh() is passes, spec
            assert spoken(old)
    bed.clean()
    assert fresh()
    assert bed.statistic(CHANGED, of="lines") == changed


# --- what Envoy does without settings ------------------------------------------------------------------------

HTTP_NAME, TCP_NAME = f"{rbac.HTTP_RBAC}.deny", f"{rbac.NETWORK_RBAC}.deny"
ANY: list[Fields] = [{"any": True}]


def settings(path: str, *, tcp: bool = False) -> Resource:
    """What refuses a path, or every connection; a path of no text is one that Envoy does not take."""
    matcher = ANY if tcp and path else [rbac.path(rbac.exact(path) if path else rbac.regex("("))]
    rules = rbac.rules("DENY", [rbac.policy_entry("p", matcher, ANY)])
    config = rbac.network_config(rules) if tcp else rbac.http_config(rules)
    return filter_settings(TCP_NAME if tcp else HTTP_NAME, config)


def guarded_listener(port: int, *, tcp: bool = False) -> Resource:
    """Answer 200 to whoever comes through the filter."""
    route = {"match": {"prefix": "/"}, "direct_response": {"status": 200}}
    router = typed_extension("envoy.filters.http.router", "envoy.extensions.filters.http.router.v3.Router")
    http_filter = discovered_filter(HTTP_NAME, rbac.HTTP_RBAC_CONFIG)
    manager: dict[str, Any] = {
        "stat_prefix": "edge",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [*([] if tcp else [http_filter]), router],
    }
    hcm = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    filters = [typed_extension("envoy.filters.network.http_connection_manager", hcm, manager)]
    if tcp:
        filters.insert(0, discovered_filter(TCP_NAME, rbac.NETWORK_RBAC_CONFIG))
    fields = {"name": "edge", "address": address(port), "filter_chains": [{"filters": filters}]}
    return make_resource(LISTENER, "edge", fields)


@asynccontextmanager
async def fed_envoy(folder: Path, api_type: str = "DELTA_GRPC") -> AsyncIterator[tuple[Handmade, Envoy]]:
    async with serving() as made, running_envoy(folder, int(made.address.rsplit(":", 1)[1]), api_type) as envoy:
        yield made, envoy


async def reaches(envoy: Envoy, statistic: str, value: int) -> None:
    """Wait until a statistic has this value; before Envoy answers at all, too."""
    async with asyncio.timeout(60):
        while True:
            with suppress(aiohttp.ClientConnectionError):
                if await envoy.stat(statistic) == value:
                    return
            await asyncio.sleep(0.01)  # the interval of a poll: nothing announces it


async def asked(envoy: Envoy, path: str) -> int:
    """Status on a new connection, 0 when it is refused or closed."""
    try:
        return (await asyncio.to_thread(request, envoy.port, path)).status
    except (OSError, http.client.HTTPException):
        return 0


@pytest.mark.parametrize("tcp", [False, True], ids=["http", "tcp"])
@both
@pytest.mark.asyncio
async def test_a_listener_waits_for_its_policies(tmp_path: Path, tcp: bool, api_type: str) -> None:
    """However long they take: nothing passes unjudged at the start."""
    async with fed_envoy(tmp_path, api_type) as (made, envoy):
        edge = guarded_listener(envoy.port, tcp=tcp)
        made.publish("1", edge)
        await reaches(envoy, "listener_manager.listener_added", 1)
        assert await asked(envoy, "/yes") == 0
        made.publish("2", edge, settings("/no", tcp=tcp))
        await synced(made, "2")
        await reaches(envoy, "listener_manager.workers_started", 1)
        assert [await asked(envoy, path) for path in ("/no", "/yes")] == ([0, 0] if tcp else [403, 200])


@pytest.mark.parametrize("tcp", [False, True], ids=["http", "tcp"])
@pytest.mark.asyncio
async def test_settings_that_are_gone_open_nothing(tmp_path: Path, tcp: bool) -> None:
    """A filter without settings refuses whatever comes."""
    async with fed_envoy(tmp_path) as (made, envoy):
        edge = guarded_listener(envoy.port, tcp=tcp)
        idle = rbac.network_config() if tcp else rbac.http_config()
        made.publish("1", edge, filter_settings(TCP_NAME if tcp else HTTP_NAME, idle))
        await envoy.answers("/no", 200)
        made.publish("2", edge)
        await synced(made, "2")
        assert await asked(envoy, "/yes") == (0 if tcp else 500)


@pytest.mark.asyncio
async def test_rejected_settings_leave_the_old_ones_in_force(tmp_path: Path) -> None:
    async with fed_envoy(tmp_path) as (made, envoy):
        edge = guarded_listener(envoy.port)
        made.publish("1", edge, settings("/no"))
        await envoy.answers("/no", 403)
        made.publish("2", edge, settings(""))
        await made.hub.wait_synced("2", 60)
        (proxy,) = made.hub.proxies()
        assert proxy.types[EXTENSION].state == "rejected"
        assert [await asked(envoy, path) for path in ("/no", "/yes")] == [403, 200]
        made.publish("3", edge, settings("/yes"))
        await synced(made, "3")
        assert [await asked(envoy, path) for path in ("/no", "/yes")] == [200, 403]
