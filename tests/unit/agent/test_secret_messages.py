"""Questions for secrets and their answers as bytes: against the protobuf library, and against nonsense."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lateen.agent.certificate_messages import MessageError
from lateen.agent.secret_messages import decode_secrets, encode_question
from lateen.discovery.values import Response
from lateen.discovery.wire import decode_state_of_the_world, encode_state_of_the_world
from lateen.envoy.messages import message_class
from lateen.envoy.resources import SECRET, make_resource

NAME = "kubernetes://servers"


def test_the_control_plane_reads_the_question() -> None:
    request = decode_state_of_the_world(
        encode_question("router~127.0.0.1~a.b~b.svc", {"NAMESPACE": "b"}, [NAME, "kubernetes://x" * 20])
    )
    assert request.kind == SECRET
    assert request.names == (NAME, "kubernetes://x" * 20)
    assert request.node is not None
    assert (request.node.id, request.node.metadata) == ("router~127.0.0.1~a.b~b.svc", {"NAMESPACE": "b"})


def test_each_secret_is_a_file_of_its_own() -> None:
    """Envoy takes one secret in a file, and reads it as a discovery response."""
    made = [make_resource(SECRET, name, {"name": name, "generic_secret": {}}) for name in (NAME, "other")]
    answer = encode_state_of_the_world(Response(kind=SECRET, nonce="", version="", resources=tuple(made)))
    found = decode_secrets(answer)
    assert found.keys() == {NAME, "other"}
    read = message_class("envoy.service.discovery.v3.DiscoveryResponse").FromString(found[NAME])
    assert [resource.value for resource in read.resources] == [made[0].body]
    assert read.type_url == read.resources[0].type_url


@given(st.binary(max_size=60))
def test_nonsense_is_refused_or_empty(answer: bytes) -> None:
    try:
        decode_secrets(answer)
    except MessageError:
        return


def test_a_secret_without_a_name_is_refused() -> None:
    with pytest.raises(MessageError):
        decode_secrets(b"\x12\x02\x12\x00")
