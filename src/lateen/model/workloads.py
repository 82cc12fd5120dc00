"""Workloads as their agents register them, and the messages of the attach protocol.

An agent keeps one bidirectional gRPC stream (`/lateen.agent.v1.Workloads/Attach`) open to the control plane for
as long as its workload lives; each message is one JSON object (UTF-8) in one gRPC frame. The stream *is* the
lease: when it breaks without `leave`, the control plane keeps the workload for a grace period and then removes
it. Both sides import this module; it needs only the standard library, because the agent must stay small.

    agent -> control plane   {"register": WorkloadRegistration}   first, and again whenever something changed
                             {"leave": true}                      before draining
                             {"calls": ["ratings.default.svc.cluster.local"]}
                                                                  hosts called since the last such message; no reply
                             {"trusts": "DIGEST"}                 the roots that it trusts now; no reply
    control plane -> agent   {"registered": {"name": "reviews-v2-1", "takes": ["calls"], "proxy": {...}}}
                                                                  and `group`: see `model.proxy_settings`; perhaps
                                                                 "bootstrap": what is merged into Envoy's bootstrap
                             {"left": {"acknowledged": true}}     every proxy dropped it (or the wait timed out)
                             {"refused": {"message": "..."}}      and the stream ends
                             {"trust": {"roots": ["PEM"], "issuer": "NAME"}}
                                                                  whom to trust from now on; who has a certificate of
                                                                  another issuer (SHA-256 of its certificate) renews it

Both sides may be older or newer than the other. Unknown fields are ignored, an unknown message ends the stream: so an
agent sends what came later only to a control plane that says in `takes` that it takes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

ATTACH_METHOD = "/lateen.agent.v1.Workloads/Attach"
MAX_MESSAGE_BYTES = 64 * 1024
"""An attach message larger than this is refused."""
DEFAULT_SERVICE_ACCOUNT = "default"
CALLS = "calls"
"""In `takes`: hosts that the workload calls."""
TRUSTS = "trusts"
"""In `takes`: the digest of the roots that the workload trusts."""
MAX_BOOTSTRAP_BYTES = 32 * 1024
"""A patch of bootstraps larger than this is not told."""
MAX_CALLS = 200
"""Hosts in one message: they fit, however long (253 characters each) they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadPort:
    """A port that a workload serves."""

    port: int
    """Number others call, and of the service."""
    protocol: str = ""
    """Istio's name (`http`, `grpc`, `tcp` ...); empty means sniffed."""
    name: str = ""
    app_port: int = 0
    """Loopback port where the application listens; 0 while unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadRegistration:
    """What an agent says about its workload. Gateways register too, with no service and no ports."""

    service: str
    """Short name of the service, empty for a gateway."""
    namespace: str
    address: str
    """IP where other workloads reach it."""
    name: str = ""
    """Workload name; empty at first: the control plane gives one (`reviews-v2-1`)."""
    version: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    service_account: str = DEFAULT_SERVICE_ACCOUNT
    locality: str = ""
    network: str = ""
    ports: tuple[WorkloadPort, ...] = ()
    ready: bool = False
    """Whether the application accepts connections; an unready workload gets its config but no traffic."""
    group: str = ""
    """WorkloadGroup of its namespace whose template says what is unset here."""
    weight: int = 0
    """Relative load-balancing weight; 0 means 1. By its group; never as said."""
    identity: str = ""
    """SPIFFE ID as proven by the certificate of its stream; never as said. Empty when it showed none."""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types; without the identity, which is never told but proven, and the weight."""
        written = asdict(self) | {"ports": [asdict(port) for port in self.ports], "labels": dict(self.labels)}
        del written["identity"], written["weight"]
        return written
