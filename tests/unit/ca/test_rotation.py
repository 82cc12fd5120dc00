"""Rotation of a root: examples of the table, and a machine of agents that come and go."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from lateen.ca.rotation import Facts, Phase, Rotation, Times, start, step, waits

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
MINUTE = dt.timedelta(minutes=1)
TIMES = Times(least=MINUTE, switching=10 * MINUTE, leaf=600 * MINUTE)


def facts(**fields: object) -> Facts:
    return Facts(**{"watching_since": NOW, "absent": (), **fields})  # type: ignore[arg-type]


def at(phase: Phase) -> Rotation:
    ends = NOW + TIMES.leaf if phase in (Phase.SWITCHING, Phase.FINISHING) else None
    return Rotation(phase=phase, since=NOW, old_leaves_end=ends)


def test_a_rotation_that_nobody_holds_up_goes_through_its_phases() -> None:
    rotation, now, phases = start(Rotation(), NOW), NOW, []
    while rotation.phase is not Phase.STEADY:
        phases.append(rotation.phase)
        now += MINUTE
        rotation = step(rotation, facts(), now, times=TIMES)

    assert phases == [Phase.DISTRIBUTING, Phase.SWITCHING, Phase.FINISHING]
    assert rotation == Rotation()


def test_one_rotation_at_a_time() -> None:
    with pytest.raises(ValueError, match="under way"):
        start(start(Rotation(), NOW), NOW)


def test_nothing_happens_while_steady_even_when_forced() -> None:
    assert step(Rotation(), facts(), NOW, force=True) == Rotation()


@pytest.mark.parametrize("phase", [Phase.DISTRIBUTING, Phase.SWITCHING, Phase.FINISHING])
def test_a_control_plane_that_has_just_started_waits_for_its_agents(phase: Phase) -> None:
    """Nobody connected yet is not everybody."""
    later = NOW + 5 * MINUTE

    assert step(at(phase), facts(watching_since=later), later + MINUTE / 2, times=TIMES).phase is phase
    assert step(at(phase), facts(watching_since=later), later + MINUTE, times=TIMES).phase is not phase


def test_distributing_waits_for_ever_for_a_connected_agent_and_names_it() -> None:
    seen = facts(distrusting=("reviews-1.default",))
    much_later = NOW + dt.timedelta(days=30)

    assert step(at(Phase.DISTRIBUTING), seen, much_later, times=TIMES).phase is Phase.DISTRIBUTING
    assert waits(at(Phase.DISTRIBUTING), seen, much_later, times=TIMES) == ("reviews-1.default to trust the new root",)


def test_force_goes_on_without_waiting() -> None:
    assert step(at(Phase.DISTRIBUTING), facts(distrusting=("a",)), NOW, force=True).phase is Phase.SWITCHING


@pytest.mark.parametrize("phase", [Phase.DISTRIBUTING, Phase.FINISHING])
def test_whoever_is_not_connected_is_waited_for_until_no_leaf_of_theirs_is_valid(phase: Phase) -> None:
    for absent in (None, ("gone.default",)):
        seen = facts(absent=absent)
        assert step(at(phase), seen, NOW + TIMES.leaf - MINUTE, times=TIMES).phase is phase
        assert step(at(phase), seen, NOW + TIMES.leaf, times=TIMES).phase is not phase


def test_switching_ends_after_its_time_even_if_somebody_does_not_renew() -> None:
    seen = facts(holding_old=("stubborn.default",))

    assert step(at(Phase.SWITCHING), seen, NOW + 9 * MINUTE, times=TIMES).phase is Phase.SWITCHING
    assert step(at(Phase.SWITCHING), seen, NOW + 10 * MINUTE, times=TIMES).phase is Phase.FINISHING


def test_finishing_ends_when_the_last_old_leaf_has_expired_whoever_holds_it() -> None:
    seen = facts(holding_old=("stubborn.default",))

    assert step(at(Phase.FINISHING), seen, NOW + TIMES.leaf - MINUTE, times=TIMES).phase is Phase.FINISHING
    assert step(at(Phase.FINISHING), seen, NOW + TIMES.leaf, times=TIMES) == Rotation()


@dataclass
class Agent:
    """One that follows the protocol: takes the roots it is told and those that come with a leaf."""

    trusts: frozenset[int]
    root: int
    expires: dt.datetime
    connected: bool = True


class Mesh(RuleBasedStateMachine):
    """Agents come, go, are slow and renew in any order, while roots are rotated and the control plane restarts."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.rotation = Rotation()
        self.root = 0
        self.watching_since = NOW
        self.agents: list[Agent] = []
        self.knows_absent = True

    @initialize(agents=st.integers(2, 4), knows_absent=st.booleans())
    def begin(self, agents: int, knows_absent: bool) -> None:
        self.knows_absent = knows_absent
        for _ in range(agents):
            self.agents.append(Agent(self.trusted, self.issuing, self.now + TIMES.leaf))

    @property
    def trusted(self) -> frozenset[int]:
        return frozenset({self.root, self.root + 1} if self.rotation.trusts_new else {self.root})

    @property
    def issuing(self) -> int:
        return self.root + self.rotation.issues_new

    def renew(self, agent: Agent) -> None:
        agent.trusts, agent.root, agent.expires = self.trusted, self.issuing, self.now + TIMES.leaf

    @rule(which=st.integers(0, 3), does=st.sampled_from(["leave", "come", "trust", "renew"]))
    def an_agent(self, which: int, does: str) -> None:
        """Acts in its own time. To connect it needs a leaf that is valid; only the connected are told anything."""
        agent = self.agents[which % len(self.agents)]
        match does:
            case "leave":
                agent.connected = False
            case "come":
                if agent.expires <= self.now:
                    self.renew(agent)
                agent.connected = True
            case "trust" if agent.connected:
                agent.trusts = self.trusted
            case "renew" if agent.connected:
                self.renew(agent)

    @rule()
    def restart(self) -> None:
        """Everybody's connection breaks; who is absent is no longer known."""
        self.watching_since = self.now
        self.knows_absent = False
        for agent in self.agents:
            agent.connected = False

    @rule(minutes=st.sampled_from([0, 1, 5, 200]))
    def look(self, minutes: int) -> None:
        """Let time pass and take a step."""
        self.now += minutes * MINUTE
        if self.rotation.phase is Phase.STEADY:
            self.rotation = start(self.rotation, self.now)
        after = step(self.rotation, self.seen(), self.now, times=TIMES)
        if after.phase is Phase.STEADY:
            self.root += 1
        self.rotation = after

    def seen(self) -> Facts:
        valid = [(str(n), agent) for n, agent in enumerate(self.agents) if agent.expires > self.now]
        old = {name for name, agent in valid if agent.root == self.root}
        distrusting = {name for name, agent in valid if not self.trusted <= agent.trusts}
        away = {name for name, agent in valid if not agent.connected}
        concerned = old if self.rotation.issues_new else distrusting
        return Facts(
            watching_since=self.watching_since,
            distrusting=tuple(sorted(distrusting - away)),
            holding_old=tuple(sorted(old - away)),
            absent=tuple(sorted(concerned & away)) if self.knows_absent else None,
        )

    @invariant()
    def everybody_understands_everybody(self) -> None:
        """No valid leaf is refused by the holder of another."""
        valid = [agent for agent in self.agents if agent.expires > self.now]
        assert all(one.root in other.trusts for one in valid for other in valid)

    @invariant()
    def the_control_plane_is_understood_and_understands(self) -> None:
        """It serves with the old root's certificate until the end, and takes every leaf that is valid."""
        for agent in self.agents:
            if agent.expires > self.now:
                assert self.root in agent.trusts
                assert agent.root in self.trusted


TestMesh = Mesh.TestCase
