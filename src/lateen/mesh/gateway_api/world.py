"""What a translation reads: the objects that count by kind, and the services, noting which were asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lateen.config.gateway_api import (
    BackendTLSPolicy,
    GatewayClass,
    GRPCRoute,
    HTTPRoute,
    KubernetesGateway,
    LabelSelector,
    ListenerSet,
    ReferenceGrant,
    SelectorOperator,
    TCPRoute,
    TLSRoute,
)
from lateen.config.kubernetes import ConfigMap, Secret
from lateen.config.networking import ServiceEntry
from lateen.config.objects import ConfigObject
from lateen.mesh.elections import Place
from lateen.model.names import Hostname, service_host
from lateen.model.services import Service

KINDS = (
    "GatewayClass",
    "KubernetesGateway",
    "ListenerSet",
    "HTTPRoute",
    "GRPCRoute",
    "TCPRoute",
    "TLSRoute",
    "ReferenceGrant",
    "BackendTLSPolicy",
)
READ = frozenset((*KINDS, "Namespace", "Secret", "ConfigMap"))
"""Kinds that a translation may depend on."""

Route = ConfigObject[HTTPRoute] | ConfigObject[GRPCRoute] | ConfigObject[TCPRoute] | ConfigObject[TLSRoute]
GATEWAY_API = "gateway.networking.k8s.io"


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The inputs of a translation."""

    objects: Mapping[Place, ConfigObject[Any]]
    """All objects that count, by kind, namespace and name."""
    by_kind: Mapping[str, tuple[ConfigObject[Any], ...]]
    """Those of the Gateway API, oldest first."""
    services: Mapping[Hostname, Service]
    selector_of: Callable[[Hostname], Mapping[str, str]]
    """Labels of the workloads of a service; empty when it selects none."""
    asked: set[Hostname] = field(default_factory=set)
    """Hosts whose service was asked for, be there one or not: the translation depends on them."""

    places: set[Place] = field(default_factory=set)
    """ServiceEntries that were asked for, likewise."""

    def classes(self) -> tuple[ConfigObject[GatewayClass], ...]:
        """GatewayClasses."""
        return self.by_kind.get("GatewayClass", ())

    def gateways(self) -> tuple[ConfigObject[KubernetesGateway], ...]:
        """Gateways."""
        return self.by_kind.get("KubernetesGateway", ())

    def listener_sets(self) -> tuple[ConfigObject[ListenerSet], ...]:
        """ListenerSets, oldest first."""
        return self.by_kind.get("ListenerSet", ())

    def routes(self, *kinds: str) -> tuple[Route, ...]:
        """Routes of some kinds, oldest first in each."""
        return tuple(route for kind in kinds for route in self.by_kind.get(kind, ()))

    def tls_policies(self) -> tuple[ConfigObject[BackendTLSPolicy], ...]:
        """BackendTLSPolicies."""
        return self.by_kind.get("BackendTLSPolicy", ())

    def secret(self, namespace: str, name: str) -> Secret | None:
        """Return a Secret."""
        found = self.objects.get(("Secret", namespace, name))
        return found.spec if found is not None else None

    def config_map(self, namespace: str, name: str) -> ConfigMap | None:
        """Return a ConfigMap."""
        found = self.objects.get(("ConfigMap", namespace, name))
        return found.spec if found is not None else None

    def service(self, namespace: str, name: str) -> Service | None:
        """Return the service that a reference to a Kubernetes Service means, be it one or of another source."""
        return self.service_at(service_host(name, namespace))

    def service_at(self, host: Hostname) -> Service | None:
        """Return the service of a host."""
        self.asked.add(host)
        return self.services.get(host)

    def service_entry(self, namespace: str, name: str) -> ConfigObject[ServiceEntry] | None:
        """Return a ServiceEntry."""
        place = ("ServiceEntry", namespace, name)
        self.places.add(place)
        return self.objects.get(place)

    def permits(self, kind: str, namespace: str, to_group: str, to_kind: str, to: tuple[str, str]) -> bool:
        """Whether an object of a kind of the Gateway API may refer to another (`to`: namespace and name).

        In its own namespace always, otherwise by a ReferenceGrant of the other namespace.
        """
        if namespace == to[0]:
            return True
        grants: Iterable[ConfigObject[ReferenceGrant]] = self.by_kind.get("ReferenceGrant", ())
        return any(
            any((one.group, one.kind, one.namespace) == (GATEWAY_API, kind, namespace) for one in grant.spec.from_)
            and any((one.group, one.kind) == (to_group, to_kind) and one.name in ("", to[1]) for one in grant.spec.to)
            for grant in grants
            if grant.key.namespace == to[0]
        )

    def namespace_labels(self, name: str) -> Mapping[str, str]:
        """Return the labels of a namespace; every one has its name as a label, as in Kubernetes."""
        found = self.objects.get(("Namespace", "", name))
        return {**(found.labels if found is not None else {}), "kubernetes.io/metadata.name": name}


def world_of(
    objects: Mapping[Place, ConfigObject[Any]],
    own: Mapping[Place, ConfigObject[Any]],
    services: Mapping[Hostname, Service],
    selector_of: Callable[[Hostname], Mapping[str, str]],
) -> World:
    """Return the world of these objects; `own` are those of the Gateway API among them."""
    by_kind: dict[str, list[ConfigObject[Any]]] = {}
    for item in sorted(own.values(), key=lambda one: (one.created, one.key.namespace, one.key.name)):
        by_kind.setdefault(item.key.kind, []).append(item)
    return World(
        objects=objects,
        by_kind={kind: tuple(found) for kind, found in by_kind.items()},
        services=services,
        selector_of=selector_of,
    )


def selects(selector: LabelSelector | None, labels: Mapping[str, str]) -> bool:
    """Whether a selector takes something with these labels; none takes nothing, an empty one everything."""
    if selector is None:
        return False
    if any(labels.get(key) != value for key, value in selector.match_labels.items()):
        return False
    for one in selector.match_expressions:
        there = one.key in labels
        match one.operator:
            case SelectorOperator.IN:
                ok = there and labels[one.key] in one.values
            case SelectorOperator.NOT_IN:
                ok = not there or labels[one.key] not in one.values
            case SelectorOperator.EXISTS:
                ok = there
            case SelectorOperator.DOES_NOT_EXIST:
                ok = not there
        if not ok:
            return False
    return True
