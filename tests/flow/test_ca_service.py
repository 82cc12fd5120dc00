"""The CA's gRPC service on loopback: its three ports, every way to prove oneself, and every way not to."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from structlog.testing import capture_logs

from ca_requests import csr_for, new_key
from lateen.ca.authenticators import Authenticator, JoinTokens
from lateen.ca.authority import Authority
from lateen.ca.connections import is_plain, peer_of
from lateen.ca.failures import Failures
from lateen.ca.rotation import Facts
from lateen.ca.service import LOCATE_METHOD, CertificateService, Issuance, Seams
from lateen.ca.tokens import Tokens
from lateen.ca.values import Grant, Reason, Refused
from lateen.ca.wire import METHOD

REVIEWS = "spiffe://cluster.local/ns/default/sa/reviews"
ADMIN = "spiffe://cluster.local/ns/default/sa/admin"
ISTIOD = "spiffe://cluster.local/ns/istio-system/sa/istiod"
START = dt.datetime.now(dt.UTC).replace(microsecond=0)
HOUR = dt.timedelta(hours=1)


class Bug:
    """An authenticator with one."""

    async def authenticate(self, token: str, now: dt.datetime) -> Grant | Refused | None:
        if token.startswith("bug"):
            raise RuntimeError(f"secret {token}")
        return None


@dataclass
class Plane:
    """A CA that serves, and what it told the rest of the control plane."""

    now: dt.datetime = START
    authority: Authority = field(default_factory=lambda: Authority.open(None, "cluster.local", now=START))
    tokens: Tokens = field(default_factory=lambda: Tokens.open(None, "cluster.local"))
    issued: list[Issuance] = field(default_factory=list)
    refused: list[Reason] = field(default_factory=list)
    ports: dict[str, int] = field(default_factory=dict)

    def service(self, failures: Failures | None) -> CertificateService:
        seams = Seams(
            peer=lambda context: peer_of(context, self.now),
            is_plain=is_plain,
            locate=lambda: {"join": "here"},
            clock=lambda: self.now,
            issued=self.issued.append,
            refused=self.refused.append,
        )
        kinds: Sequence[Authenticator] = (Bug(), JoinTokens(self.tokens))
        return CertificateService(self.authority, kinds, seams, failures)

    def serving_configuration(self) -> grpc.ServerCertificateConfiguration:
        """What gRPC asks for at each handshake."""
        own = self.authority.serving(["localhost"], now=self.now)
        pair = (own.key.pem(), own.chain.encode())
        return grpc.ssl_server_certificate_configuration([pair], "".join(self.authority.bundle()).encode())

    def token(self, namespace: str = "default", account: str = "reviews", *, once: bool = False) -> str:
        return self.tokens.create_join(namespace, account, now=self.now, ttl=HOUR, once=once)[0]

    async def ask(
        self, port: str, message: bytes, *, token: str = "", chain: bytes = b"", method: str = METHOD, **metadata: str
    ) -> bytes:
        sent = [*metadata.items(), *([("authorization", f"Bearer {token}")] if token else [])]
        async with self.channel(port, chain) as channel:
            call = channel.unary_unary(method)
            answer: bytes = await call(message, metadata=sent, timeout=30)
            return answer

    @asynccontextmanager
    async def channel(
        self, port: str, chain: bytes = b"", roots: Sequence[str] = ()
    ) -> AsyncIterator[grpc.aio.Channel]:
        address = f"localhost:{self.ports[port]}"
        if port == "plain":
            opened = grpc.aio.insecure_channel(address)
        else:
            key = new_key().private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            trusted = "".join(roots or self.authority.bundle()).encode()
            proof = (key, chain) if chain else (None, None)
            opened = grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(trusted, *proof))
        async with opened:
            yield opened

    async def refusal(
        self, port: str, message: bytes, *, token: str = "", chain: bytes = b"", method: str = METHOD, **metadata: str
    ) -> tuple[grpc.StatusCode, str]:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await self.ask(port, message, token=token, chain=chain, method=method, **metadata)
        return raised.value.code(), raised.value.details() or ""


@asynccontextmanager
async def serving(plane: Plane | None = None, failures: Failures | None = None) -> AsyncIterator[Plane]:
    """A CA on a plaintext, an mTLS and a join port."""
    plane = plane or Plane()
    own = [plane.serving_configuration() for _ in range(2)]
    # Above its default of 8 KiB, gRPC refuses some headers and others not.
    server = grpc.aio.server(options=[("grpc.max_metadata_size", 32 * 1024)])
    server.add_generic_rpc_handlers(plane.service(failures).handlers())
    plane.ports = {
        "plain": server.add_insecure_port("localhost:0"),
        "mtls": server.add_secure_port(
            "localhost:0", grpc.dynamic_ssl_server_credentials(own[0], plane.serving_configuration, True)
        ),
        "join": server.add_secure_port(
            "localhost:0", grpc.dynamic_ssl_server_credentials(own[1], plane.serving_configuration)
        ),
    }
    await server.start()
    try:
        yield plane
    finally:
        await server.stop(None)


def text(number: int, content: bytes) -> bytes:
    length = len(content)
    encoded = bytearray()
    while length > 0x7F:
        encoded.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes([number << 3 | 2, *encoded, length]) + content


def request(uri: str = REVIEWS, validity: bytes = b"") -> bytes:
    return text(1, csr_for(uri)) + validity


def chain_in(response: bytes) -> list[str]:
    """The elements of a response."""
    chain, at = [], 0
    while at < len(response):
        assert response[at] == 0x0A
        length, shift = 0, 0
        while True:
            at += 1
            length |= (response[at] & 0x7F) << shift
            shift += 7
            if response[at] < 0x80:
                break
        chain.append(response[at + 1 : at + 1 + length].decode())
        at += 1 + length
    return chain


def identity_in(response: bytes) -> str:
    leaf = x509.load_pem_x509_certificate(chain_in(response)[0].encode())
    (name,) = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return str(name.value)


async def test_a_token_gets_a_certificate_and_that_one_renews_itself() -> None:
    async with serving() as plane:
        joined = chain_in(await plane.ask("join", request(), token=plane.token()))
        renewed = await plane.ask("mtls", request(), chain="".join(joined[:-1]).encode())

    assert identity_in(renewed) == REVIEWS
    assert len(joined) == 3
    assert joined[-1] == "".join(plane.authority.bundle())
    assert [(each.identity.uri, each.proof.split()[0]) for each in plane.issued] == [
        (REVIEWS, "join"),
        (REVIEWS, "certificate"),
    ]
    assert [each.renews for each in plane.issued] == [None, plane.issued[0].serial]
    assert {each.issuer_id for each in plane.issued} == {plane.authority.issuer_id()}


async def test_the_validity_that_is_asked_for_is_given() -> None:
    async with serving() as plane:
        for seconds in (b"\x18\x3c", b"\x18\xff\xff\xff\xff\xff\xff\xff\xff\x7f", b"\x18" + b"\xff" * 9 + b"\x01"):
            await plane.ask("join", request(validity=seconds), token=plane.token())

    assert [each.not_after - plane.now for each in plane.issued] == [HOUR / 60, 24 * HOUR, 24 * HOUR]


async def test_a_csr_need_not_say_what_the_proof_says() -> None:
    async with serving() as plane:
        assert identity_in(await plane.ask("join", request(""), token=plane.token())) == REVIEWS


async def test_a_token_for_any_identity_needs_a_csr_that_names_one() -> None:
    async with serving() as plane:
        status, words = await plane.refusal("join", request(""), token=plane.token("*", "*"))
        assert identity_in(await plane.ask("join", request(ADMIN), token=plane.token("*", "*"))) == ADMIN

    assert status is grpc.StatusCode.INVALID_ARGUMENT
    assert "must name one" in words


@pytest.mark.parametrize(
    ("uri", "status"),
    [
        (ADMIN, grpc.StatusCode.PERMISSION_DENIED),
        ("spiffe://elsewhere/ns/default/sa/reviews", grpc.StatusCode.PERMISSION_DENIED),
        (ISTIOD, grpc.StatusCode.PERMISSION_DENIED),
        ("https://example.com", grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
async def test_a_csr_for_another_identity_is_refused_whatever_the_proof(uri: str, status: grpc.StatusCode) -> None:
    async with serving() as plane:
        own = chain_in(await plane.ask("join", request(), token=plane.token()))
        by_token, words = await plane.refusal("join", request(uri), token=plane.token())
        async with plane.channel("mtls", "".join(own[:-1]).encode()) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await channel.unary_unary(METHOD)(
                    request(uri), metadata=[("authorization", f"Bearer {plane.token('*', '*')}")]
                )

    assert by_token is status
    assert uri in words
    assert raised.value.code() is status, "a token adds nothing to a certificate"
    assert len(plane.issued) == 1


async def test_nobody_becomes_the_control_plane() -> None:
    async with serving() as plane:
        for grants in (("*", "*"), ("istio-system", "istiod")):
            status, words = await plane.refusal("join", request(ISTIOD), token=plane.token(*grants))
            assert status is grpc.StatusCode.PERMISSION_DENIED
            assert "control plane's own" in words


async def test_bad_proofs_are_refused_with_a_reason_and_logged_without_the_token() -> None:
    async with serving() as plane:
        once, good = plane.token(once=True), plane.token()
        revoked, record = plane.tokens.create_join("default", "reviews", now=plane.now, ttl=HOUR)
        plane.tokens.revoke(record.id, plane.now)
        api, _ = plane.tokens.create_api("admin", "me", now=plane.now, ttl=HOUR)
        other = Tokens.open(None, "cluster.local").create_join("*", "*", now=plane.now, ttl=HOUR)[0]
        late = plane.tokens.create_join("default", "reviews", now=plane.now - 2 * HOUR, ttl=HOUR)[0]
        await plane.ask("join", request(), token=once)
        cases = {
            "": "no proof", once: "was used", revoked: "was revoked", api: "not for lateen-join",
            other: "not made by this", late: "expired", good[:-6] + "AAAAAA": "not ours", "x": "of no kind",
            "y" * 9000: "larger than",
        }  # fmt: skip
        with capture_logs() as logs:
            for token, words in cases.items():
                status, details = await plane.refusal("join", request(), token=token)
                assert (status, words in details) == (grpc.StatusCode.UNAUTHENTICATED, True), details
        assert "form `Bearer" in (await plane.refusal("join", request(), authorization=f"Basic {good}"))[1]

    assert len(logs) == len(cases)
    assert not any(token[-20:] in str(logs) for token in cases if len(token) > 1)
    assert plane.refused == [Reason.UNPROVEN] * (len(cases) + 1)
    assert len(plane.issued) == 1


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\x0a\xff",
        text(1, b"nonsense"),
        text(1, csr_for(REVIEWS)[:-50]),
        text(1, csr_for(REVIEWS) + b" " * 16384),
        text(4, b" " * 100_000),
        text(1, csr_for(REVIEWS, new_key("P-521"))),
        text(1, csr_for(REVIEWS, names=[x509.DNSName("istiod")])),
    ],
)
async def test_malformed_and_oversized_requests_are_refused(message: bytes) -> None:
    async with serving() as plane:
        status, words = await plane.refusal("join", message, token=plane.token())

    assert status is grpc.StatusCode.INVALID_ARGUMENT
    assert words


async def test_in_plaintext_a_token_is_taken_on_loopback() -> None:
    async with serving() as plane:
        assert identity_in(await plane.ask("plain", request(), token=plane.token())) == REVIEWS
        assert (await plane.refusal("plain", request()))[0] is grpc.StatusCode.UNAUTHENTICATED


async def test_in_plaintext_a_token_is_not_taken_from_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    import ipaddress

    monkeypatch.setattr("lateen.ca.service.peer_address", lambda _: ipaddress.ip_address("10.0.0.1"))
    async with serving() as plane:
        status, words = await plane.refusal("plain", request(), token=plane.token())
        located, _ = await plane.refusal("plain", b"{}", method=LOCATE_METHOD)

    assert status is grpc.StatusCode.UNAUTHENTICATED
    assert "not in plaintext" in words
    assert located is grpc.StatusCode.UNIMPLEMENTED


async def test_locate_answers_in_plaintext_only() -> None:
    async with serving() as plane:
        assert json.loads(await plane.ask("plain", b"{}", method=LOCATE_METHOD)) == {"join": "here"}
        assert (await plane.refusal("join", b"{}", method=LOCATE_METHOD))[0] is grpc.StatusCode.UNIMPLEMENTED


async def test_a_certificate_that_expired_on_an_open_connection_proves_nothing() -> None:
    async with serving() as plane:
        own = "".join(chain_in(await plane.ask("join", request(), token=plane.token()))[:-1])
        async with plane.channel("mtls", own.encode()) as channel:
            await channel.unary_unary(METHOD)(request())
            plane.now += 25 * HOUR
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await channel.unary_unary(METHOD)(request())

    assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_another_cas_certificate_does_not_connect() -> None:
    async with serving() as stranger, serving() as plane:
        own = "".join(chain_in(await stranger.ask("join", request(), token=stranger.token()))[:-1])
        assert (await plane.refusal("mtls", request(), chain=own.encode()))[0] is grpc.StatusCode.UNAVAILABLE


async def test_too_many_failures_from_an_address_are_not_looked_at() -> None:
    async with serving(failures=Failures(per_second=0, burst=3)) as plane:
        token = plane.token()
        for _ in range(5):
            await plane.ask("join", request(), token=token)
        codes = [(await plane.refusal("join", request(), token="x"))[0].name for _ in range(5)]

    assert codes == ["UNAUTHENTICATED"] * 3 + ["RESOURCE_EXHAUSTED"] * 2


async def test_a_bug_is_logged_and_not_shown_to_the_peer() -> None:
    async with serving() as plane:
        with capture_logs() as logs:
            status, words = await plane.refusal("join", request(), token="bug-1234")

    assert status is grpc.StatusCode.INTERNAL
    assert "1234" not in words
    assert [line["log_level"] for line in logs] == ["error"]


async def test_during_a_rotation_both_roots_are_told_and_then_both_understood() -> None:
    async with serving() as plane:
        plane.authority.start_rotation(plane.now)
        told = chain_in(await plane.ask("join", request(), token=plane.token()))
        plane.authority.step_rotation(Facts(watching_since=plane.now), plane.now, force=True)
        new = chain_in(await plane.ask("join", request(), token=plane.token()))

    assert told[-1] == new[-1] == "".join(plane.authority.bundle())
    assert len(x509.load_pem_x509_certificates(told[-1].encode())) == 2
    assert told[1] != new[1]


async def test_handshakes_succeed_in_every_phase_of_a_rotation_and_fail_for_the_old_root_after_it() -> None:
    """With the TLS library that Envoy uses too: each leaf with each bundle that an agent may have then."""
    async with serving() as plane:

        async def handshake(chain: list[str], roots: Sequence[str]) -> str:
            async with plane.channel("mtls", "".join(chain).encode(), roots) as channel:
                try:
                    await channel.unary_unary(METHOD)(request(), timeout=30)
                except grpc.aio.AioRpcError as error:
                    return str(error.code().name)
            return "OK"

        def step() -> None:
            plane.authority.step_rotation(Facts(watching_since=plane.now), plane.now, force=True)

        async def join() -> list[str]:
            return chain_in(await plane.ask("join", request(), token=plane.token()))[:-1]

        old_leaf, old_roots = await join(), plane.authority.bundle()
        plane.authority.start_rotation(plane.now)
        both = plane.authority.bundle()
        while_distributing = [await handshake(old_leaf, roots) for roots in (old_roots, both)]
        step()
        new_leaf = await join()
        while_switching = [
            await handshake(old_leaf, old_roots), await handshake(old_leaf, both), await handshake(new_leaf, both)
        ]  # fmt: skip
        step()
        step()
        after = [await handshake(new_leaf, roots) for roots in (both, plane.authority.bundle())]
        forgotten = [await handshake(old_leaf, both), await handshake(new_leaf, old_roots)]

    assert [*while_distributing, *while_switching, *after] == ["OK"] * 7
    assert forgotten == ["UNAVAILABLE"] * 2
