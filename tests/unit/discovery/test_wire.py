from __future__ import annotations

from typing import Any

import pytest

from lateen.discovery import wire
from lateen.discovery.values import DeltaRequest, Node, PeerError, Response, StateOfTheWorldRequest
from lateen.envoy.messages import message_class, packed
from lateen.envoy.resources import CLUSTER, TYPE_PREFIX, make_resource
from lateen.model.services import Locality

API = "envoy.service.discovery.v3."
URL = TYPE_PREFIX + CLUSTER
NODE = {
    "id": "me",
    "cluster": "c",
    "metadata": {"LABELS": {"app": "a"}, "N": 1, "L": [True, None]},
    "locality": {"region": "eu", "zone": "eu-1", "sub_zone": "r2"},
    "user_agent_name": "envoy",
    "user_agent_build_version": {"version": {"major_number": 1, "minor_number": 40}},
}


def serialised(name: str, **fields: Any) -> bytes:
    content: bytes = message_class(API + name)(**fields).SerializeToString()
    return content


def test_delta_request_is_read() -> None:
    content = serialised(
        "DeltaDiscoveryRequest",
        type_url=URL,
        node=NODE,
        resource_names_subscribe=["a", "*"],
        resource_names_unsubscribe=["b"],
        initial_resource_versions={"a": "1"},
        response_nonce="7",
        error_detail={"code": 3, "message": "no\n"},
    )
    assert wire.decode_delta(content) == DeltaRequest(
        kind=CLUSTER,
        subscribe=("a", "*"),
        unsubscribe=("b",),
        initial_versions={"a": "1"},
        nonce="7",
        error="no",
        node=Node(
            id="me",
            cluster="c",
            metadata={"LABELS": {"app": "a"}, "N": 1.0, "L": [True, None]},
            locality=Locality("eu", "eu-1", "r2"),
            user_agent="envoy 1.40.0",
        ),
    )


def test_state_of_the_world_request_is_read() -> None:
    content = serialised("DiscoveryRequest", type_url=URL, resource_names=["a"], version_info="v", response_nonce="7")
    assert wire.decode_state_of_the_world(content) == StateOfTheWorldRequest(
        kind=CLUSTER, names=("a",), version="v", nonce="7"
    )


def test_rejection_without_a_message_is_still_one() -> None:
    content = serialised("DiscoveryRequest", type_url=URL, error_detail={"code": 13})
    assert wire.decode_state_of_the_world(content).error == "rejected without a reason (code 13)"


def test_responses_carry_resources_and_nonce() -> None:
    resource = make_resource(CLUSTER, "a", {"name": "a"})
    response = Response(kind=CLUSTER, nonce="9", version="s1", resources=(resource,), removed=("b",))
    body, nonce = packed(CLUSTER, {"name": "a"}), wire.encode_nonce("9")
    delta = message_class(API + "DeltaDiscoveryResponse").FromString(wire.encode_delta(response) + nonce)
    assert delta == message_class(API + "DeltaDiscoveryResponse")(
        type_url=URL,
        nonce="9",
        system_version_info="s1",
        resources=[{"name": "a", "version": resource.version, "resource": body}],
        removed_resources=["b"],
    )
    world = message_class(API + "DiscoveryResponse").FromString(wire.encode_state_of_the_world(response) + nonce)
    assert world == message_class(API + "DiscoveryResponse")(
        type_url=URL, nonce="9", version_info="s1", resources=[body]
    )


@pytest.mark.parametrize("decode", [wire.decode_delta, wire.decode_state_of_the_world])
@pytest.mark.parametrize("content", [b"\xff", b"\0" * (wire.MAX_REQUEST_BYTES + 1), b""])
def test_garbage_is_refused(decode: Any, content: bytes) -> None:
    """Not protobuf, too large, and without a type."""
    with pytest.raises(PeerError):
        decode(content)


@pytest.mark.parametrize(
    "fields",
    [
        {"resource_names_subscribe": ["x"] * (wire.MAX_NAMES + 1)},
        {"resource_names_unsubscribe": ["x"] * (wire.MAX_NAMES + 1)},
        {"resource_names_subscribe": ["x" * (wire.MAX_NAME_BYTES + 1)]},
        {"initial_resource_versions": {"x" * (wire.MAX_NAME_BYTES + 1): "1"}},
        {"initial_resource_versions": {"x": "1" * (wire.MAX_NAME_BYTES + 1)}},
    ],
)
def test_too_many_and_too_long_names_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(PeerError):
        wire.decode_delta(serialised("DeltaDiscoveryRequest", type_url=URL, **fields))


def test_long_reason_is_cut() -> None:
    content = serialised("DiscoveryRequest", type_url=URL, error_detail={"message": "x" * 100_000})
    assert wire.decode_state_of_the_world(content).error == "x" * wire.MAX_ERROR_CHARACTERS
