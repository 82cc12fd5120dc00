"""Security policies: where they are found, and which of them are about a proxy.

Called by `mesh.build` and `mesh.index` for the table, by `mesh.queries` for the question. PeerAuthentication,
RequestAuthentication and AuthorizationPolicy are found alike: of the root namespace they are about the whole mesh, of
another about its workloads; a selector narrows them to some workloads, a target reference to a gateway.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from lateen.config.objects import ConfigObject
from lateen.config.security import (
    AuthorizationPolicy,
    PeerAuthentication,
    PolicyTargetReference,
    RequestAuthentication,
)
from lateen.mesh.elections import Turn, age
from lateen.mesh.sharing import Order, Ordered, patched
from lateen.model.proxies import Proxy, ProxyType, labels_match

PEER_AUTHENTICATION = "PeerAuthentication"
REQUEST_AUTHENTICATION = "RequestAuthentication"
AUTHORIZATION_POLICY = "AuthorizationPolicy"
POLICY_KINDS = (PEER_AUTHENTICATION, REQUEST_AUTHENTICATION, AUTHORIZATION_POLICY)

GATEWAY_NAME_LABEL = "gateway.networking.k8s.io/gateway-name"
"""Label of the proxies of a Gateway API Gateway: what a target reference means."""

PolicySpec: TypeAlias = PeerAuthentication | RequestAuthentication | AuthorizationPolicy
PolicyTable: TypeAlias = Mapping[tuple[str, str], Ordered[ConfigObject[Any]]]
"""Policies by kind and namespace, oldest first."""


def patched_policies(old: PolicyTable, turns: Iterable[Turn[ConfigObject[Any]]]) -> PolicyTable:
    """Return the table after some policies came, went or changed."""
    changes: defaultdict[tuple[str, str], dict[Order, ConfigObject[Any] | None]] = defaultdict(dict)
    for before, after in turns:
        for item, value in ((before, None), (after, after)):
            if item is not None:
                changes[item.key.kind, item.key.namespace][age(item)] = value
    new = {place: old.get(place, Ordered()).patched(found) for place, found in changes.items()}
    return patched(old, {place: found or None for place, found in new.items()})


def selector_labels(spec: PolicySpec) -> Mapping[str, str]:
    """Return the labels that a policy selects workloads by; empty when it has no selector."""
    return spec.selector.match_labels if spec.selector is not None else {}


def is_about(policy: ConfigObject[Any], proxy: Proxy) -> bool:
    """Whether a policy of the proxy's or the root namespace is about this proxy.

    A target reference excludes everything but the Gateway that it names (Istio: policies with `targetRefs` do not
    apply to sidecars; references to a Service are for waypoints, which there are none of).
    """
    targets = targets_of(policy.spec)
    if targets:
        return (
            proxy.type is ProxyType.GATEWAY
            and policy.key.namespace == proxy.namespace
            and any(
                target.kind == "Gateway" and target.name == proxy.labels.get(GATEWAY_NAME_LABEL) for target in targets
            )
        )
    return labels_match(selector_labels(policy.spec), proxy.labels)


def targets_of(spec: PolicySpec) -> tuple[PolicyTargetReference, ...]:
    """Return the target references of a policy, in either of the two ways to write them."""
    if isinstance(spec, PeerAuthentication):
        return ()
    return (*((spec.target_ref,) if spec.target_ref is not None else ()), *spec.target_refs)
