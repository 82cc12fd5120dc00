"""AuthorizationPolicies of a proxy as filters: who may call its workload, or come through its gateway.

Called by `security_filters`. The order is Istio's: CUSTOM, DENY, ALLOW; AUDIT, which refuses nothing, stands first.

- DENY: whoever matches a rule is refused. ALLOW: whoever matches none is, as soon as there is one such policy.
- CUSTOM: a shadow RBAC, which only says whether a rule matched, and an authorization server that is asked about the
  requests it marked. A workload has one server; where policies name several, or one that cannot be asked, whatever
  matches them is refused.
- AUDIT: stock Envoy has nobody to report to. A match sets `access_log_hint` in the dynamic metadata `envoy.common`, as
  under Istio, and is counted (`istio_audit_.shadow_allowed`).
- A policy that is a dry run only says what it would do: in statistics and in dynamic metadata.

**Five filters stand in every chain, whether there are policies or not**, and each is told what it asks by a resource of
its own (ECDS). So no change of a policy, the first and the last one included, is a new listener: it holds for the next
request, also on connections that are open, and no chain that drains is without a filter that now decides. That would
happen if filters came and went: an ALLOW policy that becomes the first DENY policy would open the old chains. Envoy
takes the settings one after the other, so while several change at once a request may meet some that are new and some
that are old; where that could open something inside CUSTOM, it is made not to matter (see `_asking`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Final, TypeAlias

from lateen.config.objects import ConfigObject
from lateen.config.security import AuthorizationAction, AuthorizationPolicy
from lateen.config.validation.authorization_policies import is_dry_run
from lateen.envoy import ext_authz, rbac
from lateen.envoy.extensions import discovered_filter, filter_settings
from lateen.envoy.messages import Fields
from lateen.envoy.rbac import Action
from lateen.envoy.resources import Resource
from lateen.generate.authorization_entries import Purpose
from lateen.generate.authorization_providers import Server, server_of
from lateen.generate.clusters import TargetClusters
from lateen.generate.parts import Made, Part
from lateen.generate.view import View
from lateen.mesh.policies import AUTHORIZATION_POLICY
from lateen.model.proxies import ProxyType

Policy: TypeAlias = ConfigObject[AuthorizationPolicy]

AUDIT_SHADOW_PREFIX: Final = "istio_audit_"
DRY_RUN_SHADOW_PREFIXES: Final = {"ALLOW": "istio_dry_run_allow_", "DENY": "istio_dry_run_deny_"}
_MARK: Final = "istio-ext-authz-"
_BAD_CUSTOM: Final = "-deny-due-to-bad-CUSTOM-action"


class Step(StrEnum):
    """What a filter is for, in the order of the filters."""

    AUDIT = "audit"
    MARK = "custom"
    """Says which requests the authorization server is asked about."""
    ASK = "ask"
    """Asks it, or refuses them when nobody can be asked."""
    DENY = "deny"
    ALLOW = "allow"


def http_filters() -> tuple[Fields, ...]:
    """Return the HTTP filters, first to last; the same for every HTTP chain of every proxy."""
    return _filters(tcp=False)


def network_filters() -> tuple[Fields, ...]:
    """Return the network filters of a TCP chain, which stand before its TCP proxy."""
    return _filters(tcp=True)


def settings_parts() -> tuple[Part, ...]:
    """Return the parts that the filters' settings are; a proxy always has all of them."""
    return _PARTS


@cache
def _filters(*, tcp: bool) -> tuple[Fields, ...]:
    decides = rbac.NETWORK_RBAC_CONFIG if tcp else rbac.HTTP_RBAC_CONFIG
    asks = ext_authz.NETWORK_EXT_AUTHZ_CONFIG if tcp else ext_authz.HTTP_EXT_AUTHZ_CONFIG
    return tuple(
        discovered_filter(filter_name(step, tcp=tcp), decides, *([asks] if step is Step.ASK else [])) for step in Step
    )


def filter_name(step: Step, *, tcp: bool) -> str:
    """Return the name of a filter and of its settings: HTTP and TCP never have one in common."""
    if step is Step.ASK:
        return ext_authz.NETWORK_EXT_AUTHZ if tcp else ext_authz.HTTP_EXT_AUTHZ
    return f"{rbac.NETWORK_RBAC if tcp else rbac.HTTP_RBAC}.{step}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterSettings:
    """What one filter asks of requests or, with `tcp`, of connections."""

    step: Step
    tcp: bool

    @property
    def key(self) -> Hashable:
        """One per filter."""
        return ("authorization", self.step, self.tcp)

    def make(self, view: View) -> Made:
        """Return its resource, and want the cluster of the server that it asks."""
        policies = view.piece(("authorization policies",), lambda: _by_action(view))
        match self.step:
            case Step.AUDIT:
                config = _auditing(view, policies[AuthorizationAction.AUDIT], tcp=self.tcp)
            case Step.MARK:
                config = _marking(view, policies[AuthorizationAction.CUSTOM], tcp=self.tcp)
            case Step.ASK:
                config = _asking(view, policies[AuthorizationAction.CUSTOM], tcp=self.tcp)
            case Step.DENY:
                config = _deciding(view, policies[AuthorizationAction.DENY], "DENY", tcp=self.tcp)
            case Step.ALLOW:
                config = _deciding(view, policies[AuthorizationAction.ALLOW], "ALLOW", tcp=self.tcp)
        if config is None:
            return Made((_idle(self.step, tcp=self.tcp),))
        wants = _wanted(view, policies[AuthorizationAction.CUSTOM]) if self.step is Step.ASK else ()
        return Made((filter_settings(filter_name(self.step, tcp=self.tcp), config),), wants)


_PARTS: Final = tuple(FilterSettings(step=step, tcp=tcp) for tcp in (False, True) for step in Step)


@cache
def _idle(step: Step, *, tcp: bool) -> Resource:
    """Return the settings of a filter that has nothing to ask: the same object for all proxies."""
    return filter_settings(filter_name(step, tcp=tcp), _rbac(None, tcp=tcp))


def _by_action(view: View) -> defaultdict[AuthorizationAction, list[Policy]]:
    found: defaultdict[AuthorizationAction, list[Policy]] = defaultdict(list)
    for policy in view.policies(AUTHORIZATION_POLICY):
        found[policy.spec.action].append(policy)
    return found


def _auditing(view: View, policies: Sequence[Policy], *, tcp: bool) -> Fields | None:
    if not policies:
        return None
    entries = _entries(view, policies, Purpose(action="LOG", tcp=tcp, trust_domains=_trust_domains(view)))
    matched = rbac.rules("ALLOW", entries)
    return _rbac(rbac.rules("LOG", entries), matched, shadow_prefix=AUDIT_SHADOW_PREFIX, tcp=tcp)


def _deciding(view: View, policies: Sequence[Policy], action: Action, *, tcp: bool) -> Fields | None:
    """Return the settings of ALLOW or DENY policies, None when there are none."""
    if not policies:
        return None
    purpose = Purpose(action=action, tcp=tcp, trust_domains=_trust_domains(view))
    tried = [policy for policy in policies if is_dry_run(policy.annotations)]
    enforced = [policy for policy in policies if not is_dry_run(policy.annotations)]
    # No policy and no rule that can match are not the same: the second, of ALLOW, refuses everything.
    decides = rbac.rules(action, _entries(view, enforced, purpose)) if enforced else None
    would = rbac.rules(action, _entries(view, tried, purpose)) if tried else None
    return _rbac(decides, would, shadow_prefix=DRY_RUN_SHADOW_PREFIXES[action] if tried else "", tcp=tcp)


def _marking(view: View, policies: Sequence[Policy], *, tcp: bool) -> Fields | None:
    """Return the settings that mark what the server is asked about; None when it cannot be asked about bytes."""
    server = _server(view, _providers(policies))
    if not policies or (tcp and server is not None and server.network_config(_MARK) is None):
        return None
    rules = rbac.rules("DENY", _custom_entries(view, policies, tcp=tcp))
    return _rbac(None, rules, shadow_prefix=ext_authz.EXT_AUTHZ_SHADOW_PREFIX, tcp=tcp)


def _asking(view: View, policies: Sequence[Policy], *, tcp: bool) -> Fields | None:
    """Return the settings that ask the server or, without one, refuse.

    Each server asks about whatever is marked, for whichever it was, and what would be asked about is marked also while
    nobody can be asked: so it does not matter whether Envoy takes new marks before a new server or after it.
    """
    providers = _providers(policies)
    if not providers:
        return None
    server = _server(view, providers)
    if server is None:
        return _rbac(rbac.rules("DENY", _custom_entries(view, policies, tcp=tcp, suffix=_BAD_CUSTOM)), tcp=tcp)
    # An HTTP server is not asked about connections, and they pass: so it is under Istio.
    return server.network_config(_MARK) if tcp else server.http_config(_MARK)


def _custom_entries(view: View, policies: Sequence[Policy], *, tcp: bool, suffix: str = "") -> list[bytes]:
    return [
        entry
        for name, named in _providers(policies).items()
        for entry in _entries(
            view,
            named,
            Purpose(
                action="DENY",
                tcp=tcp,
                trust_domains=_trust_domains(view),
                prefix=f"{_MARK}{name}-",
                suffix=suffix,
            ),
        )
    ]


def _wanted(view: View, policies: Sequence[Policy]) -> tuple[Part, ...]:
    """Return the cluster of the authorization server, for those who do not have the clusters of all they may call."""
    if view.proxy.type is not ProxyType.GATEWAY and not view.on_demand:
        return ()
    server = _server(view, _providers(policies))
    return (TargetClusters(server.target),) if server is not None else ()


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


def _rbac(enforced: bytes | None, shadow: bytes | None = None, *, shadow_prefix: str = "", tcp: bool) -> Fields:
    make = rbac.network_config if tcp else rbac.http_config
    return make(enforced, shadow, shadow_prefix=shadow_prefix)
