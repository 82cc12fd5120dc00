"""EnvoyFilters: what each class, match and operation does to what is generated, as in Istio."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from lateen.envoy.resources import CLUSTER, LISTENER, ROUTE, VIRTUAL_HOST
from lateen.generate.envoy_filters.bootstrap import bootstrap_patches, patched_bootstrap
from lateen.generate.envoy_filters.selection import Selection
from lateen.generate.envoy_filters.snapshots import PatchCache, PatchedSnapshots
from lateen.generate.envoy_filters.unmatched import patch_findings, unmatched_findings
from lateen.generate.generator import Generator
from lateen.generate.snapshot import generate
from lateen.generate.static import static_bootstrap
from lateen.model.proxies import Interception, Proxy, ProxyType
from unit.generate.conftest import shown, state_of

MESH = """
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {clusterIP: 10.0.0.10, selector: {app: reviews}, ports: [{name: http, port: 9080}, {name: http-admin, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: reviews-1, labels: {kubernetes.io/service-name: reviews}}
addressType: IPv4
endpoints: [{addresses: [10.1.0.1]}]
ports: [{name: http, port: 9080}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: edge}
spec:
  hosts: ["reviews.example.com"]
  gateways: [edge]
  http: [{name: all, route: [{destination: {host: reviews, port: {number: 9080}}}]}]
---
"""
REVIEWS = "reviews.default.svc.cluster.local"
SIDECAR = Proxy(
    type=ProxyType.SIDECAR, name="reviews-1", namespace="default", addresses=("10.1.0.1",), labels={"app": "reviews"}
)
EXPLICIT = replace(SIDECAR, interception=Interception.NONE)
GATEWAY = Proxy(
    type=ProxyType.GATEWAY,
    name="edge",
    namespace="default",
    addresses=("10.1.0.9",),
    labels={"istio": "ingressgateway"},
    privileged=False,
)
OFF = {"fault", "cors", "dynamic_forward_proxy", "lateen.tunnel_alpn"}
"""Where virtual hosts are asked for."""
TYPE = "type.googleapis.com/envoy.extensions."
LUA = {
    "name": "test.lua",
    "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua",
        "default_source_code": {"inline_string": "function envoy_on_request(h) end"},
    },
}
ROUTER = {
    "filter": {
        "name": "envoy.filters.network.http_connection_manager",
        "subFilter": {"name": "envoy.filters.http.router"},
    }
}


def patch(apply_to: str, operation: str, value: Any = None, **match: Any) -> dict[str, Any]:
    body = {"operation": operation} | ({"value": value} if value is not None else {})
    return {"applyTo": apply_to, "match": match, "patch": body}


def envoy_filter(
    *patches: dict[str, Any], name: str = "ef", namespace: str = "default", created: str = "", **spec: Any
) -> str:
    metadata = {"name": name, "namespace": namespace} | ({"creationTimestamp": created} if created else {})
    document = {
        "apiVersion": "networking.istio.io/v1alpha3",
        "kind": "EnvoyFilter",
        "metadata": metadata,
        "spec": {"configPatches": list(patches), **spec},
    }
    return json.dumps(document) + "\n---\n"


def made(proxy: Proxy, *documents: str) -> dict[str, dict[str, Any]]:
    return shown(generate(state_of(MESH + "".join(documents)), proxy))


def managers(listener: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    chains = [*listener.get("filter_chains", ()), listener.get("default_filter_chain", {})]
    for chain in chains:
        for item in chain.get("filters", ()):
            if item["name"] == "envoy.filters.network.http_connection_manager":
                yield item["typed_config"]


def http_filters(listener: Mapping[str, Any]) -> list[list[str]]:
    return [[item["name"].rpartition(".")[2] for item in manager["http_filters"]] for manager in managers(listener)]


@pytest.mark.parametrize(
    ("proxy", "context", "listeners"),
    [
        (SIDECAR, "SIDECAR_INBOUND", {"virtualInbound"}),
        (SIDECAR, "SIDECAR_OUTBOUND", {"0.0.0.0_9080", "0.0.0.0_80"}),
        (SIDECAR, "ANY", {"virtualInbound", "0.0.0.0_9080", "0.0.0.0_80"}),
        (SIDECAR, "GATEWAY", set()),
        (EXPLICIT, "SIDECAR_INBOUND", {"10.1.0.1_9080"}),
        (EXPLICIT, "SIDECAR_OUTBOUND", {"http_proxy"}),
        (GATEWAY, "GATEWAY", {"0.0.0.0_80"}),
        (GATEWAY, "SIDECAR_OUTBOUND", set()),
        (SIDECAR, "WAYPOINT", set()),
    ],
)
def test_an_http_filter_stands_before_the_router_on_the_side_that_is_meant(
    proxy: Proxy, context: str, listeners: set[str]
) -> None:
    found = made(
        proxy,
        envoy_filter(patch("HTTP_FILTER", "INSERT_BEFORE", LUA, context=context, listener={"filterChain": ROUTER})),
    )
    with_filter = {
        name
        for name, listener in found["Listener"].items()
        if (chains := http_filters(listener)) and all(chain[-2:] == ["lua", "router"] for chain in chains)
    }
    assert with_filter == listeners


@pytest.mark.parametrize(
    ("operation", "value", "sub_filter", "expected"),
    [
        ("INSERT_FIRST", LUA, "envoy.filters.http.router", ["lua", "fault", "router"]),
        ("INSERT_BEFORE", LUA, "envoy.filters.http.router", ["fault", "lua", "router"]),
        ("INSERT_AFTER", LUA, "envoy.filters.http.fault", ["fault", "lua", "router"]),
        ("INSERT_BEFORE", LUA, "envoy.router", ["fault", "lua", "router"]),
        ("INSERT_BEFORE", LUA, "missing", ["fault", "router"]),
        ("INSERT_BEFORE", LUA, None, ["lua", "fault", "router"]),
        ("ADD", LUA, None, ["fault", "lua", "router"]),
        ("REPLACE", LUA, "envoy.filters.http.fault", ["lua", "router"]),
        ("REMOVE", None, "envoy.filters.http.fault", ["router"]),
        ("REMOVE", None, None, ["fault", "router"]),
    ],
)
def test_operations_on_http_filters(operation: str, value: Any, sub_filter: str | None, expected: list[str]) -> None:
    manager: dict[str, Any] = {"name": "envoy.http_connection_manager"}
    if sub_filter:
        manager["subFilter"] = {"name": sub_filter}
    match = {"portNumber": 9080, "filterChain": {"filter": manager}}
    found = made(
        SIDECAR, envoy_filter(patch("HTTP_FILTER", operation, value, context="SIDECAR_OUTBOUND", listener=match))
    )
    wanted = {"lua", "fault", "router"}
    (chain,) = http_filters(found["Listener"]["0.0.0.0_9080"])
    assert [name for name in chain if name in wanted] == expected
    (other,) = http_filters(found["Listener"]["0.0.0.0_80"])
    assert "lua" not in other


def test_a_filter_is_merged_inside_its_settings() -> None:
    value = {
        "name": "envoy.filters.http.router",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
            "suppress_envoy_headers": True,
        },
    }
    found = made(
        SIDECAR,
        envoy_filter(patch("HTTP_FILTER", "MERGE", value, context="SIDECAR_INBOUND", listener={"filterChain": ROUTER})),
    )
    for manager in managers(found["Listener"]["virtualInbound"]):
        assert manager["http_filters"][-1]["typed_config"]["suppress_envoy_headers"] is True


def test_a_filter_that_routes_turn_on_is_on_where_a_patch_changes_it() -> None:
    """Otherwise it would do nothing: what it does by itself, as here, no route asks for."""
    settings = {"@type": TYPE + "filters.http.fault.v3.HTTPFault", "abort": {"header_abort": {}}}
    value = {"name": "envoy.filters.http.fault", "typed_config": settings}
    at = {"filterChain": {"filter": {**ROUTER["filter"], "subFilter": {"name": "envoy.filters.http.fault"}}}}
    merged = patch("HTTP_FILTER", "MERGE", value, context="SIDECAR_OUTBOUND", listener=at)
    for filters, off in (((), [True]), ((envoy_filter(merged),), [False])):
        (manager,) = managers(made(SIDECAR, *filters)["Listener"]["0.0.0.0_9080"])
        assert [one.get("disabled", False) for one in manager["http_filters"] if one["name"].endswith("fault")] == off


@pytest.mark.parametrize(
    ("operation", "name", "sub_filter", "on"),
    [
        ("MERGE", "envoy.filters.http.fault", "envoy.filters.http.fault", {"fault"}),
        ("MERGE", "", "", OFF),
        ("INSERT_BEFORE", "envoy.filters.http.cors", "envoy.filters.http.router", {"cors"}),
        ("REMOVE", "", "envoy.filters.http.fault", set()),
        ("INSERT_BEFORE", "mine", "envoy.filters.http.router", set()),
    ],
)
def test_where_hosts_are_asked_for_so_is_one_that_a_patch_changes_or_adds(
    operation: str, name: str, sub_filter: str, on: set[str]
) -> None:
    """There the route configuration says what is off."""
    filters: dict[str, Any] = {**ROUTER["filter"]}
    filters.pop("subFilter", None)
    if sub_filter:
        filters["subFilter"] = {"name": sub_filter}
    value: dict[str, Any] = {"typed_config": {"@type": TYPE + "filters.http.cors.v3.Cors"}} | (
        {"name": name} if name else {}
    )
    at = {"filterChain": {"filter": filters}}
    one = patch("HTTP_FILTER", operation, value, context="SIDECAR_OUTBOUND", listener=at)
    for proxy in (replace(SIDECAR, asks_on_demand=True), replace(EXPLICIT, asks_on_demand=True)):
        for found in made(proxy, envoy_filter(one))["RouteConfiguration"].values():
            said = found.get("typed_per_filter_config", {})
            assert all(setting["disabled"] for setting in said.values())
            assert {key.removeprefix("envoy.filters.http.") for key in said} == OFF - on


def test_network_filters_listeners_chains_and_listener_filters() -> None:
    hcm = {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": TYPE + "filters.network.http_connection_manager.v3.HttpConnectionManager",
            "common_http_protocol_options": {"idle_timeout": "1.5s"},
            "server_name": "patched",
        },
    }
    echo = {
        "name": "echo",
        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo"},
    }
    proxy_protocol = {
        "name": "envoy.filters.listener.proxy_protocol",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol"
        },
    }
    at = {"portNumber": 9080}
    found = made(
        SIDECAR,
        envoy_filter(
            patch("NETWORK_FILTER", "MERGE", hcm, context="SIDECAR_INBOUND", listener=at),
            patch("NETWORK_FILTER", "INSERT_FIRST", echo, context="SIDECAR_OUTBOUND", listener=at),
            patch("LISTENER_FILTER", "INSERT_FIRST", proxy_protocol, context="SIDECAR_INBOUND"),
            patch(
                "LISTENER",
                "MERGE",
                {"per_connection_buffer_limit_bytes": 4096},
                context="SIDECAR_OUTBOUND",
                listener=at,
            ),
            patch(
                "FILTER_CHAIN",
                "REMOVE",
                context="SIDECAR_INBOUND",
                listener={"filterChain": {"name": "virtualInbound-blackhole"}},
            ),
            patch("LISTENER", "REMOVE", context="SIDECAR_OUTBOUND", listener={"name": "0.0.0.0_80"}),
            patch(
                "LISTENER",
                "ADD",
                {"name": "extra", "address": {"socket_address": {"address": "127.0.0.1", "port_value": 7}}},
            ),
        ),
    )["Listener"]
    inbound, outbound = found["virtualInbound"], found["0.0.0.0_9080"]
    assert {manager.get("server_name") for manager in managers(inbound)} == {"patched"}
    assert next(managers(inbound))["common_http_protocol_options"]["idle_timeout"] == "1.500s"
    assert inbound["listener_filters"][0]["name"] == "envoy.filters.listener.proxy_protocol"
    assert "virtualInbound-blackhole" not in [chain["name"] for chain in inbound["filter_chains"]]
    assert outbound["per_connection_buffer_limit_bytes"] == 4096
    assert all(chain["filters"][0]["name"] == "echo" for chain in outbound["filter_chains"])
    assert "0.0.0.0_80" not in found
    assert "extra" in found


@pytest.mark.parametrize(
    ("match", "patched"),
    [
        (
            {},
            {
                "inbound|9080||",
                "InboundPassthroughCluster",
                f"outbound|9080||{REVIEWS}",
                f"outbound|80||{REVIEWS}",
                "PassthroughCluster",
                "BlackHoleCluster",
            },
        ),
        ({"name": f"outbound|80||{REVIEWS}"}, {f"outbound|80||{REVIEWS}"}),
        ({"service": REVIEWS}, {"inbound|9080||", f"outbound|9080||{REVIEWS}", f"outbound|80||{REVIEWS}"}),
        ({"service": REVIEWS, "portNumber": 9080}, {"inbound|9080||", f"outbound|9080||{REVIEWS}"}),
        ({"subset": "v1"}, set()),
    ],
)
def test_clusters_are_matched_by_what_their_names_and_metadata_say(match: dict[str, Any], patched: set[str]) -> None:
    value = {"per_connection_buffer_limit_bytes": 999, "connect_timeout": "2.5s"}
    found = made(SIDECAR, envoy_filter(patch("CLUSTER", "MERGE", value, cluster=match)))["Cluster"]
    assert {
        name for name, cluster in found.items() if cluster.get("per_connection_buffer_limit_bytes") == 999
    } == patched
    assert all(found[name]["connect_timeout"] == "2.500s" for name in patched)


def test_clusters_are_added_and_removed() -> None:
    found = made(
        SIDECAR,
        envoy_filter(
            patch("CLUSTER", "ADD", {"name": "mine", "type": "STATIC", "connect_timeout": "1s"}),
            patch("CLUSTER", "REMOVE", cluster={"name": f"outbound|80||{REVIEWS}"}),
        ),
    )["Cluster"]
    assert "mine" in found
    assert f"outbound|80||{REVIEWS}" not in found


def test_lists_are_appended_or_replaced() -> None:
    added = {"routes": [{"name": "x", "match": {"prefix": "/x"}, "direct_response": {"status": 204}}]}
    for operation, expected in (("MERGE", ["default", "x"]), ("MERGE_AND_REPLACE_LIST", ["x"])):
        match = {"name": "9080", "vhost": {"name": f"{REVIEWS}:9080"}}
        found = made(SIDECAR, envoy_filter(patch("VIRTUAL_HOST", operation, added, routeConfiguration=match)))
        hosts = {host["name"]: host for host in found["RouteConfiguration"]["9080"]["virtual_hosts"]}
        assert [route["name"] for route in hosts[f"{REVIEWS}:9080"]["routes"]] == expected


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        ("INSERT_FIRST", ["x", "all"]),
        ("ADD", ["all", "x"]),
        ("INSERT_AFTER", ["all", "x"]),
        ("MERGE", ["x"]),
        ("REMOVE", []),
    ],
)
def test_routes_of_a_gateway(operation: str, expected: list[str]) -> None:
    value = None if operation == "REMOVE" else {"name": "x", "match": {"prefix": "/x"}}
    if value is not None and operation != "MERGE":
        value["direct_response"] = {"status": 204}
    match = {
        "portNumber": 80,
        "vhost": {"domainName": "reviews.example.com", "route": {"name": "all", "action": "ROUTE"}},
    }
    found = made(
        GATEWAY, envoy_filter(patch("HTTP_ROUTE", operation, value, context="GATEWAY", routeConfiguration=match))
    )
    (host,) = [
        host
        for host in found["RouteConfiguration"]["http.80"]["virtual_hosts"]
        if "reviews.example.com" in host["domains"]
    ]
    assert [route["name"] for route in host.get("routes", ())] == expected


def test_order_is_priority_then_root_namespace_then_age_then_name() -> None:
    def first(name: str) -> dict[str, Any]:
        return patch("HTTP_FILTER", "INSERT_FIRST", {**LUA, "name": name}, context="SIDECAR_INBOUND")

    found = made(
        SIDECAR,
        envoy_filter(first("last"), name="a", priority=5),
        envoy_filter(first("young"), name="a-young", created="2026-02-01T00:00:00Z"),
        envoy_filter(first("old"), name="z-old", created="2026-01-01T00:00:00Z"),
        envoy_filter(first("root"), name="z", namespace="istio-system", created="2026-03-01T00:00:00Z"),
        envoy_filter(first("early"), name="z2", priority=-1),
        envoy_filter(first("elsewhere"), name="e", namespace="other"),
        envoy_filter(first("unselected"), name="u", workloadSelector={"labels": {"app": "x"}}),
    )
    names = http_filters(found["Listener"]["virtualInbound"])[0]
    assert names[:5] == ["last", "young", "old", "root", "early"]
    assert not {"elsewhere", "unselected"} & set(names)


def test_proxies_are_matched_by_version_and_metadata() -> None:
    value = {"per_connection_buffer_limit_bytes": 1}
    documents = envoy_filter(
        patch("CLUSTER", "MERGE", value, proxy={"proxyVersion": r"^1\.3.*", "metadata": {"TIER": "gold"}})
    )
    gold = replace(SIDECAR, istio_version="1.31.0", metadata={"TIER": "gold"})
    for proxy, matches in (
        (SIDECAR, False),
        (gold, True),
        (replace(gold, istio_version="1.2"), False),
        (replace(gold, metadata={}), False),
    ):
        clusters = made(proxy, documents)["Cluster"].values()
        assert any(cluster.get("per_connection_buffer_limit_bytes") == 1 for cluster in clusters) is matches


def test_what_cannot_be_applied_is_skipped_and_said_and_the_rest_is_done() -> None:
    wrong = {"name": "envoy.filters.http.router", "typed_config": LUA["typed_config"]}
    state = state_of(
        MESH
        + envoy_filter(
            patch("HTTP_FILTER", "MERGE", wrong, context="SIDECAR_INBOUND", listener={"filterChain": ROUTER}),
            patch("CLUSTER", "MERGE", {"lb_policy": "NONSENSE"}),
            patch("CLUSTER", "MERGE", {"per_connection_buffer_limit_bytes": 3}),
            patch("CLUSTER", "MERGE", {}, cluster={"name": "nowhere"}),
        )
    )
    found = generate(state, SIDECAR)
    assert all(item["per_connection_buffer_limit_bytes"] == 3 for item in shown(found)["Cluster"].values())
    texts = {finding.patch: finding.message for finding in patch_findings(state, [SIDECAR])}
    assert texts.keys() == {0, 3}
    assert "Lua" in texts[0]
    found_codes = [(finding.code, finding.path) for finding in unmatched_findings(state, [SIDECAR])]
    assert found_codes == [("LAT0081", "spec.configPatches[0]"), ("LAT0080", "spec.configPatches[3]")]


def test_a_generator_remembers_what_it_skipped_while_the_filter_is_in_force() -> None:
    wrong = {"name": "envoy.filters.http.router", "typed_config": LUA["typed_config"]}
    bad = patch("HTTP_FILTER", "MERGE", wrong, context="SIDECAR_INBOUND", listener={"filterChain": ROUTER})
    state, mended = state_of(MESH + envoy_filter(bad)), state_of(MESH)
    generator = Generator()
    assert generator.skipped_patches() == ()
    generator.generate(state, SIDECAR)
    (said,) = generator.skipped_patches()
    assert (said.code, said.path, "Lua" in said.message) == ("LAT0081", "spec.configPatches[0]", True)
    generator.generate(state, replace(SIDECAR, name="another"))
    assert generator.skipped_patches() == (said,)
    generator.generate(mended, SIDECAR)
    assert generator.skipped_patches() == ()


def test_a_port_without_interception_is_that_of_the_virtual_hosts() -> None:
    """The filter is there for all ports, disabled, and enabled where the port is called."""
    documents = envoy_filter(
        patch(
            "HTTP_FILTER",
            "INSERT_BEFORE",
            LUA,
            context="SIDECAR_OUTBOUND",
            listener={"portNumber": 9080, "filterChain": ROUTER},
        ),
        patch(
            "VIRTUAL_HOST",
            "MERGE",
            {"include_attempt_count_in_response": True},
            routeConfiguration={"portNumber": 9080},
        ),
    )
    found = made(EXPLICIT, documents)
    (manager,) = managers(found["Listener"]["http_proxy"])
    assert [item.get("disabled") for item in manager["http_filters"]][-2:] == [True, None]
    hosts = found["RouteConfiguration"]["http_proxy"]["virtual_hosts"]
    enabled = {host["name"] for host in hosts if "test.lua" in host.get("typed_per_filter_config", {})}
    assert enabled == {f"{REVIEWS}:9080"}
    assert {host["name"] for host in hosts if host.get("include_attempt_count_in_response")} == enabled

    asking = replace(EXPLICIT, asks_on_demand=True)
    hosts_asked = generate(state_of(MESH + documents), asking).on_demand[VIRTUAL_HOST]
    for called, has in (("reviews:9080", True), ("reviews", False), ("unknown.example.com", False)):
        resource = hosts_asked.get(f"http_proxy.vhds/{called}")
        assert resource is not None
        assert (b"test.lua" in resource.body) is has


def test_clusters_on_demand_are_patched_when_they_are_asked_for() -> None:
    documents = envoy_filter(
        patch("CLUSTER", "MERGE", {"per_connection_buffer_limit_bytes": 7}, cluster={"service": REVIEWS})
    )
    asking = replace(EXPLICIT, asks_on_demand=True)
    base, patched = generate(state_of(MESH), asking), generate(state_of(MESH + documents), asking)
    name = f"outbound|9080||{REVIEWS}"
    before, after = base.on_demand[CLUSTER].get(name), patched.on_demand[CLUSTER].get(name)
    assert before is not None
    assert after is not None
    assert before.version != after.version


def test_patched_resources_say_by_whom() -> None:
    found = made(SIDECAR, envoy_filter(patch("CLUSTER", "MERGE", {"per_connection_buffer_limit_bytes": 7})))
    metadata = found["Cluster"][f"outbound|9080||{REVIEWS}"]["metadata"]["filter_metadata"]["lateen"]
    assert metadata["envoyFilters"][0].startswith("EnvoyFilter default/ef (mesh.yaml:")
    assert metadata["config"] == f"service {REVIEWS}"


def test_a_change_remakes_only_what_it_touches() -> None:
    """Resources that no patch is about are the same objects with and without it; so are those of an equal result."""
    generator = Generator()
    plain = generator.generate(state_of(MESH), SIDECAR)
    documents = envoy_filter(
        patch("CLUSTER", "MERGE", {"per_connection_buffer_limit_bytes": 7}, cluster={"portNumber": 80})
    )
    state = state_of(MESH + documents)
    selected = Selection().patch_set(state, SIDECAR)
    assert selected is not None
    patched = PatchedSnapshots(selected, PatchCache()).update(plain)
    assert patched.resources[ROUTE] is plain.resources[ROUTE] or dict(patched.resources[ROUTE]) == dict(
        plain.resources[ROUTE]
    )
    different = [
        name for name, item in patched.resources[CLUSTER].items() if plain.resources[CLUSTER][name] is not item
    ]
    assert different == [f"outbound|80||{REVIEWS}"]


def test_proxies_that_different_filters_select_have_different_scopes() -> None:
    state = state_of(
        MESH + envoy_filter(patch("CLUSTER", "MERGE", {}), workloadSelector={"labels": {"app": "reviews"}})
    )
    generator = Generator()
    other = replace(SIDECAR, labels={"app": "reviews2"})
    assert generator.scope_of(state, SIDECAR) != generator.scope_of(state, other)
    assert generator.scope_of(state, SIDECAR) == generator.scope_of(state, replace(SIDECAR, name="reviews-2"))


TLS_RULE = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: tls}
spec: {hosts: [tls.example], ports: [{number: 443, name: p, protocol: TLS}], resolution: NONE}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: tls}
spec:
  hosts: [tls.example]
  tls: [{match: [{sniHosts: [tls.example]}], route: [{destination: {host: nobody, port: {number: 80}}}]}]
---
"""


def test_a_patched_listener_leads_on_only_who_asks_on_demand() -> None:
    """Their bytes are equal, and they are remembered by one cache: who is asked about first changes nothing."""
    state = state_of(
        MESH + TLS_RULE + envoy_filter(patch("LISTENER", "MERGE", {"per_connection_buffer_limit_bytes": 7}))
    )
    both = (SIDECAR, replace(SIDECAR, asks_on_demand=True))
    for order in (both, both[::-1]):
        generator = Generator()
        snapshots = {proxy.asks_on_demand: generator.generate(state, proxy) for proxy in order}
        lazy, full = (snapshots[asks].resources[LISTENER]["0.0.0.0_443"] for asks in (True, False))
        assert lazy.body == full.body
        assert (lazy.leads_to, full.leads_to) == (("outbound|80||nobody.default.svc.cluster.local",), ())


def test_a_bootstrap_is_patched_when_it_is_static() -> None:
    value = {
        "stats_flush_interval": "7s",
        "static_resources": {"clusters": [{"name": "mine", "connect_timeout": "1s"}]},
    }
    state = state_of(MESH + envoy_filter(patch("BOOTSTRAP", "MERGE", value)))
    plain = static_bootstrap(generate(state, SIDECAR), SIDECAR)
    made_of = patched_bootstrap(plain, bootstrap_patches(state, SIDECAR))
    assert made_of["stats_flush_interval"] == "7s"
    names = [cluster["name"] for cluster in made_of["static_resources"]["clusters"]]
    assert names == [*(cluster["name"] for cluster in plain["static_resources"]["clusters"]), "mine"]
    assert patched_bootstrap(plain, bootstrap_patches(state_of(MESH), SIDECAR)) is plain


def test_settings_that_come_as_a_resource_are_added_and_inlined() -> None:
    ask = {
        "name": "mutation",
        "config_discovery": {
            "config_source": {"ads": {}, "resource_api_version": "V3"},
            "type_urls": [TYPE + "filters.http.header_mutation.v3.HeaderMutation"],
        },
    }
    settings = {"name": "mutation", "typed_config": {"@type": TYPE + "filters.http.header_mutation.v3.HeaderMutation"}}
    documents = envoy_filter(
        patch("HTTP_FILTER", "INSERT_FIRST", ask, context="SIDECAR_INBOUND"), patch("EXTENSION_CONFIG", "ADD", settings)
    )
    snapshot = generate(state_of(MESH + documents), SIDECAR)
    assert "mutation" in shown(snapshot)["TypedExtensionConfig"]
    assert "header_mutation.v3.HeaderMutation" in json.dumps(static_bootstrap(snapshot, SIDECAR)["static_resources"])
