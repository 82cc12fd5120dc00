from __future__ import annotations

import pytest

from lateen.discovery import subscriptions
from lateen.discovery.protocol import MAX_KEPT, MAX_KINDS, Delta
from lateen.discovery.sharing import Memo, Sharing, compare
from lateen.discovery.subscriptions import Subscription
from lateen.discovery.values import DeltaRequest, PeerError
from lateen.envoy.resources import CLUSTER, KINDS, ROUTE, Resources
from unit.discovery.transcripts import fake_resource, fake_snapshot


def clusters(**versions: str) -> Resources:
    return {name: fake_resource(CLUSTER, name, version) for name, version in versions.items()}


def test_compare_names_what_differs() -> None:
    assert compare(clusters(a="1", b="1", c="1"), clusters(a="1", b="2", d="1")) == {"b", "c", "d"}
    assert compare({}, {}) == frozenset()


def test_pair_is_compared_once_and_not_mixed_up_with_others() -> None:
    sharing, base, target = Sharing(), clusters(a="1"), clusters(a="2")
    assert sharing.compare(base, target) is sharing.compare(base, target)
    assert sharing.compare(target, target) == frozenset()
    for number in range(1000):
        assert sharing.compare(base, clusters(b=str(number))) == {"a", "b"}


def test_memo_is_bounded() -> None:
    memo = Memo[int](limit=3)
    assert [memo.get(number, None, lambda n=number: n) for number in range(9)] == list(range(9))  # type: ignore[misc]
    assert len(memo) == 3


def test_clients_share_the_map_they_hold() -> None:
    """A thousand wildcard clients cost a thousand references."""
    snapshot = fake_snapshot("s1", *clusters(a="1", b="1").values())
    sessions = [Delta() for _ in range(3)]
    for session in sessions:
        session.on_request(DeltaRequest(kind=CLUSTER, subscribe=("*",)), snapshot)
    for session in sessions:
        assert session._subscriptions[CLUSTER].base.told is snapshot.resources[CLUSTER]
        assert not session._subscriptions[CLUSTER].exceptions


def test_names_of_a_client_that_only_adds_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscriptions, "MAX_NAMES", 10)
    subscription = Subscription(CLUSTER)
    subscription.add(str(number) for number in range(10))
    with pytest.raises(PeerError, match="more than 10 names"):
        subscription.add(["another"])


def test_kinds_of_a_client_are_bounded() -> None:
    session = Delta()
    for number in range(MAX_KINDS):
        session.on_request(DeltaRequest(kind=f"kind.{number}"), None)
    with pytest.raises(PeerError, match="resource types"):
        session.on_request(DeltaRequest(kind="one.more"), None)


def test_client_that_rejects_for_ever_keeps_a_bounded_number_of_removed_clusters() -> None:
    session = Delta()
    many = [fake_resource(CLUSTER, str(number), "1") for number in range(MAX_KEPT + 1)]
    first = fake_snapshot("s1", *many, fake_resource(ROUTE, "80", "1"))
    session.on_request(DeltaRequest(kind=CLUSTER, subscribe=("*",), nonce=""), first)
    session.on_request(DeltaRequest(kind=CLUSTER, nonce="1"), first)
    (route,) = session.on_request(DeltaRequest(kind=ROUTE, subscribe=("80",)), first)
    second = fake_snapshot("s2", *many[1:], fake_resource(ROUTE, "80", "1"))
    assert session.on_publish(second) == []
    assert session.on_request(DeltaRequest(kind=ROUTE, nonce=route.nonce, error="no"), second) == []
    assert session._subscriptions[CLUSTER].exceptions == {"0": "1"}
    (response,) = session.on_publish(fake_snapshot("s3", fake_resource(ROUTE, "80", "1")))
    assert len(response.removed) == MAX_KEPT + 1


def test_statuses_cover_every_kind_that_lateen_serves() -> None:
    session = Delta()
    assert list(session.statuses()) == list(KINDS)
    assert {status.state for status in session.statuses().values()} == {"not sent"}
    session.on_request(DeltaRequest(kind="other.kind"), None)
    assert list(session.statuses()) == [*KINDS, "other.kind"]
