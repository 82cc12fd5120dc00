"""Attacks by members of the mesh on one another: what one workload says of itself changes nothing at another one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta
from typing import Any

import grpc
import pytest

from flow.control_planes import control_plane
from flow.members import REVIEWS, Held, Mesh
from flow.xds_client import XdsClient
from key_pairs import encoded, key_pair
from lateen.agent.secret_messages import FETCH_SECRETS, decode_secrets, encode_question
from lateen.ca.issue import Lifetimes
from lateen.ca.wire import METHOD
from lateen.discovery import server
from lateen.envoy.messages import message_class
from lateen.envoy.resources import CLUSTER, LISTENER, SECRET
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
    short = {"grpc.max_connection_age_ms": 2000, "grpc.max_connection_age_grace_ms": 500}
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


GATEWAY = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: shop, namespace: default}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 8443, name: https, protocol: HTTPS}
    hosts: ["*"]
    tls: {mode: SIMPLE, credentialName: shop}
"""
NAMES = tuple(
    f"{scheme}://{path}" for scheme in ("kubernetes", "kubernetes-gateway") for path in ("shop", "default/shop")
)


async def test_private_keys_go_to_who_has_proven_to_be_of_their_namespace(mesh: Mesh) -> None:
    """Whatever labels, node id and names of secrets somebody brings, and whoever was served them before."""
    certificate, key = (encoded(part) for part in key_pair())
    secret: dict[str, Any] = {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls"}
    secret |= {"metadata": {"name": "shop", "namespace": "default"}, "data": {"tls.crt": certificate, "tls.key": key}}
    answer = await mesh.plane.ask("POST", "/v1/config", f"{GATEWAY}---\n{json.dumps(secret)}")
    assert answer.status == 200, answer.body
    own, thief = await mesh.member(), await mesh.member(THIEF)
    labels = {"LABELS": {"istio": "ingressgateway"}}
    said = {**labels, "NAMESPACE": "default", "SERVICE_ACCOUNT": "reviews"}
    ours: dict[str, Any] = {"metadata": said, "node_id": gateway("default")}
    said = {**labels, "NAMESPACE": "aaa", "SERVICE_ACCOUNT": "thief"}
    theirs: dict[str, Any] = {"metadata": said, "node_id": gateway("aaa")}

    async def keys(address: str, seconds: float = 0.3, **options: Any) -> bool:
        async with XdsClient(address, **options) as client:
            await client.subscribe(LISTENER, "*")
            await client.subscribe(SECRET, *NAMES)
            await client.subscribe(CLUSTER, "*")  # whose answer comes after those to what was asked before
            await client.until(lambda: CLUSTER in client.held)
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await client.until(lambda: client.held.get(SECRET))
            return any(b"PRIVATE KEY" in content for content in client.held.get(SECRET, {}).values())

    secure, plain = mesh.listening.secure_grpc, mesh.listening.grpc
    assert await keys(secure, 30, credentials=own.credentials, **ours)
    assert not await keys(secure, credentials=thief.credentials, **theirs)
    assert not await keys(plain, **ours), "nobody has proven anything there"
    assert await keys(secure, 30, credentials=own.credentials, **ours), "which takes nothing from who has"


async def test_secrets_are_fetched_by_who_has_them_only(mesh: Mesh) -> None:
    """For an agent beside an Envoy: nobody else gets them, whatever node he says he is, nor without a proof."""
    certificate, key = (encoded(part) for part in key_pair())
    secret: dict[str, Any] = {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls"}
    secret |= {"metadata": {"name": "shop", "namespace": "default"}, "data": {"tls.crt": certificate, "tls.key": key}}
    answer = await mesh.plane.ask("POST", "/v1/config", f"{GATEWAY}---\n{json.dumps(secret)}")
    assert answer.status == 200, answer.body
    own, thief = await mesh.member(), await mesh.member(THIEF)
    said = {"LABELS": {"istio": "ingressgateway"}, "NAMESPACE": "default", "SERVICE_ACCOUNT": "reviews"}
    secure, plain = mesh.listening.secure_grpc, mesh.listening.grpc

    async def fetched(held: Held | None, account: str = "reviews", *, name: str = NAMES[0]) -> str:
        question = encode_question(gateway("default"), {"NAMESPACE": "default", "SERVICE_ACCOUNT": account}, [name])
        channel = grpc.aio.secure_channel(secure, held.credentials) if held else grpc.aio.insecure_channel(plain)
        async with channel:
            try:
                got = decode_secrets(await channel.unary_unary(FETCH_SECRETS)(question))
            except grpc.aio.AioRpcError as error:
                return str(error.code().name)
        return "a key" if b"PRIVATE KEY" in b"".join(got.values()) else "nothing"

    assert await fetched(own) == "NOT_FOUND", "its Envoy is not there"
    options: dict[str, Any] = {"credentials": own.credentials, "metadata": said, "node_id": gateway("default")}
    async with XdsClient(secure, **options) as client:
        await client.subscribe(LISTENER, "*")
        await client.subscribe(SECRET, NAMES[0])
        await client.until(lambda: client.held.get(SECRET))
        assert await fetched(own) == "a key"
        assert await fetched(own, name=NAMES[1]) == "nothing", "its Envoy does not have it under that name"
        assert await fetched(own, "other") == "PERMISSION_DENIED"
        assert await fetched(thief) == "PERMISSION_DENIED"
        assert await fetched(None) == "NOT_FOUND"


def gateway(namespace: str) -> str:
    return f"router~127.0.0.9~ingress.{namespace}~{namespace}.svc.cluster.local"


async def test_a_token_for_one_use_opens_once_however_fast_it_is_tried(mesh: Mesh) -> None:
    token = await mesh.token("default/reviews", one_time=True)
    tried = await asyncio.gather(*(mesh.join(REVIEWS, token) for _ in range(10)), return_exceptions=True)
    assert sum(isinstance(each, Held) for each in tried) == 1


@pytest.mark.parametrize("address", ["169.254.169.254", "::ffff:169.254.169.254", "fe80::1", "fd00:ec2::254"])
async def test_nobody_leads_callers_to_what_their_own_machine_keeps(mesh: Mesh, address: str) -> None:
    """Callers of the service, a gateway among them, would ask their cloud for credentials, and pass the answer on."""
    held = await mesh.member()
    async with attached(mesh, held, REVIEWS, service="reviews", address=address, ports=[{"port": 80}]) as answer:
        assert "is not an address of a host" in answer["refused"]["message"]
