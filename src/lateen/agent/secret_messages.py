"""A proxy's secrets as the control plane is asked for them and answers: Envoy's `FetchSecrets`, as bytes. Pure.

What a secret says is not read, but for its name: Envoy is to read it.
Source of the numbers: Envoy's `discovery.proto` (DiscoveryRequest: node = 2, resource_names = 3, type_url = 4;
DiscoveryResponse: version_info = 1, resources = 2, type_url = 4), `base.proto` (Node: id = 1, metadata = 3),
`any.proto` (value = 2), `struct.proto` (fields = 1 of key = 1, value = 2; string_value = 3) and `secret.proto`
(name = 1).

Used by `secrets`. Must not know: who answers, or files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lateen.agent.certificate_messages import MessageError, read_fields
from lateen.agent.protobuf_wire import text_field

FETCH_SECRETS = "/envoy.service.secret.v3.SecretDiscoveryService/FetchSecrets"
_SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105  a type's name


def encode_question(node_id: str, metadata: Mapping[str, str], names: Iterable[str]) -> bytes:
    """Return the request for these secrets of the proxy of this node."""
    entries = b"".join(
        text_field(1, text_field(1, key) + text_field(2, text_field(3, value))) for key, value in metadata.items()
    )
    node = text_field(1, node_id) + text_field(3, entries)
    return text_field(2, node) + b"".join(text_field(3, name) for name in names) + text_field(4, _SECRET)


def decode_secrets(answer: bytes) -> dict[str, bytes]:
    """Return each secret by its name, as Envoy reads it from a file: a DiscoveryResponse of its own. MessageError."""
    found = {}
    for number, body in read_fields(answer):
        if number == 2:
            secret = b"".join(value for field, value in read_fields(body) if field == 2)
            name = b"".join(value for field, value in read_fields(secret) if field == 1).decode("utf-8", "replace")
            if not name:
                raise MessageError("the control plane answered with a secret without a name")
            found[name] = text_field(1, "kept") + text_field(2, body) + text_field(4, _SECRET)
    return found
