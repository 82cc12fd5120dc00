"""Streams at the same place get the same objects; streams elsewhere do not."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from lateen.discovery import sharing, wire
from lateen.discovery.protocol import Delta, Session, StateOfTheWorld
from lateen.discovery.sharing import Bodies, Sharing
from lateen.discovery.values import WILDCARD, DeltaRequest, Response, StateOfTheWorldRequest
from lateen.envoy.resources import CLUSTER, ENDPOINT, Snapshot
from unit.discovery.transcripts import fake_resource, fake_snapshot

NAMES = ("a", "b", "c")


def mesh(version: str, **endpoints: str) -> Snapshot:
    found: Mapping[str, str] = dict.fromkeys(NAMES, "1") | endpoints
    return fake_snapshot(version, *(fake_resource(ENDPOINT, name, there) for name, there in found.items()))


def asks(session: Session, variant: str, names: tuple[str, ...], snapshot: Snapshot) -> Response:  # type: ignore[type-arg]
    request = (
        DeltaRequest(kind=ENDPOINT, subscribe=names)
        if variant == "delta"
        else StateOfTheWorldRequest(kind=ENDPOINT, names=names)
    )
    (response,) = session.on_request(request, snapshot)
    return response


def answers(session: Session, variant: str, names: tuple[str, ...], snapshot: Snapshot, nonce: str) -> None:  # type: ignore[type-arg]
    request = (
        DeltaRequest(kind=ENDPOINT, nonce=nonce)
        if variant == "delta"
        else StateOfTheWorldRequest(kind=ENDPOINT, names=names, nonce=nonce)
    )
    assert session.on_request(request, snapshot) == []


@pytest.mark.parametrize("variant", ["delta", "sotw"])
def test_replicas_share_resources_and_bytes(variant: str) -> None:
    """First responses and changes alike, whatever the order of the names."""
    made = Sharing()
    encode = wire.encode_delta if variant == "delta" else wire.encode_state_of_the_world
    sessions: list[Session] = [Delta(made) if variant == "delta" else StateOfTheWorld(made) for _ in range(3)]  # type: ignore[type-arg]
    first, second = mesh("s1"), mesh("s2", b="2")
    for session, names in zip(sessions, (NAMES, NAMES[::-1], NAMES), strict=True):
        response = asks(session, variant, names, first)
        made.bodies.get(encode, response)
        answers(session, variant, names, first, response.nonce)
    changed = [response for session in sessions for response in session.on_publish(second)]
    assert [[resource.name for resource in response.resources] for response in changed] == [["b"]] * 3
    assert len({id(made.bodies.get(encode, response)) for response in changed}) == 1
    assert (len(made.bodies), made.bodies.misses, made.bodies.hits) == (2, 2, 4)


def test_other_names_and_other_bases_share_nothing_wrong() -> None:
    made = Sharing()
    one, other, late = Delta(made), Delta(made), Delta(made)
    first, second = mesh("s1"), mesh("s2", b="2", c="2")
    for session, names in ((one, ("a", "b")), (other, ("b", "c"))):
        asks(session, "delta", names, first)
        answers(session, "delta", names, first, "1")
    (to_one,), (to_other,) = one.on_publish(second), other.on_publish(second)
    to_late = asks(late, "delta", ("a", "b"), second)
    named = [[resource.name for resource in response.resources] for response in (to_one, to_other, to_late)]
    assert named == [["b"], ["b", "c"], ["a", "b"]]


def test_names_are_kept_once_while_somebody_has_them() -> None:
    made = Sharing()
    sessions = [Delta(made) for _ in range(3)]
    for session in sessions:
        asks(session, "delta", NAMES, mesh("s1"))
    assert made.known_names().count == 1
    assert len({id(session._subscriptions[ENDPOINT].names) for session in sessions}) == 1
    made.forget()
    del sessions, session
    assert made.known_names().count == 0


def test_bodies_are_bounded_by_their_bytes_and_keep_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "MAX_BODY_BYTES", 100)
    bodies = Bodies()
    for number in range(10):
        response = Response(kind=CLUSTER, nonce="1", version=str(number), removed=(WILDCARD,))
        assert len(bodies.get(lambda _response: b"x" * 40, response)) == 40
    assert (len(bodies), bodies.size) == (2, 80)
    bodies.get(lambda _response: b"x" * 500, Response(kind=CLUSTER, nonce="1", version="large"))
    assert (len(bodies), bodies.size) == (1, 500)
    bodies.forget()
    assert (len(bodies), bodies.size) == (0, 0)
