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
    name: str = ""
    protocol: str = "TCP"
    app_protocol: str = ""
    target_port: int | str = 0
    node_port: Port = 0


class ServiceSpec(Spec, frozen=True, kw_only=True):
    """Service.spec."""

    ports: list[KubernetesServicePort] = []
    selector: dict[str, str] = {}
    cluster_ip: str = msgspec.field(default="", name="clusterIP")
    cluster_ips: list[str] = msgspec.field(default_factory=list, name="clusterIPs")
    type: str = "ClusterIP"
    external_name: str = ""
    external_ips: list[str] = msgspec.field(default_factory=list, name="externalIPs")
    publish_not_ready_addresses: bool = False
    session_affinity: str = "None"
    session_affinity_config: dict[str, Any] | None = None
    ip_families: list[str] = []
    ip_family_policy: str = ""
    load_balancer_ip: str = msgspec.field(default="", name="loadBalancerIP")
    load_balancer_source_ranges: list[str] = []
    load_balancer_class: str = ""
    external_traffic_policy: str = ""
    internal_traffic_policy: str = ""
    health_check_node_port: Port = 0
    allocate_load_balancer_node_ports: bool | None = None
    traffic_distribution: str = ""


class EndpointSlicePort(Spec, frozen=True, kw_only=True):
    """A port of an EndpointSlice; a missing name means the unnamed port."""

    name: str | None = None
    protocol: str | None = None
    port: Port | None = None
    app_protocol: str | None = None


class EndpointConditions(Spec, frozen=True, kw_only=True):
    """State of an endpoint; a missing `ready` means ready."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class ObjectReference(Spec, frozen=True, kw_only=True):
    """Reference to the pod behind an endpoint."""

    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""
    api_version: str = ""
    resource_version: str = ""
    field_path: str = ""


class SliceEndpoint(Spec, frozen=True, kw_only=True):
    """Addresses of one pod or host; all are equivalent, the first is used."""

    addresses: list[str] = []
    conditions: EndpointConditions | None = None
    hostname: str | None = None
    target_ref: ObjectReference | None = None
    deprecated_topology: dict[str, str] = {}
    node_name: str | None = None
    zone: str | None = None
    hints: dict[str, Any] | None = None


class EndpointSlice(Spec, frozen=True, kw_only=True):
    """The endpoints of a Service, named by the label `kubernetes.io/service-name`.

    Its fields stand beside `metadata`, not under `spec`.
    """

    address_type: str
    endpoints: list[SliceEndpoint] = []
    ports: list[EndpointSlicePort] = []


class EndpointAddress(Spec, frozen=True, kw_only=True):
    """Address of an Endpoints subset."""

    ip: str
    hostname: str = ""
    node_name: str | None = None
    target_ref: ObjectReference | None = None


class EndpointPort(Spec, frozen=True, kw_only=True):
    """Port of an Endpoints subset."""

    port: Port
    name: str = ""
    protocol: str = "TCP"
    app_protocol: str | None = None


class EndpointSubset(Spec, frozen=True, kw_only=True):
    """Every address serves every port."""

    addresses: list[EndpointAddress] = []
    not_ready_addresses: list[EndpointAddress] = []
    ports: list[EndpointPort] = []


class Endpoints(Spec, frozen=True, kw_only=True):
    """The older form of EndpointSlice; same name as its Service."""

    subsets: list[EndpointSubset] = []


class Secret(Spec, frozen=True, kw_only=True):
    """A Secret: `data` values are base64, `string_data` plain. Its repr shows keys only."""

    type: str = "Opaque"
    data: dict[str, str] = {}
    string_data: dict[str, str] = {}
    immutable: bool | None = None

    def __repr__(self) -> str:
        """Never the values."""
        return f"Secret(type={self.type!r}, keys={sorted({*self.data, *self.string_data})})"


class ConfigMap(Spec, frozen=True, kw_only=True):
    """A ConfigMap; `data['mesh']` may hold a MeshConfig, as in Istio."""

    data: dict[str, str] = {}
    binary_data: dict[str, str] = {}
    immutable: bool | None = None


class Namespace(Spec, frozen=True, kw_only=True):
    """A Namespace: only its labels matter."""

    finalizers: list[str] = []
