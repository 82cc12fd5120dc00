"""Which statistics an Envoy makes: the list, read as Envoy reads it."""

from __future__ import annotations

import re

import pytest

from lateen.agent.envoy_admin import _IN_FLIGHT_ALL, _IN_FLIGHT_INBOUND
from lateen.envoy.statistics import StatsInclusion, stats_config

WEB = "cluster.outbound|80||web.default.svc.cluster.local;"
INBOUND = "cluster.inbound|9080||;"
PROXY = "http.outbound_http_proxy;"


def is_made(name: str, added: StatsInclusion | None = None, *, address: str = "127.64.1.2") -> bool:
    """Whether Envoy makes it: any pattern matches, an expression the whole name."""
    config = stats_config(address, added or StatsInclusion())
    for pattern in config["stats_matcher"]["inclusion_list"]["patterns"]:
        match pattern:
            case {"prefix": text} if name.startswith(text):
                return True
            case {"suffix": text} if name.endswith(text):
                return True
            case {"safe_regex": {"regex": text}} if re.fullmatch(text, name):
                return True
    return False


@pytest.mark.parametrize(
    "name",
    [
        "server.live",
        "listener_manager.lds.update_success",
        "cluster_manager.active_clusters",
        "cluster_manager.cds.update_rejected",
        "control_plane.connected_state",
        "cluster.xds-grpc.upstream_cx_connect_fail",
        f"{WEB}.upstream_rq_total",
        f"{WEB}.upstream_rq_2xx",
        f"{WEB}.upstream_rq_5xx",
        f"{WEB}.upstream_rq_time",
        f"{WEB}.upstream_rq_timeout",
        f"{WEB}.upstream_rq_per_try_timeout",
        f"{WEB}.upstream_rq_pending_overflow",
        f"{WEB}.upstream_rq_retry",
        f"{WEB}.upstream_rq_retry_limit_exceeded",
        f"{WEB}.upstream_cx_total",
        f"{WEB}.upstream_cx_tx_bytes_total",
        f"{WEB}.upstream_cx_none_healthy",
        f"{WEB}.outlier_detection.ejections_active",
        f"{INBOUND}.upstream_rq_active",
        f"{INBOUND}.upstream_rq_pending_active",
        f"{INBOUND}.upstream_cx_active",
        f"{PROXY}.downstream_rq_active",
        f"{PROXY}.downstream_rq_5xx",
        f"{PROXY}.no_route",
        f"{PROXY}.fault.aborts_injected",
        f"{PROXY}.rds.http_proxy.update_success",
        f"{PROXY}.rds.http_proxy.update_rejected",
        "http.outbound_0.0.0.0_8080;.rds.http.80.update_success",
        "http.inbound_127.64.1.2_9080;.rbac.denied",
        "http.inbound_127.64.1.2_9080;.rbac.istio_dry_run_deny_.shadow_denied",
        "http.inbound_127.64.1.2_9080;.rbac.istio_audit_.shadow_allowed",
        "http.inbound_127.64.1.2_9080;.ext_authz.denied",
        "http.inbound_127.64.1.2_9080;.ext_authz.failure_mode_allowed",
        "tcp.rbac.denied",
        "tcp.rbac.istio_dry_run_allow_.shadow_allowed",
        "listener.127.64.1.2_9080.downstream_cx_total",
        "listener.0.0.0.0_8443.ssl.fail_verify_san",
        "vhost.web.default.svc.cluster.local:80.route.mine.upstream_rq_total",
        "istio.requests_total",
        "wasmcustom.hits",
    ],
)
def test_what_the_product_and_istio_use_is_made(name: str) -> None:
    assert is_made(name)


@pytest.mark.parametrize(
    "name",
    [
        f"{WEB}.membership_healthy",
        f"{WEB}.circuit_breakers.default.rq_open",
        f"{WEB}.lb_healthy_panic",
        f"{WEB}.update_success",
        f"{WEB}.upstream_rq_200",
        f"{WEB}.internal.upstream_rq_2xx",
        f"{WEB}.upstream_cx_length_ms",
        f"{PROXY}.downstream_cx_length_ms",
        f"{PROXY}.rds.http_proxy.update_time",
        "http.admin.downstream_rq_total",
        "listener.240.240.0.21_5020.downstream_cx_total",
        "listener.127.64.1.2_9080.worker_0.downstream_cx_total",
        "listener.127.64.1.2_80.http.outbound_0.0.0.0_80;.downstream_rq_2xx",
        "tcp.outbound|5020||db.default.svc.cluster.local.downstream_cx_total",
        "vhost.web.default.svc.cluster.local:80.vcluster.other.upstream_rq_total",
        "cluster.outbound|80||web.route.svc.cluster.local;.lb_subsets_active",
    ],
)
def test_what_grows_with_the_mesh_and_nobody_reads_is_not(name: str) -> None:
    assert not is_made(name)


def test_what_the_agent_counts_before_it_stops_an_app_is_made() -> None:
    """A statistic that is not made reads like zero requests under way: the drain would cut them off."""
    counted = [
        "http.inbound_127.64.1.2_9080;.downstream_rq_active",
        "http.outbound_0.0.0.0_8080;.downstream_rq_active",
        f"{INBOUND}.upstream_rq_active",
        f"{INBOUND}.upstream_rq_pending_active",
    ]
    assert all(re.match(f"{_IN_FLIGHT_INBOUND}|{_IN_FLIGHT_ALL}", name) for name in counted)
    assert all(is_made(name) for name in counted)


def test_own_listeners_of_an_ipv6_address_are_made_too() -> None:
    """In names of listeners Envoy writes `_` for `:`."""
    assert is_made("listener.[fd00__1]_9080.downstream_cx_total", address="fd00::1")
    assert is_made("listener.[__]_15006.downstream_cx_total", address="fd00::1")
    assert not is_made("listener.[fd00__2]_9080.downstream_cx_total", address="fd00::1")


@pytest.mark.parametrize(
    ("added", "name"),
    [
        (StatsInclusion(prefixes=("runtime",)), "runtime.load_success"),
        (StatsInclusion(suffixes=(".membership_healthy",)), f"{WEB}.membership_healthy"),
        (StatsInclusion(regexps=(r"cluster\..*circuit_breakers.*",)), f"{WEB}.circuit_breakers.default.rq_open"),
        (StatsInclusion(regexps=(".*",)), "http.admin.downstream_rq_total"),
    ],
)
def test_what_a_user_adds_is_made_besides(added: StatsInclusion, name: str) -> None:
    assert is_made(name, added)
    assert not is_made(name)
    assert is_made("server.live", added)


def test_cheap_patterns_come_first() -> None:
    """Envoy tries them one after the other on each statistic: prefixes, suffixes, expressions."""
    added = StatsInclusion(prefixes=("a",), suffixes=("b",), regexps=("c",))
    config = stats_config("127.0.0.1", added)
    kinds = [next(iter(pattern)) for pattern in config["stats_matcher"]["inclusion_list"]["patterns"]]

    assert kinds == sorted(kinds, key=["prefix", "suffix", "safe_regex"].index)
