"""The whole control plane in one process: folders and API in, xDS and findings out."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import grpc
import pytest
from structlog.testing import capture_logs

from flow.control_planes import DEADLINE, control_plane
from flow.members import Mesh
from flow.xds_client import XdsClient
from lateen.app import control_plane as control_plane_module
from lateen.app.addresses import bind, shown
from lateen.app.running import run_control_plane
from lateen.app.settings import Settings, StartError
from lateen.envoy.resources import CLUSTER
from lateen.mesh.build import build_state
from lateen.mesh.state import MeshState
from lateen.model.identities import Identity
from lateen.model.workloads import ATTACH_METHOD

# gRPC's poller does not like a new event loop for each test.
pytestmark = pytest.mark.asyncio(loop_scope="module")

SERVICE = """
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{ports: [{{port: 80, name: http}}]}}
"""
LOST = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: lost}
spec: {hosts: [web], http: [{route: [{destination: {host: nowhere}}]}]}
"""


def cluster(name: str) -> str:
    return f"outbound|80||{name}.default.svc.cluster.local"


async def test_what_is_applied_reaches_proxies_before_apply_returns() -> None:
    async with control_plane() as plane, XdsClient(plane.listening.grpc) as proxy:
        await proxy.subscribe(CLUSTER, "*")
        await proxy.until_received()
        answer = await plane.ask("POST", "/v1/config?wait=30", SERVICE.format(name="web"))

        assert answer.body["synced"] is True
        assert cluster("web") in proxy.names(CLUSTER)
        [seen] = answer.body["proxies"]
        assert (seen["id"], seen["types"]["clusters"]["state"]) == ("reviews-v1-1.default", "synced")


async def test_delete_takes_it_away_again() -> None:
    async with control_plane() as plane, XdsClient(plane.listening.grpc) as proxy:
        await plane.ask("POST", "/v1/config", SERVICE.format(name="web"))
        await proxy.subscribe(CLUSTER, "*")
        await proxy.until(lambda: cluster("web") in proxy.names(CLUSTER))
        assert (await plane.ask("DELETE", "/v1/config/svc/default/web")).status == 200
        await proxy.until(lambda: cluster("web") not in proxy.names(CLUSTER))


async def test_a_rejection_is_told_to_whoever_waits_in_the_proxys_words() -> None:
    async with control_plane() as plane, XdsClient(plane.listening.grpc) as proxy:
        await proxy.subscribe(CLUSTER, "*")
        await proxy.until_received()
        proxy.rejects = lambda _response: "I do not like it"
        answer = await plane.ask("POST", "/v1/config?wait=30", SERVICE.format(name="web"))

        assert answer.body["synced"] is True
        status = answer.body["proxies"][0]["types"]["clusters"]
        assert (status["state"], status["rejection"]) == ("rejected", "I do not like it")


async def test_a_silent_proxy_ends_the_wait_at_its_time() -> None:
    async with control_plane() as plane, XdsClient(plane.listening.grpc) as proxy:
        await proxy.subscribe(CLUSTER, "*")
        await proxy.until_received()
        proxy.acknowledges = False
        answer = await plane.ask("POST", "/v1/config?wait=0.2", SERVICE.format(name="web"))

        assert answer.body["synced"] is False
        assert [seen["id"] for seen in answer.body["proxies"]] == ["reviews-v1-1.default"]
        # Within that time it may not even have been sent, on a machine that is busy.
        await plane.until("/v1/proxies", lambda body: body["items"][0]["types"]["clusters"]["state"] == "stale")


async def test_a_changed_file_is_live_and_a_broken_one_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "web.yaml"
    file.write_text(SERVICE.format(name="web"))
    async with control_plane(tmp_path) as plane, XdsClient(plane.listening.grpc) as proxy:
        await proxy.subscribe(CLUSTER, "*")
        await proxy.until(lambda: cluster("web") in proxy.names(CLUSTER))
        file.write_text(SERVICE.format(name="shop"))
        await proxy.until(lambda: cluster("shop") in proxy.names(CLUSTER))
        file.write_text("spec: [")
        found = await plane.until("/v1/findings", lambda body: body["items"])

        assert found["items"][0]["file"] == str(file)
        assert cluster("shop") in proxy.names(CLUSTER)


async def test_an_object_of_a_folder_is_read_only_for_the_api(tmp_path: Path) -> None:
    (tmp_path / "web.yaml").write_text(SERVICE.format(name="web"))
    async with control_plane(tmp_path) as plane:
        applied = await plane.ask("POST", "/v1/config", SERVICE.format(name="web"))
        deleted = await plane.ask("DELETE", "/v1/config/svc/default/web")
        held = await plane.ask("GET", "/v1/config/svc/default/web")

        assert (applied.status, deleted.status) == (409, 409)
        assert f"managed by {tmp_path / 'web.yaml'}:2" in applied.body["error"]["message"]
        assert held.body["read_only"] is True


async def test_dangling_references_are_findings_until_they_are_mended() -> None:
    async with control_plane() as plane:
        applied = (await plane.ask("POST", "/v1/config?file=lost.yaml", LOST)).body
        assert "IST0101" in {found["code"] for found in applied["findings"]}
        assert applied["findings"][0]["file"] == "lost.yaml"

        await plane.ask("POST", "/v1/config", SERVICE.format(name="web") + "---" + SERVICE.format(name="nowhere"))
        assert (await plane.ask("GET", "/v1/findings")).body["items"] == []


async def test_many_applies_at_once_all_hold_in_the_end() -> None:
    names = [f"web-{number}" for number in range(20)]
    async with control_plane() as plane:
        answers = await asyncio.gather(*(plane.ask("POST", "/v1/config", SERVICE.format(name=name)) for name in names))
        held = (await plane.ask("GET", "/v1/config/services")).body["items"]

        assert {answer.status for answer in answers} == {200}
        assert {item["name"] for item in held} == set(names)


SKIPPED = """
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: twice}
spec:
  configPatches:
  - {applyTo: CLUSTER, patch: {operation: ADD, value: {name: own, connect_timeout: 1s}}}
  - {applyTo: CLUSTER, patch: {operation: ADD, value: {name: own, connect_timeout: 2s}}}
"""


async def test_a_patch_that_is_skipped_is_logged_once() -> None:
    """When a proxy is served it, not when the document is read; and its end is said too."""

    def said(lines: list[Any]) -> list[str]:
        return [line["what"] for line in lines if line["event"] == "finding" and "LAT0081" in line["what"]]

    with capture_logs() as lines:
        async with control_plane() as plane, XdsClient(plane.listening.grpc) as proxy:
            await proxy.subscribe(CLUSTER, "*")
            await proxy.until_received()
            await plane.ask("POST", "/v1/config?wait=30", SKIPPED)
            await plane.until("/v1/proxies", lambda _: said(lines))
            await plane.ask("POST", "/v1/config?wait=30", SERVICE.format(name="web"))
            assert [text.partition("LAT0081")[2].split(": ")[-1] for text in said(lines)] == [
                "another patch adds own already"
            ]
            await plane.ask("DELETE", "/v1/config/envoyfilter/default/twice")
            await plane.until("/v1/proxies", lambda _: "no patch is skipped any more" in str(lines))


async def test_a_large_build_holds_nobody_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it lasts the API answers, and what is applied meanwhile holds in the end beside it."""
    begun, go_on = threading.Event(), threading.Event()

    def slow(*inputs: Any, **more: Any) -> MeshState:
        if threading.current_thread() is not loop_thread:
            begun.set()
            assert go_on.wait(DEADLINE)
        return build_state(*inputs, **more)

    loop_thread = threading.current_thread()
    monkeypatch.setattr(control_plane_module, "build_state", slow)
    monkeypatch.setattr(control_plane_module, "MANY", 3)
    async with control_plane(tmp_path) as plane:
        (tmp_path / "many.yaml").write_text("---".join(SERVICE.format(name=f"web-{number}") for number in range(5)))
        assert await asyncio.to_thread(begun.wait, DEADLINE)
        listed = (await plane.ask("GET", "/v1/services")).body["items"]
        assert (listed, "lateen_" in await plane.metrics()) == ([], True)
        async with asyncio.TaskGroup() as group:
            later = group.create_task(plane.ask("POST", "/v1/config", SERVICE.format(name="web-later")))
            group.create_task(asyncio.to_thread(go_on.set))
        assert later.result().status == 200
        items = (await plane.ask("GET", "/v1/services")).body["items"]
        assert {item["host"].partition(".")[0] for item in items} == {*(f"web-{n}" for n in range(5)), "web-later"}


async def test_the_monitoring_port_counts_proxies() -> None:
    async with control_plane() as plane, XdsClient(plane.listening.grpc) as proxy:
        await proxy.subscribe(CLUSTER, "*")
        await proxy.until_received()

        assert "lateen_connected_proxies 1\n" in await plane.metrics()


@pytest.mark.parametrize("flag", ["grpc", "http", "monitoring"])
async def test_a_taken_port_is_one_line_with_the_flag(flag: str) -> None:
    free = {"grpc": "127.0.0.1:0", "http": "127.0.0.1:0", "monitoring": "127.0.0.1:0"}
    with bind("127.0.0.1:0", "--test") as taken:
        addresses: dict[str, Any] = free | {flag: shown(taken)}
        with pytest.raises(StartError) as raised:
            await run_control_plane(Settings(**addresses))

    assert shown_in(str(raised.value), addresses[flag], f"--{flag}")


def shown_in(message: str, *words: str) -> bool:
    return all(word in message for word in words) and "\n" not in message


async def test_workload_that_registers_is_served_without_waiting_for_quiet() -> None:
    """However long the debounce is: it is for edited files, of which the next may come any moment."""
    async with control_plane(debounce=3600) as plane, XdsClient(plane.listening.grpc) as proxy:
        await proxy.subscribe(CLUSTER, "*")
        held = await Mesh(plane).member(Identity("cluster.local", "default", "default"))
        async with grpc.aio.secure_channel(plane.listening.secure_grpc, held.credentials) as channel:
            agent = channel.stream_stream(ATTACH_METHOD)()
            ports = [{"port": 80, "protocol": "http"}]
            fields = {"service": "web", "namespace": "default", "address": "127.0.0.9", "ports": ports, "ready": True}
            await agent.write(json.dumps({"register": fields}).encode())
            await proxy.until(lambda: cluster("web") in proxy.names(CLUSTER))
            agent.cancel()
