"""Who is served what: every connection is who its certificate says, and nobody gets a certificate without a proof."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from cryptography import x509

from flow.control_planes import control_plane
from flow.members import REVIEWS, Mesh, request_for
from flow.xds_client import XdsClient
from lateen.ca.service import LOCATE_METHOD
from lateen.ca.wire import METHOD, encode_response
from lateen.envoy.resources import CLUSTER
from lateen.model.identities import Identity, control_plane_identity
from lateen.model.workloads import ATTACH_METHOD

RATINGS = Identity("cluster.local", "default", "ratings")
NODE = {"NAMESPACE": "default", "SERVICE_ACCOUNT": "reviews"}


@pytest.fixture
async def mesh() -> AsyncIterator[Mesh]:
    async with control_plane() as plane:
        yield Mesh(plane)


async def refused(mesh: Mesh, identity: Identity, token: str, **more: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await mesh.join(identity, token, **more)
    return raised.value.code(), raised.value.details() or ""


async def test_a_token_becomes_a_certificate_that_opens_discovery(mesh: Mesh) -> None:
    held = await mesh.member()
    leaf = x509.load_pem_x509_certificates(held.chain)[0]
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [REVIEWS.uri]
    async with XdsClient(mesh.listening.secure_grpc, credentials=held.credentials, metadata=NODE) as client:
        await client.subscribe(CLUSTER, "*")
        await client.until(lambda: CLUSTER in client.held)


async def test_a_certificate_renews_itself_and_nobody_else(mesh: Mesh) -> None:
    held = await mesh.member()
    async with grpc.aio.secure_channel(mesh.listening.secure_grpc, held.credentials) as channel:
        renew = channel.unary_unary(METHOD)
        _, own = request_for(REVIEWS.uri)
        assert await renew(encode_response([own.decode()]))
        for other in (RATINGS, control_plane_identity("cluster.local")):
            _, csr = request_for(other.uri)
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await renew(encode_response([csr.decode()]))
            assert raised.value.code() is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize(
    ("metadata", "node_id"),
    [
        ({"NAMESPACE": "default", "SERVICE_ACCOUNT": "ratings"}, "sidecar~127.0.0.5~a-1.default~default.svc.x"),
        ({"NAMESPACE": "default"}, "sidecar~127.0.0.5~a-1.default~default.svc.x"),
        ({"NAMESPACE": "prod", "SERVICE_ACCOUNT": "reviews"}, "router~127.0.0.5~gw.prod~prod.svc.x"),
        ({"SERVICE_ACCOUNT": "reviews"}, "sidecar~127.0.0.5~a-1.prod~prod.svc.x"),
    ],
)
async def test_a_node_that_is_somebody_else_is_refused(mesh: Mesh, metadata: dict[str, str], node_id: str) -> None:
    held = await mesh.member()
    options = {"credentials": held.credentials, "metadata": metadata, "node_id": node_id}
    async with XdsClient(mesh.listening.secure_grpc, **options) as client:
        await client.subscribe(CLUSTER, "*")
        await client.until(lambda: client.ended)
    assert client.ended == "PERMISSION_DENIED"
    assert REVIEWS.uri in client.details


async def test_discovery_needs_a_certificate_where_others_can_reach_it(mesh: Mesh) -> None:
    roots = "".join((await mesh.locate())["roots"]).encode()
    bare = grpc.ssl_channel_credentials(roots)
    async with XdsClient(mesh.listening.secure_grpc, credentials=bare, metadata=NODE) as client:
        await client.subscribe(CLUSTER, "*")
        await client.until(lambda: client.ended)
    assert client.ended == "UNAVAILABLE", "the handshake fails"
    async with XdsClient(mesh.listening.join, credentials=bare, metadata=NODE) as client:
        await client.subscribe(CLUSTER, "*")
        await client.until(lambda: client.ended)
    assert client.ended == "PERMISSION_DENIED"


async def test_a_stranger_s_certificate_ends_the_handshake(mesh: Mesh) -> None:
    async with control_plane() as other:
        stranger = await Mesh(other).member()
    roots = "".join((await mesh.locate())["roots"]).encode()
    credentials = grpc.ssl_channel_credentials(roots, stranger.key, stranger.chain)
    async with XdsClient(mesh.listening.secure_grpc, credentials=credentials, metadata=NODE) as client:
        await client.subscribe(CLUSTER, "*")
        await client.until(lambda: client.ended)
    assert client.ended == "UNAVAILABLE"


async def test_a_token_is_for_its_identity(mesh: Mesh) -> None:
    token = await mesh.token("default/reviews")
    code, details = await refused(mesh, RATINGS, token)
    assert code is grpc.StatusCode.PERMISSION_DENIED
    assert token not in details
    both, csr = request_for(REVIEWS.uri, RATINGS.uri)
    assert both
    assert (await refused(mesh, REVIEWS, token, csr=csr))[0] is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_token_for_one_use_is_used_once(mesh: Mesh) -> None:
    token = await mesh.token("default/reviews", one_time=True)
    await mesh.join(REVIEWS, token)
    assert (await refused(mesh, REVIEWS, token))[0] is grpc.StatusCode.UNAUTHENTICATED


async def test_what_is_no_token_of_ours_proves_nothing(mesh: Mesh) -> None:
    token = await mesh.token("default/reviews")
    head, body, signature = token.split(".")
    api = await mesh.plane.ask("POST", "/v1/tokens", json.dumps({"role": "admin", "name": "x", "seconds": 3600}))
    forged = f"{head}.{body}.{signature[::-1]}"
    for bad in ("", "a.b.c", forged, str(api.body["token"]), "x" * 7000):
        assert (await refused(mesh, REVIEWS, bad))[0] is grpc.StatusCode.UNAUTHENTICATED
    revoked = await mesh.plane.ask("GET", "/v1/tokens")
    mine = next(item["id"] for item in revoked.body["items"] if item["subject"] == "default/reviews")
    assert (await mesh.plane.ask("DELETE", f"/v1/tokens/{mine}")).status == 200
    assert (await refused(mesh, REVIEWS, token))[0] is grpc.StatusCode.UNAUTHENTICATED


@asynccontextmanager
async def attached(channel: grpc.aio.Channel) -> AsyncIterator[Any]:
    call = channel.stream_stream(ATTACH_METHOD)()
    try:
        yield call
    finally:
        call.cancel()


def registration(**fields: Any) -> bytes:
    workload = {"service": "reviews", "namespace": "default", "address": "127.0.0.5", "service_account": "reviews"}
    return json.dumps({"register": workload | fields}).encode()


async def test_workloads_register_as_who_they_are(mesh: Mesh) -> None:
    held = await mesh.member()
    async with grpc.aio.secure_channel(mesh.listening.secure_grpc, held.credentials) as channel:
        async with attached(channel) as call:
            await call.write(registration(service_account="ratings"))
            assert "certificate is that of" in json.loads(await call.read())["refused"]["message"]
        async with attached(channel) as call:
            # What a workload says of its identity counts for nothing.
            await call.write(registration(identity="spiffe://cluster.local/ns/x/sa/y"))
            assert json.loads(await call.read())["registered"]["takes"] == ["calls", "trusts"]
            trust = json.loads(await call.read())["trust"]
            assert trust["roots"] == (await mesh.locate())["roots"]
            await mesh.plane.until("/v1/workloads", lambda body: body["items"])


async def test_a_proxy_that_is_back_before_its_agent_gets_its_inbound_side_with_the_first_answer(mesh: Mesh) -> None:
    """A control plane that restarts while an Envoy is relieved: callers go on, and the new one takes over from it."""
    held = await mesh.member()
    node = NODE | {"LATEEN": {"registers": True}}
    async with (
        XdsClient(mesh.listening.secure_grpc, credentials=held.credentials, metadata=node) as envoy,
        grpc.aio.secure_channel(mesh.listening.secure_grpc, held.credentials) as channel,
        attached(channel) as agent,
    ):
        await envoy.subscribe(CLUSTER, "*")
        await mesh.plane.until("/v1/proxies", lambda body: body["items"])
        await agent.write(registration(name="reviews-v1-1", ports=[{"port": 9080, "protocol": "http"}]))
        await agent.read()
        await envoy.until_received()
    assert "inbound|9080||" in envoy.received[0].resources


async def test_no_administrator_becomes_the_control_plane(mesh: Mesh) -> None:
    """Every proxy would take its holder for the control plane; a role must not be enough for that."""
    own = control_plane_identity("cluster.local")
    _, csr = request_for(own.uri)
    wanted = {"service_account": f"{own.namespace}/{own.service_account}", "csr": csr.decode()}
    answer = await mesh.plane.ask("POST", "/v1/ca/certificates", json.dumps(wanted))
    assert answer.status in (400, 422)
    assert "the control plane's own" in answer.body["error"]["message"]


async def test_plain_text_registers_nobody(mesh: Mesh) -> None:
    async with grpc.aio.insecure_channel(mesh.listening.grpc) as channel, attached(channel) as call:
        await call.write(registration())
        message = json.loads(await call.read())["refused"]["message"]
    assert "lateen token create" in message
    assert mesh.listening.secure_grpc in message


async def test_only_this_machine_is_told_where_the_proof_is(mesh: Mesh) -> None:
    found = await mesh.locate()
    assert found["secure"] == mesh.listening.secure_grpc
    assert found["token_file"].endswith("/local/join-token")
    roots = "".join(found["roots"]).encode()
    async with grpc.aio.secure_channel(mesh.listening.join, grpc.ssl_channel_credentials(roots)) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await channel.unary_unary(LOCATE_METHOD)(b"{}")
    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED
