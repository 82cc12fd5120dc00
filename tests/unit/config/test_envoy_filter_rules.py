"""Rules of EnvoyFilter: what Istio refuses is refused, what it warns of is warned of."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lateen.config.parsing import parse
from lateen.model.findings import Finding, Severity

HCM = "envoy.filters.network.http_connection_manager"


def findings(spec: dict[str, Any]) -> list[Finding]:
    document = {
        "apiVersion": "networking.istio.io/v1alpha3",
        "kind": "EnvoyFilter",
        "metadata": {"name": "x"},
        "spec": spec,
    }
    return [one for one in parse(json.dumps(document).encode(), "f").findings if "may be different" not in one.message]


def http_filter(**changes: Any) -> dict[str, Any]:
    return {"applyTo": "HTTP_FILTER", "patch": {"operation": "INSERT_FIRST", "value": {"name": "x"}}} | changes


def matching(network: Any, sub: str | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {"name": network}
    if sub is not None:
        found["subFilter"] = {"name": sub}
    return {"listener": {"filterChain": {"filter": found}}}


@pytest.mark.parametrize(
    ("patch", "path", "severity"),
    [
        (http_filter(applyTo="INVALID"), "applyTo", Severity.ERROR),
        ({"applyTo": "CLUSTER"}, "", Severity.ERROR),
        (http_filter(patch={"value": {}}), "patch.operation", Severity.ERROR),
        (http_filter(patch={"operation": "MERGE"}), "patch", Severity.ERROR),
        (http_filter(match={"cluster": {}}), "match.cluster", Severity.ERROR),
        (http_filter(match={"cluster": {}, "listener": {}}), "match.cluster", Severity.ERROR),
        (http_filter(applyTo="CLUSTER", match={"listener": {}}), "match.listener", Severity.ERROR),
        (http_filter(applyTo="HTTP_ROUTE", match={"cluster": {}}), "match.cluster", Severity.ERROR),
        (http_filter(match={"proxy": {"proxyVersion": "("}}), "match.proxy.proxyVersion", Severity.ERROR),
        (http_filter(match={"proxy": {"proxyVersion": "a" * 1025}}), "match.proxy.proxyVersion", Severity.WARNING),
        (http_filter(match=matching("")), "match.listener.filterChain.filter.name", Severity.ERROR),
        (http_filter(match=matching("other", "x")), "match.listener.filterChain.filter.name", Severity.ERROR),
        (http_filter(match=matching(HCM, "")), "match.listener.filterChain.filter.subFilter.name", Severity.ERROR),
        (
            http_filter(match=matching(HCM, "x"), applyTo="NETWORK_FILTER"),
            "match.listener.filterChain.filter.subFilter",
            Severity.ERROR,
        ),
        (
            http_filter(match=matching("envoy.http_connection_manager")),
            "match.listener.filterChain.filter.name",
            Severity.WARNING,
        ),
        (
            http_filter(match=matching(HCM), applyTo="FILTER_CHAIN"),
            "match.listener.filterChain.filter",
            Severity.WARNING,
        ),
        (http_filter(match={"context": "WAYPOINT"}, patch={}), "match.context", Severity.WARNING),
    ],
)
def test_rules_of_a_patch(patch: dict[str, Any], path: str, severity: Severity) -> None:
    (found,) = findings({"configPatches": [patch]})
    assert found.path == ".".join(filter(None, ("spec.configPatches[0]", path)))
    assert found.severity is severity


def test_a_removal_needs_no_value_and_a_good_patch_nothing() -> None:
    assert findings({"configPatches": [http_filter(), {"applyTo": "CLUSTER", "patch": {"operation": "REMOVE"}}]}) == []


def test_a_selector_and_targets_exclude_each_other() -> None:
    target = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "edge"}
    (found,) = findings({"workloadSelector": {"labels": {"a": "b"}}, "targetRefs": [target]})
    assert found.path == "spec.targetRefs"
    assert findings({"targetRefs": [target]}) == []
    assert [one.path for one in findings({"workloadSelector": {"labels": {"a": "*"}}})] == [
        "spec.workloadSelector.labels.a"
    ]


def test_it_always_says_that_it_depends_on_internals() -> None:
    text = b"apiVersion: networking.istio.io/v1alpha3\nkind: EnvoyFilter\nmetadata: {name: x}\nspec: {}\n"
    (found,) = parse(text, "f").findings
    assert found.severity is Severity.WARNING
