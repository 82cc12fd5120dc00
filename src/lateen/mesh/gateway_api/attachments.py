"""What routes attach to: listeners of Gateways for requests from outside, services for calls inside the mesh.

A service is a Service by its name, or all hosts of a ServiceEntry by its name, as in Istio.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from lateen.config.gateway_api import ParentReference
from lateen.config.networking import ConfigPort
from lateen.mesh.gateway_api.listeners import ListenerPlan
from lateen.mesh.gateway_api.statuses import Condition, fails, holds
from lateen.mesh.gateway_api.world import GATEWAY_API, Route, World
from lateen.model.names import Hostname
from lateen.model.services import ServicePort

NETWORKING = "networking.istio.io"

Parent = tuple[str, str, str]
"""`Gateway` or `ListenerSet`, namespace and name."""
Plans = Mapping[Parent, Sequence[ListenerPlan]]
"""Listeners of the Gateways whose class is served, and of the ListenerSets that these take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A route and one of its parents."""

    route: Route
    parent: ParentReference
    accepted: Condition
    listeners: tuple[tuple[ListenerPlan, tuple[str, ...]], ...] = ()
    """Listeners that took it, and the hosts that it has there."""
    services: tuple[Hostname, ...] = ()
    """Services whose callers it routes."""
    owner: str = ""
    """Their namespace."""
    port: int = 0
    """The port of them that it is for; zero for all."""


def attachments(world: World, plans: Plans, foreign: Collection[Parent], route: Route) -> list[Attachment]:
    """Return what a route comes to at each of its parents, without those that other controllers serve (`foreign`)."""
    found: list[Attachment] = []
    for parent in route.spec.parent_refs:
        namespace = parent.namespace or route.key.namespace
        if parent.group == GATEWAY_API and parent.kind in ("Gateway", "ListenerSet"):
            if (parent.kind, namespace, parent.name) not in foreign:
                found.append(_to_listeners(world, plans, route, parent, namespace))
        elif (parent.group, parent.kind) == ("", "Service"):
            found.append(_to_service(world, route, parent, namespace))
        elif (parent.group, parent.kind) == (NETWORKING, "ServiceEntry"):
            found.append(_to_entry(world, route, parent, namespace))
        else:
            what = f"{parent.group}/{parent.kind}".lstrip("/")
            message = f"a route cannot attach to a {what}; write a Gateway, a ListenerSet, a Service or a ServiceEntry"
            found.append(Attachment(route=route, parent=parent, accepted=_no_parent(message)))
    return found


def _to_listeners(world: World, plans: Plans, route: Route, parent: ParentReference, namespace: str) -> Attachment:
    plan = plans.get((parent.kind, namespace, parent.name))
    if plan is None:
        of_set = " that its Gateway takes" if parent.kind == "ListenerSet" else ""
        message = f"there is no {parent.kind} {namespace}/{parent.name}{of_set}"
        return Attachment(route=route, parent=parent, accepted=_no_parent(message))
    named = [
        one
        for one in plan
        if parent.section_name in ("", one.listener.name) and parent.port in (None, one.listener.port)
    ]
    if not named:
        wanted = parent.section_name or str(parent.port)
        listeners = ", ".join(one.listener.name for one in plan)
        message = f"the {parent.kind} {namespace}/{parent.name} has no listener {wanted}; it has {listeners}"
        return Attachment(route=route, parent=parent, accepted=_no_parent(message))
    taking = [one for one in named if one.takes(world, route.key.kind, route.key.namespace)]
    if not taking:
        message = f"no listener takes {route.key.kind}s of namespace {route.key.namespace}; see its allowedRoutes"
        refused = fails("Accepted", "NotAllowedByListeners", message)
        return Attachment(route=route, parent=parent, accepted=refused)
    hostnames: Sequence[str] = getattr(route.spec, "hostnames", ())
    shared = tuple((one, hosts) for one in taking if (hosts := one.shared(hostnames)))
    if not shared:
        own = ", ".join(one.listener.hostname for one in taking)
        message = f"none of its hostnames is one of the listener's ({own})"
        refused = fails("Accepted", "NoMatchingListenerHostname", message)
        return Attachment(route=route, parent=parent, accepted=refused)
    return Attachment(route=route, parent=parent, accepted=holds("Accepted"), listeners=shared)


def _to_service(world: World, route: Route, parent: ParentReference, namespace: str) -> Attachment:
    service = world.service(namespace, parent.name)
    if service is None:
        problem = f"there is no Service {namespace}/{parent.name}"
        return Attachment(route=route, parent=parent, accepted=_no_parent(problem))
    return _to_ports(route, parent, (service.host,), service.namespace, service.ports)


def _to_entry(world: World, route: Route, parent: ParentReference, namespace: str) -> Attachment:
    entry = world.service_entry(namespace, parent.name)
    if entry is None:
        problem = f"there is no ServiceEntry {namespace}/{parent.name}"
        return Attachment(route=route, parent=parent, accepted=_no_parent(problem))
    hosts = tuple(dict.fromkeys(Hostname(host.lower()) for host in entry.spec.hosts))
    return _to_ports(route, parent, hosts, namespace, entry.spec.ports)


def _to_ports(
    route: Route,
    parent: ParentReference,
    hosts: tuple[Hostname, ...],
    owner: str,
    ports: Sequence[ServicePort | ConfigPort],
) -> Attachment:
    named = {port.name: port.number for port in ports}
    number = parent.port or named.get(parent.section_name, 0)
    if parent.section_name and parent.section_name not in named:
        problem = f"the {parent.kind} {owner}/{parent.name} has no port named {parent.section_name}"
    elif parent.port is not None and parent.port not in named.values():
        problem = f"the {parent.kind} {owner}/{parent.name} has no port {parent.port}"
    else:
        accepted = holds("Accepted")
        return Attachment(route=route, parent=parent, accepted=accepted, services=hosts, owner=owner, port=number)
    return Attachment(route=route, parent=parent, accepted=_no_parent(problem))


def _no_parent(message: str) -> Condition:
    return fails("Accepted", "NoMatchingParent", message)
