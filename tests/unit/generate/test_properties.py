"""What must hold of every snapshot, whatever the mesh: closed, unambiguous, the same each time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from lateen.config import networking as n
from lateen.config.mesh_config import MeshConfig, MeshOutboundTrafficPolicy, MeshOutboundTrafficPolicyMode
from lateen.config.objects import ConfigObject
from lateen.envoy.messages import to_json
from lateen.envoy.resources import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, Snapshot
from lateen.generate.scopes import scope_of
from lateen.generate.snapshot import generate
from lateen.mesh.build import build_state
from lateen.mesh.state import MeshState
from lateen.model.names import Hostname, ObjectKey
from lateen.model.origins import Origin
from lateen.model.protocols import Protocol
from lateen.model.proxies import Capability, Interception, Proxy, ProxyType, Upstream

HOSTS = ("a.default.svc.cluster.local", "b.other.svc.cluster.local", "c.example.com", "*.example.com", "a.default")
RULE_HOSTS = (*HOSTS, "a", "d.example.com", "*.com")
SUBSETS = ("", "v1", "v2", "missing")
PROTOCOLS = ("HTTP", "HTTP2", "GRPC", "TCP", "TLS", "HTTPS", "", "UDP")
PORTS = (80, 443, 9080)
NAMESPACES = ("default", "other")

ports = st.sampled_from(PORTS)
destinations = st.builds(
    n.Destination,
    host=st.sampled_from(("a", "b.other.svc.cluster.local", "c.example.com", "nowhere")),
    subset=st.sampled_from(SUBSETS),
    port=st.none() | st.builds(n.PortSelector, number=ports),
)
string_matches = st.one_of(
    st.builds(n.StringMatch, exact=st.sampled_from(("/x", "y"))),
    st.builds(n.StringMatch, prefix=st.sampled_from(("/", "/x"))),
    st.builds(n.StringMatch, regex=st.sampled_from((".*", "[0-9]+"))),
    st.just(n.StringMatch()),
)
http_matches = st.builds(
    n.HTTPMatchRequest,
    uri=st.none() | string_matches,
    headers=st.dictionaries(st.sampled_from(("x-a", "x-b")), string_matches, max_size=2),
    without_headers=st.dictionaries(st.just("x-c"), string_matches, max_size=1),
    port=st.sampled_from((0, 80, 9080)),
    source_labels=st.sampled_from(({}, {"app": "a"}, {"app": "z"})),
    gateways=st.sampled_from(([], ["mesh"], ["gw"])),
)
http_routes = st.one_of(
    st.builds(
        n.HTTPRoute,
        match=st.lists(http_matches, max_size=2),
        route=st.lists(
            st.builds(n.HTTPRouteDestination, destination=destinations, weight=st.sampled_from((0, 30, 70))),
            min_size=1,
            max_size=3,
        ),
        timeout=st.sampled_from(("", "1s")),
        retries=st.none() | st.builds(n.HTTPRetry, attempts=st.integers(0, 3)),
        mirror=st.none() | destinations,
        fault=st.none() | st.just(n.HTTPFaultInjection(abort=n.FaultAbort(http_status=500))),
    ),
    st.builds(n.HTTPRoute, match=st.lists(http_matches, max_size=1), redirect=st.just(n.HTTPRedirect(uri="/r"))),
)
tcp_routes = st.builds(
    n.TCPRoute,
    match=st.lists(
        st.builds(
            n.L4MatchAttributes,
            port=st.sampled_from((0, 80, 9080)),
            destination_subnets=st.sampled_from(([], ["10.0.0.0/8"])),
        ),
        max_size=2,
    ),
    route=st.lists(st.builds(n.RouteDestination, destination=destinations, weight=st.just(50)), min_size=1, max_size=2),
)
tls_routes = st.builds(
    n.TLSRoute,
    match=st.lists(
        st.builds(n.TLSMatchAttributes, sni_hosts=st.sampled_from((["c.example.com"], ["*.example.com"], ["a"]))),
        min_size=1,
        max_size=2,
    ),
    route=st.lists(st.builds(n.RouteDestination, destination=destinations), min_size=1, max_size=1),
)
virtual_services = st.builds(
    n.VirtualService,
    hosts=st.lists(st.sampled_from(RULE_HOSTS), min_size=1, max_size=2, unique=True),
    gateways=st.sampled_from(([], ["mesh"], ["gw"], ["mesh", "gw"])),
    http=st.lists(http_routes, max_size=3),
    tcp=st.lists(tcp_routes, max_size=2),
    tls=st.lists(tls_routes, max_size=2),
)
policies = st.builds(
    n.TrafficPolicy,
    load_balancer=st.none()
    | st.sampled_from(
        (
            n.LoadBalancerSettings(simple=n.SimpleLB.PASSTHROUGH),
            n.LoadBalancerSettings(simple=n.SimpleLB.RANDOM),
            n.LoadBalancerSettings(consistent_hash=n.ConsistentHashLB(use_source_ip=True)),
        )
    ),
    tls=st.none() | st.just(n.ClientTLSSettings(mode=n.ClientTLSMode.SIMPLE)),
    outlier_detection=st.none() | st.just(n.OutlierDetection(consecutive_5xx_errors=3)),
)
destination_rules = st.builds(
    n.DestinationRule,
    host=st.sampled_from(RULE_HOSTS),
    traffic_policy=st.none() | policies,
    subsets=st.lists(
        st.builds(n.Subset, name=st.sampled_from(("v1", "v2")), labels=st.just({"version": "v1"})),
        max_size=2,
        unique_by=lambda subset: subset.name,
    ),
)
service_entries = st.builds(
    n.ServiceEntry,
    hosts=st.lists(st.sampled_from(HOSTS), min_size=1, max_size=1),
    addresses=st.sampled_from(([], ["10.0.0.1"], ["10.0.0.0/24"], ["10.0.0.1", "10.0.0.2"])),
    ports=st.lists(
        st.builds(n.ConfigPort, number=ports, protocol=st.sampled_from(PROTOCOLS), name=st.sampled_from(("p", "q"))),
        min_size=1,
        max_size=3,
        unique_by=(lambda port: port.number),
    ),
    location=st.sampled_from(n.ServiceEntryLocation),
    resolution=st.sampled_from(n.ServiceEntryResolution),
    endpoints=st.lists(
        st.builds(n.WorkloadEntry, address=st.sampled_from(("10.1.0.1", "10.1.0.2", "name.example", "unix:///s"))),
        max_size=2,
    ),
)
servers = st.builds(
    n.Server,
    port=st.builds(
        n.ConfigPort,
        number=ports,
        protocol=st.sampled_from(("HTTP", "HTTPS", "TLS", "TCP", "GRPC")),
        name=st.sampled_from(("p", "q")),
    ),
    hosts=st.lists(
        st.sampled_from(("*", "c.example.com", "*.example.com", "default/a", "./b")), min_size=1, max_size=2
    ),
    tls=st.none()
    | st.builds(
        n.ServerTLSSettings,
        mode=st.sampled_from(n.ServerTLSMode),
        server_certificate=st.just("/c"),
        private_key=st.just("/k"),
        https_redirect=st.booleans(),
    ),
)
gateways = st.builds(n.Gateway, servers=st.lists(servers, min_size=1, max_size=4), selector=st.just({"app": "a"}))

PROXIES = tuple(
    Proxy(
        type=kind,
        name="a",
        namespace="default",
        addresses=("10.1.0.1",),
        labels={"app": "a"},
        interception=interception,
        capability=capability,
        upstreams=(Upstream(host="a", port=80, local_port=1), Upstream(host="c.example.com", port=443, local_port=2)),
    )
    for kind, interception, capability in (
        (ProxyType.SIDECAR, Interception.REDIRECT, Capability.ENVOY),
        (ProxyType.SIDECAR, Interception.NONE, Capability.ENVOY),
        (ProxyType.GATEWAY, Interception.REDIRECT, Capability.ENVOY),
        (ProxyType.SIDECAR, Interception.REDIRECT, Capability.GRPC),
    )
)


@st.composite
def object_lists(draw: st.DrawFn) -> list[ConfigObject[Any]]:
    """A handful of objects of each kind, some named `gw` so that references hit."""
    found = []
    for kind, specs, limit in (
        ("ServiceEntry", service_entries, 4),
        ("VirtualService", virtual_services, 3),
        ("DestinationRule", destination_rules, 3),
        ("Gateway", gateways, 2),
    ):
        for number, spec in enumerate(draw(st.lists(specs, max_size=limit))):
            name = "gw" if kind == "Gateway" and number == 0 else f"{kind.lower()}{number}"
            found.append(
                ConfigObject(
                    key=ObjectKey(kind, draw(st.sampled_from(NAMESPACES)), name),
                    api_version="networking.istio.io/v1",
                    spec=spec,
                    origin=Origin("mesh.yaml", number + 1),
                    digest=f"{kind}{number}{hash(repr(spec))}",
                    document=b"{}",
                )
            )
    return found


def mesh_of(objects: list[ConfigObject[Any]], *, registry_only: bool = False) -> MeshState:
    mode = MeshOutboundTrafficPolicyMode.REGISTRY_ONLY if registry_only else MeshOutboundTrafficPolicyMode.ALLOW_ANY
    return build_state(objects, (), MeshConfig(outbound_traffic_policy=MeshOutboundTrafficPolicy(mode=mode)))


every_mesh = settings()


@every_mesh
@given(object_lists(), st.booleans())
def test_a_snapshot_is_closed_and_unambiguous(objects: list[ConfigObject[Any]], registry_only: bool) -> None:
    """Envoy would wait for a missing resource, and refuse two equal matches, domains or names.

    A cluster that a route names may be missing, but only when its host, port or subset is.
    """
    state = mesh_of(objects, registry_only=registry_only)
    for proxy in PROXIES:
        found = shown(generate(state, proxy))
        for listener in found[LISTENER].values():
            for name in values_of(listener, "route_config_name"):
                assert name in found[ROUTE]
            for config in values_of(listener, "sds_config"):
                assert config
            assert_distinct([chain.get("filter_chain_match") for chain in listener.get("filter_chains", ())])
        for name, cluster in found[CLUSTER].items():
            assert (cluster.get("type") == "EDS") == (name in found[ENDPOINT])
        assert set(found[ENDPOINT]) <= set(found[CLUSTER])
        for configuration in found[ROUTE].values():
            hosts = configuration.get("virtual_hosts", [])
            assert_distinct([host["name"] for host in hosts])
            assert_distinct([domain for host in hosts for domain in host["domains"]])
            for name in values_of(configuration, "cluster"):
                assert name in found[CLUSTER] or is_dangling(state, name)


@every_mesh
@given(object_lists(), st.randoms(use_true_random=False))
def test_the_same_mesh_gives_the_same_bytes(objects: list[ConfigObject[Any]], random: Any) -> None:
    """Neither a second run nor the order of the documents makes a difference."""
    shuffled = list(objects)
    random.shuffle(shuffled)
    for proxy in PROXIES:
        first, second, third = (generate(mesh_of(order), proxy) for order in (objects, objects, shuffled))

        assert first.version == second.version == third.version


@every_mesh
@given(object_lists())
def test_equal_scopes_get_equal_snapshots(objects: list[ConfigObject[Any]]) -> None:
    """A replica without addresses of its own to bind may share what its sibling was served."""
    state = mesh_of(objects)
    for proxy in PROXIES:
        sibling = Proxy(**{name: getattr(proxy, name) for name in proxy.__slots__} | {"name": "a-2"})

        assert scope_of(state, proxy) == scope_of(state, sibling)
        assert generate(state, proxy).version == generate(state, sibling).version


def shown(snapshot: Snapshot) -> dict[str, dict[str, Any]]:
    return {
        kind: {name: to_json(kind, item.body) for name, item in snapshot.resources.get(kind, {}).items()}
        for kind in (CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET)
    }


def values_of(value: Any, key: str) -> Iterator[Any]:
    """Yield what stands under a key anywhere below."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            if name == key and isinstance(item, str | Mapping):
                yield item
            yield from values_of(item, key)
    elif isinstance(value, list):
        for item in value:
            yield from values_of(item, key)


def assert_distinct(values: list[Any]) -> None:
    texts = [json.dumps(value, sort_keys=True) for value in values]
    assert len(texts) == len(set(texts)), texts


def is_dangling(state: MeshState, cluster: str) -> bool:
    """Whether nothing in the mesh is what a cluster's name says."""
    _, port, subset, host = cluster.split("|")
    service = state.services.get(Hostname(host))
    found = service.port(int(port)) if service is not None else None
    return found is None or bool(subset) or found.protocol is Protocol.UDP
