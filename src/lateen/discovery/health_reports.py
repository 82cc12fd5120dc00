"""What gateways say of plain endpoints, and what that comes to. Sans-IO: the caller brings the clock.

Used by `health_service`. Must not know: gRPC, Envoy's messages.

Problem: gateways see endpoints from different places and at different times, and a report does not tell an endpoint
that is sick from one that Envoy has not asked yet. What we do:

- An endpoint is sick when each gateway that reports about it says so. One with a bad way to it takes it from nobody.
- A stream's word that an endpoint is sick counts once that stream has called it healthy, or has had the time that its
  check takes to find out (`patience`): a fresh Envoy calls all endpoints unhealthy until it has asked them. An Envoy
  that ran before we did has asked them already, so that a control plane that comes back learns with the first report.
- What a gateway said last counts on while it is silent for some seconds (it comes back after a second or two) and until
  its new stream knows better. Then it counts only where nobody else reports, for a grace period after its stream has
  ended. So neither its restart nor ours changes anything; but when a host fails with a gateway and a server on it, the
  other gateways' word counts. An endpoint about which nobody has an opinion is served.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lateen.model.health import HealthTarget

GRACE_SECONDS = 60.0
"""Envoy comes back after 30 seconds at most, however long it could not reach us."""

MOST_GATEWAYS = 500
"""Those whose grace period runs count too: what they said takes memory."""

SILENCE_SECONDS = 15.0
"""Without a report, after which a gateway is none of those that report; its connection may be dead. Reports come every
ten seconds at least (`generate.health_checks`)."""


@dataclass(slots=True, eq=False)
class Reporter:
    """One stream of a gateway."""

    proxy: str
    """Its id."""
    deadlines: dict[HealthTarget, float] = field(default_factory=dict)
    """What it is asked, and from when on its word that one is sick counts."""
    first: frozenset[HealthTarget] = frozenset()
    """What it was asked with the first message."""
    seen_healthy: set[HealthTarget] = field(default_factory=set)
    started: bool = False


class HealthReports:
    """The opinions of all gateways."""

    def __init__(self, grace: float = GRACE_SECONDS) -> None:
        self._grace = grace
        self._newest: dict[str, Reporter] = {}
        """By proxy: of two streams of one (hot restart), the newer counts."""
        self._opinions: dict[HealthTarget, dict[str, bool]] = {}
        """Whether it is healthy, by proxy."""
        self._forget_at: dict[str, float] = {}
        """Proxies whose stream has ended."""
        self._heard_at: dict[str, float] = {}
        """When those that are not silent reported last."""
        self._sick: frozenset[HealthTarget] = frozenset()
        self.reports = 0

    @property
    def sick(self) -> frozenset[HealthTarget]:
        """Endpoints that all who report about them call sick: the same object while it does not change."""
        return self._sick

    @property
    def gateways(self) -> int:
        """How many report."""
        return len(self._newest)

    def opinions(self) -> Mapping[HealthTarget, Mapping[str, bool]]:
        """Return what each gateway says, healthy or not."""
        return self._opinions

    def admits(self, proxy: str) -> bool:
        """Whether there is room for what this gateway says."""
        known = self._newest.keys() | self._forget_at.keys()
        return proxy in known or len(known) < MOST_GATEWAYS

    def open(self, proxy: str) -> Reporter:
        """Begin a stream."""
        reporter = self._newest[proxy] = Reporter(proxy)
        self._forget_at.pop(proxy, None)
        return reporter

    def ask(self, reporter: Reporter, patience: Mapping[HealthTarget, float], now: float) -> None:
        """Note what a stream is asked from now on, each with the seconds that it may need to find out."""
        known = reporter.deadlines
        if not reporter.started:
            reporter.started, reporter.first = True, frozenset(patience)
        reporter.deadlines = {target: known.get(target, now + seconds) for target, seconds in patience.items()}
        reporter.seen_healthy &= patience.keys()
        if self._newest.get(reporter.proxy) is reporter:
            gone = [target for target, said in self._opinions.items() if reporter.proxy in said]
            for target in gone:
                if target not in patience:
                    self._drop(target, reporter.proxy)
            self._settle()

    def report(self, reporter: Reporter, said: Mapping[HealthTarget, bool], now: float, *, resumed: bool) -> None:
        """Take a report. What was not asked is not heard. `resumed`: the Envoy had been asking before this stream."""
        self.reports += 1
        if self._newest.get(reporter.proxy) is not reporter:
            return
        changed = reporter.proxy not in self._heard_at
        self._heard_at[reporter.proxy] = now
        for target, healthy in said.items():
            deadline = reporter.deadlines.get(target)
            if deadline is None:
                continue
            if healthy:
                reporter.seen_healthy.add(target)
            elif not (target in reporter.seen_healthy or now >= deadline or (resumed and target in reporter.first)):
                continue
            opinions = self._opinions.setdefault(target, {})
            if opinions.get(reporter.proxy) is not healthy:
                opinions[reporter.proxy] = healthy
                changed = True
        if changed:
            self._settle()

    def close(self, reporter: Reporter, now: float) -> None:
        """Note that a stream ended; what it said last stays for the grace period."""
        if self._newest.get(reporter.proxy) is reporter:
            del self._newest[reporter.proxy]
            self._forget_at[reporter.proxy] = now + self._grace

    def expire(self, now: float) -> None:
        """Forget gateways whose grace period is over, and note those that are silent."""
        silent = [proxy for proxy, at in self._heard_at.items() if at + SILENCE_SECONDS <= now]
        for proxy in silent:
            del self._heard_at[proxy]
        over = [proxy for proxy, at in self._forget_at.items() if at <= now]
        for proxy in over:
            del self._forget_at[proxy]
            for target in [target for target, said in self._opinions.items() if proxy in said]:
                self._drop(target, proxy)
        if over or silent:
            self._settle()

    def next_deadline(self) -> float | None:
        """Return when `expire` has something to do, None for never."""
        silences = (at + SILENCE_SECONDS for at in self._heard_at.values())
        return min((*self._forget_at.values(), *silences), default=None)

    def _drop(self, target: HealthTarget, proxy: str) -> None:
        said = self._opinions[target]
        del said[proxy]
        if not said:
            del self._opinions[target]

    def _settle(self) -> None:
        sick = frozenset(target for target, said in self._opinions.items() if not self._is_served(said))
        if sick != self._sick:
            self._sick = sick

    def _is_served(self, said: Mapping[str, bool]) -> bool:
        """Whether any of those that report now calls it healthy; if none does, any that did."""
        return any([healthy for proxy, healthy in said.items() if proxy in self._heard_at] or said.values())
