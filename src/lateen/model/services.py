"""Services and their endpoints: what can be called, and where it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from lateen.model.health import HealthCheck
from lateen.model.names import Hostname
from lateen.model.origins import Origin
from lateen.model.protocols import Protocol

NETWORK_LABEL = "topology.istio.io/network"
"""Label of a workload: the network that it is in, if it says none otherwise."""


class Resolution(Enum):
    """How a proxy finds the addresses behind a service (Istio's ServiceEntry.Resolution)."""

    STATIC = "STATIC"
    """The endpoints are known: served over EDS."""
    DNS = "DNS"
    """Each endpoint is a name that Envoy resolves; all its addresses are used."""
    DNS_ROUND_ROBIN = "DNS_ROUND_ROBIN"
    """As DNS, but only the first address of each answer (Envoy LOGICAL_DNS)."""
    NONE = "NONE"
    """Connect to the address the application itself wanted."""
    DYNAMIC_DNS = "DYNAMIC_DNS"
    """Wildcard hosts, resolved per request (Envoy dynamic forward proxy)."""


@dataclass(frozen=True, slots=True)
class Locality:
    """Where something runs: Istio writes it `region/zone/subzone`, each part optional from the right."""

    region: str = ""
    zone: str = ""
    subzone: str = ""

    @classmethod
    def parse(cls, text: str) -> Locality:
        """Read `region/zone/subzone`; missing parts are empty."""
        region, zone, subzone, *_ = [*text.split("/"), "", "", ""]
        return cls(region, zone, subzone)

    def __str__(self) -> str:
        return f"{self.region}/{self.zone}/{self.subzone}".rstrip("/")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePort:
    """A port of a service."""

    number: int
    protocol: Protocol
    name: str = ""
    target_port: int | str = 0
    """Port of the endpoint: a number, a container port's name, or 0 for the same number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """Something that can be called by host name and port."""

    host: Hostname
    namespace: str
    ports: tuple[ServicePort, ...]
    name: str = ""
    """Short name for Kubernetes-style services (`reviews`), empty for hosts of a ServiceEntry."""
    addresses: tuple[str, ...] = ()
    """Virtual IPs or CIDRs that mean this service; empty when it has none (headless, or named only)."""
    headless: bool = False
    """Of Kubernetes, with `clusterIP: None`: its name means the addresses of its endpoints."""
    resolution: Resolution = Resolution.STATIC
    external: bool = False
    """Outside the mesh (ServiceEntry MESH_EXTERNAL): never mTLS, no inbound side."""
    export_to: tuple[str, ...] = ("*",)
    """Namespaces that may see it; `*` all, `.` its own."""
    labels: Mapping[str, str] = field(default_factory=dict)
    subject_alt_names: tuple[str, ...] = ()
    origin: Origin = Origin("unknown")

    def port(self, number: int) -> ServicePort | None:
        """Return the port with this number."""
        return next((port for port in self.ports if port.number == number), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One address and port behind one service port."""

    address: str
    """IPv4, IPv6, a DNS name (for DNS resolution), or `unix:///path`."""
    port: int
    """Port where other workloads reach it (through its sidecar, if it has one)."""
    service_port: int
    """Number of the service's port that this endpoint serves."""
    labels: Mapping[str, str] = field(default_factory=dict)
    locality: Locality = Locality()
    network: str = ""
    weight: int = 0
    """Relative load-balancing weight; 0 means 1."""
    healthy: bool = True
    """An unhealthy endpoint is not served to others, but its own sidecar already listens for it."""
    service_account: str = ""
    namespace: str = ""
    workload: str = ""
    """Name of the workload behind it, empty when unknown."""
    app_port: int = 0
    """Loopback port where the application listens behind its sidecar; 0 means the same number."""
    tls_mode: str = ""
    """`istio` when the workload's sidecar accepts mesh mTLS (label security.istio.io/tlsMode)."""
    is_gateway: bool = False
    """Stands for workloads of another network, which are called by mutual TLS through it."""
    check: HealthCheck | None = None
    """How gateways find out whether it is healthy; None when nobody asks them to."""


def readers(export_to: tuple[str, ...], owner: str) -> frozenset[str] | None:
    """Return the namespaces that see something exported so; None when all do (see `visible_to`)."""
    if not export_to or "*" in export_to:
        return None
    return frozenset(owner if name == "." else name for name in export_to)


def visible_to(export_to: tuple[str, ...], owner_namespace: str, namespace: str) -> bool:
    """Whether something exported so from `owner_namespace` is visible in `namespace` (Istio `exportTo`)."""
    if not export_to or "*" in export_to:
        return True
    return namespace in export_to or ("." in export_to and namespace == owner_namespace)
