"""A request on its way through the filters of one chain: what each says of it.

Called by `verdicts` and `gateways`. The order is that of the generated resources, not one that is known here. The first
filter that refuses decides; those after it are asked all the same, so that nobody mends one refusal to meet the next.
Filters that nobody is refused by are passed over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lateen.envoy.ext_authz import EXT_AUTHZ_SHADOW_PREFIX
from lateen.envoy.messages import Fields
from lateen.envoy.rbac import HTTP_RBAC, NETWORK_RBAC, SHADOW_POLICY
from lateen.explain.explanations import Check, RuleVerdict
from lateen.explain.matchers import metadata_matches
from lateen.explain.paths import normalised_path
from lateen.explain.policies import Policies, rule_of
from lateen.explain.rbac import Decision, decide
from lateen.explain.requests import Request
from lateen.explain.tokens import check_tokens

_HTTP_MANAGER = "http_connection_manager"
FORBIDDEN = 403


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """How far a request came."""

    request: Request
    """As it left the last filter."""
    http: bool = False
    """Whether requests are looked at here, or only connections."""
    checks: tuple[Check, ...] = ()
    decisive: Check | None = None
    """The first that refuses."""
    status: int | None = None
    """What it answers."""
    asks: tuple[str, ...] = ()
    """Providers that are asked."""

    def refused(self, check: Check, status: int | None) -> Walk:
        """Return the walk after a filter refused; only the first one counts."""
        return self if self.decisive is not None else replace(self, decisive=check, status=status)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What filters need to know beside the request."""

    policies: Policies
    claims: Mapping[str, Any] | None
    """Of a token that stands wherever it is looked for."""


def walk(chain: Fields, request: Request, around: Surroundings) -> Walk:
    """Walk through a filter chain: its network filters, and the HTTP filters inside."""
    at = Walk(request=replace(request, headers={}))
    for network_filter in chain.get("filters", ()):
        config = network_filter.get("typed_config", {})
        if _HTTP_MANAGER in network_filter["name"]:
            inside = replace(at, http=True, request=_as_received(config, replace(at.request, headers=request.headers)))
            return _through(config.get("http_filters", ()), inside, around)
        at = _through([network_filter], at, around)
    return at


def _as_received(manager: Fields, request: Request) -> Request:
    """Return the request as the connection manager hands it on: its path normalised, its client known."""
    headers = {**request.headers, ":path": normalised_path(manager, request.headers.get(":path", "/"))}
    if manager.get("use_remote_address"):
        hops = int(manager.get("xff_num_trusted_hops", 0))
        forwarded = [*_forwarded(headers), request.source_ip]
        remote = forwarded[-1 - hops] if hops < len(forwarded) else request.source_ip
    else:
        hops = int(manager.get("xff_num_trusted_hops", 0))
        forwarded = _forwarded(headers)
        remote = forwarded[-1 - hops] if hops < len(forwarded) else request.source_ip
    return replace(request, headers=headers, remote_ip=remote)


def _forwarded(headers: Mapping[str, str]) -> list[str]:
    return [part.strip() for part in headers.get("x-forwarded-for", "").split(",") if part.strip()]


def _through(filters: Sequence[Fields], at: Walk, around: Surroundings) -> Walk:
    for item in filters:
        config, name = item.get("typed_config", {}), item["name"]
        if config.get("@type", "").endswith("rbac.v3.RBAC"):
            at = _rbac(config, name, at, around)
        elif config.get("@type", "").endswith("JwtAuthentication"):
            at = _tokens(config, name, at, around)
        elif config.get("@type", "").endswith("ExtAuthz"):
            at = _ext_authz(config, name, at, around)
    return at


def _tokens(config: Fields, name: str, at: Walk, around: Surroundings) -> Walk:
    verdict = check_tokens(config, at.request, around.claims)
    outcome = "denied" if verdict.status else "passed"
    check = Check(filter=name, action="JWT", outcome=outcome, detail=verdict.detail)
    at = replace(at, request=verdict.request, checks=(*at.checks, check))
    return at.refused(check, verdict.status) if verdict.status else at


def _ext_authz(config: Fields, name: str, at: Walk, around: Surroundings) -> Walk:
    condition = config.get("filter_enabled_metadata")
    if condition is not None and not metadata_matches(condition, at.request.metadata):
        return at
    key = f"{EXT_AUTHZ_SHADOW_PREFIX}{SHADOW_POLICY}"
    marks = [str(values[key]) for values in at.request.metadata.values() if key in values]
    provider = rule_of(around.policies, marks[0]).provider if marks else name
    detail = f"the authorization server {provider} is asked; what follows holds if it agrees"
    check = Check(filter=name, action="CUSTOM", outcome="asks", detail=detail)
    return replace(at, checks=(*at.checks, check), asks=(*at.asks, provider))


def _rbac(config: Fields, name: str, at: Walk, around: Surroundings) -> Walk:
    if "shadow_rules" in config:
        at = _shadow(config, name, at, around)
    if "rules" not in config:
        return at
    decision = decide(config["rules"], at.request)
    rules = verdicts(decision, around.policies)
    action = config["rules"].get("action", "ALLOW")
    if action == "LOG":
        return at
    check = Check(
        filter=name,
        action="CUSTOM" if "ext-authz" in decision.effective else action,
        outcome="passed" if decision.allowed else "denied",
        detail=_detail(action, decision, rules),
        rules=rules,
    )
    at = replace(at, checks=(*at.checks, check))
    return at if decision.allowed else at.refused(check, FORBIDDEN if at.http else None)


def _shadow(config: Fields, name: str, at: Walk, around: Surroundings) -> Walk:
    prefix = config.get("shadow_rules_stat_prefix", "")
    decision = decide(config["shadow_rules"], at.request)
    rules = verdicts(decision, around.policies)
    asks = prefix == EXT_AUTHZ_SHADOW_PREFIX
    if asks:
        detail = "a rule matched" if decision.effective else "no rule matched: nobody is asked"
    elif "audit" in prefix:
        detail = "AUDIT has no effect on the request"
    else:
        detail = f"a dry run: would have {'let it pass' if decision.allowed else 'refused it'}"
    action = "CUSTOM" if asks else "AUDIT" if "audit" in prefix else "DRY RUN"
    check = Check(filter=name, action=action, outcome="passed" if asks else "noted", detail=detail, rules=rules)
    request = at.request
    if decision.effective:
        values = {f"{prefix}{SHADOW_POLICY}": decision.effective}
        request = request.with_metadata(HTTP_RBAC if at.http else NETWORK_RBAC, values)
    return replace(at, request=request, checks=(*at.checks, check))


def _detail(action: str, decision: Decision, rules: Sequence[RuleVerdict]) -> str:
    matched = next((_words(rule) for rule in rules if rule.matched), "")
    if action == "DENY":
        return f"{matched} denies it" if matched else "no rule denies it"
    if decision.allowed:
        return f"{matched} allows it"
    policies = {rule.policy for rule in rules}
    if not policies:
        return "the ALLOW policies of this workload have no rule that can match here, so nothing is allowed"
    which = f"policy {policies.pop()}" if len(policies) == 1 else f"{len(policies)} policies"
    return f"no rule of the ALLOW {which} matches"


def _words(rule: RuleVerdict) -> str:
    return f"rule {rule.rule} of {rule.policy}" + (f" ({rule.origin})" if rule.origin else "")


def verdicts(decision: Decision, policies: Policies) -> list[RuleVerdict]:
    """Return every rule of an RBAC, policy by policy as they stand in the documents."""
    return sorted(_verdicts(decision, policies), key=lambda found: (found.policy, found.rule))


def _verdicts(decision: Decision, policies: Policies) -> Iterator[RuleVerdict]:
    for name, evaluation in decision.policies.items():
        found = rule_of(policies, name)
        yield RuleVerdict(
            policy=found.policy,
            rule=found.rule,
            origin=found.origin,
            matched=evaluation.matched,
            # A policy without rules matches nothing, whatever the conditions that stand for that in the filter.
            failed=list(evaluation.failed) if found.rule >= 0 or not found.origin else [],
        )
