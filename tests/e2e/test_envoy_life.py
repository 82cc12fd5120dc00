"""Real Envoys that relieve one another, where the one that comes up gets no configuration: the old one serves on."""

from __future__ import annotations

import asyncio
import http.client
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from e2e.meshes import request
from lateen.agent.envoy_admin import EnvoyAdmin
from lateen.agent.envoy_life import EnvoyLife, LifeTimes, Source, Wanted
from lateen.agent.envoy_process import EnvoyOptions, find_envoy
from lateen.agent.keeping import Keeper, KeptConfiguration
from ports import free_ports

pytestmark = pytest.mark.e2e
Json = dict[str, Any]
QUICK = LifeTimes(govern=0.05, patience=0.5, settle=0.5, relief=60.0, again=0.1)
IMPATIENT = replace(QUICK, relief=5.0)
"""For reliefs that are to fail; an Envoy that may take over comes up sooner than that on a machine with much to do."""


def at(port: int) -> Json:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def typed(name: str, package: str, **fields: Any) -> Json:
    return {"name": name, "typed_config": {"@type": f"type.googleapis.com/{package}"} | fields}


def serving(admin: int, port: int, text: str) -> Json:
    """A bootstrap that stands alone: it answers everything with a text."""
    http = "envoy.extensions.filters.http.router.v3.Router"
    manager = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    answer = {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": text}}}
    hosts = [{"name": "all", "domains": ["*"], "routes": [answer]}]
    filters = [typed("envoy.filters.http.router", http)]
    chain = {
        "filters": [
            typed("http", manager, stat_prefix="a", route_config={"virtual_hosts": hosts}, http_filters=filters)
        ]
    }
    return {
        "node": {"id": "a", "cluster": "a", "metadata": {}},
        "admin": {"address": at(admin)},
        "static_resources": {
            "listeners": [{"name": "all", "address": at(port), "filter_chains": [chain]}],
            "clusters": [],
        },
    }


def waiting(admin: int, nowhere: int) -> Json:
    """A bootstrap that follows a control plane which is not there."""
    http = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    source = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}
    options = {"@type": f"type.googleapis.com/{http}", "explicit_http_config": {"http2_protocol_options": {}}}
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": at(nowhere)}}]}]
    return {
        "node": {"id": "a", "cluster": "a", "metadata": {}},
        "admin": {"address": at(admin)},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "plane"}}],
            },
            "lds_config": source,
            "cds_config": source,
        },
        "static_resources": {
            "listeners": [],
            "clusters": [
                {
                    "name": "plane",
                    "type": "STATIC",
                    "typed_extension_protocol_options": {http: options},
                    "load_assignment": {"cluster_name": "plane", "endpoints": endpoints},
                }
            ],
        },
    }


@dataclass
class Bed:
    """One workload's Envoys; the control plane is there as long as `connected`."""

    life: EnvoyLife
    admin: EnvoyAdmin
    keeper: Keeper
    port: int
    nowhere: int
    connected: bool = True

    def serving(self, text: str) -> Json:
        return serving(self.admin.port, self.port, text)

    def waiting(self) -> Json:
        return waiting(self.admin.port, self.nowhere)

    def keep(self, text: str) -> None:
        self.keeper.keep_configuration(KeptConfiguration(bootstrap=self.serving(text), saved_at=1000.0, name="a"))

    async def answer(self) -> str:
        return (await asyncio.to_thread(request, self.port)).body.decode()

    async def comes_to_answer(self, text: str, before: str) -> None:
        """Wait for this answer; whoever is relieved still answers for a moment when the other one is said to serve."""

        async def answers() -> bool:
            answer = await self.answer()
            assert answer in (text, before)
            return answer == text

        await until(answers, f"an answer by {text}")

    async def epoch(self) -> int | None:
        """Whose the admin page is; None when nobody answers there."""
        try:
            info = (await asyncio.to_thread(request, self.admin.port, "/server_info")).json
        except (OSError, http.client.HTTPException):
            return None
        return int(info["command_line_options"].get("restart_epoch", 0))


async def until(probe: Callable[[], Awaitable[bool]], what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not await probe():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        await asyncio.sleep(0.02)


@asynccontextmanager
async def running(folder: Path, times: LifeTimes = QUICK) -> AsyncIterator[tuple[Bed, asyncio.TaskGroup]]:
    """One Envoy that serves `first`."""
    admin_port, port, nowhere = free_ports(3)
    keeper = Keeper(folder / "kept", "")
    admin = EnvoyAdmin(host="127.0.0.1", port=admin_port, patience=10.0)
    wanted = Wanted(bootstrap=serving(admin_port, port, "first"), name="a")
    options = EnvoyOptions(binary=find_envoy(), folder=folder, drain_seconds=1)
    life = EnvoyLife(
        options, admin, keeper, wanted, connected=lambda: bed.connected, watch=lambda _child: None, times=times
    )
    bed = Bed(life, admin, keeper, port, nowhere)
    async with asyncio.TaskGroup() as group:
        group.create_task(life.run())
        try:
            await until(lambda: admin.serves(0), "the first Envoy")
            yield bed, group
        finally:
            await life.supervisor.stop(5)


async def has_failed(bed: Bed, group: asyncio.TaskGroup) -> None:
    """Have reliefs fail, one after the other, until one had taken the admin page along: not all come so far in time."""
    bed.life.wanted.bootstrap = bed.waiting()
    taken = False
    while not taken:
        relief = group.create_task(bed.life.relieve())
        while not relief.done():
            taken = taken or await bed.epoch() == 1
            assert await bed.life.serves()
            assert await bed.answer() == "first"
        assert not await relief


async def test_an_envoy_that_gets_nothing_does_not_take_over(tmp_path: Path) -> None:
    """The one that it was to relieve serves on, has no admin page any more, and is relieved as soon as may be."""
    async with running(tmp_path, IMPATIENT) as (bed, group):
        await has_failed(bed, group)
        assert await bed.life.serves()
        assert await bed.life.answers()
        assert await bed.answer() == "first"

        bed.life.wanted.bootstrap = bed.serving("second")
        await until(lambda: bed.admin.serves(1), "an Envoy that can be asked")
        await bed.comes_to_answer("second", "first")


async def test_a_control_plane_that_goes_during_a_relief(tmp_path: Path) -> None:
    """The new Envoy gets nothing from it: another takes over with what was kept, and is relieved when it is back."""
    async with running(tmp_path) as (bed, group):
        bed.keep("kept")
        bed.life.wanted.bootstrap = bed.waiting()
        relief = group.create_task(bed.life.relieve())
        await until(lambda: asyncio.sleep(0, bed.life.supervisor.starts == 2), "a second Envoy")
        bed.connected = False
        while not relief.done():
            assert await bed.answer() in ("first", "kept")
        assert await relief
        assert (bed.life.source, bed.life.supervisor.epoch, bed.life.supervisor.starts) == (Source.LAST_GOOD, 1, 3)
        await bed.comes_to_answer("kept", "first")

        bed.life.wanted.bootstrap, bed.connected = bed.serving("third"), True
        await until(lambda: bed.admin.serves(2), "an Envoy that follows it")
        await until(lambda: asyncio.sleep(0, not bed.life.supervisor.relieving), "the agent to know")
        assert (bed.life.source, bed.life.supervisor.epoch) == (Source.STREAM, 2)
        await bed.comes_to_answer("third", "kept")


async def test_a_control_plane_that_goes_after_a_relief_that_failed(tmp_path: Path) -> None:
    """The old Envoy cannot be asked, and is not ended for that: it serves until another has taken over."""
    async with running(tmp_path, IMPATIENT) as (bed, group):
        await has_failed(bed, group)
        bed.keep("kept")
        bed.connected = False
        answers = []

        async def kept() -> bool:
            answers.append(await bed.answer())
            return answers[-1] == "kept"

        await until(kept, "an Envoy that serves by what was kept")
        assert set(answers) <= {"first", "kept"}
        await until(lambda: bed.admin.serves(1), "it to be asked")


async def test_a_workload_that_leaves_keeps_its_envoy(tmp_path: Path) -> None:
    """It drains, and the control plane has let it go: no reason to end it, or to have another follow."""
    async with running(tmp_path) as (bed, _group):
        bed.keep("kept")
        await bed.life.leave()
        await bed.admin.drain(everything=False)
        bed.connected = False
        end = time.monotonic() + 3 * QUICK.patience
        while time.monotonic() < end:
            assert await bed.answer() == "first"
        assert not await bed.life.relieve()
        assert bed.life.supervisor.starts == 1


async def test_a_workload_that_leaves_during_a_relief(tmp_path: Path) -> None:
    """The old Envoy is not taken for idle because the new one, which has the admin page by now, has no request."""
    async with running(tmp_path) as (bed, group):
        bed.life.wanted.bootstrap = bed.waiting()
        relief = group.create_task(bed.life.relieve())

        async def page_taken() -> bool:
            return await bed.epoch() == 1

        await until(page_taken, "a second Envoy with the admin page")
        await bed.life.leave()
        assert not await relief
        assert await bed.admin.in_flight(everything=True) == -1
        assert await bed.life.serves()
        assert await bed.answer() == "first"
        assert not await bed.life.relieve()
        assert bed.life.supervisor.starts == 2
