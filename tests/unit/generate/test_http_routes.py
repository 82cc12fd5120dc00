"""HTTP rules of VirtualServices, field by field."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

Routes = Callable[..., list[Mapping[str, Any]]]
TO_REVIEWS = "  route: [{destination: {host: reviews}}]"
CLUSTER = "outbound|9080||reviews.default.svc.cluster.local"


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ("uri: {exact: /a}", {"path": "/a"}),
        ("uri: {prefix: /a}", {"prefix": "/a"}),
        ("uri: {regex: '/a[0-9]+'}", {"safe_regex": {"regex": "/a[0-9]+"}}),
        ("{uri: {prefix: /a}, ignoreUriCase: true}", {"prefix": "/a", "case_sensitive": False}),
        (
            "headers: {end-user: {exact: jason}}",
            {"prefix": "/", "headers": [{"name": "end-user", "string_match": {"exact": "jason"}}]},
        ),
        (
            "headers: {x: {prefix: a}}",
            {"prefix": "/", "headers": [{"name": "x", "string_match": {"prefix": "a"}}]},
        ),
        (
            "headers: {x: {regex: 'a.*'}}",
            {"prefix": "/", "headers": [{"name": "x", "string_match": {"safe_regex": {"regex": "a.*"}}}]},
        ),
        ("headers: {x: {}}", {"prefix": "/", "headers": [{"name": "x", "present_match": True}]}),
        (
            "withoutHeaders: {x: {}}",
            {"prefix": "/", "headers": [{"name": "x", "present_match": True, "invert_match": True}]},
        ),
        (
            "withoutHeaders: {x: {exact: a}}",
            {
                "prefix": "/",
                "headers": [
                    {
                        "name": "x",
                        "string_match": {"exact": "a"},
                        "invert_match": True,
                        "treat_missing_header_as_empty": True,
                    }
                ],
            },
        ),
        (
            "method: {exact: POST}",
            {"prefix": "/", "headers": [{"name": ":method", "string_match": {"exact": "POST"}}]},
        ),
        (
            "authority: {prefix: a.}",
            {"prefix": "/", "headers": [{"name": ":authority", "string_match": {"prefix": "a."}}]},
        ),
        (
            "scheme: {exact: https}",
            {"prefix": "/", "headers": [{"name": ":scheme", "string_match": {"exact": "https"}}]},
        ),
        (
            "queryParams: {user: {exact: '1'}}",
            {"prefix": "/", "query_parameters": [{"name": "user", "string_match": {"exact": "1"}}]},
        ),
        (
            "queryParams: {user: {}}",
            {"prefix": "/", "query_parameters": [{"name": "user", "present_match": True}]},
        ),
    ],
)
def test_what_envoy_matches(routes: Routes, match: str, expected: Mapping[str, Any]) -> None:
    item = match if match.startswith("{") else f"{{{match}}}"

    assert routes(f"- match: [{item}]\n{TO_REVIEWS}")[0]["match"] == expected


@pytest.mark.parametrize(
    ("match", "applies"),
    [
        ("port: 9080", True),
        ("port: 80", False),
        ("sourceLabels: {app: client}", True),
        ("sourceLabels: {app: other}", False),
        ("sourceNamespace: default", True),
        ("sourceNamespace: other", False),
        ("gateways: [mesh]", True),
        ("gateways: [front]", False),
    ],
)
def test_what_is_decided_here(routes: Routes, match: str, applies: bool) -> None:
    """Conditions that hold for every request of a listener keep or drop the rule, and leave no trace in the match."""
    found = routes(f"- name: it\n  match: [{{{match}}}]\n{TO_REVIEWS}")

    assert (found[0].get("name") == "it") is applies
    assert found[0]["match"] == {"prefix": "/"}


def test_rules_keep_their_order_and_each_match_is_a_route(routes: Routes) -> None:
    found = routes(
        f"""
- name: first
  match: [{{name: a, uri: {{prefix: /a}}}}, {{uri: {{prefix: /b}}}}]
{TO_REVIEWS}
- name: second
{TO_REVIEWS}
"""
    )

    assert [route["name"] for route in found] == ["first.a", "first", "second"]


def test_nothing_follows_a_route_that_matches_everything(routes: Routes) -> None:
    assert len(routes(f"- name: all\n{TO_REVIEWS}\n- name: never\n{TO_REVIEWS}")) == 1


def test_weights_and_headers_of_destinations(routes: Routes) -> None:
    """Each destination changes headers on its own; one with weight zero is not sent."""
    found = routes(
        """
- route:
  - destination: {host: reviews, subset: v1}
    weight: 90
    headers: {request: {set: {x-to: v1}, remove: [x-old]}, response: {add: {x-from: v1}}}
  - {destination: {host: reviews, subset: v2}, weight: 10}
  - {destination: {host: reviews, subset: v3}, weight: 0}
"""
    )

    clusters = found[0]["route"]["weighted_clusters"]["clusters"]
    assert [(item["name"].split("|")[2], item["weight"]) for item in clusters] == [("v1", 90), ("v2", 10)]
    assert clusters[0]["request_headers_to_add"] == [
        {"header": {"key": "x-to", "value": "v1"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
    ]
    assert clusters[0]["request_headers_to_remove"] == ["x-old"]
    # APPEND is the default of the field, which JSON leaves out.
    assert clusters[0]["response_headers_to_add"] == [{"header": {"key": "x-from", "value": "v1"}}]


def test_a_destination_without_port_is_the_services_only_port(routes: Routes) -> None:
    assert routes(f"- {TO_REVIEWS.strip()}")[0]["route"]["cluster"] == CLUSTER


def test_a_host_or_subset_that_does_not_exist_keeps_its_route(routes: Routes) -> None:
    """As under Istio the request fails with 503 instead of going somewhere nobody asked for."""
    found = routes("- route: [{destination: {host: nowhere, subset: v9, port: {number: 81}}}]")

    assert found[0]["route"]["cluster"] == "outbound|81|v9|nowhere.default.svc.cluster.local"


@pytest.mark.parametrize(
    ("redirect", "expected"),
    [
        ("{uri: /new, authority: other.example}", {"path_redirect": "/new", "host_redirect": "other.example"}),
        ("{prefixRewrite: /new}", {"prefix_rewrite": "/new"}),
        ("{uri: /, redirectCode: 308}", {"path_redirect": "/", "response_code": "PERMANENT_REDIRECT"}),
        ("{scheme: https, port: 8443}", {"scheme_redirect": "https", "port_redirect": 8443}),
        ("{scheme: https, port: 443}", {"scheme_redirect": "https"}),
        ("{uri: /, derivePort: FROM_REQUEST_PORT}", {"path_redirect": "/", "port_redirect": 9080}),
        ("{uri: /, derivePort: FROM_PROTOCOL_DEFAULT}", {"path_redirect": "/"}),
    ],
)
def test_redirect(routes: Routes, redirect: str, expected: Mapping[str, Any]) -> None:
    found = dict(routes(f"- redirect: {redirect}")[0]["redirect"])

    assert found == expected


def test_direct_response(routes: Routes) -> None:
    found = routes(
        """
- match: [{uri: {prefix: /teapot}}]
  directResponse: {status: 418, body: {string: short and stout}}
- directResponse: {status: 200, body: {bytes: aGVsbG8=}}
"""
    )

    assert found[0]["direct_response"] == {"status": 418, "body": {"inline_string": "short and stout"}}
    assert found[1]["direct_response"] == {"status": 200, "body": {"inline_bytes": "aGVsbG8="}}


@pytest.mark.parametrize(
    ("rewrite", "expected"),
    [
        ("{uri: /new}", {"prefix_rewrite": "/new"}),
        ("{authority: other.example}", {"host_rewrite_literal": "other.example"}),
        (
            "{uriRegexRewrite: {match: '/a/(.*)', rewrite: '/b/\\1'}}",
            {"regex_rewrite": {"pattern": {"regex": "/a/(.*)"}, "substitution": "/b/\\1"}},
        ),
    ],
)
def test_rewrite(routes: Routes, rewrite: str, expected: Mapping[str, Any]) -> None:
    action = routes(f"- rewrite: {rewrite}\n{TO_REVIEWS}")[0]["route"]

    assert expected.items() <= action.items()


def test_no_timeout_unless_asked_for(routes: Routes) -> None:
    assert routes(f"- {TO_REVIEWS.strip()}")[0]["route"]["timeout"] == "0s"
    assert routes(f"- timeout: 1.5s\n{TO_REVIEWS}")[0]["route"]["timeout"] == "1.500s"


def test_the_default_retry_policy_is_istios(routes: Routes) -> None:
    policy = routes(f"- {TO_REVIEWS.strip()}")[0]["route"]["retry_policy"]

    assert policy["num_retries"] == 2
    assert policy["retry_on"] == "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
    assert policy["host_selection_retry_max_attempts"] == "50"
    assert [item["name"] for item in policy["retry_host_predicate"]] == ["envoy.retry_host_predicates.previous_hosts"]


def test_retries(routes: Routes) -> None:
    rule = "{attempts: 3, perTryTimeout: 2s, retryOn: 'gateway-error,429', backoff: 50ms, retryRemoteLocalities: true}"
    policy = routes(f"- retries: {rule}\n{TO_REVIEWS}")[0]["route"]["retry_policy"]

    assert policy["num_retries"] == 3
    assert policy["per_try_timeout"] == "2s"
    assert policy["retry_on"] == "gateway-error,retriable-status-codes"
    assert policy["retriable_status_codes"] == [429]
    assert policy["retry_back_off"] == {"base_interval": "0.050s"}
    assert policy["retry_priority"]["name"] == "envoy.retry_priorities.previous_priorities"


def test_no_attempts_switch_retries_off(routes: Routes) -> None:
    assert "retry_policy" not in routes(f"- retries: {{attempts: 0}}\n{TO_REVIEWS}")[0]["route"]


def test_retries_may_stay_with_the_same_host(routes: Routes) -> None:
    rule = "{attempts: 1, retryIgnorePreviousHosts: false}"

    assert "retry_host_predicate" not in routes(f"- retries: {rule}\n{TO_REVIEWS}")[0]["route"]["retry_policy"]


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (
            "{delay: {fixedDelay: 7s, percentage: {value: 12.5}}}",
            {"delay": {"fixed_delay": "7s", "percentage": {"numerator": 125000, "denominator": "MILLION"}}},
        ),
        (
            "{abort: {httpStatus: 500, percentage: {value: 100}}}",
            {"abort": {"http_status": 500, "percentage": {"numerator": 1000000, "denominator": "MILLION"}}},
        ),
        ("{abort: {httpStatus: 503}}", {"abort": {"http_status": 503, "percentage": {}}}),
        ("{delay: {fixedDelay: 1s}}", {"delay": {"fixed_delay": "1s", "percentage": {}}}),
        (
            "{abort: {grpcStatus: UNAVAILABLE, percentage: {value: 100}}}",
            {"abort": {"grpc_status": 14, "percentage": {"numerator": 1000000, "denominator": "MILLION"}}},
        ),
    ],
)
def test_faults(routes: Routes, fault: str, expected: Mapping[str, Any]) -> None:
    config = dict(routes(f"- fault: {fault}\n{TO_REVIEWS}")[0]["typed_per_filter_config"]["envoy.filters.http.fault"])
    config.pop("@type")

    assert config == expected


def test_mirrors(routes: Routes) -> None:
    found = routes(
        """
- route: [{destination: {host: reviews, subset: v1}}]
  mirror: {host: reviews, subset: v2}
  mirrorPercentage: {value: 50}
- route: [{destination: {host: reviews}}]
"""
    )
    policies = found[0]["route"]["request_mirror_policies"]

    assert policies == [
        {
            "cluster": "outbound|9080|v2|reviews.default.svc.cluster.local",
            "runtime_fraction": {"default_value": {"numerator": 500000, "denominator": "MILLION"}},
            "trace_sampled": False,
        }
    ]


def test_several_mirrors_and_one_of_none(routes: Routes) -> None:
    found = routes(
        """
- route: [{destination: {host: reviews}}]
  mirrors:
  - {destination: {host: reviews, subset: v2}}
  - {destination: {host: reviews, subset: v3}, percentage: {value: 0}}
"""
    )

    assert [item["cluster"].split("|")[2] for item in found[0]["route"]["request_mirror_policies"]] == ["v2"]


def test_headers_of_a_rule(routes: Routes) -> None:
    found = routes(
        """
- route: [{destination: {host: reviews}, headers: {request: {add: {x-b: '2'}}}}]
  headers: {request: {set: {x-a: '1', Host: other.example}, remove: [x-c]}}
"""
    )

    assert [item["header"]["key"] for item in found[0]["request_headers_to_add"]] == ["x-a", "x-b"]
    assert found[0]["request_headers_to_remove"] == ["x-c"]
    assert found[0]["route"]["host_rewrite_literal"] == "other.example"


def test_cors(routes: Routes) -> None:
    policy = (
        "{allowOrigins: [{exact: 'https://a.example'}, {regex: '.*[.]b'}], allowMethods: [GET, POST], maxAge: 24h, "
        "allowHeaders: [x-a], exposeHeaders: [x-b], allowCredentials: true, unmatchedPreflights: IGNORE}"
    )
    found = dict(
        routes(f"- corsPolicy: {policy}\n{TO_REVIEWS}")[0]["typed_per_filter_config"]["envoy.filters.http.cors"]
    )
    found.pop("@type")

    assert found == {
        "allow_origin_string_match": [{"exact": "https://a.example"}, {"safe_regex": {"regex": ".*[.]b"}}],
        "allow_methods": "GET,POST",
        "allow_headers": "x-a",
        "expose_headers": "x-b",
        "max_age": "86400",
        "allow_credentials": True,
        "filter_enabled": {"default_value": {"numerator": 100}},
        "forward_not_matching_preflights": False,
    }


def test_stat_prefix(routes: Routes) -> None:
    assert routes(f"- match: [{{statPrefix: mine}}]\n{TO_REVIEWS}")[0]["stat_prefix"] == "mine"


def test_a_rule_leads_back_to_its_document(routes: Routes) -> None:
    metadata = routes(f"- {TO_REVIEWS.strip()}")[0]["metadata"]["filter_metadata"]

    assert metadata["lateen"]["config"] == "VirtualService default/reviews"
    assert metadata["lateen"]["origin"].startswith("mesh.yaml:")
    assert metadata["istio"]["config"] == "/apis/networking.istio.io/v1/namespaces/default/virtual-service/reviews"


def test_delegated_rules_stand_in_the_root_rules_place(routes: Routes) -> None:
    delegate = """---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: part}
spec:
  http: [{match: [{uri: {prefix: /a/b}}], route: [{destination: {host: reviews, subset: v2}}]}]
"""
    found = routes("- match: [{uri: {prefix: /a}}]\n  delegate: {name: part}", delegate)

    assert found[0]["match"] == {"prefix": "/a/b"}
    assert "|v2|" in found[0]["route"]["cluster"]
