"""Assembly: the resources of one plan, kept up to date part by part.

Used by `generator`, one for each view that outbound parts are shared in and one for what is a workload's own. When the
view moves to another state, `update` is told which reads have changed; parts that read none of them are not looked at,
so the cost follows the change and not the number of parts. The maps it hands out are never changed: a map of a kind in
which something changed is a new one, and shares every resource whose bytes are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import TypeAlias

from lateen.envoy.resources import Fragments, Resource, resource_digest
from lateen.generate.memo import Memo, Read
from lateen.generate.on_demand import OnDemandRoutes, VirtualHosts, on_demand_routes
from lateen.generate.parts import Made, MadeHost, Part, RouteConfigurationPart, made_host
from lateen.generate.view import View
from lateen.mesh.sharing import patched

Plan: TypeAlias = Callable[[View], Iterator[Part]]

_PLAN = ("plan",)


class _Splice:
    """A route configuration whose virtual hosts are replaced one at a time."""

    def __init__(self, part: RouteConfigurationPart, view: View) -> None:
        self.part = part
        self.hosts = [made_host(host, view) for host in part.hosts]
        self._fragments = Fragments.of(host.fragment for host in self.hosts)
        self.positions = {host.key: number for number, host in enumerate(part.hosts)}

    def host(self, key: Hashable) -> MadeHost | None:
        """Return what one of its hosts came to."""
        return self.hosts[self.positions[key]] if key in self.positions else None

    def renew(self, key: Hashable, view: View) -> tuple[MadeHost, MadeHost]:
        """Make one of its hosts again, and return what it was and what it is."""
        position = self.positions[key]
        old, new = self.hosts[position], made_host(self.part.hosts[position], view)
        self.hosts[position] = new
        self._fragments.replace(position, new.fragment)
        return old, new

    def made(self) -> Made:
        """Return the whole; what its hosts want is counted host by host."""
        return Made((self.part.resource(self._fragments, self.hosts),))


class Assembly:
    """The parts of a plan and what they came to."""

    def __init__(self, plan: Plan, memo: Memo) -> None:
        self.memo = memo
        self.maps: Mapping[str, Mapping[str, Resource]] = {}
        """Resources by kind and name; a kind that has none is absent."""
        self.total = 0
        """Sum of the digests of all resources."""
        self.rebuilt = 0
        """Parts made so far, for metrics."""
        self._plan = plan
        self._planned: dict[Hashable, Part] = {}
        self._wanted: dict[Hashable, tuple[Part, int]] = {}
        """Parts that other parts want, and how many do."""
        self._made: dict[Hashable, Made] = {}
        self._splices: dict[Hashable, _Splice] = {}
        self.hosts: VirtualHosts | None = None
        """Virtual hosts of the route configurations that are asked for host by host; None without one."""
        self._on_demand: dict[str, OnDemandRoutes] = {}
        """Those route configurations: the same object until one of them is planned otherwise."""
        self._splice_of: dict[Hashable, Hashable] = {}
        """Key of the route configuration by the key of each of its virtual hosts."""

    def update(self, view: View, changed: Iterable[Read]) -> None:
        """Bring everything to a view, in which the answers to these reads may have changed.

        In the order of dependence: a part that is planned or wanted no more may not even be possible to make.
        """
        changes = _Changes()
        stale = self.memo.drop(changed)
        if not self.memo.knows(_PLAN):
            self._replan(view, changes)
        self._make_stale(stale & self._planned.keys(), view, changes)
        self._settle_wants(view, changes)
        self._make_stale(stale & self._wanted.keys(), view, changes)
        self._renew_hosts(stale & self._splice_of.keys(), view, changes)
        self._settle_wants(view, changes)
        self._publish(changes)
        if not self._on_demand:
            self.hosts = None
        elif self.hosts is None:
            self.hosts = VirtualHosts(view, self._on_demand)
        else:
            self.hosts = self.hosts.after(view, self._on_demand, stale)

    def adopt(self, known: Mapping[str, Mapping[str, Resource]]) -> None:
        """Put the objects of an earlier assembly in the place of equal ones."""
        self.maps = {kind: _kept(known.get(kind, {}), named) for kind, named in self.maps.items()}

    def _make_stale(self, keys: Iterable[Hashable], view: View, changes: _Changes) -> None:
        for key in keys:
            if not self.memo.knows(key) and (part := self._part(key)) is not None:
                self._make(part, view, changes)

    def _renew_hosts(self, keys: Iterable[Hashable], view: View, changes: _Changes) -> None:
        """Make virtual hosts again, and put them where they were."""
        touched: dict[Hashable, _Splice] = {}
        for key in keys:
            owner = self._splice_of[key]
            splice = touched[owner] = self._splices[owner]
            old, new = splice.renew(key, view)
            changes.want(old.wants, new.wants)
        for owner, splice in touched.items():
            self._enter(owner, splice.made(), changes)

    def _part(self, key: Hashable) -> Part | None:
        if key in self._planned:
            return self._planned[key]
        wanted = self._wanted.get(key)
        return wanted[0] if wanted is not None else None

    def _replan(self, view: View, changes: _Changes) -> None:
        known = self._planned
        self._planned = view.piece(_PLAN, lambda: {part.key: part for part in self._plan(view)})
        for key, part in self._planned.items():
            if key not in self._made or known.get(key) != part:
                self._make(part, view, changes)
        for key in known.keys() - self._planned.keys():
            self._retire(key, changes)
        on_demand = on_demand_routes(self._planned.values())
        if on_demand != self._on_demand:
            self._on_demand = on_demand

    def _make(self, part: Part, view: View, changes: _Changes) -> None:
        """Make a part, for the first time or anew."""
        self.rebuilt += 1
        if isinstance(part, RouteConfigurationPart):
            self._make_splice(part, view, changes)
            return
        self.memo.forget(part.key)
        self._enter(part.key, view.piece(part.key, lambda: part.make(view)), changes)

    def _make_splice(self, part: RouteConfigurationPart, view: View, changes: _Changes) -> None:
        """Plan a route configuration anew, keeping the virtual hosts that are planned as before."""
        known = self._splices.get(part.key)
        before = {host.key: host for host in known.part.hosts} if known is not None else {}
        now = {host.key: host for host in part.hosts}
        for key, host in before.items():
            if now.get(key) != host:
                self.memo.forget(key)
                self._splice_of.pop(key, None)
        splice = _Splice(part, view)
        for key in {**before, **now}:
            old, new = known.host(key) if known is not None else None, splice.host(key)
            if old is not new:
                changes.want(old.wants if old is not None else (), new.wants if new is not None else ())
        self._splices[part.key] = splice
        self._splice_of.update(dict.fromkeys(now, part.key))
        self._enter(part.key, splice.made(), changes)

    def _enter(self, key: Hashable, made: Made, changes: _Changes) -> None:
        changes.replace(self._made.get(key), made)
        self._made[key] = made

    def _retire(self, key: Hashable, changes: _Changes) -> None:
        """Forget a part that is planned no more."""
        changes.replace(self._made.pop(key, None), None)
        self.memo.forget(key)
        splice = self._splices.pop(key, None)
        if splice is not None:
            for host, made in zip(splice.positions, splice.hosts, strict=True):
                changes.want(made.wants, ())
                self.memo.forget(host)
                self._splice_of.pop(host, None)

    def _settle_wants(self, view: View, changes: _Changes) -> None:
        """Make what is wanted now and was not, and forget what nobody wants any more."""
        while changes.wants:
            counted, changes.wants = changes.wants, {}
            for key, (part, difference) in counted.items():
                known, count = self._wanted.get(key, (None, 0))
                count += difference
                if count <= 0:
                    self._wanted.pop(key, None)
                    self._retire(key, changes)
                    continue
                self._wanted[key] = (part, count)
                if known != part or key not in self._made:
                    self._make(part, view, changes)

    def _publish(self, changes: _Changes) -> None:
        """Put the changes into new maps; without a change the maps stay the same object."""
        maps = dict(self.maps)
        touched = False
        for kind, named in changes.resources.items():
            current = maps.get(kind, {})
            real: dict[str, Resource | None] = {}
            for name, resource in named.items():
                known = current.get(name)
                if (known.version if known else None) == (resource.version if resource else None):
                    continue
                if known is not None:
                    self.total -= resource_digest(known)
                if resource is not None:
                    self.total += resource_digest(resource)
                real[name] = resource
            if not real:
                continue
            touched = True
            if fresh := patched(current, real):
                maps[kind] = fresh
            else:
                del maps[kind]
        if touched:
            self.maps = maps


class _Changes:
    """What differs after an update: resources by kind and name (None: gone), and how much more parts are wanted."""

    def __init__(self) -> None:
        self.resources: dict[str, dict[str, Resource | None]] = {}
        self.wants: dict[Hashable, tuple[Part, int]] = {}

    def replace(self, old: Made | None, new: Made | None) -> None:
        """Note that a part came to something else. What another part has made meanwhile is not taken away."""
        for resource in old.resources if old is not None else ():
            self.resources.setdefault(resource.kind, {}).setdefault(resource.name, None)
        for resource in new.resources if new is not None else ():
            self.resources.setdefault(resource.kind, {})[resource.name] = resource
        self.want(old.wants if old is not None else (), new.wants if new is not None else ())

    def want(self, old: tuple[Part, ...], new: tuple[Part, ...]) -> None:
        """Note that somebody wants other parts."""
        if old == new:
            return
        for part in old:
            known, count = self.wants.get(part.key, (part, 0))
            self.wants[part.key] = (known, count - 1)
        for part in new:
            _, count = self.wants.get(part.key, (part, 0))
            self.wants[part.key] = (part, count + 1)


def _kept(known: Mapping[str, Resource], made: Mapping[str, Resource]) -> Mapping[str, Resource]:
    """Return a map with those known resources whose version is the same; the known map if that is all of them."""
    kept = {
        name: known[name] if name in known and known[name].version == resource.version else resource
        for name, resource in made.items()
    }
    same = len(kept) == len(known) and all(known.get(name) is resource for name, resource in kept.items())
    return known if same else kept


def union(first: Mapping[str, Resource] | None, second: Mapping[str, Resource] | None) -> Mapping[str, Resource]:
    """Return both maps in one; one of them itself when the other has nothing."""
    if not first or not second:
        return first or second or {}
    return patched(first, second)
