"""What to change so that a refused request comes through: the smallest AuthorizationPolicy, or which rule must go.

Called by `explaining`. A policy is made ready to apply; a test applies it and asks again, here and with real Envoy.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lateen.explain.explanations import Check, RuleVerdict
from lateen.explain.requests import Request
from lateen.mesh.policies import AUTHORIZATION_POLICY, GATEWAY_NAME_LABEL
from lateen.mesh.state import MeshState

_TELLING = ("app.kubernetes.io/name", "app", "k8s-app", "istio", "service.istio.io/canonical-name")
"""Labels that name a workload by themselves, best first."""


def allowing_policy(
    state: MeshState, namespace: str, labels: Mapping[str, str], request: Request, *, http: bool
) -> dict[str, Any]:
    """Return the AuthorizationPolicy that allows exactly this request to the workloads with one telling label.

    It names the caller by its principal, without a certificate by its address; the method and the path; and the port.
    """
    rule: dict[str, Any] = {}
    if source := _source(request):
        rule["from"] = [{"source": source}]
    rule["to"] = [{"operation": _operation(request, http=http)}]
    selected = _selected(labels)
    made: dict[str, Any] = {
        "apiVersion": "security.istio.io/v1",
        "kind": AUTHORIZATION_POLICY,
        "metadata": {"name": _free_name(state, namespace, _name(selected, request)), "namespace": namespace},
        "spec": {"action": "ALLOW", "rules": [rule]},
    }
    if labels.get(GATEWAY_NAME_LABEL):
        target = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": labels[GATEWAY_NAME_LABEL]}
        made["spec"] = {"targetRefs": [target], **made["spec"]}
    elif selected:
        made["spec"] = {"selector": {"matchLabels": selected}, **made["spec"]}
    return made


def _source(request: Request) -> dict[str, Any]:
    spiffe = [name.removeprefix("spiffe://") for name in request.names or () if name.startswith("spiffe://")]
    if spiffe:
        return {"principals": spiffe[:1]}
    return {"ipBlocks": [request.source_ip]} if request.source_ip else {}


def _operation(request: Request, *, http: bool) -> dict[str, Any]:
    operation: dict[str, Any] = {}
    if http:
        operation["methods"] = [request.headers[":method"]]
        path = request.path or "/"
        # A star in a policy is a wildcard, wherever it is more than text; a path with one is named by what is before.
        operation["paths"] = [path if "*" not in path else path.partition("*")[0] + "*"]
    operation["ports"] = [str(request.destination_port)]
    return operation


def _selected(labels: Mapping[str, str]) -> dict[str, str]:
    telling = next((key for key in _TELLING if key in labels), None)
    return {telling: labels[telling]} if telling is not None else dict(sorted(labels.items()))


def _name(selected: Mapping[str, str], request: Request) -> str:
    who = next(iter(request.names or ()), "").rpartition("/")[2] or "plain-text"
    whom = next(iter(selected.values()), "all")
    return re.sub(r"[^a-z0-9-]+", "-", f"allow-{who}-to-{whom}".lower())[:60].strip("-")


def _free_name(state: MeshState, namespace: str, name: str) -> str:
    taken = {
        policy.key.name for policy in state.policies.get(AUTHORIZATION_POLICY, ()) if policy.key.namespace == namespace
    }
    numbered = (f"{name}-{number}" for number in range(2, len(taken) + 3))
    return name if name not in taken else next(one for one in numbered if one not in taken)


def denied_advice(check: Check) -> str:
    """Return what to do about a DENY or a CUSTOM rule that refuses: no other policy can override it."""
    rules = [rule for rule in check.rules if rule.matched]
    if not rules:
        return "no policy can override a refusal by this filter"
    named = " and ".join(f"rule {rule.rule} of {rule.policy}" + _place(rule) for rule in rules)
    many = len(rules) > 1
    return (
        f"an ALLOW policy cannot override a {check.action}: {named} must go or be narrowed, "
        f"so that {'they no longer match' if many else 'it no longer matches'} this request"
    )


def _place(rule: RuleVerdict) -> str:
    return f" ({rule.origin})" if rule.origin else ""
