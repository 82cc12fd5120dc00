"""Whatever clients ask, answer and reject, and whatever is published meanwhile: streams converge, nothing loops."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from lateen.discovery.protocol import FULL_SET, Delta, StateOfTheWorld
from lateen.discovery.values import WILDCARD, DeltaRequest, Response, StateOfTheWorldRequest
from lateen.envoy.resources import CLUSTER, ENDPOINT, LISTENER, ROUTE, Resource, Snapshot
from unit.discovery.transcripts import fake_resource, fake_snapshot

NAMES = ("a", "b", "c", "d")
KINDS = (CLUSTER, ENDPOINT, LISTENER, ROUTE)
BAD = "bad"
"""A version that rejecting clients reject."""

versions = st.sampled_from(("1", "2", BAD))
some_names = st.frozensets(st.sampled_from(NAMES), max_size=3)
clusters = st.dictionaries(st.sampled_from(NAMES), versions, min_size=1)


@st.composite
def resources(draw: st.DrawFn) -> list[Resource]:
    """A consistent mesh: each route and listener names a cluster that is there; its version says which."""
    there = draw(clusters)
    users = st.fixed_dictionaries(
        {"a": st.tuples(st.sampled_from(sorted(there)), versions)},
        optional={name: st.tuples(st.sampled_from(sorted(there)), versions) for name in ("b", "c")},
    )
    made = [fake_resource(CLUSTER, name, version) for name, version in there.items()]
    made += [fake_resource(ENDPOINT, name, draw(versions)) for name in there]
    for kind in (LISTENER, ROUTE):
        made += [fake_resource(kind, name, f"{to}.{version}") for name, (to, version) in draw(users).items()]
    return made


class Machine(RuleBasedStateMachine):
    """A client and a session with an ordered link between them. Subclasses speak one variant."""

    @initialize(published=resources(), rejecting=st.booleans(), impatient=st.booleans(), waits=st.booleans())
    def connect_first(self, published: list[Resource], rejecting: bool, impatient: bool, waits: bool) -> None:
        self.count = 0
        self.rejecting = rejecting
        self.impatient = impatient
        self.held: dict[str, dict[str, str]] = {}
        self.wanted: dict[str, set[str]] = {}
        self.snapshot: Snapshot | None = None
        self.open()
        if not waits:
            self.publish(published)
        self.ask(CLUSTER, {WILDCARD})
        self.ask(ROUTE, {"a", "b"})
        if waits:
            self.publish(published)

    # What a variant does.

    def new_session(self) -> Delta | StateOfTheWorld:
        raise NotImplementedError

    def ask(self, kind: str, names: set[str]) -> None:
        raise NotImplementedError

    def answer(self, response: Response, error: str | None) -> list[Response]:
        raise NotImplementedError

    def apply(self, response: Response) -> None:
        raise NotImplementedError

    # What happens.

    def open(self) -> None:
        self.session = self.new_session()
        self.inbox: deque[Response] = deque()
        self.newest_nonce: dict[str, str] = {}

    @rule(published=resources())
    def publish(self, published: list[Resource]) -> None:
        self.count += 1
        self.snapshot = fake_snapshot(f"s{self.count}", *published)
        self.inbox += self.session.on_publish(self.snapshot)

    @rule(kind=st.sampled_from((CLUSTER, LISTENER)))
    def ask_for_all(self, kind: str) -> None:
        self.ask(kind, {WILDCARD})

    @rule(kind=st.sampled_from((ENDPOINT, ROUTE, LISTENER)), names=some_names)
    def ask_for_names(self, kind: str, names: frozenset[str]) -> None:
        if names:
            self.ask(kind, set(names))

    @precondition(lambda self: self.impatient)
    @rule()
    def run_out_of_patience(self) -> None:
        self.inbox += self.session.on_timeout()

    @precondition(lambda self: self.inbox)
    @rule()
    def take_one(self) -> None:
        response = self.inbox.popleft()
        self.newest_nonce[response.kind] = response.nonce
        rejected = self.rejecting and any(BAD in resource.version for resource in response.resources)
        if not rejected:
            self.apply(response)
        self.inbox += self.answer(response, "no" if rejected else None)

    @precondition(lambda self: self.inbox)
    @rule(published=resources())
    def take_all_and_publish(self, published: list[Resource]) -> None:
        self.drain()
        self.publish(published)

    def drain(self) -> None:
        # Each answer brings at most what is left to say of a kind; a loop would never end.
        for _ in range(20):
            if self.inbox:
                self.take_one()
                self.no_route_names_a_missing_cluster()
        assert not self.inbox

    @invariant()
    def backlog_is_one_response_of_a_kind(self) -> None:
        kinds = [response.kind for response in self.inbox]
        assert len(kinds) == len(set(kinds))

    @invariant()
    def memory_is_bounded(self) -> None:
        for subscription in self.session._subscriptions.values():
            assert len(subscription.exceptions) <= len(NAMES)
            assert subscription.names <= set(NAMES)

    @invariant()
    def no_route_names_a_missing_cluster(self) -> None:
        if self.rejecting or self.impatient or CLUSTER not in self.held:
            return
        for name, version in self.held.get(ROUTE, {}).items():
            assert version.split(".")[0] in self.held[CLUSTER] or self.is_forgotten(name)

    def is_forgotten(self, route: str) -> bool:
        """Whether the client has no way to learn that this route is gone: then no listener uses it any more."""
        return False

    def teardown(self) -> None:
        if not hasattr(self, "inbox"):
            return
        self.drain()
        assert self.snapshot
        assert self.session.is_settled_on(self.snapshot)
        for kind in self.wanted:
            state = self.session.statuses()[kind].state
            assert state == "synced" or (state == "rejected" and self.rejecting)
            if not self.rejecting:
                assert self.held.get(kind, {}) == self.expected(kind)

    def expected(self, kind: str) -> dict[str, str]:
        assert self.snapshot
        there: Mapping[str, Resource] = self.snapshot.resources.get(kind, {})
        wanted = self.wanted[kind]
        return {name: r.version for name, r in there.items() if WILDCARD in wanted or name in wanted}


class DeltaMachine(Machine):
    def new_session(self) -> Delta:
        return Delta()

    def ask(self, kind: str, names: set[str]) -> None:
        first = kind not in self.wanted
        self.wanted.setdefault(kind, set()).update(names)
        request = DeltaRequest(kind=kind, subscribe=tuple(sorted(names)))
        assert isinstance(self.session, Delta)
        self.inbox += self.session.on_request(request, self.snapshot)
        assert first or kind in self.session._subscriptions

    @rule(kind=st.sampled_from((ENDPOINT, ROUTE, LISTENER)), names=some_names)
    def unsubscribe(self, kind: str, names: frozenset[str]) -> None:
        assert isinstance(self.session, Delta)
        gone = names & self.wanted.get(kind, set())
        if not gone:
            return
        self.wanted[kind] -= gone
        if WILDCARD not in self.wanted[kind]:
            for name in gone:
                self.held.get(kind, {}).pop(name, None)
        request = DeltaRequest(kind=kind, unsubscribe=tuple(sorted(gone)))
        self.inbox += self.session.on_request(request, self.snapshot)

    @rule()
    def reconnect(self) -> None:
        self.open()
        assert isinstance(self.session, Delta)
        for kind, names in self.wanted.items():
            request = DeltaRequest(
                kind=kind, subscribe=tuple(sorted(names)), initial_versions=dict(self.held.get(kind, {}))
            )
            self.inbox += self.session.on_request(request, self.snapshot)

    def answer(self, response: Response, error: str | None) -> list[Response]:
        assert isinstance(self.session, Delta)
        request = DeltaRequest(kind=response.kind, nonce=response.nonce, error=error)
        return self.session.on_request(request, self.snapshot)

    def apply(self, response: Response) -> None:
        held = self.held.setdefault(response.kind, {})
        wanted = self.wanted[response.kind]
        for resource in response.resources:
            if WILDCARD in wanted or resource.name in wanted:
                held[resource.name] = resource.version
        for name in response.removed:
            held.pop(name, None)


class StateOfTheWorldMachine(Machine):
    def new_session(self) -> StateOfTheWorld:
        self.forgotten: set[str] = set()
        """Routes that were gone in some snapshot since the client last got them."""
        return StateOfTheWorld()

    def ask(self, kind: str, names: set[str]) -> None:
        self.wanted[kind] = names
        if kind in self.held and WILDCARD not in names:
            self.held[kind] = {name: held for name, held in self.held[kind].items() if name in names}
        self._send(kind, self.newest_nonce.get(kind, ""))

    def _send(self, kind: str, nonce: str, error: str | None = None) -> None:
        assert isinstance(self.session, StateOfTheWorld)
        names = tuple(sorted(self.wanted[kind]))
        request = StateOfTheWorldRequest(kind=kind, names=names, nonce=nonce, error=error)
        self.inbox += self.session.on_request(request, self.snapshot)

    @rule(kind=st.sampled_from(KINDS))
    def ask_for_the_same_again(self, kind: str) -> None:
        if kind in self.wanted:
            self._send(kind, self.newest_nonce.get(kind, ""))

    def answer(self, response: Response, error: str | None) -> list[Response]:
        self._send(response.kind, response.nonce, error)
        return []

    def apply(self, response: Response) -> None:
        wanted = self.wanted[response.kind]
        held = {} if response.kind in FULL_SET else self.held.get(response.kind, {})
        held |= {r.name: r.version for r in response.resources if WILDCARD in wanted or r.name in wanted}
        self.held[response.kind] = held
        if response.kind == ROUTE:
            there = self.snapshot.resources.get(ROUTE, {}) if self.snapshot else {}
            self.forgotten -= {resource.name for resource in response.resources if resource.name in there}

    def publish(self, published: list[Resource]) -> None:
        self.forgotten |= {name for name in NAMES if name not in {r.name for r in published if r.kind == ROUTE}}
        super().publish(published)

    def is_forgotten(self, route: str) -> bool:
        return route in self.forgotten

    def expected(self, kind: str) -> dict[str, str]:
        expected = super().expected(kind)
        if kind in FULL_SET:
            return expected
        # Absence is no removal for these: the client keeps what it had until it stops naming it.
        return {name: held for name, held in self.held.get(kind, {}).items() if name not in expected} | expected


_SETTINGS = settings(stateful_step_count=25)

TestDelta = DeltaMachine.TestCase
TestDelta.settings = _SETTINGS
TestStateOfTheWorld = StateOfTheWorldMachine.TestCase
TestStateOfTheWorld.settings = _SETTINGS
