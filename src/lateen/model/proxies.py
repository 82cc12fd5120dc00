"""Proxies: who connects to the control plane, as its node id and metadata describe it.

Source: Istio's node id `TYPE~IP~NAME.NAMESPACE~DOMAIN` and node metadata names (LABELS, NAMESPACE, ...).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from lateen.model.loopback import is_loopback
from lateen.model.names import Hostname
from lateen.model.services import Locality

PRIVILEGED_PORTS = 1024
UNPRIVILEGED_SHIFT = 8000


DISCOVERY_SCOPE = "lateen.io/discovery-scope"
"""Label of a workload, or annotation of the Sidecar of a namespace or of some workloads: one of `DISCOVERY_SCOPES`."""
DISCOVERY_SCOPES = ("lazy", "full")
"""Whether a sidecar fetches what it needs with the first request, or is told everything before."""


class ProxyType(Enum):
    """What the proxy stands in front of."""

    SIDECAR = "sidecar"
    GATEWAY = "router"
    """Istio's node type of a gateway is `router`."""


class Interception(Enum):
    """How traffic reaches a sidecar (node metadata INTERCEPTION_MODE, Istio's values)."""

    REDIRECT = "REDIRECT"
    """iptables: outbound to 15001, inbound to 15006. Istio's default, also ours for foreign nodes."""
    TPROXY = "TPROXY"
    NONE = "NONE"
    """Explicit: the app uses HTTP_PROXY; inbound listeners bind the workload's own address."""


class Capability(Enum):
    """What the client behind the stream can do with resources."""

    ENVOY = "envoy"
    GRPC = "grpc"
    """A proxyless gRPC client (`xds:///`): wants API listeners named `host:port`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """A declared dependency: `lateen run --upstream reviews:9080=19080` opens 19080 for reviews:9080."""

    host: str
    """As the user wrote it; short names are of the proxy's namespace."""
    port: int
    local_port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """One Envoy (or gRPC client) connected, or imagined by `lateen generate --proxy`."""

    type: ProxyType
    name: str
    """Workload name without namespace, `reviews-v2-1`."""
    namespace: str
    addresses: tuple[str, ...] = ()
    """First is the one in the node id."""
    labels: Mapping[str, str] = field(default_factory=dict)
    service_account: str = "default"
    cluster_id: str = "Kubernetes"
    network: str = ""
    locality: Locality = Locality()
    interception: Interception = Interception.REDIRECT
    capability: Capability = Capability.ENVOY
    dns_domain: str = "cluster.local"
    port_map: Mapping[int, int] = field(default_factory=dict)
    """Declared port -> port to bind."""
    privileged: bool = True
    """Whether it may bind ports below 1024; if not, those that `port_map` lacks are bound 8000 higher."""
    upstreams: tuple[Upstream, ...] = ()
    asks_on_demand: bool = False
    """Whether it fetches clusters and virtual hosts that it was not told of on the first request that needs them."""
    certificates: bool = False
    """Whether it has a certificate of its own to show: only then it takes part in mutual TLS."""
    private_keys: bool = True
    """Whether private keys may be sent to it: not in plain text to somebody who has proven nothing."""
    answers_dns: bool = False
    """Whether the names of services are answered beside it, from a table that it holds (`generate.dns_table`)."""
    registers: bool = False
    """Whether an agent beside it registers its workload: without that, there is nothing inbound to tell it."""
    learned: tuple[Hostname, ...] = ()
    """Hosts that its workload was seen calling, sorted: it is told of them before it asks."""
    istio_version: str = ""
    """What EnvoyFilters may match by; empty when it says none."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Text of its node metadata, for the same; labels are not in it."""

    @property
    def id(self) -> str:
        """`reviews-v2-1.default`: how commands name a proxy."""
        return f"{self.name}.{self.namespace}"

    @property
    def workload(self) -> str:
        """`reviews-v2`: what its replicas share, the name without the number that Lateen gives them."""
        return workload_of(self.name)

    @property
    def private_address(self) -> str:
        """Where listeners bind that are for its own application: never an address that other hosts reach."""
        own = self.addresses[0] if self.addresses else ""
        return own if is_loopback(own) else "127.0.0.1"

    def bound_port(self, declared: int) -> int:
        """Return the port to bind for a declared one: 80 -> 8080 without the privilege to bind 80."""
        shift = 0 if self.privileged or declared >= PRIVILEGED_PORTS else UNPRIVILEGED_SHIFT
        return self.port_map.get(declared, declared + shift)

    @property
    def node_id(self) -> str:
        """Istio's node id, `sidecar~127.0.0.5~reviews-v2-1.default~default.svc.cluster.local`."""
        address = self.addresses[0] if self.addresses else "0.0.0.0"
        return f"{self.type.value}~{address}~{self.id}~{self.namespace}.svc.{self.dns_domain}"


def workload_of(name: str) -> str:
    """Return `reviews-v2` of `reviews-v2-1`: the name that replicas share."""
    stem, dash, number = name.rpartition("-")
    return stem if dash and number.isdigit() else name


def labels_match(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Whether every pair of `selector` is in `labels`; an empty selector matches everything."""
    return all(labels.get(key) == value for key, value in selector.items())
