"""Names of Envoy resources: Istio's, because dashboards, alerts and people depend on them.

The one place where such a name is made. Used by every builder and by `generate`.
"""

from __future__ import annotations

from lateen.model.names import Hostname

PASSTHROUGH_CLUSTER = "PassthroughCluster"
"""Where calls to unknown hosts go under ALLOW_ANY."""
ALLOW_ANY_DYNAMIC_DNS_CLUSTER = "AllowAnyDynamicDNSCluster"
"""Where requests for unknown hosts go under ALLOW_ANY_DYNAMIC_DNS: to what DNS says of the Host header."""
BLACKHOLE_CLUSTER = "BlackHoleCluster"
"""A cluster without endpoints: calls to unknown hosts under REGISTRY_ONLY end here."""
INBOUND_PASSTHROUGH_CLUSTER = "InboundPassthroughCluster"

VIRTUAL_OUTBOUND = "virtualOutbound"
VIRTUAL_OUTBOUND_BLACKHOLE = "virtualOutbound-blackhole"
VIRTUAL_OUTBOUND_CATCHALL = "virtualOutbound-catchall-tcp"
VIRTUAL_INBOUND = "virtualInbound"
VIRTUAL_INBOUND_BLACKHOLE = "virtualInbound-blackhole"
PASSTHROUGH_FILTER_CHAIN = "PassthroughFilterChain"

DNS = "dns"
"""Listener of an intercepted sidecar that knows the names of services."""
HTTP_PROXY = "http_proxy"
"""Listener and route configuration of explicit mode."""
ALLOW_ANY = "allow_any"
ALLOW_ANY_DYNAMIC_DNS = "allow_any_dynamic_dns"
BLOCK_ALL = "block_all"
DEFAULT_ROUTE = "default"

WILDCARD_ADDRESS = "0.0.0.0"
LOOPBACK_ADDRESS = "127.0.0.1"
PROXY_MARK = 1337
"""Istio's mark of packets that a transparent proxy sends for somebody else."""
INBOUND_PASSTHROUGH_BIND = "127.0.0.6"
"""Source address of connections from a sidecar to its own workload: interception rules let it through."""

SECRET_SCHEME = "kubernetes://"  # noqa: S105  a name's prefix, not a secret
CA_SUFFIX = "-cacert"
"""Added to a credential's name for the CA that verifies client certificates."""


def outbound_cluster(host: Hostname | str, port: int, subset: str = "") -> str:
    """Return `outbound|9080|v1|reviews.default.svc.cluster.local`."""
    return f"outbound|{port}|{subset}|{host}"


def sni_cluster(host: Hostname | str, port: int, subset: str = "") -> str:
    """Return `outbound_.9080_.v1_.reviews.default.svc.cluster.local`: `outbound_cluster` as a TLS server name."""
    return f"outbound_.{port}_.{subset}_.{host}"


def outbound_parts(cluster: str) -> tuple[str, int, str]:
    """Return host, port and subset of `outbound|PORT|SUBSET|HOST`; nothing for a cluster of another kind."""
    kind, *rest = cluster.split("|", 3)
    if kind != "outbound" or len(rest) != 3 or not rest[0].isdigit():
        return "", 0, ""
    return rest[2], int(rest[0]), rest[1]


def host_of_outbound(cluster: str) -> str:
    """Return `reviews.default.svc.cluster.local` of `outbound|9080|v1|...`; empty for a cluster of another kind."""
    return outbound_parts(cluster)[0]


def default_cluster(endpoint: str) -> str:
    """Return `default|127.0.0.1:8080`: where a gateway's server sends what no rule is about."""
    return f"default|{endpoint}"


def inbound_cluster(port: int) -> str:
    """Return `inbound|9080||`: the workload itself, by the port it is reached at."""
    return f"inbound|{port}||"


def host_and_port(host: Hostname | str, port: int) -> str:
    """Return `host:port`, an IPv6 address in brackets: a virtual host's name, or one of its domains."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def listener(address: str, port: int) -> str:
    """Return `0.0.0.0_9080`."""
    return f"{address}_{port}"


def on_demand_routes(name: str) -> str:
    """Return `80.vhds`: the route configuration `80` for proxies that ask for its virtual hosts one by one.

    Another name, because Envoy loses what it was told of one that begins or ceases to be so (observed).
    """
    return f"{name}.vhds"


def gateway_http_routes(port: int, bind: str = "") -> str:
    """Return `http.80`: the route configuration of a gateway's plain-text port; `http.80.BIND` with an address."""
    return f"http.{port}.{bind}" if bind else f"http.{port}"


def gateway_https_routes(port: int, port_name: str, gateway: str, namespace: str) -> str:
    """Return `https.443.NAME.GATEWAY.NAMESPACE`: one per TLS-terminating server."""
    return f"https.{port}.{port_name}.{gateway}.{namespace}"


def secret(credential: str) -> str:
    """Return the SDS name of a Gateway's `credentialName`."""
    return credential if "://" in credential else SECRET_SCHEME + credential


def ca_secret(credential: str) -> str:
    """Return the SDS name of the CA that stands in a credential, or beside it."""
    name = secret(credential)
    return name if name.endswith(CA_SUFFIX) else name + CA_SUFFIX


def stat_prefix(name: str) -> str:
    """Return the name as Envoy's statistics carry it: `;` ends it, so that a tag expression can cut it out."""
    return f"{name};"
