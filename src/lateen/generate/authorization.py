"""AuthorizationPolicies of a proxy as filters: who may call its workload, or come through its gateway.

Called by `security_filters`. The order is Istio's: CUSTOM, DENY, ALLOW; AUDIT, which refuses nothing, stands first.

- DENY: whoever matches a rule is refused. ALLOW: whoever matches none is, as soon as there is one such policy.
- CUSTOM: a shadow RBAC, which only says whether a rule matched, and an authorization server that is asked about the
  requests it marked. A workload has one server; where policies name several, or one that cannot be asked, whatever
  matches them is refused.
- AUDIT: stock Envoy has nobody to report to. A match sets `access_log_hint` in the dynamic metadata `envoy.common`, as
  under Istio, and is counted (`istio_audit_.shadow_allowed`).
- A policy that is a dry run only says what it would do: in statistics and in dynamic metadata.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, TypeAlias

from lateen.config.objects import ConfigObject
from lateen.config.security import AuthorizationAction, AuthorizationPolicy
from lateen.config.validation.authorization_policies import is_dry_run
from lateen.envoy import rbac
from lateen.envoy.ext_authz import EXT_AUTHZ_SHADOW_PREFIX
from lateen.envoy.messages import Fields
from lateen.envoy.rbac import Action
from lateen.generate.authorization_entries import Purpose
from lateen.generate.authorization_providers import Server, server_of
from lateen.generate.clusters import TargetClusters
from lateen.generate.parts import Part
from lateen.generate.view import View
from lateen.mesh.policies import AUTHORIZATION_POLICY
from lateen.model.proxies import ProxyType

Policy: TypeAlias = ConfigObject[AuthorizationPolicy]

AUDIT_SHADOW_PREFIX: Final = "istio_audit_"
DRY_RUN_SHADOW_PREFIXES: Final = {"ALLOW": "istio_dry_run_allow_", "DENY": "istio_dry_run_deny_"}
_MARK: Final = "istio-ext-authz"
_BAD_CUSTOM: Final = "-deny-due-to-bad-CUSTOM-action"


def http_filters(view: View) -> tuple[Fields, ...]:
    """Return the HTTP filters, first to last; the same for every HTTP chain of the proxy."""
    return tuple(_filters(view, tcp=False))


def network_filters(view: View) -> tuple[Fields, ...]:
    """Return the network filters of a TCP chain, which stand before its TCP proxy."""
    return tuple(_filters(view, tcp=True))


def wanted_parts(view: View) -> tuple[Part, ...]:
    """Return what the filters need: the cluster of the authorization server.

    Only gateways and proxies that ask on demand need be told of it: others have the clusters of all that they may call.
    """
    if view.proxy.type is not ProxyType.GATEWAY and not view.on_demand:
        return ()
    server = _server(view, _providers(_by_action(view)[AuthorizationAction.CUSTOM]))
    return (TargetClusters(server.target),) if server is not None else ()


def _by_action(view: View) -> defaultdict[AuthorizationAction, list[Policy]]:
    found: defaultdict[AuthorizationAction, list[Policy]] = defaultdict(list)
    for policy in view.policies(AUTHORIZATION_POLICY):
        found[policy.spec.action].append(policy)
    return found


def _filters(view: View, *, tcp: bool) -> Iterator[Fields]:
    policies = _by_action(view)
    if audited := policies[AuthorizationAction.AUDIT]:
        entries = _entries(view, audited, Purpose(action="LOG", tcp=tcp, trust_domains=_trust_domains(view)))
        matched = rbac.rules("ALLOW", entries)
        yield _filter(tcp)(rbac.rules("LOG", entries), matched, shadow_prefix=AUDIT_SHADOW_PREFIX)
    yield from _custom_filters(view, policies[AuthorizationAction.CUSTOM], tcp=tcp)
    yield from _deciding_filter(view, policies[AuthorizationAction.DENY], "DENY", tcp=tcp)
    yield from _deciding_filter(view, policies[AuthorizationAction.ALLOW], "ALLOW", tcp=tcp)


def _deciding_filter(view: View, policies: Sequence[Policy], action: Action, *, tcp: bool) -> Iterator[Fields]:
    """Yield the filter of ALLOW or DENY policies, if there are any."""
    if not policies:
        return
    purpose = Purpose(action=action, tcp=tcp, trust_domains=_trust_domains(view))
    tried = [policy for policy in policies if is_dry_run(policy.annotations)]
    enforced = [policy for policy in policies if not is_dry_run(policy.annotations)]
    # No policy and no rule that can match are not the same: the second, of ALLOW, refuses everything.
    decides = rbac.rules(action, _entries(view, enforced, purpose)) if enforced else None
    would = rbac.rules(action, _entries(view, tried, purpose)) if tried else None
    yield _filter(tcp)(decides, would, shadow_prefix=DRY_RUN_SHADOW_PREFIXES[action] if tried else "")


def _custom_filters(view: View, policies: Sequence[Policy], *, tcp: bool) -> Iterator[Fields]:
    """Yield the filters that ask the authorization server."""
    providers = _providers(policies)
    if not providers:
        return
    server = _server(view, providers)
    for name, named in providers.items():
        mark = f"{_MARK}-{name}-"
        purpose = Purpose(
            action="DENY",
            tcp=tcp,
            trust_domains=_trust_domains(view),
            prefix=mark,
            suffix=_BAD_CUSTOM if server is None else "",
        )
        rules = rbac.rules("DENY", _entries(view, named, purpose))
        if server is None:
            yield _filter(tcp)(rules)
            continue
        ask = server.network_filter(mark) if tcp else server.http_filter(mark)
        # An HTTP server is not asked about connections, and they pass: so it is under Istio.
        if ask is not None:
            yield _filter(tcp)(None, rules, shadow_prefix=EXT_AUTHZ_SHADOW_PREFIX)
            yield ask


def _providers(policies: Iterable[Policy]) -> dict[str, list[Policy]]:
    found: dict[str, list[Policy]] = {}
    for policy in policies:
        found.setdefault(policy.spec.provider.name if policy.spec.provider is not None else "", []).append(policy)
    return {name: found[name] for name in sorted(found)}


def _server(view: View, providers: dict[str, list[Policy]]) -> Server | None:
    """Return the one server that can be asked; None too when there are several."""
    return server_of(view, next(iter(providers))) if len(providers) == 1 else None


def _entries(view: View, policies: Iterable[Policy], purpose: Purpose) -> list[bytes]:
    return [view.policy_entries.of(policy, purpose) for policy in policies]


def _trust_domains(view: View) -> tuple[str, ...]:
    return (view.mesh_config.trust_domain, *view.mesh_config.trust_domain_aliases)


def _filter(tcp: bool) -> Callable[..., Fields]:
    return rbac.network_filter if tcp else rbac.http_filter
