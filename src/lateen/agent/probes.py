"""Whether the app is ready, from the outcomes of checks: the counting of Kubernetes' readiness probes. Pure.

Called by `watching`, which makes the checks. A verdict is said when it changes only: after so many successes or
failures in a row. Before the first verdict the app is not ready. Must not know: sockets, clocks or the control plane.

Kubernetes makes the second check a whole period after the first, also while an app starts. Here an app that was never
ready yet is asked every second (`pause`), so that it is not kept from its traffic for a period that was meant for
something else.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from lateen.agent.protobuf_wire import text_field
from lateen.model.probes import Probe

_STARTING_SECONDS = 1.0


class Verdict(Enum):
    """What is known of the app."""

    UNKNOWN = "unknown"
    READY = "ready"
    SICK = "sick"


@dataclass(frozen=True, slots=True)
class Health:
    """What the checks so far say. Outcomes are counted in a row: one of the other kind begins anew."""

    verdict: Verdict = Verdict.UNKNOWN
    good: int = 0
    bad: int = 0

    def after(self, problem: str, probe: Probe) -> Health:
        """Return the health after one more check; `problem` is empty when it succeeded."""
        if problem:
            bad = self.bad + 1
            return Health(Verdict.SICK if bad >= probe.failures else self.verdict, 0, bad)
        good = self.good + 1
        return Health(Verdict.READY if good >= probe.successes else self.verdict, good, 0)


@dataclass(frozen=True, slots=True)
class Course:
    """A health and whether it was ever good."""

    health: Health = Health()
    was_ready: bool = False

    def after(self, problem: str, probe: Probe) -> Course:
        """Return the course after one more check."""
        health = self.health.after(problem, probe)
        return replace(self, health=health, was_ready=self.was_ready or health.verdict is Verdict.READY)

    def pause(self, probe: Probe, took: float) -> float:
        """Return the seconds from the end of a check that took so long to the next one: periods are of beginnings."""
        period = probe.period if self.was_ready else min(probe.period, _STARTING_SECONDS)
        return max(0.0, period - took)


@dataclass(slots=True)
class Tally:
    """Checks so far, for the metrics page."""

    checks: int = 0
    failures: int = 0


def http_problem(status: int) -> str:
    """Return what an answer says against the app; empty for what Kubernetes takes for good: 200 to 399."""
    return "" if 200 <= status < 400 else f"HTTP {status}"


_SERVING = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}
"""`grpc.health.v1.HealthCheckResponse.ServingStatus`."""


def health_request(service: str) -> bytes:
    """Return a `grpc.health.v1.HealthCheckRequest`: field 1, the service's name."""
    return text_field(1, service) if service else b""


def health_problem(answer: bytes) -> str:
    """Return what a `grpc.health.v1.HealthCheckResponse` (field 1, a status) says against the app."""
    status = 0
    if answer[:1] == b"\x08" and len(answer) > 1:
        status = answer[1]
    return "" if status == 1 else f"gRPC health {_SERVING.get(status, status)}"
