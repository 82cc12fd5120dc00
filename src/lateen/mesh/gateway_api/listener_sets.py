"""ListenerSets: which of them a Gateway takes, and what of their listeners can stand beside those that go first.

Called by `translation`. The listeners of a Gateway and of its ListenerSets are one list (ListenerSetSpec, "listeners"):
the Gateway's own first, then those of the older set, then by namespace and name. Where two conflict the first one
stands. What a set is told of that names neither the Gateway's listeners nor another set: its owner may not see them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from lateen.config.gateway_api import FromListenerNamespaces, KubernetesGateway, Listener, ListenerSet
from lateen.config.objects import ConfigObject
from lateen.mesh.gateway_api.listeners import ListenerPlan, clash, listener_plan
from lateen.mesh.gateway_api.statuses import Condition, Status, all_hold, fails, holds
from lateen.mesh.gateway_api.world import GATEWAY_API, World, selects

Place = tuple[str, str]
"""Namespace and name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetPlan:
    """A ListenerSet as it will be served."""

    item: ConfigObject[ListenerSet]
    listeners: tuple[ListenerPlan, ...] = ()
    refusal: Condition | None = None
    """Why the whole set is not accepted; then it has no listeners."""

    @property
    def accepted(self) -> bool:
        """Whether it is attached to its Gateway."""
        return any(plan.served for plan in self.listeners)

    def status(self, attached: Mapping[str, int]) -> Status:
        """Return its status; `attached`: the number of routes by the listener's reference."""
        listeners = tuple(plan.status(attached.get(plan.reference, 0)) for plan in self.listeners)
        return Status(conditions=self._conditions(), listeners=listeners)

    def _conditions(self) -> tuple[Condition, ...]:
        if self.refusal is not None:
            of_parent = self.refusal.reason == "ParentNotAccepted"
            reason = "ParentNotProgrammed" if of_parent else self.refusal.reason
            return self.refusal, fails("Programmed", reason, self.refusal.message)
        if not self.accepted:
            message = "no listener can be served: see their conditions"
            return fails("Accepted", "ListenersNotValid", message), fails("Programmed", "ListenersNotValid", message)
        bad = [one.listener.name for one in self.listeners if not (one.served and all_hold(_positive(one)))]
        message = f"listeners with problems: {', '.join(bad)}" if bad else ""
        accepted = holds("Accepted", "ListenersNotValid" if bad else "Accepted", message)
        return accepted, holds("Programmed", message="sent to the proxies that serve it")


def _positive(plan: ListenerPlan) -> Iterator[Condition]:
    return (condition for condition in plan.conditions if condition.type != "Conflicted")


def set_plans(
    world: World,
    gateways: Mapping[Place, ConfigObject[KubernetesGateway]],
    own: Mapping[Place, Sequence[ListenerPlan]],
    refusing: Collection[Place],
    foreign: Collection[Place],
) -> Iterator[SetPlan]:
    """Yield the ListenerSets, those that go first in front; without those whose Gateway another controller serves.

    `own`: the listeners of each of the `gateways`. `refusing`: Gateways that are not accepted themselves.
    """
    standing = {place: [plan.listener for plan in plans] for place, plans in own.items()}
    for item in world.listener_sets():
        ref = item.spec.parent_ref
        parent = (ref.namespace or item.key.namespace, ref.name)
        if (ref.group, ref.kind) != (GATEWAY_API, "Gateway"):
            what = f"{ref.group}/{ref.kind}".lstrip("/")
            message = f"a ListenerSet cannot attach to a {what}; write a Gateway"
            yield SetPlan(item=item, refusal=fails("Accepted", "Invalid", message))
        elif parent in gateways:
            gateway = gateways[parent]
            refusal = _refusal(world, item, gateway, refusing)
            plans = () if refusal else tuple(_listeners(world, item, gateway, standing[parent]))
            yield SetPlan(item=item, refusal=refusal, listeners=plans)
        elif parent not in foreign:
            message = f"there is no Gateway {'/'.join(parent)} of a class that is served"
            yield SetPlan(item=item, refusal=fails("Accepted", "ParentNotAccepted", message))


def _refusal(
    world: World,
    item: ConfigObject[ListenerSet],
    gateway: ConfigObject[KubernetesGateway],
    refusing: Collection[Place],
) -> Condition | None:
    where = f"{gateway.key.namespace}/{gateway.key.name}"
    if not _allowed(world, item, gateway):
        message = f"the Gateway {where} takes no ListenerSets of namespace {item.key.namespace}; see allowedListeners"
        return fails("Accepted", "NotAllowed", message)
    if (gateway.key.namespace, gateway.key.name) in refusing:
        return fails("Accepted", "ParentNotAccepted", f"the Gateway {where} is not accepted itself")
    return None


def _allowed(world: World, item: ConfigObject[ListenerSet], gateway: ConfigObject[KubernetesGateway]) -> bool:
    allowed = gateway.spec.allowed_listeners
    namespaces = allowed.namespaces if allowed is not None else None
    match namespaces.from_ if namespaces is not None else FromListenerNamespaces.NONE:
        case FromListenerNamespaces.ALL:
            return True
        case FromListenerNamespaces.SAME:
            return item.key.namespace == gateway.key.namespace
        case FromListenerNamespaces.SELECTOR:
            assert namespaces is not None
            return selects(namespaces.selector, world.namespace_labels(item.key.namespace))
        case FromListenerNamespaces.NONE:
            return False


def _listeners(
    world: World,
    item: ConfigObject[ListenerSet],
    gateway: ConfigObject[KubernetesGateway],
    standing: list[Listener],
) -> Iterator[ListenerPlan]:
    """Yield the plans of a set's listeners, and add those that conflict with none before them to `standing`."""
    for listener in item.spec.listeners:
        conflict = next((found for other in standing if (found := clash(listener, other))), None)
        plan = listener_plan(world, gateway, listener, owner=item)
        if conflict is None:
            standing.append(listener)
            yield plan
            continue
        said = Condition("Conflicted", "True", conflict.reason, _conflict_message(listener, conflict))
        refused = [fails(kind, conflict.reason, said.message) for kind in ("Accepted", "Programmed")]
        conditions = {one.type: one for one in (*plan.conditions, said, *refused)}
        yield replace(plan, conditions=tuple(conditions.values()))


def _conflict_message(listener: Listener, conflict: Condition) -> str:
    what = "another protocol" if conflict.reason == "ProtocolConflict" else "the same host name"
    return f"a listener that goes first at this Gateway has {what} at port {listener.port}"
