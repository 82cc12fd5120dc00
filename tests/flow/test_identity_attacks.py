"""Attacks by members of the mesh on one another: what one workload says of itself changes nothing at another one."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc
import pytest

from flow.control_planes import control_plane
from flow.members import REVIEWS, Held, Mesh
from flow.xds_client import XdsClient
from lateen.envoy.messages import message_class
from lateen.envoy.resources import CLUSTER, LISTENER
from lateen.model.identities import Identity
from lateen.model.workloads import ATTACH_METHOD

THIEF = Identity("cluster.local", "aaa", "thief")
"""Of another namespace, whose services come first in every order."""
VICTIM = "127.0.0.5"
NODE = {"NAMESPACE": "default", "SERVICE_ACCOUNT": "reviews", "INTERCEPTION_MODE": "NONE"}


@pytest.fixture
async def mesh() -> AsyncIterator[Mesh]:
    async with control_plane() as plane:
        yield Mesh(plane)


@asynccontextmanager
async def attached(mesh: Mesh, held: Held, identity: Identity, **fields: Any) -> AsyncIterator[Any]:
    """Register a workload over mutual TLS; yield the answer."""
    workload = {"namespace": identity.namespace, "service_account": identity.service_account, **fields}
    async with grpc.aio.secure_channel(mesh.listening.secure_grpc, held.credentials) as channel:
        call = channel.stream_stream(ATTACH_METHOD)()
        try:
            await call.write(json.dumps({"register": workload}).encode())
            yield json.loads(await call.read())
        finally:
            call.cancel()


@pytest.mark.parametrize("network", ["", "elsewhere"])
@pytest.mark.parametrize("port", [9080, 9999])
async def test_who_registers_another_s_address_opens_no_port_there(mesh: Mesh, network: str, port: int) -> None:
    thief, victim = await mesh.member(THIEF), await mesh.member()
    own = {"service": "reviews", "address": VICTIM, "ports": [{"port": 9080, "app_port": 19080}]}
    trap = {"service": "a-trap", "address": VICTIM, "network": network, "ports": [{"port": port, "app_port": 6666}]}
    async with AsyncExitStack() as stack:
        assert "registered" in await stack.enter_async_context(attached(mesh, victim, REVIEWS, **own))
        taken = await stack.enter_async_context(attached(mesh, thief, THIEF, **trap))
        assert ("registered" in taken) == bool(network)
        await mesh.plane.until("/v1/workloads", lambda body: len(body["items"]) == 1 + bool(network))
        options: dict[str, Any] = {"credentials": victim.credentials, "metadata": NODE}
        async with XdsClient(mesh.listening.secure_grpc, **options) as client:
            await client.subscribe(CLUSTER, "*")
            await client.subscribe(LISTENER, "*")
            await client.until(lambda: CLUSTER in client.held and LISTENER in client.held)
            inbound = [name for name in client.held[CLUSTER] if name.startswith("inbound|")]
            made = static_ports(client.held[CLUSTER]["inbound|9080||"])
            listens = {name for name in client.held[LISTENER] if name.startswith(f"{VICTIM}_")}
    assert inbound == ["inbound|9080||"]
    assert made == [19080], "requests still go to its own application"
    assert listens == {f"{VICTIM}_9080"}


def static_ports(cluster: bytes) -> list[int]:
    """Return the ports of a cluster's endpoints."""
    message = message_class("envoy.config.cluster.v3.Cluster").FromString(cluster)
    return [
        each.endpoint.address.socket_address.port_value
        for locality in message.load_assignment.endpoints
        for each in locality.lb_endpoints
    ]
