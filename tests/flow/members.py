"""Members of a mesh under test: how a workload gets its certificate, by hand."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from flow.control_planes import InProcess
from lateen.ca.service import LOCATE_METHOD
from lateen.ca.wire import METHOD, encode_response
from lateen.model.identities import Identity

REVIEWS = Identity("cluster.local", "default", "reviews")


@dataclass(frozen=True)
class Held:
    """What a workload holds after it has joined."""

    key: bytes
    chain: bytes
    roots: bytes

    @property
    def credentials(self) -> grpc.ChannelCredentials:
        return grpc.ssl_channel_credentials(self.roots, self.key, self.chain)


def request_for(*uris: str) -> tuple[bytes, bytes]:
    """A new key and a request for these identities, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    if uris:
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri) for uri in uris])
        builder = builder.add_extension(names, critical=False)
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return private, builder.sign(key, hashes.SHA256()).public_bytes(pem)


class Mesh:
    """A control plane and ways to ask it for things."""

    def __init__(self, plane: InProcess) -> None:
        self.plane = plane
        self.listening = plane.listening

    async def locate(self) -> Any:
        async with grpc.aio.insecure_channel(self.listening.grpc) as channel:
            return json.loads(await channel.unary_unary(LOCATE_METHOD)(b"{}"))

    async def token(self, subject: str, **more: Any) -> str:
        wanted = {"service_account": subject, "seconds": 3600, **more}
        answer = await self.plane.ask("POST", "/v1/tokens", json.dumps(wanted))
        assert answer.status in (200, 201), answer
        return str(answer.body["token"])

    async def join(self, identity: Identity, token: str, *, csr: bytes = b"", port: str = "") -> Held:
        """Get a certificate; grpc.aio.AioRpcError says why not."""
        roots = "".join((await self.locate())["roots"]).encode()
        key, made = request_for(identity.uri)
        async with grpc.aio.secure_channel(
            port or self.listening.join,
            grpc.ssl_channel_credentials(roots),
            options=[("grpc.ssl_target_name_override", "localhost")],
        ) as channel:
            # The request's field 1 is the CSR, as the response's is the chain.
            answer = await channel.unary_unary(METHOD)(
                encode_response([(csr or made).decode()]), metadata=[("authorization", f"Bearer {token}")]
            )
        chain = _strings(answer)
        return Held(key, "".join(chain[:-1]).encode(), chain[-1].encode())

    async def member(self, identity: Identity = REVIEWS) -> Held:
        return await self.join(identity, await self.token(f"{identity.namespace}/{identity.service_account}"))


def _strings(message: bytes) -> list[str]:
    found = []
    while message:
        length, shift, at = 0, 0, 1
        while True:
            length |= (message[at] & 127) << shift
            shift, at = shift + 7, at + 1
            if not message[at - 1] & 128:
                break
        found.append(message[at : at + length].decode())
        message = message[at + length :]
    return found
