"""The health discovery service over gRPC: who may report, what is heard of it, and what it comes to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from flow.control_planes import InProcess, control_plane
from flow.members import REVIEWS, Mesh
from lateen.envoy.messages import message_class

API = "envoy.service.health.v3."
METHOD = f"/{API}HealthDiscoveryService/StreamHealthCheck"
GATEWAY = "router~127.0.0.7~edge-1.default~default.svc.cluster.local"
ENTRY = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: web, annotations: {lateen.io/health-check: "tcp timeout=0.1s failures=1"}}
spec:
  hosts: [web.internal]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 192.0.2.1}, {address: 192.0.2.2}]
---
"""
MORE = ENTRY.replace("web", "more")
HEALTHY, SICK = 1, 2


class Gateway:
    """A fake Envoy that checks."""

    def __init__(self, call: Any) -> None:
        self._call = call

    async def ask(self, node_id: str = GATEWAY, metadata: Mapping[str, str] | None = None) -> None:
        node = {"id": node_id, "metadata": metadata or {}}
        await self.send(health_check_request={"node": node})

    async def send(self, **fields: Any) -> None:
        await self._call.write(_message(**fields))

    async def asked(self) -> dict[str, list[str]]:
        """Addresses by cluster, of the next message."""
        async with asyncio.timeout(30):
            content = await self._call.read()
        assert content is not grpc.aio.EOF, await self._call.details()
        message = message_class(f"{API}HealthCheckSpecifier").FromString(content)
        return {
            found.cluster_name: [
                endpoint.address.socket_address.address
                for locality in found.locality_endpoints
                for endpoint in locality.endpoints
            ]
            for found in message.cluster_health_checks
        }

    async def report(self, cluster: str, **status: int) -> None:
        """`a1` is 192.0.2.1."""
        endpoints = [
            {
                "endpoint": {"address": {"socket_address": {"address": f"192.0.2.{name[1:]}", "port_value": 80}}},
                "health_status": found,
            }
            for name, found in status.items()
        ]
        health = {"cluster_name": cluster, "locality_endpoints_health": [{"endpoints_health": endpoints}]}
        await self.send(endpoint_health_response={"cluster_endpoints_health": [health]})

    async def refusal(self) -> grpc.StatusCode:
        async with asyncio.timeout(30):
            code: grpc.StatusCode = await self._call.code()
        return code


def _message(**fields: Any) -> bytes:
    wire: bytes = message_class(f"{API}HealthCheckRequestOrEndpointHealthResponse")(**fields).SerializeToString()
    return wire


@asynccontextmanager
async def gateway(address: str, credentials: grpc.ChannelCredentials | None = None) -> AsyncIterator[Gateway]:
    secure = credentials is not None
    channel = grpc.aio.secure_channel(address, credentials) if secure else grpc.aio.insecure_channel(address)
    async with channel:
        yield Gateway(channel.stream_stream(METHOD)())


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[InProcess]:
    (tmp_path / "web.yaml").write_text(ENTRY)
    async with control_plane(tmp_path) as made:
        yield made


def _unhealthy(body: Any) -> set[str]:
    return {endpoint["address"] for item in body["items"] for endpoint in item["endpoints"] if not endpoint["healthy"]}


async def test_what_a_gateway_reports_changes_who_is_healthy(plane: InProcess) -> None:
    """It is asked about what there is, and again when there is more; what it was not asked about is not heard."""
    async with gateway(plane.listening.grpc) as edge:
        await edge.ask()
        web, more = "health-check|web.internal|tcp timeout=0.1s failures=1", "health-check|more.internal|tcp"
        assert await edge.asked() == {web: ["192.0.2.1", "192.0.2.2"]}
        await edge.report(web, a1=HEALTHY, a2=HEALTHY)
        await edge.report(more, a2=SICK)
        await edge.report(web, a1=SICK, a2=HEALTHY, a3=SICK)
        await plane.until("/v1/services", lambda body: _unhealthy(body) == {"192.0.2.1"})
        assert "lateen_sick_endpoints 1" in await plane.metrics()
        assert (await plane.ask("POST", "/v1/config", MORE)).status == 200
        assert (await edge.asked()).keys() == {web, web.replace("web", "more")}
        await edge.report(web, a1=HEALTHY)
        await plane.until("/v1/services", lambda body: not _unhealthy(body))


async def test_one_gateway_with_a_bad_way_takes_an_endpoint_from_nobody(plane: InProcess) -> None:
    async with gateway(plane.listening.grpc) as edge, gateway(plane.listening.grpc) as other:
        cluster = "health-check|web.internal|tcp timeout=0.1s failures=1"
        await edge.ask()
        await other.ask(GATEWAY.replace("edge", "other"))
        for one in (edge, other):
            await one.asked()
            await one.report(cluster, a1=HEALTHY, a2=HEALTHY)
        await edge.report(cluster, a1=SICK, a2=SICK)
        await other.report(cluster, a2=SICK)
        await plane.until("/v1/services", lambda body: _unhealthy(body) == {"192.0.2.2"})


@pytest.mark.parametrize(
    ("node_id", "code"),
    [
        (GATEWAY.replace("router", "sidecar"), grpc.StatusCode.PERMISSION_DENIED),
        ("nobody", grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
async def test_only_gateways_report(plane: InProcess, node_id: str, code: grpc.StatusCode) -> None:
    async with gateway(plane.listening.grpc) as edge:
        await edge.ask(node_id)
        assert await edge.refusal() is code


async def test_who_does_not_say_who_it_is_is_refused(plane: InProcess) -> None:
    for field in ("endpoint_health_response", "health_check_request"):
        async with gateway(plane.listening.grpc) as edge:
            await edge.send(**{field: {}})
            assert await edge.refusal() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_node_must_be_that_of_its_certificate(plane: InProcess) -> None:
    held = await Mesh(plane).member()
    for account, served in (("ratings", False), (REVIEWS.service_account, True)):
        async with gateway(plane.listening.secure_grpc, held.credentials) as edge:
            await edge.ask(metadata={"NAMESPACE": "default", "SERVICE_ACCOUNT": account})
            if served:
                assert await edge.asked()
            else:
                assert await edge.refusal() is grpc.StatusCode.PERMISSION_DENIED
