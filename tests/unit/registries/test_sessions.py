"""Sessions of agents, in virtual time."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from lateen.model.workloads import WorkloadRegistration
from lateen.registries.sessions import DRAIN_SECONDS, AgentSessions, Refusal, StreamId


def workload(address: str = "127.0.0.5", **fields: Any) -> WorkloadRegistration:
    given: dict[str, Any] = {"service": "reviews", "namespace": "default", "version": "v2"} | fields
    return WorkloadRegistration(address=address, **given)


def attach(sessions: AgentSessions, registration: WorkloadRegistration, now: float = 0) -> tuple[StreamId, str]:
    stream = sessions.open()
    taken = sessions.register(stream, registration, now)
    assert isinstance(taken, WorkloadRegistration), taken
    return stream, taken.name


def refusal(sessions: AgentSessions, registration: WorkloadRegistration, now: float = 0) -> str:
    taken = sessions.register(sessions.open(), registration, now)
    assert isinstance(taken, Refusal), taken
    return taken.message


def names(sessions: AgentSessions) -> list[str]:
    return [item.name for item in sessions.workloads()]


def test_workloads_get_the_lowest_free_ordinal_of_their_namespace() -> None:
    sessions = AgentSessions()
    first, name = attach(sessions, workload("127.0.0.1"))
    assert name == "reviews-v2-1"
    assert attach(sessions, workload("127.0.0.2"))[1] == "reviews-v2-2"
    assert attach(sessions, workload("127.0.0.3", version=""))[1] == "reviews-1"
    assert attach(sessions, workload("127.0.0.4", namespace="shop"))[1] == "reviews-v2-1"
    sessions.leave(first, 0)
    sessions.gone(("default", "reviews-v2-1"))
    assert attach(sessions, workload("127.0.0.6"))[1] == "reviews-v2-1"


def test_names_are_dns_labels_whatever_the_version_says() -> None:
    sessions = AgentSessions()
    assert attach(sessions, workload("127.0.0.1", version="1.2_Beta"))[1] == "reviews-1-2-beta-1"
    name = attach(sessions, workload("127.0.0.2", service="s" * 63))[1]
    assert len(name) == 63
    assert name.endswith("s-1")


def test_gateways_are_named_after_their_labels() -> None:
    sessions = AgentSessions()
    gateway = workload("127.0.0.1", service="", version="", labels={"istio": "ingressgateway"})
    assert attach(sessions, gateway)[1] == "ingressgateway-1"
    assert attach(sessions, workload("127.0.0.2", service="", version=""))[1] == "gateway-1"


def test_a_change_keeps_the_name() -> None:
    sessions = AgentSessions()
    stream, _ = attach(sessions, workload())
    changed = sessions.register(stream, workload(ready=True), 1)
    assert isinstance(changed, WorkloadRegistration)
    assert (changed.name, changed.ready) == ("reviews-v2-1", True)
    assert list(sessions.workloads()) == [changed]


def test_a_stream_is_one_workload() -> None:
    sessions = AgentSessions()
    stream, _ = attach(sessions, workload())
    assert isinstance(sessions.register(stream, workload(name="other"), 1), Refusal)
    assert isinstance(sessions.register(stream, workload(namespace="shop"), 1), Refusal)
    assert names(sessions) == ["reviews-v2-1"]


def test_who_leaves_is_not_sent_to_and_stays_until_its_proxy_is_gone() -> None:
    """Requests under way need the proxy's inbound side, which is there because the workload is."""
    sessions = AgentSessions()
    stream, name = attach(sessions, workload(ready=True))
    left = sessions.leave(stream, 1)
    assert left is not None
    assert left.ready
    assert [found.ready for found in sessions.workloads()] == [False]
    assert sessions.disconnect(stream, 1) is None
    assert sessions.leave(stream, 1) is None
    assert sessions.gone(("default", name))
    assert names(sessions) == []
    assert not sessions.gone(("default", name))


def test_a_proxy_that_stays_does_not_keep_a_workload_that_has_left_for_ever() -> None:
    sessions = AgentSessions()
    stream, _ = attach(sessions, workload())
    sessions.leave(stream, 1)
    assert sessions.next_deadline() == 1 + DRAIN_SECONDS
    assert sessions.expire(DRAIN_SECONDS) == ()
    assert [ended.service for ended in sessions.expire(1 + DRAIN_SECONDS)] == ["reviews"]
    assert names(sessions) == []


def test_only_who_has_left_goes_with_its_proxy() -> None:
    """A proxy that reconnects, or a sidecar whose Envoy crashed, is no goodbye."""
    sessions = AgentSessions()
    attach(sessions, workload())
    assert not sessions.gone(("default", "reviews-v2-1"))
    assert names(sessions) == ["reviews-v2-1"]


def test_a_broken_stream_keeps_its_workload_for_the_grace_period() -> None:
    sessions = AgentSessions(grace=5)
    stream, _ = attach(sessions, workload())
    sessions.disconnect(stream, 10)
    assert sessions.next_deadline() == 15
    assert sessions.expire(14.9) == ()
    assert names(sessions) == ["reviews-v2-1"]
    assert [item.name for item in sessions.expire(15)] == ["reviews-v2-1"]
    assert names(sessions) == []
    assert sessions.next_deadline() is None


def test_a_return_within_the_grace_takes_the_session_over() -> None:
    """Even at another address; and the old stream's end then means nothing."""
    sessions = AgentSessions(grace=5)
    old, name = attach(sessions, workload())
    sessions.disconnect(old, 0)
    new, again = attach(sessions, workload("127.0.0.9", name=name), 1)
    assert again == name
    assert sessions.next_deadline() is None
    assert sessions.disconnect(old, 2) is None
    assert sessions.leave(old, 0) is None
    assert [item.address for item in sessions.workloads()] == ["127.0.0.9"]
    assert sessions.leave(new, 0) is not None


def test_a_return_before_the_old_stream_is_known_to_be_broken_takes_over_too() -> None:
    sessions = AgentSessions()
    old, name = attach(sessions, workload())
    attach(sessions, workload(name=name))
    assert sessions.disconnect(old, 1) is None
    assert sessions.next_deadline() is None


def test_a_name_or_address_of_a_connected_workload_is_refused_to_others() -> None:
    sessions = AgentSessions()
    attach(sessions, workload("127.0.0.1"))
    assert "already attached, at 127.0.0.1" in refusal(sessions, workload("127.0.0.2", name="reviews-v2-1"))
    assert "belongs to workload reviews-v2-1.default" in refusal(sessions, workload("127.0.0.1", service="x"))
    assert names(sessions) == ["reviews-v2-1"]


def test_the_same_address_in_another_network_is_another_address() -> None:
    sessions = AgentSessions()
    attach(sessions, workload())
    attach(sessions, workload(network="b"))
    assert len(sessions.workloads()) == 2


def test_a_change_cannot_take_another_ones_address() -> None:
    sessions = AgentSessions()
    attach(sessions, workload("127.0.0.1"))
    second, _ = attach(sessions, workload("127.0.0.2"))
    assert isinstance(sessions.register(second, workload("127.0.0.1"), 0), Refusal)


def test_whoever_comes_to_the_address_of_a_lost_workload_replaces_it() -> None:
    """An app that crashed and was started again at once does not wait for the grace, nor count up."""
    sessions = AgentSessions(grace=5)
    old, name = attach(sessions, workload())
    sessions.disconnect(old, 0)
    _, again = attach(sessions, workload(), 1)
    assert again == name
    assert len(sessions.workloads()) == 1


class Attachments(RuleBasedStateMachine):
    """Whatever streams do: names and addresses of the living are unique, and everything lost ends."""

    def __init__(self) -> None:
        super().__init__()
        self.sessions = AgentSessions(grace=5)
        self.streams = [self.sessions.open() for _ in range(4)]
        self.now = 0.0

    @rule(
        index=st.integers(0, 3),
        address=st.sampled_from(["127.0.0.1", "127.0.0.2", "127.0.0.3"]),
        name=st.sampled_from(["", "", "reviews-v2-1", "x"]),
    )
    def register(self, index: int, address: str, name: str) -> None:
        self.sessions.register(self.streams[index], workload(address, name=name), self.now)

    @rule(index=st.integers(0, 3), graceful=st.booleans())
    def end(self, index: int, *, graceful: bool) -> None:
        if graceful:
            self.sessions.leave(self.streams[index], self.now)
        self.sessions.disconnect(self.streams[index], self.now)
        self.streams[index] = self.sessions.open()

    @rule(seconds=st.floats(0.1, 6))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.sessions.expire(self.now)
        deadline = self.sessions.next_deadline()
        assert deadline is None or self.now < deadline <= self.now + DRAIN_SECONDS

    @rule(name=st.sampled_from(["reviews-v2-1", "reviews-v2-2", "x"]))
    def gone(self, name: str) -> None:
        if self.sessions.gone(("default", name)):
            assert name not in names(self.sessions)

    @invariant()
    def unique(self) -> None:
        living = self.sessions.workloads()
        assert len({item.name for item in living}) == len(living)
        assert len({item.address for item in living}) == len(living)
        assert len(living) <= 3

    def teardown(self) -> None:
        for stream in self.streams:
            self.sessions.disconnect(stream, self.now)
        self.sessions.expire(self.now + DRAIN_SECONDS)
        assert not self.sessions.workloads()


TestAttachments = Attachments.TestCase
TestAttachments.settings = settings(stateful_step_count=20)
