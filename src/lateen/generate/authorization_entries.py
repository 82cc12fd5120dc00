"""AuthorizationPolicies as policies of Envoy's RBAC, serialised, and remembered for all who have them.

Held by a `View` and used by `authorization`. A policy of the root namespace is about every workload of the mesh, and
each workload has it on several chains: its bytes are the same for all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from lateen.config.objects import ConfigObject
from lateen.config.security import AuthorizationPolicy
from lateen.envoy import rbac
from lateen.envoy.rbac import Action
from lateen.generate.authorization_attributes import Setting
from lateen.generate.authorization_matchers import matchers_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Purpose:
    """What policies are serialised for."""

    action: Action
    tcp: bool
    trust_domains: tuple[str, ...]
    prefix: str = ""
    """Before the name of each rule."""
    suffix: str = ""


class PolicyEntries:
    """Serialised policies, remembered by what stands in them."""

    LIMIT = 50_000
    """Entries; at about 300 bytes each they stay below 20 MB. When there are more, all are forgotten."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, Purpose], bytes] = {}

    def of(self, policy: ConfigObject[AuthorizationPolicy], purpose: Purpose) -> bytes:
        """Return the rules of a policy as entries of an RBAC; nothing when none can match here."""
        # A document need not say its namespace, so its digest does not.
        key = (policy.key.namespace, policy.digest, purpose)
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= self.LIMIT:
                self._known.clear()
            found = self._known[key] = _entries(policy, purpose)
        return found


def _entries(policy: ConfigObject[AuthorizationPolicy], purpose: Purpose) -> bytes:
    namespace, name = policy.key.namespace, policy.key.name
    setting = Setting(namespace=namespace, trust_domains=purpose.trust_domains, action=purpose.action, tcp=purpose.tcp)
    names = f"{purpose.prefix}ns[{namespace}]-policy[{name}]-rule[{{}}]{purpose.suffix}"
    if not policy.spec.rules:
        return rbac.never_entry(names.format(0))
    found = []
    for index, rule in enumerate(policy.spec.rules):
        matchers = matchers_of(rule, setting)
        if matchers is not None:
            found.append(rbac.policy_entry(names.format(index), matchers.permissions, matchers.principals))
    return b"".join(found)
