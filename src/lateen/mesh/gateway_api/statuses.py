"""Statuses of the Gateway API as data: what a controller in a cluster would write into the objects.

Made by the rest of this room, kept in a MeshState, shown by `lateen generate --status` and `lateen get -o yaml`.
There is no clock here, so conditions have no `lastTransitionTime`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from lateen.config.gateway_api import ParentReference, RouteGroupKind
from lateen.config.kinds import document_kind
from lateen.model.names import ObjectKey

CONTROLLER = "lateen.io/gateway-controller"
ISTIO_CONTROLLER = "istio.io/gateway-controller"
CONTROLLERS = (CONTROLLER, ISTIO_CONTROLLER)
"""Classes of Istio's are served too: people bring its YAML."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition. Types and reasons are the API's."""

    type: str
    status: str
    """`True`, `False` or `Unknown`."""
    reason: str
    message: str = ""

    def view(self) -> dict[str, Any]:
        """Return it as documents have it."""
        return {"type": self.type, "status": self.status, "reason": self.reason, "message": self.message}


def holds(kind: str, reason: str = "", message: str = "") -> Condition:
    """Return a condition that holds; its reason is its type unless given."""
    return Condition(kind, "True", reason or kind, message)


def fails(kind: str, reason: str, message: str) -> Condition:
    """Return a condition that does not hold."""
    return Condition(kind, "False", reason, message)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerStatus:
    """Of one listener of a Gateway or ListenerSet."""

    name: str
    supported_kinds: tuple[RouteGroupKind, ...]
    attached_routes: int
    conditions: tuple[Condition, ...]

    def view(self) -> dict[str, Any]:
        """Return it as documents have it."""
        return {
            "name": self.name,
            "supportedKinds": [{"group": kind.group, "kind": kind.kind} for kind in self.supported_kinds],
            "attachedRoutes": self.attached_routes,
            "conditions": [item.view() for item in self.conditions],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ParentStatus:
    """Of a route towards one of its parents, or of a policy towards one of its targets."""

    reference: ParentReference
    conditions: tuple[Condition, ...]
    controller: str = CONTROLLER

    def view(self, field: str) -> dict[str, Any]:
        """Return it as documents have it."""
        reference = msgspec.to_builtins(self.reference)
        return {
            field: {"group": self.reference.group, "kind": self.reference.kind, **reference},
            "controllerName": self.controller,
            "conditions": [item.view() for item in self.conditions],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Of one object; which fields count depends on its kind."""

    conditions: tuple[Condition, ...] = ()
    listeners: tuple[ListenerStatus, ...] = ()
    parents: tuple[ParentStatus, ...] = ()
    ancestors: tuple[ParentStatus, ...] = ()
    features: tuple[str, ...] = ()
    addresses: tuple[tuple[str, str], ...] = ()
    """Type and value of each address of a Gateway, as far as they are known."""
    listener_sets: int = 0
    """ListenerSets that are attached."""


Statuses = Mapping[ObjectKey, Status]


def status_view(key: ObjectKey, status: Status) -> dict[str, Any]:
    """Return a status as documents have it."""
    conditions = [item.view() for item in status.conditions]
    match key.kind:
        case "GatewayClass":
            return {"conditions": conditions, "supportedFeatures": [{"name": name} for name in status.features]}
        case "KubernetesGateway":
            listeners = [item.view() for item in status.listeners]
            addresses = [{"type": kind, "value": value} for kind, value in status.addresses]
            return {
                **({"addresses": addresses} if addresses else {}),
                "conditions": conditions,
                "listeners": listeners,
                "attachedListenerSets": status.listener_sets,
            }
        case "ListenerSet":
            return {"conditions": conditions, "listeners": [item.view() for item in status.listeners]}
        case "BackendTLSPolicy":
            return {"ancestors": [item.view("ancestorRef") for item in status.ancestors]}
        case _:
            return {"parents": [item.view("parentRef") for item in status.parents]}


def status_list(statuses: Statuses) -> list[dict[str, Any]]:
    """Return all statuses, by kind, namespace and name."""
    return [
        {
            "kind": document_kind(key.kind),
            "namespace": key.namespace,
            "name": key.name,
            "status": status_view(key, statuses[key]),
        }
        for key in sorted(statuses, key=lambda key: (document_kind(key.kind), key.namespace, key.name))
    ]


def all_hold(conditions: Iterable[Condition]) -> bool:
    """Whether no condition fails."""
    return all(item.status == "True" for item in conditions)
