"""Every reference to the control plane is replaced by what it led to; what cannot be is left out and named."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lateen.agent.last_good import DumpError, is_at_rest, last_good, wanted_secrets, with_app_ports

_TYPE = "type.googleapis.com/"
_ADMIN = f"{_TYPE}envoy.admin.v3."
_HCM = f"{_TYPE}envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ON_DEMAND = f"{_TYPE}envoy.extensions.filters.http.on_demand.v3.OnDemand"
_TCP_PROXY = f"{_TYPE}envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
_RBAC = f"{_TYPE}envoy.extensions.filters.http.rbac.v3.RBAC"
BOOTSTRAP: dict[str, Any] = {
    "node": {"id": "sidecar~127.64.0.1~web-1.default~default.svc.cluster.local"},
    "dynamic_resources": {"ads_config": {"api_type": "DELTA_GRPC"}, "lds_config": {"ads": {}}},
    "hds_config": {"api_type": "GRPC"},
    "static_resources": {"clusters": [{"name": "xds-grpc"}], "listeners": [{"name": "metrics"}]},
}
ADS = {"ads": {}, "resource_api_version": "V3"}


def listener(name: str, *filters: dict[str, Any], **manager: Any) -> dict[str, Any]:
    """A listener as the dump shows it, with one connection manager."""
    config = {"@type": _HCM, "http_filters": list(filters), **manager}
    chain = {"filters": [{"name": "hcm", "typed_config": config}]}
    return {"name": name, "active_state": {"listener": {"@type": f"{_TYPE}L", "name": name, "filter_chains": [chain]}}}


def eds_cluster(name: str, **more: Any) -> dict[str, Any]:
    """A cluster as the dump shows it."""
    config = {"eds_config": ADS}
    return {"cluster": {"@type": f"{_TYPE}C", "name": name, "type": "EDS", "eds_cluster_config": config, **more}}


def dump(**sections: dict[str, Any]) -> dict[str, Any]:
    """A dump with these sections."""
    return {"configs": [{"@type": f"{_ADMIN}{name}", **section} for name, section in sections.items()]}


def made(shown: dict[str, Any], **secrets: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The clusters and listeners by name, and what is missing."""
    found = last_good(BOOTSTRAP, shown, secrets)
    static = found.bootstrap["static_resources"]
    return {item["name"]: item for kind in ("clusters", "listeners") for item in static[kind]}, found.missing


def manager(resources: dict[str, Any], name: str) -> dict[str, Any]:
    config: dict[str, Any] = resources[name]["filter_chains"][0]["filters"][0]["typed_config"]
    return config


def test_nothing_of_it_asks_the_control_plane() -> None:
    """No reference to the stream is left, wherever it stood, and what the bootstrap says besides stays."""
    rds = {"route_config_name": "80", "config_source": ADS}
    settings = {"name": "rbac", "config_discovery": {"config_source": ADS, "type_urls": [_RBAC]}}
    fetching = {"name": "on_demand", "typed_config": {"@type": _ON_DEMAND, "odcds": {"source": ADS}}}
    vhds = {"config_source": ADS}
    tcp = {"name": "tcp", "typed_config": {"@type": _TCP_PROXY, "cluster": "a", "on_demand": {"odcds_config": ADS}}}
    other = listener("0.0.0.0_80", settings, fetching, rds=rds)
    other["active_state"]["listener"]["filter_chains"].append({"filters": [tcp]})
    found = last_good(
        BOOTSTRAP,
        dump(
            ListenersConfigDump={"dynamic_listeners": [other]},
            RoutesConfigDump={
                "dynamic_route_configs": [
                    {"route_config": {"@type": "R", "name": "80", "vhds": vhds, "virtual_hosts": []}}
                ]
            },
            ClustersConfigDump={"dynamic_active_clusters": [eds_cluster("a")]},
            EcdsConfigDump={"ecds_filters": [{"ecds_filter": {"name": "rbac", "typed_config": {"@type": _RBAC}}}]},
        ),
    )
    assert found.missing == ()
    assert '"ads"' not in json.dumps(found.bootstrap["static_resources"])
    assert not {"dynamic_resources", "hds_config"} & found.bootstrap.keys()
    assert found.bootstrap["node"] == BOOTSTRAP["node"]
    filters = manager({item["name"]: item for item in found.bootstrap["static_resources"]["listeners"]}, "0.0.0.0_80")
    assert filters["route_config"] == {"name": "80", "virtual_hosts": []}
    assert [item["name"] for item in filters["http_filters"]] == ["rbac"]


def test_settings_of_http_and_of_network_filters_are_sections_of_their_own() -> None:
    """Envoy shows two of one type where a listener has filters of both kinds: both are meant."""
    discovery = {"config_source": ADS, "type_urls": [_RBAC]}
    both = listener("in", {"name": "http-rbac", "config_discovery": discovery})
    both["active_state"]["listener"]["filter_chains"].append(
        {"filters": [{"name": "network-rbac", "config_discovery": discovery}]}
    )
    shown = dump(ListenersConfigDump={"dynamic_listeners": [both]})
    for name in ("http-rbac", "network-rbac"):
        settings = {"ecds_filter": {"name": name, "typed_config": {"@type": _RBAC}}}
        shown["configs"] += dump(EcdsConfigDump={"ecds_filters": [settings]})["configs"]
    resources, missing = made(shown)
    assert missing == ()
    assert "config_discovery" not in json.dumps(resources["in"])


def test_endpoints_are_those_of_the_service_without_what_was_observed_of_them() -> None:
    """Zeros that the page shows are no legal weights, and an ejection of then says nothing about now."""
    endpoint = {"endpoint": {"address": {"socket_address": {"address": "127.0.0.2", "port_value": 80}}}}
    shown = {
        "cluster_name": "service",
        "endpoints": [
            {
                "locality": {"region": "eu"},
                "priority": 1,
                "load_balancing_weight": 0,
                "lb_endpoints": [{**endpoint, "health_status": "UNHEALTHY", "load_balancing_weight": 3}],
            }
        ],
    }
    resources, _ = made(
        dump(
            ClustersConfigDump={
                "dynamic_active_clusters": [
                    eds_cluster("named", eds_cluster_config={"service_name": "service"}),
                    eds_cluster("empty"),
                ]
            },
            EndpointsConfigDump={"dynamic_endpoint_configs": [{"endpoint_config": shown}]},
        )
    )
    group = {"locality": {"region": "eu"}, "priority": 1, "lb_endpoints": [{**endpoint, "load_balancing_weight": 3}]}
    assert resources["named"]["type"] == "STATIC"
    assert resources["named"]["load_assignment"]["endpoints"] == [group]
    assert resources["empty"]["load_assignment"] == {"cluster_name": "empty", "endpoints": []}


def test_a_listener_without_its_settings_is_left_out_and_named() -> None:
    """Without them it would let through what they refuse."""
    settings = {"name": "rbac", "config_discovery": {"config_source": ADS}}
    shown = dump(ListenersConfigDump={"dynamic_listeners": [listener("a", settings), listener("b")]})
    resources, missing = made(shown)
    assert "b" in resources
    assert "a" not in resources
    assert missing == ("listener a: settings of rbac",)


def test_secrets_come_from_files_or_what_needs_them_is_left_out() -> None:
    """The dump shows no private key; the workload's own secrets are in files already."""

    def tls(*names: str, own: bool = False) -> dict[str, Any]:
        path = {"path_config_source": {"path": "certificates/default.json"}}
        secrets = [{"name": name, "sds_config": path if own else ADS} for name in names]
        return {"transport_socket": {"typed_config": {"tls_certificate_sds_secret_configs": secrets}}}

    shown = dump(
        ClustersConfigDump={
            "dynamic_active_clusters": [
                eds_cluster("own", **tls("default", own=True)),
                eds_cluster("kept", **tls("kubernetes://shop")),
                eds_cluster("lost", **tls("kubernetes://other")),
            ]
        },
        SecretsConfigDump={
            "dynamic_active_secrets": [
                {"name": name} for name in ("default", "ROOTCA", "kubernetes://shop", "kubernetes://other")
            ]
        },
    )
    assert wanted_secrets(shown) == {"kubernetes://shop", "kubernetes://other"}
    resources, missing = made(shown, **{"kubernetes://shop": "secrets/1.pb"})
    assert missing == ("cluster lost: secret kubernetes://other",)
    assert "secrets/1.pb" in json.dumps(resources["kept"])
    assert "certificates/default.json" in json.dumps(resources["own"])


def test_what_is_not_in_force_is_not_kept() -> None:
    """A listener that only warms up, or was rejected, has no active state."""
    warming = {"name": "new", "warming_state": {"listener": {"name": "new"}}}
    shown = dump(ListenersConfigDump={"dynamic_listeners": [warming, {"name": "bad", "error_state": {"details": "x"}}]})
    resources, _ = made(shown)
    assert set(resources) == {"xds-grpc", "metrics"}
    assert not is_at_rest(shown)
    assert is_at_rest(dump(ListenersConfigDump={"dynamic_listeners": [listener("a")]}))


def test_the_app_may_be_elsewhere_in_its_next_life() -> None:
    """Only the way to the app is changed, not a service that has the same port number."""

    def cluster(name: str) -> dict[str, Any]:
        return {
            "name": name,
            "load_assignment": {"endpoints": [{"address": {"address": "127.0.0.1", "port_value": 4000}}]},
        }

    before = {"static_resources": {"clusters": [cluster("inbound|80||"), cluster("outbound|80||a")], "listeners": []}}
    after = with_app_ports(before, {4000: 5000})["static_resources"]["clusters"]
    ports = [item["load_assignment"]["endpoints"][0]["address"]["port_value"] for item in after]
    assert ports == [5000, 4000]
    assert with_app_ports(before, {4000: 4000}) is before


@pytest.mark.parametrize(
    "shown",
    [
        {},
        {"configs": [{}]},
        {"configs": 3},
        {"configs": [{"@type": f"{_ADMIN}ListenersConfigDump", "dynamic_listeners": [3]}]},
    ],
)
def test_what_is_no_dump_is_said(shown: dict[str, Any]) -> None:
    with pytest.raises(DumpError, match="not a configuration dump"):
        last_good(BOOTSTRAP, shown)
