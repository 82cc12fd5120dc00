"""RequestAuthentications of a proxy as filters: whose tokens it accepts.

Called by `security_filters`. The rules of all policies that are about the proxy act together, of the root namespace and
of its own alike; none overrides another (Istio's rule). Keys that are fetched are part of the state: a rule whose keys
are not there yet refuses every token of its issuer, and lets requests without token pass.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from lateen.config.key_sets import key_source, without_private_members
from lateen.config.security import JWTRule
from lateen.envoy.jwt_authn import NO_KEYS, Provider, jwt_filter, token_check
from lateen.envoy.messages import Fields
from lateen.generate.parts import Made, Part
from lateen.generate.view import View
from lateen.mesh.policies import REQUEST_AUTHENTICATION
from lateen.model.proxies import ProxyType


def http_filters(view: View) -> tuple[Fields, ...]:
    """Return the HTTP filters, first to last; the same for every HTTP chain of the proxy."""
    return (jwt_filter(),) if _rules(view) else ()


def wanted_parts(view: View) -> tuple[Part, ...]:
    """Return what the filters need."""
    return (TokenCheck(),) if _rules(view) else ()


@dataclass(frozen=True, slots=True)
class TokenCheck:
    """What the filter asks of requests: the rules with their keys."""

    @property
    def key(self) -> Hashable:
        """There is one."""
        return ("token check",)

    def make(self, view: View) -> Made:
        """Return it."""
        rules = sorted(_rules(view), key=lambda named: named[1].issuer)
        providers = [Provider(name=name, rule=rule, key_set=_keys(view, rule)) for name, rule in rules]
        # Routes of a gateway may ask for claims; a workload has one route only.
        return Made((token_check(providers, chooses_route=view.proxy.type is ProxyType.GATEWAY),))


def _rules(view: View) -> list[tuple[str, JWTRule]]:
    """Return the rules by a name that leads to their policy, in the form that authorization's rules have."""
    return [
        (f"ns[{policy.key.namespace}]-policy[{policy.key.name}]-rule[{number}]", rule)
        for policy in view.policies(REQUEST_AUTHENTICATION)
        for number, rule in enumerate(policy.spec.jwt_rules)
    ]


def _keys(view: View, rule: JWTRule) -> str:
    source = key_source(rule)
    return (view.key_set(source) or NO_KEYS) if source else without_private_members(rule.jwks)
