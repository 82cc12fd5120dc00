"""Kubernetes kinds that describe services: Service, EndpointSlice, Endpoints, Secret, Namespace, ConfigMap.

Every field of the schema is parsed. Fields that can have no meaning for a mesh (how a load balancer is
provisioned, say) are admitted as raw JSON under their names; `config/acting.py` says which fields act.
"""

from __future__ import annotations

from typing import Any

import msgspec

from lateen.config.networking import Port, Spec


class KubernetesServicePort(Spec, frozen=True, kw_only=True):
    """A port of a Service."""

    port: Port
    """Port that clients use."""
    name: str = ""
    """`http`, `grpc-web` and the like say the protocol, if `appProtocol` does not."""
    protocol: str = "TCP"
    """TCP; others are not proxied."""
    app_protocol: str = ""
    """What is spoken: `http`, `https`, `grpc`, `kubernetes.io/h2c`, `tcp`."""
    target_port: int | str = 0
    """Port of the endpoints, number or name; unset is the same."""
    node_port: Port = 0
    """For a cluster."""


class ServiceSpec(Spec, frozen=True, kw_only=True):
    """Service.spec."""

    ports: list[KubernetesServicePort] = []
    """Ports of the service."""
    selector: dict[str, str] = {}
    """Labels of its workloads."""
    cluster_ip: str = msgspec.field(default="", name="clusterIP")
    """Virtual address; `None` is headless."""
    cluster_ips: list[str] = msgspec.field(default_factory=list, name="clusterIPs")
    """Virtual addresses of both families."""
    type: str = "ClusterIP"
    """`ExternalName` is an alias; the others differ in a cluster only."""
    external_name: str = ""
    """Host that an `ExternalName` stands for."""
    external_ips: list[str] = msgspec.field(default_factory=list, name="externalIPs")
    """For a cluster."""
    publish_not_ready_addresses: bool = False
    """Whether endpoints that are not ready count."""
    session_affinity: str = "None"
    """`None`; `ClientIP` is done with a DestinationRule's `consistentHash.useSourceIp`."""
    session_affinity_config: dict[str, Any] | None = None
    """Timeout of the affinity."""
    ip_families: list[str] = []
    """For a cluster."""
    ip_family_policy: str = ""
    """For a cluster."""
    load_balancer_ip: str = msgspec.field(default="", name="loadBalancerIP")
    """For a cluster."""
    load_balancer_source_ranges: list[str] = []
    """For a cluster."""
    load_balancer_class: str = ""
    """For a cluster."""
    external_traffic_policy: str = ""
    """For a cluster."""
    internal_traffic_policy: str = ""
    """For a cluster."""
    health_check_node_port: Port = 0
    """For a cluster."""
    allocate_load_balancer_node_ports: bool | None = None
    """For a cluster."""
    traffic_distribution: str = ""
    """For a cluster."""


class EndpointSlicePort(Spec, frozen=True, kw_only=True):
    """A port of an EndpointSlice; a missing name means the unnamed port."""

    name: str | None = None
    """Name of the Service's port."""
    protocol: str | None = None
    """TCP; others are not proxied."""
    port: Port | None = None
    """Port of the endpoints."""
    app_protocol: str | None = None
    """What is spoken; the Service's counts."""


class EndpointConditions(Spec, frozen=True, kw_only=True):
    """State of an endpoint; a missing `ready` means ready."""

    ready: bool | None = None
    """Whether it gets requests."""
    serving: bool | None = None
    """Whether it answers, even if it is ending."""
    terminating: bool | None = None
    """Whether it is ending."""


class ObjectReference(Spec, frozen=True, kw_only=True):
    """Reference to the pod behind an endpoint."""

    kind: str = ""
    """Kind of the object."""
    namespace: str = ""
    """Its namespace."""
    name: str = ""
    """Its name."""
    uid: str = ""
    """For a cluster."""
    api_version: str = ""
    """For a cluster."""
    resource_version: str = ""
    """For a cluster."""
    field_path: str = ""
    """For a cluster."""


class SliceEndpoint(Spec, frozen=True, kw_only=True):
    """Addresses of one pod or host; all are equivalent, the first is used."""

    addresses: list[str] = []
    """The first one is used."""
    conditions: EndpointConditions | None = None
    """Unset is ready."""
    hostname: str | None = None
    """For headless services."""
    target_ref: ObjectReference | None = None
    """The pod."""
    deprecated_topology: dict[str, str] = {}
    """For a cluster."""
    node_name: str | None = None
    """For a cluster."""
    zone: str | None = None
    """Zone of its locality."""
    hints: dict[str, Any] | None = None
    """For a cluster."""


class EndpointSlice(Spec, frozen=True, kw_only=True):
    """The endpoints of a Service, named by the label `kubernetes.io/service-name`.

    Its fields stand beside `metadata`, not under `spec`.
    """

    address_type: str
    """`IPv4`, `IPv6` or `FQDN`."""
    endpoints: list[SliceEndpoint] = []
    """Addresses."""
    ports: list[EndpointSlicePort] = []
    """Every address serves every port."""


class EndpointAddress(Spec, frozen=True, kw_only=True):
    """Address of an Endpoints subset."""

    ip: str
    """IP address."""
    hostname: str = ""
    """For headless services."""
    node_name: str | None = None
    """For a cluster."""
    target_ref: ObjectReference | None = None
    """The pod."""


class EndpointPort(Spec, frozen=True, kw_only=True):
    """Port of an Endpoints subset."""

    port: Port
    """Port of the endpoints."""
    name: str = ""
    """Name of the Service's port."""
    protocol: str = "TCP"
    """TCP; others are not proxied."""
    app_protocol: str | None = None
    """What is spoken; the Service's counts."""


class EndpointSubset(Spec, frozen=True, kw_only=True):
    """Every address serves every port."""

    addresses: list[EndpointAddress] = []
    """Those that get requests."""
    not_ready_addresses: list[EndpointAddress] = []
    """Those that do not yet."""
    ports: list[EndpointPort] = []
    """Every address serves every port."""


class Endpoints(Spec, frozen=True, kw_only=True):
    """The older form of EndpointSlice; same name as its Service."""

    subsets: list[EndpointSubset] = []
    """Addresses by port."""


class Secret(Spec, frozen=True, kw_only=True):
    """A Secret: `data` values are base64, `string_data` plain. Its repr shows keys only."""

    type: str = "Opaque"
    """`kubernetes.io/tls` or any other."""
    data: dict[str, str] = {}
    """Key to base64: `tls.crt`, `tls.key`, `ca.crt`, `ca.crl`."""
    string_data: dict[str, str] = {}
    """Key to plain text; replaces `data`."""
    immutable: bool | None = None
    """For a cluster."""

    def __repr__(self) -> str:
        """Never the values."""
        return f"Secret(type={self.type!r}, keys={sorted({*self.data, *self.string_data})})"


class ConfigMap(Spec, frozen=True, kw_only=True):
    """A ConfigMap; `data['mesh']` may hold a MeshConfig, as in Istio."""

    data: dict[str, str] = {}
    """Key to text: `ca.crt` for roots."""
    binary_data: dict[str, str] = {}
    """Key to base64."""
    immutable: bool | None = None
    """For a cluster."""


class Namespace(Spec, frozen=True, kw_only=True):
    """A Namespace: only its labels matter."""

    finalizers: list[str] = []
    """For a cluster."""
