"""Explanations: what is said about a request, in the shape in which JSON, YAML and the API have it.

Made by `explaining`, printed by `cli/explain.py`, answered by `api/explaining.py`. Values without logic.
"""

from __future__ import annotations

from typing import Any

import msgspec


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """Base of everything that an explanation consists of."""


class Condition(Part, frozen=True, kw_only=True):
    """A condition of a rule that the request did not meet."""

    attribute: str
    """`principal`, `method`, `path`, `port`, `host`, `source IP`, `header NAME`, `claim NAME` ..."""
    wanted: list[str]
    """Any of these would have met it; with `unwanted`, any other."""
    actual: str
    """What the request has; empty when it has nothing."""
    unwanted: bool = False

    def __str__(self) -> str:
        """`principal: wanted cluster.local/ns/web/sa/frontend, is cluster.local/ns/default/sa/default`."""
        values = " or ".join(self.wanted)
        if self.unwanted:
            return f"{self.attribute}: must not be {values}, is {self.actual or 'absent'}"
        return f"{self.attribute}: wanted {values}, is {self.actual or 'absent'}"


class RuleVerdict(Part, frozen=True, kw_only=True):
    """One rule of one policy, and whether the request matches it."""

    policy: str
    """`NAMESPACE/NAME`; the name that Envoy knows it by when it comes from no policy."""
    rule: int
    """Position in the policy's `rules`, from 0; -1 when it has none."""
    origin: str
    """Where the policy stands, `policies.yaml:12`."""
    matched: bool
    failed: list[Condition] = []
    """Why not: the conditions of the alternative that came nearest."""


class Check(Part, frozen=True, kw_only=True):
    """One filter that the request passes, in the order of the filters."""

    filter: str
    action: str
    """`JWT`, `CUSTOM`, `DENY`, `ALLOW` or `AUDIT`."""
    outcome: str
    """`passed`, `denied`, `asks` (an authorization server decides) or `noted` (no effect)."""
    detail: str = ""
    rules: list[RuleVerdict] = []


class Peer(Part, frozen=True, kw_only=True):
    """A policy that decided something, and where it stands."""

    policy: str
    origin: str


class WorkloadVerdict(Part, frozen=True, kw_only=True):
    """What becomes of the request at one of the workloads behind the service."""

    workload: str
    """`NAME.NAMESPACE`, or the labels where it has no name."""
    namespace: str
    labels: dict[str, str]
    service_account: str
    addresses: list[str]
    """`IP:PORT` of each endpoint; empty for a workload that is imagined from the service's selector."""
    transport: str
    """`mutual TLS`, `TLS` or `plain text`."""
    principal: str
    """Who the caller is to this workload; empty when it proves nothing."""
    filter_chain: str
    """Name of the filter chain that takes the connection; empty when none does."""
    verdict: str
    """`allowed`, `denied` (a filter answers) or `refused` (the connection)."""
    status: int | None
    """What the caller sees; None when the application answers, or when it is no HTTP."""
    reason: str
    checks: list[Check] = []
    peer_authentication: Peer | None = None
    """Who decided about mutual TLS; None when nobody did."""
    nearest: list[RuleVerdict] = []
    """ALLOW rules that nearly matched, fewest failed conditions first."""
    policy: dict[str, Any] | None = None
    """The smallest AuthorizationPolicy that would allow the request, where one can."""
    advice: str = ""
    """What to do, when the request does not come through."""


class Asked(Part, frozen=True, kw_only=True):
    """The request as it was understood."""

    method: str
    url: str
    headers: dict[str, str] = {}
    claims: dict[str, Any] = {}
    """Of the token, unverified."""


class CallerView(Part, frozen=True, kw_only=True):
    """Who sends it."""

    proxy: str
    type: str
    identity: str
    """What its certificate says, without `spiffe://`."""
    source_ip: str


class DestinationView(Part, frozen=True, kw_only=True):
    """The service that is called."""

    host: str
    port: int
    protocol: str
    origin: str
    external: bool = False


class Explanation(Part, frozen=True, kw_only=True):
    """Everything that is said about a request: who calls what, then what each workload behind it makes of it."""

    request: Asked
    caller: CallerView
    verdict: str
    """`allowed`, `denied`, `refused`, or `mixed` when workloads differ."""
    gateway: WorkloadVerdict | None = None
    """What the gateway itself says, for a request that comes in through one."""
    destination: DestinationView | None = None
    workloads: list[WorkloadVerdict] = []
    notes: list[str] = []
    """What was assumed, and what is not explained though it may matter."""
