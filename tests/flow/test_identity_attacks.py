"""Attacks by members of the mesh on one another: what one workload says of itself changes nothing at another one."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any

import grpc
import pytest

from flow.control_planes import control_plane
from flow.members import REVIEWS, Held, Mesh
from flow.xds_client import XdsClient
from lateen.ca.issue import Lifetimes
from lateen.ca.wire import METHOD
from lateen.discovery import server
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


async def test_no_connection_outlives_the_certificate_that_opened_it_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is proven once, at the handshake; so connections end by themselves, and a stream comes back on a new one."""
    age = dict(server.OPTIONS)["grpc.max_connection_age_ms"] / 3_600_000
    certificate, renewed, varied = Lifetimes().longest_leaf / timedelta(hours=1), 1.1 / 2, 1.1
    assert age * varied < certificate * (1 - renewed), "whoever renews has a newer certificate by then"
    short = {"grpc.max_connection_age_ms": 300, "grpc.max_connection_age_grace_ms": 100}
    monkeypatch.setattr(server, "OPTIONS", tuple((dict(server.OPTIONS) | short).items()))
    async with control_plane() as plane:
        mesh = Mesh(plane)
        held = await mesh.member()
        options: dict[str, Any] = {"credentials": held.credentials, "metadata": NODE}
        for _ in range(2):
            async with XdsClient(mesh.listening.secure_grpc, **options) as client:
                await client.subscribe(CLUSTER, "*")
                await client.until(lambda: CLUSTER in client.held)
                await client.until(lambda: client.ended)
            assert client.ended == "UNAVAILABLE", "which a client takes for a reason to connect anew"


@pytest.mark.parametrize("where", ["join", "secure_grpc"])
async def test_a_message_that_grows_when_it_is_unpacked_is_not_read(mesh: Mesh, where: str) -> None:
    """64 MiB of nothing are 64 kB on the way; who is still without a certificate could send them too."""
    held = await mesh.member()
    credentials = held.credentials if where == "secure_grpc" else grpc.ssl_channel_credentials(held.roots)
    options = [("grpc.max_send_message_length", -1)]
    address = getattr(mesh.listening, where)
    async with grpc.aio.secure_channel(address, credentials, options, compression=grpc.Compression.Gzip) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await channel.unary_unary(METHOD)(b"\0" * (64 << 20))
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert await mesh.locate()
