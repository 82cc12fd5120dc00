"""From the names that policies have inside Envoy back to their objects.

Called by `walking` and `explaining`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from lateen.config.objects import ConfigObject
from lateen.config.security import MutualTLSMode
from lateen.explain.explanations import Peer
from lateen.mesh.mutual_tls import modes_of
from lateen.mesh.policies import AUTHORIZATION_POLICY, PEER_AUTHENTICATION
from lateen.mesh.queries import policies_for
from lateen.mesh.state import MeshState
from lateen.model.proxies import Proxy

_NAME = re.compile(r"ns\[([^\]]*)\]-policy\[([^\]]*)\]-rule\[(\d+)\]")


class PolicyRule(NamedTuple):
    """A rule by its place; without an object when the name is none of ours."""

    policy: str
    rule: int
    origin: str
    object: ConfigObject[Any] | None

    @property
    def provider(self) -> str:
        """The extension provider that a CUSTOM policy names."""
        provider = self.object.spec.provider if self.object is not None else None
        return provider.name if provider is not None else ""


Policies = Mapping[tuple[str, str], ConfigObject[Any]]
"""AuthorizationPolicies by namespace and name."""


def named_policies(state: MeshState) -> Policies:
    """Return the AuthorizationPolicies of a state by name."""
    return {(found.key.namespace, found.key.name): found for found in state.policies.get(AUTHORIZATION_POLICY, ())}


def rule_of(policies: Policies, name: str) -> PolicyRule:
    """Return the rule that a policy of an RBAC was made from."""
    match = _NAME.search(name)
    if match is None:
        return PolicyRule(name, -1, "", None)
    found = policies.get((match[1], match[2]))
    rule = -1 if found is not None and not found.spec.rules else int(match[3])
    return PolicyRule(f"{match[1]}/{match[2]}", rule, str(found.origin) if found is not None else "", found)


def modes_at(state: MeshState, proxy: Proxy, port: int) -> MutualTLSMode:
    """Return the mode of mutual TLS of a workload's port."""
    return modes_of(policies_for(state, PEER_AUTHENTICATION, proxy), state.mesh_config.root_namespace).at(port)


def peer_authentication(state: MeshState, proxy: Proxy) -> Peer | None:
    """Return the PeerAuthentication that decides about mutual TLS of a workload; None when nobody says anything."""
    policies = policies_for(state, PEER_AUTHENTICATION, proxy)
    decisive = modes_of(policies, state.mesh_config.root_namespace).policy
    if decisive is None:
        return None
    return Peer(policy=f"{decisive.key.namespace}/{decisive.key.name}", origin=str(decisive.origin))


def unused(state: MeshState, proxy: Proxy, seen: set[str]) -> list[str]:
    """Return a sentence about each AuthorizationPolicy of a workload of which no filter here has a rule."""
    return [
        f"AuthorizationPolicy {policy.key.namespace}/{policy.key.name} ({policy.origin}) has no rule that acts here"
        for policy in policies_for(state, AUTHORIZATION_POLICY, proxy)
        if f"{policy.key.namespace}/{policy.key.name}" not in seen
    ]
