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
    cluster: str = ""
    """The cluster of the caller's proxy that leads here, `outbound|9080|v1|reviews.default.svc.cluster.local`."""


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


# --- routing -------------------------------------------------------------------------------------------------


class Step(Part, frozen=True, kw_only=True):
    """One decision on the way of the request through the proxy, in order."""

    what: str
    """`listener`, `filter chain`, `routes`, `virtual host` or `route`."""
    name: str
    why: str = ""
    """What of the request decided."""
    origin: str = ""
    """Where the document behind it stands, `bookinfo.yaml:14`; empty when nothing that was written is behind it."""
    config: str = ""
    """That document, `VirtualService default/reviews`."""


class NearMiss(Part, frozen=True, kw_only=True):
    """What nearly took the request instead, or what was probably meant."""

    what: str
    """`route`, `virtual host`, `filter chain` or `service`."""
    name: str
    origin: str = ""
    failed: list[Condition] = []
    """The conditions that it did not meet."""
    reason: str = ""
    """The same in a sentence."""


class HeaderChange(Part, frozen=True, kw_only=True):
    """One header that the proxy changes, in the order in which it does."""

    level: str
    """Who says so: `destination` (one of several with weights), `route`, `virtual host` or `routes`."""
    action: str
    """`set`, `add` (to what is there) or `remove`; `set if there`, `add if absent`."""
    name: str
    value: str = ""


class ForwardedRequest(Part, frozen=True, kw_only=True):
    """The request as the server gets it: the proxy's own tracing and forwarding headers are left out."""

    method: str
    authority: str
    path: str
    headers: dict[str, str] = {}


class EndpointView(Part, frozen=True, kw_only=True):
    """One endpoint of a cluster."""

    address: str
    health: str = "unknown"
    """As the control plane says: `unknown` counts as healthy."""
    locality: str = ""
    priority: int = 0
    weight: int = 1


class TransportView(Part, frozen=True, kw_only=True):
    """How a connection to some endpoints of a cluster is made."""

    mode: str
    """`ISTIO_MUTUAL`, `SIMPLE`, `MUTUAL` or `plain text`."""
    server_name: str = ""
    """SNI; `(host of the request)` when it is taken from there."""
    subject_alt_names: list[str] = []
    """Whom the server's certificate must name, when it is checked."""
    endpoints: int = 0
    """How many endpoints are reached so."""


class ClusterView(Part, frozen=True, kw_only=True):
    """Where a request is sent."""

    name: str
    host: str = ""
    port: int = 0
    subset: str = ""
    origin: str = ""
    config: str = ""
    discovery: str = ""
    """`EDS`, `STATIC`, `STRICT_DNS`, `ORIGINAL_DST`, `dynamic_forward_proxy` ..."""
    protocol: str = "HTTP/1.1"
    transports: list[TransportView] = []
    load_balancer: str = ""
    connect_timeout: str = ""
    endpoints: list[EndpointView] = []
    circuit_breakers: dict[str, int] = {}
    """Limits that are set; those that are open are left out."""
    outlier_detection: dict[str, Any] = {}
    """As Envoy has it; empty when there is none."""


class RetryView(Part, frozen=True, kw_only=True):
    """Retries in force."""

    attempts: int
    on: list[str]
    per_try_timeout: str = ""


class MirrorView(Part, frozen=True, kw_only=True):
    """A copy of the request, whose answer nobody waits for."""

    cluster: str
    share: float = 100.0
    """Percent of the requests."""


class Outcome(Part, frozen=True, kw_only=True):
    """One of the things that may become of the request at this proxy. Chances of all add up to 100."""

    share: float = 100.0
    """Percent."""
    verdict: str = ""
    """Of it: as that of the whole explanation, which is `mixed` when outcomes differ."""
    action: str
    """`forward`, `tunnel`, `pass through` (to where the client wanted), `redirect`, `direct response`, `fault`, `CORS`
    (a preflight), `blocked` (REGISTRY_ONLY), `no route`, `no cluster`, `no filter chain` or `no listener`."""
    status: int | None = None
    """What the caller sees when the proxy answers itself; None when a server answers."""
    flag: str = ""
    """Envoy's response flag, as access logs have it: NR, NC, UH, FI."""
    reason: str = ""
    location: str = ""
    """Of a redirect."""
    body: str = ""
    delay: str = ""
    """How long a fault holds it back."""
    cluster: ClusterView | None = None
    request: ForwardedRequest | None = None
    request_headers: list[HeaderChange] = []
    response_headers: list[HeaderChange] = []
    mirrors: list[MirrorView] = []
    timeout: str = ""
    """Of the whole request; `none` without one."""
    idle_timeout: str = ""
    retries: RetryView | None = None
    hash_policy: list[str] = []
    """What keeps a client at one endpoint."""


class Routing(Part, frozen=True, kw_only=True):
    """What the proxy of the caller, or the gateway, does with the request."""

    proxy: str
    mode: str
    """How the request gets into it: `explicit` (HTTP_PROXY), `intercepted` or `gateway`."""
    steps: list[Step]
    outcomes: list[Outcome]
    near_misses: list[NearMiss] = []
    """Fewest failed conditions first."""


class Explanation(Part, frozen=True, kw_only=True):
    """Everything that is said about a request: who calls what, how that is routed, what each workload makes of it."""

    request: Asked
    caller: CallerView
    verdict: str
    """`allowed`, `denied`, `refused`, `answered` (by a proxy: a redirect, a direct response, a fault), or `mixed`."""
    gateway: WorkloadVerdict | None = None
    """What the gateway itself says, for a request that comes in through one."""
    destination: DestinationView | None = None
    """The service that most requests like this go to."""
    routing: Routing | None = None
    workloads: list[WorkloadVerdict] = []
    notes: list[str] = []
    """What was assumed, and what is not explained though it may matter."""
