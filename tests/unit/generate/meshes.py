"""Random meshes: objects of every kind over a few hosts, so that references hit, and proxies of every sort."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from key_pairs import key_pair
from lateen.config import envoy_filter as ef
from lateen.config import networking as n
from lateen.config import security
from lateen.config.extension_providers import EnvoyExternalAuthorizationHttpProvider, ExtensionProvider
from lateen.config.kubernetes import Secret
from lateen.config.mesh_config import MeshConfig, MeshOutboundTrafficPolicy, MeshOutboundTrafficPolicyMode
from lateen.config.objects import ConfigObject
from lateen.config.security import MutualTLS, MutualTLSMode, PeerAuthentication
from lateen.mesh.build import build_state
from lateen.mesh.state import MeshState
from lateen.model.names import ObjectKey
from lateen.model.origins import Origin
from lateen.model.proxies import Capability, Interception, Proxy, ProxyType, Upstream
from lateen.model.services import Locality

HOSTS = ("a.default.svc.cluster.local", "b.other.svc.cluster.local", "c.example.com", "*.example.com", "a.default")
RULE_HOSTS = (*HOSTS, "a", "d.example.com", "*.com")
SUBSETS = ("", "v1", "v2", "missing")
PROTOCOLS = ("HTTP", "HTTP2", "GRPC", "TCP", "TLS", "HTTPS", "", "UDP")
PORTS = (80, 443, 9080)
NAMESPACES = ("default", "other")
ROOT_NAMESPACE = "istio-system"


def selecting(labels: dict[str, str]) -> n.MatchLabelsSelector:
    return n.MatchLabelsSelector(match_labels=labels)


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
locality_settings = st.sampled_from(
    (
        n.LocalityLoadBalancerSetting(enabled=False),
        n.LocalityLoadBalancerSetting(failover=[n.LocalityFailover(from_="r1", to="r2")]),
        n.LocalityLoadBalancerSetting(failover_priority=["app", "version=v1", "topology.kubernetes.io/zone"]),
        n.LocalityLoadBalancerSetting(failover_priority=["topology.istio.io/network"]),
        n.LocalityLoadBalancerSetting(distribute=[n.LocalityDistribute(from_="r1/*", to={"r1/z1": 70, "r2": 30})]),
    )
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
    )
    | st.builds(n.LoadBalancerSettings, locality_lb_setting=locality_settings),
    tls=st.none()
    | st.builds(n.ClientTLSSettings, mode=st.sampled_from(n.ClientTLSMode), sni=st.sampled_from(("", "name.example")))
    | st.sampled_from(
        (
            n.ClientTLSSettings(mode=n.ClientTLSMode.SIMPLE),
            n.ClientTLSSettings(mode=n.ClientTLSMode.MUTUAL, credential_name="cert"),
        )
    ),
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
        st.builds(
            n.WorkloadEntry,
            address=st.sampled_from(("10.1.0.1", "10.1.0.2", "name.example", "unix:///s")),
            service_account=st.sampled_from(("", "", "a", "b")),
            locality=st.sampled_from(("", "r1/z1", "r1/z2/s1", "r2")),
            network=st.sampled_from(("", "n1")),
            labels=st.sampled_from(({}, {"app": "a"}, {"version": "v1", "security.istio.io/tlsMode": "disabled"})),
        ),
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
    default_endpoint=st.sampled_from(("", "", "127.0.0.1:8000", "unix:///s")),
    tls=st.none()
    | st.builds(
        n.ServerTLSSettings,
        mode=st.sampled_from(n.ServerTLSMode),
        credential_name=st.sampled_from(("", "cert")),
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
        certificates=certificates,
        answers_dns=certificates,
        locality=Locality("r1", "z1"),
    )
    for kind, interception, capability, certificates in (
        (ProxyType.SIDECAR, Interception.REDIRECT, Capability.ENVOY, True),
        (ProxyType.SIDECAR, Interception.NONE, Capability.ENVOY, True),
        (ProxyType.GATEWAY, Interception.REDIRECT, Capability.ENVOY, False),
        (ProxyType.SIDECAR, Interception.REDIRECT, Capability.GRPC, False),
        (ProxyType.SIDECAR, Interception.NONE, Capability.ENVOY, False),
        (ProxyType.GATEWAY, Interception.REDIRECT, Capability.ENVOY, True),
    )
)


def _certificate(host: str) -> dict[str, str]:
    chain, key = (pem.decode() for pem in key_pair(host))
    return {"tls.crt": chain, "tls.key": key, "ca.crt": chain}


SIDECAR_HOSTS = ("*/*", "./*", "default/a.default.svc.cluster.local", "*/c.example.com", "~/*")
sidecars = st.builds(
    n.Sidecar,
    workload_selector=st.none() | st.just(n.WorkloadSelector(labels={"app": "a"})),
    ingress=st.lists(
        st.builds(
            n.IstioIngressListener,
            port=st.builds(n.ConfigPort, number=ports, protocol=st.sampled_from(("HTTP", "TCP")), name=st.just("p")),
            bind=st.sampled_from(("", "127.0.0.9")),
            capture_mode=st.sampled_from(n.CaptureMode),
            default_endpoint=st.sampled_from(("", "127.0.0.1:81", "0.0.0.0:82", "unix:///s")),
        ),
        max_size=2,
        unique_by=lambda listener: listener.port.number if listener.port else 0,
    ),
    egress=st.lists(
        st.builds(
            n.IstioEgressListener,
            port=st.none()
            | st.builds(
                n.ConfigPort,
                number=ports,
                protocol=st.sampled_from(("HTTP", "TCP", "TLS", "", "HTTP_PROXY")),
                name=st.just("p"),
            ),
            bind=st.sampled_from(("", "", "127.0.0.7", "unix:///s")),
            capture_mode=st.sampled_from(n.CaptureMode),
            hosts=st.lists(st.sampled_from(SIDECAR_HOSTS), min_size=1, max_size=2),
        ),
        max_size=2,
        unique_by=(
            lambda listener: listener.port.number if listener.port else 0,
            lambda listener: listener.bind if "/" in listener.bind else repr(listener),
        ),
    ),
    outbound_traffic_policy=st.none()
    | st.builds(n.OutboundTrafficPolicy, mode=st.sampled_from(n.OutboundTrafficPolicyMode)),
)
secrets = st.builds(
    Secret,
    string_data=st.sampled_from(
        (*map(_certificate, ("a.example.com", "b.example.com")), {"tls.crt": "A", "tls.key": "B"}, {})
    ),
)
mutual_tls = st.builds(MutualTLS, mode=st.sampled_from(MutualTLSMode))
peer_authentications = st.builds(
    PeerAuthentication,
    selector=st.none() | st.sampled_from(({"app": "a"}, {"version": "v1"})).map(selecting),
    mtls=st.none() | mutual_tls,
    port_level_mtls=st.dictionaries(st.sampled_from(("80", "9080", "7777")), mutual_tls, max_size=2),
)
authorization_policies = st.builds(
    security.AuthorizationPolicy,
    selector=st.none() | st.builds(n.MatchLabelsSelector, match_labels=st.sampled_from(({"app": "a"}, {"app": "z"}))),
    action=st.sampled_from(security.AuthorizationAction),
    provider=st.builds(security.ExtensionProviderRef, name=st.sampled_from(("asked", "asked", "asked", "missing"))),
    rules=st.lists(
        st.builds(
            security.Rule,
            to=st.none()
            | st.lists(
                st.builds(
                    security.RuleTo,
                    operation=st.builds(
                        security.Operation,
                        methods=st.sampled_from(([], ["GET"])),
                        ports=st.sampled_from((["80"], ["443"])),
                    ),
                ),
                min_size=1,
                max_size=2,
            ),
        ),
        max_size=2,
    ),
)
_LUA = {
    "name": "lua",
    "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua"},
}
_ROUTE = {"name": "added", "match": {"prefix": "/added"}, "direct_response": {"status": 204}}
_VALUES: dict[ef.ApplyTo, dict[str, Any]] = {
    ef.ApplyTo.CLUSTER: {"per_connection_buffer_limit_bytes": 7},
    ef.ApplyTo.HTTP_FILTER: _LUA,
    ef.ApplyTo.HTTP_ROUTE: _ROUTE,
    ef.ApplyTo.VIRTUAL_HOST: {"include_attempt_count_in_response": True},
    ef.ApplyTo.LISTENER: {"per_connection_buffer_limit_bytes": 7},
}
_OPERATIONS = {
    ef.ApplyTo.HTTP_FILTER: (ef.PatchOperation.INSERT_FIRST, ef.PatchOperation.ADD),
    ef.ApplyTo.HTTP_ROUTE: (ef.PatchOperation.ADD, ef.PatchOperation.INSERT_FIRST, ef.PatchOperation.REMOVE),
}
_by_kind: dict[str, st.SearchStrategy[Any]] = {
    "listener": st.builds(ef.ListenerMatch, port_number=st.sampled_from((0, 80, 9080, 15001))),
    "cluster": st.builds(
        ef.ClusterMatch, service=st.sampled_from(("", *HOSTS[:2])), port_number=st.sampled_from((0, 80))
    ),
    "route_configuration": st.builds(ef.RouteConfigurationMatch, port_number=st.sampled_from((0, 80, 9080))),
}
_MATCHED_BY = {
    ef.ApplyTo.CLUSTER: "cluster",
    ef.ApplyTo.HTTP_FILTER: "listener",
    ef.ApplyTo.LISTENER: "listener",
    ef.ApplyTo.HTTP_ROUTE: "route_configuration",
    ef.ApplyTo.VIRTUAL_HOST: "route_configuration",
}


@st.composite
def config_patches(draw: st.DrawFn) -> ef.EnvoyConfigObjectPatch:
    apply_to = draw(st.sampled_from(tuple(_VALUES)))
    operation = draw(st.sampled_from(_OPERATIONS.get(apply_to, (ef.PatchOperation.MERGE, ef.PatchOperation.REMOVE))))
    by = _MATCHED_BY[apply_to]
    found: dict[str, Any] = {by: draw(st.none() | _by_kind[by])}
    match = ef.EnvoyConfigObjectMatch(context=draw(st.sampled_from(tuple(ef.PatchContext))), **found)
    return ef.EnvoyConfigObjectPatch(
        apply_to=apply_to, match=match, patch=ef.Patch(operation=operation, value=_VALUES[apply_to])
    )


envoy_filters = st.builds(
    ef.EnvoyFilter,
    workload_selector=st.none() | st.just(n.WorkloadSelector(labels={"app": "a"})),
    config_patches=st.lists(config_patches(), max_size=2),
    priority=st.integers(-1, 1),
)
KINDS = {
    "EnvoyFilter": envoy_filters,
    "PeerAuthentication": peer_authentications,
    "ServiceEntry": service_entries,
    "VirtualService": virtual_services,
    "DestinationRule": destination_rules,
    "Gateway": gateways,
    "Sidecar": sidecars,
    "Secret": secrets,
    "AuthorizationPolicy": authorization_policies,
}
AUTHORIZATION_SERVER = ExtensionProvider(
    name="asked",
    envoy_ext_authz_http=EnvoyExternalAuthorizationHttpProvider(service="a.default.svc.cluster.local", port=80),
)
"""Its service comes and goes with the others."""


def object_of(kind: str, namespace: str, number: int, spec: Any) -> ConfigObject[Any]:
    """An object with a name from its number; the first Gateway and Secret are those that others refer to."""
    name = {"Gateway": "gw", "Secret": "cert"}.get(kind, "") if number == 0 else ""
    return ConfigObject(
        key=ObjectKey(kind, namespace, name or f"{kind.lower()}{number}"),
        api_version="networking.istio.io/v1",
        spec=spec,
        origin=Origin("mesh.yaml", number + 1),
        digest=f"{kind}{number}{hash(repr(spec))}",
        document=b"{}",
    )


@st.composite
def object_lists(draw: st.DrawFn) -> list[ConfigObject[Any]]:
    """A handful of objects of each kind, some named `gw` so that references hit."""
    found = []
    for kind, limit in (("ServiceEntry", 4), ("VirtualService", 3), ("DestinationRule", 3), ("Gateway", 2)):
        for number, spec in enumerate(draw(st.lists(KINDS[kind], max_size=limit))):
            found.append(object_of(kind, draw(st.sampled_from(NAMESPACES)), number, spec))
    for number, spec in enumerate(draw(st.lists(peer_authentications, max_size=2))):
        namespace = draw(st.sampled_from((*NAMESPACES, ROOT_NAMESPACE)))
        found.append(object_of("PeerAuthentication", namespace, number, spec))
    return found


def mesh_of(objects: list[ConfigObject[Any]], *, registry_only: bool = False) -> MeshState:
    mode = MeshOutboundTrafficPolicyMode.REGISTRY_ONLY if registry_only else MeshOutboundTrafficPolicyMode.ALLOW_ANY
    return build_state(objects, (), MeshConfig(outbound_traffic_policy=MeshOutboundTrafficPolicy(mode=mode)))
