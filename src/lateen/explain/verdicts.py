"""What the workloads behind a service make of a request, one verdict for each distinct one.

Called by `explaining`, and by `gateways` for a request that came in through one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from lateen.config.security import MutualTLSMode
from lateen.envoy.messages import Fields
from lateen.envoy.resources import make_snapshot
from lateen.explain.connections import inbound_listener, told_endpoints, transport_to
from lateen.explain.destinations import Destination, WorkloadGroup, workloads_behind
from lateen.explain.explanations import Check, Peer, RuleVerdict, WorkloadVerdict
from lateen.explain.filter_chains import PLAINTEXT, Transport, filter_chain
from lateen.explain.policies import modes_at, named_policies, peer_authentication, unused
from lateen.explain.remedies import allowing_policy, denied_advice
from lateen.explain.requests import Request
from lateen.explain.served import Served
from lateen.explain.walking import Surroundings, Walk, walk
from lateen.generate.parts import made_in_full
from lateen.generate.snapshot import own_parts
from lateen.generate.view import view_of
from lateen.mesh.queries import instances_of
from lateen.mesh.state import MeshState
from lateen.model.identities import Identity
from lateen.model.proxies import Proxy

UNAVAILABLE = 503
"""What the caller's proxy answers when a workload refuses the connection."""
_NO_SUBJECT = ""
"""Certificates of the mesh have none; Envoy looks at it as well as at the URI (observed in 1.40)."""
NEAREST = 3
"""How many rules that nearly matched are told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A request as it leaves the caller's proxy."""

    served: Served
    """What that proxy is served."""
    cluster: str
    """Which of its clusters it takes."""
    identity: Identity
    source_ip: str
    """Empty when it is not known."""
    headers: Mapping[str, str]
    claims: Mapping[str, Any] | None
    plaintext: bool = False

    def transport(self, group: WorkloadGroup) -> Transport:
        """Return how the connection to a workload is made."""
        return PLAINTEXT if self.plaintext else transport_to(self.served, self.cluster, group.endpoints[0])

    def endpoints(self) -> frozenset[tuple[str, int]] | None:
        """Return where the cluster leads; None when its endpoints are names that DNS knows."""
        cluster = self.served.cluster(self.cluster)
        if cluster is None or cluster.get("type") not in ("EDS", "STATIC"):
            return None
        return frozenset((address, port) for address, port, _, _ in told_endpoints(self.served.assignment(cluster)))

    def request(self, group: WorkloadGroup, transport: Transport) -> Request:
        """Return what the workload's proxy sees."""
        endpoint = group.endpoints[0]
        return Request(
            headers=self.headers,
            source_ip=self.source_ip,
            remote_ip=self.source_ip,
            destination_ip=endpoint.address,
            destination_port=endpoint.port,
            names=(self.identity.uri, _NO_SUBJECT) if transport.proves_identity else None,
            server_name=transport.server_name,
        )


def workload_verdicts(
    state: MeshState, destination: Destination, sent: Sent
) -> tuple[list[WorkloadVerdict], list[str]]:
    """Return the verdict of each distinct workload behind the destination, and what there is to say beside them."""
    service = destination.service
    if service.external:
        return [], [f"{service.host} is outside the mesh: nothing in the mesh decides who may call it"]
    groups = workloads_behind(state, destination, sent.endpoints())
    if not groups:
        return [], [f"{service.host} ({service.origin}) has no endpoints behind {sent.cluster}"]
    notes: list[str] = []
    found = []
    for group in groups:
        verdict, more = _verdict(state, group, sent)
        found.append(verdict)
        notes += more
        if group.imagined:
            notes.append(
                f"{service.host} has no endpoints: imagined is a workload that its selector finds, "
                "with the service account `default`"
            )
    return found, list(dict.fromkeys(notes))


def _verdict(state: MeshState, group: WorkloadGroup, sent: Sent) -> tuple[WorkloadVerdict, list[str]]:
    proxy, endpoint = group.sidecar, group.endpoints[0]
    transport = sent.transport(group)
    if group.imagined and modes_at(state, proxy, endpoint.port) is MutualTLSMode.DISABLE:
        transport = PLAINTEXT
    served = _own_side(state, proxy)
    listener = inbound_listener(served, proxy.addresses[0], endpoint.port) or {}
    chain = filter_chain(listener, transport, endpoint.address, endpoint.port)
    peer = peer_authentication(state, proxy)
    if not proxy.certificates and chain is not None and transport.proves_identity:
        transport = PLAINTEXT
    # Whoever is not asked for a certificate shows none.
    ends_tls = chain is not None and "transport_socket" in chain
    request = sent.request(group, transport if ends_tls else PLAINTEXT)
    blank = _changed(_blank(group, transport, request, chain, peer), cluster=sent.cluster)
    if chain is None or (transport.proves_identity and not ends_tls):
        return _refused(blank, transport, chain, peer), []
    around = Surroundings(policies=named_policies(state), claims=sent.claims)
    walked = walk(served.with_extensions(chain), request, around)
    made = judged(blank, walked, state)
    seen = {rule.policy for check in walked.checks for rule in check.rules}
    notes = unused(state, proxy, seen)
    if not walked.http:
        notes.append(
            f"port {endpoint.port} of {group.name} carries bytes: methods, paths and headers do not count there"
        )
    return made, notes


def _own_side(state: MeshState, proxy: Proxy) -> Served:
    """Return what only the replicas of a workload are served: its inbound side, without the rest of the mesh."""
    view = view_of(state, proxy, served=instances_of(state, proxy))
    return Served(make_snapshot(list(made_in_full(own_parts(view), view))))


def _blank(
    group: WorkloadGroup, transport: Transport, request: Request, chain: Fields | None, peer: Peer | None
) -> WorkloadVerdict:
    addresses = [] if group.imagined else [f"{found.address}:{found.port}" for found in group.endpoints]
    return WorkloadVerdict(
        workload=group.name,
        namespace=group.namespace,
        labels=dict(group.labels),
        service_account=group.service_account,
        addresses=addresses,
        transport=transport.name,
        principal=principal_of(request),
        filter_chain=chain.get("name", "") if chain is not None else "",
        verdict="allowed",
        status=None,
        reason="",
        peer_authentication=peer,
    )


def principal_of(request: Request) -> str:
    """Return what policies call the caller; empty without a certificate."""
    return request.names[0].removeprefix("spiffe://") if request.names else ""


def _refused(blank: WorkloadVerdict, transport: Transport, chain: Fields | None, peer: Peer | None) -> WorkloadVerdict:
    decided = f" by PeerAuthentication {peer.policy} ({peer.origin})" if peer is not None else ""
    if chain is not None:
        reason = f"the workload speaks plain text only{decided}, and the caller's DestinationRule asks for mutual TLS"
        advice = "take `tls` out of the DestinationRule: mutual TLS is used wherever both sides can"
    elif transport.proves_identity:
        reason = f"the workload takes mutual TLS only{decided} and has no certificate to take it with"
        advice = "give the workload a sidecar that has joined the mesh"
    else:
        reason = f"the workload takes mutual TLS only{decided}, and the call comes in {transport.name}"
        advice = "call it through a sidecar with a certificate, or let its PeerAuthentication be PERMISSIVE"
    struct = {"verdict": "refused", "status": UNAVAILABLE, "reason": reason, "advice": advice}
    return _changed(blank, **struct)


def judged(blank: WorkloadVerdict, walked: Walk, state: MeshState) -> WorkloadVerdict:
    """Return the verdict after a walk through the filters, with what would change it."""
    checks = list(walked.checks)
    allowing = next((check for check in checks if check.action == "ALLOW" and check.outcome == "denied"), None)
    if walked.decisive is None:
        return _changed(blank, checks=checks, reason=_why_allowed(walked))
    policy = None
    if allowing is not None:
        policy = allowing_policy(state, blank.namespace, blank.labels, walked.request, http=walked.http)
    return _changed(
        blank,
        verdict="denied",
        status=walked.status,
        reason=walked.decisive.detail,
        checks=checks,
        nearest=_nearest(allowing) if allowing is not None else [],
        policy=policy,
        advice=_advice(walked.decisive, also_not_allowed=policy is not None),
    )


def _why_allowed(walked: Walk) -> str:
    allowing = next((check for check in walked.checks if check.action == "ALLOW"), None)
    why = allowing.detail if allowing is not None else "no policy refuses it, and there is no ALLOW policy to match"
    return why + "".join(f"; if {provider} agrees" for provider in walked.asks)


def _advice(decisive: Check, *, also_not_allowed: bool) -> str:
    after = "; after that it needs the policy below too" if also_not_allowed else ""
    match decisive.action:
        case "ALLOW":
            return "apply the policy below, the smallest that allows it"
        case "JWT":
            return f"send a token that the RequestAuthentication takes, or none{after}"
        case _:
            return denied_advice(decisive) + after


def _nearest(check: Check) -> list[RuleVerdict]:
    return sorted(
        (rule for rule in check.rules if not rule.matched and rule.failed), key=lambda rule: len(rule.failed)
    )[:NEAREST]


def _changed(blank: WorkloadVerdict, **changes: Any) -> WorkloadVerdict:
    return msgspec.structs.replace(blank, **changes)
