"""Every outcome of a route with its chance. e2e holds the same to real Envoy."""

from __future__ import annotations

from typing import Any

import pytest

from lateen.envoy.resources import CLUSTER, make_resource, make_snapshot
from lateen.explain.explanations import Outcome
from lateen.explain.requests import Request
from lateen.explain.route_actions import RouteTaken, outcomes_of
from lateen.explain.served import Served


def cluster(name: str, *, endpoints: bool = True) -> Any:
    address = {"socket_address": {"address": "10.0.0.1", "port_value": 80}}
    localities = [{"lb_endpoints": [{"endpoint": {"address": address}}]}] if endpoints else []
    assignment = {"cluster_name": name, "endpoints": localities}
    return make_resource(CLUSTER, name, {"name": name, "type": "STATIC", "load_assignment": assignment})


SERVED = Served(make_snapshot([cluster("a"), cluster("b"), cluster("empty", endpoints=False)]))
HEADERS = {":method": "GET", ":path": "/x", ":authority": "h", ":scheme": "http", "x-forwarded-proto": "http"}


def outcomes(route: dict[str, Any], **headers: str) -> list[Outcome]:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    request = Request(headers={**HEADERS, **given, ":method": given.pop("method", "GET")})
    taken = RouteTaken(served=SERVED, routes={}, host={}, route={"match": {"prefix": "/"}, **route}, request=request)
    return outcomes_of(taken)


def fault(**fields: Any) -> dict[str, Any]:
    return {"typed_per_filter_config": {"envoy.filters.http.fault": fields}}


def half(**fields: Any) -> dict[str, Any]:
    return {**fields, "percentage": {"numerator": 50}}


def test_weights_are_shares() -> None:
    clusters = [{"name": "a", "weight": 3}, {"name": "b", "weight": 1}, {"name": "empty"}]
    found = outcomes({"route": {"weighted_clusters": {"clusters": clusters}}})

    assert [(one.share, one.cluster and one.cluster.name) for one in found] == [(75, "a"), (25, "b")]


def test_faults_come_before_everything_and_split_it() -> None:
    route = {"route": {"cluster": "a"}, **fault(abort=half(http_status=503), delay=half(fixed_delay="1s"))}
    found = outcomes(route)

    assert [(one.share, one.action, one.delay) for one in found] == [
        (25, "fault", "1s"),
        (25, "forward", "1s"),
        (25, "fault", ""),
        (25, "forward", ""),
    ]


def test_a_fault_is_one_outcome_wherever_the_request_would_have_gone() -> None:
    weighted = {"weighted_clusters": {"clusters": [{"name": "a", "weight": 1}, {"name": "b", "weight": 1}]}}
    found = outcomes({"route": weighted, **fault(abort=half(http_status=500))})

    assert [(one.share, one.action) for one in found] == [(50, "fault"), (25, "forward"), (25, "forward")]


@pytest.mark.parametrize(
    ("route", "status", "flag"),
    [
        ({"route": {"cluster": "nowhere"}}, 503, "NC"),
        ({"route": {"cluster": "nowhere", "cluster_not_found_response_code": "INTERNAL_SERVER_ERROR"}}, 500, "NC"),
        ({"route": {"cluster": "empty"}}, 503, "UH"),
        ({"direct_response": {"status": 418}}, 418, ""),
        ({"redirect": {"host_redirect": "b"}}, 301, ""),
        (fault(abort={"http_status": 400, "percentage": {"numerator": 100}}), 400, "FI"),
    ],
)
def test_what_the_proxy_answers(route: dict[str, Any], status: int, flag: str) -> None:
    [found] = outcomes(route)

    assert (found.share, found.status, found.flag) == (100, status, flag)


CORS = {
    "typed_per_filter_config": {
        "envoy.filters.http.cors": {"allow_origin_string_match": [{"exact": "https://a"}], "allow_methods": "GET"}
    }
}


@pytest.mark.parametrize(
    ("origin", "method", "action"),
    [("https://a", "OPTIONS", "CORS"), ("https://b", "OPTIONS", "forward"), ("https://a", "GET", "forward")],
)
def test_preflights_are_answered(origin: str, method: str, action: str) -> None:
    [found] = outcomes(
        {"route": {"cluster": "a"}, **CORS}, origin=origin, method=method, access_control_request_method="GET"
    )

    assert found.action == action


def test_limits_in_force_are_told() -> None:
    action = {
        "cluster": "a",
        "timeout": "3s",
        "idle_timeout": "0s",
        "retry_policy": {"retry_on": "5xx, reset", "num_retries": 4, "retriable_status_codes": [429]},
        "request_mirror_policies": [{"cluster": "b", "runtime_fraction": {"default_value": {"numerator": 5}}}],
        "hash_policy": [{"header": {"header_name": "x-user"}}, {"connection_properties": {"source_ip": True}}],
    }
    [found] = outcomes({"route": action})

    assert (found.timeout, found.idle_timeout) == ("3s", "none")
    assert found.retries is not None
    assert (found.retries.attempts, found.retries.on) == (4, ["5xx", "reset", "429"])
    assert [(mirror.cluster, mirror.share) for mirror in found.mirrors] == [("b", 5)]
    assert found.hash_policy == ["header x-user", "source IP"]
    assert outcomes({"route": {"cluster": "a"}})[0].timeout == "15s", "Envoy's own"
