"""What routes attach to: listeners of Gateways for requests from outside, Services for calls inside the mesh."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from lateen.config.gateway_api import ParentReference
from lateen.mesh.gateway_api.listeners import ListenerPlan
from lateen.mesh.gateway_api.statuses import Condition, fails, holds
from lateen.mesh.gateway_api.world import GATEWAY_API, Route, World
from lateen.model.names import Hostname

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
    service: Hostname | None = None
    """Service whose callers it routes."""


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
        else:
            what = f"{parent.group}/{parent.kind}".lstrip("/")
            message = f"a route cannot attach to a {what}; write a Gateway, a ListenerSet or a Service"
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
    elif parent.section_name and not any(port.name == parent.section_name for port in service.ports):
        problem = f"the Service {namespace}/{parent.name} has no port named {parent.section_name}"
    elif parent.port is not None and service.port(parent.port) is None:
        problem = f"the Service {namespace}/{parent.name} has no port {parent.port}"
    else:
        return Attachment(route=route, parent=parent, accepted=holds("Accepted"), service=service.host)
    return Attachment(route=route, parent=parent, accepted=_no_parent(problem))


def service_port(world: World, attachment: Attachment) -> int:
    """Return the port of the Service that a route is for; zero for all."""
    if attachment.parent.port is not None:
        return attachment.parent.port
    if attachment.parent.section_name and attachment.service is not None:
        service = world.services[attachment.service]
        return next(port.number for port in service.ports if port.name == attachment.parent.section_name)
    return 0


def _no_parent(message: str) -> Condition:
    return fails("Accepted", "NoMatchingParent", message)
