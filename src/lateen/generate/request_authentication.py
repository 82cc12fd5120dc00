"""RequestAuthentications of a proxy as filters: whose tokens it accepts.

Called by `security_filters`. The rules of all policies that are about the proxy act together, of the root namespace and
of its own alike; none overrides another (Istio's rule). Keys that are fetched are part of the state: a rule whose keys
are not there yet refuses every token of its issuer, and lets requests without token pass.
"""

from __future__ import annotations

from lateen.config.key_sets import key_source
from lateen.config.security import JWTRule
from lateen.envoy.jwt_authn import NO_KEYS, Provider, jwt_filter
from lateen.envoy.messages import Fields
from lateen.generate.view import View
from lateen.mesh.policies import REQUEST_AUTHENTICATION
from lateen.model.proxies import ProxyType


def http_filters(view: View) -> tuple[Fields, ...]:
    """Return the HTTP filters, first to last; the same for every HTTP chain of the proxy."""
    rules = [rule for policy in view.policies(REQUEST_AUTHENTICATION) for rule in policy.spec.jwt_rules]
    if not rules:
        return ()
    providers = [Provider(rule=rule, key_set=_keys(view, rule)) for rule in sorted(rules, key=lambda rule: rule.issuer)]
    # Routes of a gateway may ask for claims; a workload has one route only.
    return (jwt_filter(providers, chooses_route=view.proxy.type is ProxyType.GATEWAY),)


def _keys(view: View, rule: JWTRule) -> str:
    source = key_source(rule)
    return (view.key_set(source) or NO_KEYS) if source else rule.jwks
