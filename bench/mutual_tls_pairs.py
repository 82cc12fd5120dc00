"""The pairs of Envoys that `mutual_tls` compares: Lateen's sidecars, and what a skilled person would write by hand.

Every pair does the same: the client's listeners take plain HTTP, a cluster carries it to the server's Envoy, which
passes it on to the application. `KEPT` keeps its connections between the two, on `FRESH` each request makes a new one.
Pure: contents in JSON types, nothing is started here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lateen.config.mesh_config import MeshConfig
from lateen.config.parsing import parse
from lateen.envoy.bootstrap import BootstrapSettings, bootstrap
from lateen.envoy.statistics import StatsInclusion
from lateen.generate.snapshot import generate
from lateen.generate.static import static_bootstrap
from lateen.mesh.build import build_state
from lateen.model.catalogues import Catalogue
from lateen.model.proxies import Interception, Proxy, ProxyType, Upstream
from lateen.model.workloads import WorkloadPort, WorkloadRegistration

Json = dict[str, Any]

KEPT, FRESH = 8001, 8002
"""Ports of the service."""
LOCAL = 10_000
"""A port of the service plus this is where the client's Envoy takes requests for it."""
CLIENT, SERVER = "spiffe://cluster.local/ns/default/sa/client", "spiffe://cluster.local/ns/default/sa/server"

_MESH = f"""
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: mode}}
spec: {{mtls: {{mode: MODE}}}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: fresh}}
spec:
  host: server
  trafficPolicy:
    portLevelSettings:
    - {{port: {{number: {FRESH}}}, connectionPool: {{http: {{maxRequestsPerConnection: 1}}}}}}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: keep}}
spec: {{inboundConnectionPool: {{http: {{maxRequestsPerConnection: 0}}}}}}
"""
"""The server's sidecar would follow the DestinationRule too, and make a connection to the application each time."""
_POLICY = """
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: callers}
spec:
  action: ALLOW
  rules:
  - from: [{source: {principals: [cluster.local/ns/default/sa/client]}}]
    to: [{operation: {methods: [GET]}}]
"""
_AS_AN_AGENT_STARTS_IT = ("stats_config", "deferred_stat_options", "overload_manager", "layered_runtime")
"""What of an agent's bootstrap is not about the control plane. `lateen generate --static` leaves it to the user."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two bootstraps, and the addresses that they bind."""

    name: str
    client_ip: str
    server_ip: str
    client: Json
    server: Json

    @classmethod
    def of(cls, name: str, number: int, make: Callable[[str, str], tuple[Json, Json]]) -> Pair:
        """Make a pair; each has addresses of its own, as Envoys of one user would share a port in silence."""
        client_ip, server_ip = f"127.79.{number}.2", f"127.79.{number}.1"
        client, server = make(client_ip, server_ip)
        return cls(name=name, client_ip=client_ip, server_ip=server_ip, client=client, server=server)


# --- Lateen --------------------------------------------------------------------------------------------------


def lateen(client_ip: str, server_ip: str, app: int, *, mode: str, policy: bool = False) -> tuple[Json, Json]:
    """Return what two agents would run in a mesh of this mode; resources stand inline, so no control plane is near."""
    parsed = parse((_MESH.replace("MODE", mode) + (_POLICY if policy else "")).encode(), "mesh.yaml")
    assert not parsed.findings
    server = WorkloadRegistration(
        service="server",
        name="server",
        namespace="default",
        address=server_ip,
        service_account="server",
        ports=tuple(WorkloadPort(port=port, protocol="http", app_port=app) for port in (KEPT, FRESH)),
        ready=True,
        identity=SERVER,
    )
    state = build_state(parsed.objects, (Catalogue(name="agents", workloads=(server,)),), MeshConfig())

    def made(name: str, address: str, upstreams: tuple[Upstream, ...]) -> Json:
        proxy = Proxy(
            type=ProxyType.SIDECAR,
            name=name,
            namespace="default",
            addresses=(address,),
            interception=Interception.NONE,
            certificates=True,
            upstreams=upstreams,
        )
        settings = BootstrapSettings(
            proxy=proxy,
            service=name,
            control_plane=("127.0.0.1", 1),
            stats_inclusion=StatsInclusion(suffixes=("ssl.session_reused",)),
        )
        agents = bootstrap(settings)
        rest = {key: agents[key] for key in _AS_AN_AGENT_STARTS_IT}
        # Plain JSON types, which no two sidecars share: `without` changes them in place.
        content: Json = json.loads(json.dumps(static_bootstrap(generate(state, proxy), proxy) | rest))
        return content

    declared = tuple(Upstream(host="server", port=port, local_port=port + LOCAL) for port in (KEPT, FRESH))
    return made("client", client_ip, declared), made("server", server_ip, ())


# --- by hand -------------------------------------------------------------------------------------------------


def by_hand(client_ip: str, server_ip: str, app: int, *, mutual_tls: bool) -> tuple[Json, Json]:
    """Return two minimal configurations: router only, no access log, Envoy's defaults for whatever is not the job."""
    client = hand(
        client_ip,
        [hand_listener(client_ip, port + LOCAL, f"server_{port}") for port in (KEPT, FRESH)],
        [
            hand_cluster(
                f"server_{port}",
                server_ip,
                port,
                socket=_tls("Upstream", "server", server=SERVER) if mutual_tls else None,
                fresh=port == FRESH,
            )
            for port in (KEPT, FRESH)
        ],
    )
    socket = _tls("Downstream") if mutual_tls else None
    server = hand(
        server_ip,
        [hand_listener(server_ip, port, "app", socket=socket) for port in (KEPT, FRESH)],
        [hand_cluster("app", "127.0.0.1", app)],
    )
    return client, server


def backend(port: int) -> Json:
    """Return an Envoy that answers itself: the application where there is no nginx."""
    listener = hand_listener("127.0.0.1", port, "")
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    [route] = manager["route_config"]["virtual_hosts"][0]["routes"]
    del route["route"]
    route["direct_response"] = {"status": 200, "body": {"inline_string": "hello\n"}}
    return hand("127.79.0.1", [listener], [])


def hand(address: str, listeners: list[Json], clusters: list[Json]) -> Json:
    return {
        "node": {"id": "hand", "cluster": "hand"},
        "admin": {"address": _address(address, 15000)},
        "static_resources": {"listeners": listeners, "clusters": clusters},
    }


def hand_listener(address: str, port: int, cluster: str, *, socket: Json | None = None) -> Json:
    manager = {
        "@type": f"{_TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": f"port_{port}",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": cluster, "timeout": "0s"}}],
                }
            ]
        },
        "http_filters": [
            {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{_TYPE}.filters.http.router.v3.Router"}}
        ],
    }
    chain: Json = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    if socket is not None:
        chain["transport_socket"] = socket
    return {"name": f"port_{port}", "address": _address(address, port), "filter_chains": [chain]}


def hand_cluster(name: str, address: str, port: int, *, socket: Json | None = None, fresh: bool = False) -> Json:
    endpoint = {"endpoint": {"address": _address(address, port)}}
    cluster: Json = {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    if socket is not None:
        cluster["transport_socket"] = socket
    if fresh:
        cluster["typed_extension_protocol_options"] = {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{_TYPE}.upstreams.http.v3.HttpProtocolOptions",
                "common_http_protocol_options": {"max_requests_per_connection": 1},
                "explicit_http_config": {"http_protocol_options": {}},
            }
        }
    return cluster


def _tls(side: str, sni: str = "", *, server: str = "") -> Json:
    """TLS 1.3 with the same files; the client wants the server's identity, the server any certificate of the root."""
    names = {"match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": server}}]} if server else {}
    context: Json = {
        "@type": f"{_TYPE}.transport_sockets.tls.v3.{side}TlsContext",
        "common_tls_context": {
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
            "tls_certificate_sds_secret_configs": [_file_secret("default")],
            "combined_validation_context": {
                "default_validation_context": names,
                "validation_context_sds_secret_config": _file_secret("ROOTCA"),
            },
        },
    }
    if side == "Upstream":
        context["sni"] = sni
    else:
        context["require_client_certificate"] = True
    return {"name": "envoy.transport_sockets.tls", "typed_config": context}


def _file_secret(name: str) -> Json:
    source = {"path": f"certificates/{name}.json", "watched_directory": {"path": "certificates"}}
    return {"name": name, "sds_config": {"path_config_source": source, "resource_api_version": "V3"}}


def _address(address: str, port: int) -> Json:
    return {"socket_address": {"address": address, "port_value": port}}


_TYPE = "type.googleapis.com/envoy.extensions"


# --- what costs it -------------------------------------------------------------------------------------------


def without(pair: tuple[Json, Json], feature: str) -> tuple[Json, Json]:
    """Return Lateen's pair with one of its `FEATURES` taken out of both sides."""
    for content in pair:
        FEATURES[feature](content)
    return pair


def _each(content: Any, change: Callable[[Json], None]) -> None:
    if isinstance(content, list):
        for item in content:
            _each(item, change)
    elif isinstance(content, dict):
        change(content)
        for item in content.values():
            _each(item, change)


def _dropped(*keys: str) -> Callable[[Json], None]:
    def change(item: Json) -> None:
        for key in keys:
            item.pop(key, None)

    return lambda content: _each(content, change)


def _filters_dropped(*words: str, of: str = "http_filters") -> Callable[[Json], None]:
    def change(item: Json) -> None:
        if of in item:
            item[of] = [one for one in item[of] if not one["name"].endswith(words)]

    return lambda content: _each(content, change)


def _no_tls_inspector(content: Json) -> None:
    """Only with STRICT: the chain of mutual TLS takes everything."""
    for listener in content["static_resources"]["listeners"]:
        if listener.get("traffic_direction") == "INBOUND":
            listener["listener_filters"] = []
            listener["filter_chains"] = listener["filter_chains"][:1]
            listener["filter_chains"][0].pop("filter_chain_match", None)


def _socket_of_the_cluster(content: Json) -> None:
    """A single transport socket instead of one chosen by the endpoint's metadata."""
    for cluster in content["static_resources"]["clusters"]:
        if matches := cluster.pop("transport_socket_matches", None):
            cluster["transport_socket"] = matches[0]["transport_socket"]


def _metadata(content: Json) -> None:
    for kind in ("listeners", "clusters"):
        for resource in content["static_resources"][kind]:
            resource.pop("metadata", None)
    _each(content, lambda item: item.pop("metadata", None) if "match" in item or "filters" in item else None)


def _rest(content: Json) -> None:
    """What no user sees in an answer, or sees only in one with an error."""
    _socket_of_the_cluster(content)
    _metadata(content)
    _dropped("overload_manager", "layered_runtime", "track_remaining", "normalize_path", "decorator")(content)


def _nothing(_: Json) -> None:
    """The control: how far from 1 two pairs come that are the same."""


def _everything(content: Json) -> None:
    for name, change in FEATURES.items():
        if name != EVERYTHING:
            change(content)


EVERYTHING = "all of these"
FEATURES: Mapping[str, Callable[[Json], None]] = {
    "nothing (control)": _nothing,
    "stats allow-list": _dropped("stats_config", "deferred_stat_options"),
    "grpc_stats, fault and cors": _filters_dropped("grpc_stats", "fault", "cors"),
    "TLS inspector": _no_tls_inspector,
    "client certificate header": _dropped("forward_client_cert_details", "set_current_client_cert_details"),
    "retries": _dropped("retry_policy", "include_request_attempt_count"),
    "metadata, limits and operation names": _rest,
    EVERYTHING: _everything,
}
