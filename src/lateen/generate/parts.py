"""Parts: what a snapshot is put together from, each made on its own from a view.

A pass plans its parts from little (which services and hosts there are) and each part is made from little (one service,
its rules). `snapshot` makes them all; `assembly` makes again only those that read something that changed. A part is
known by its key, which no two of a plan share; parts with equal keys that are not equal are made differently.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from lateen.envoy.messages import Fields
from lateen.envoy.resources import Fragment, Fragments, Resource
from lateen.envoy.routes import spliced_route_configuration
from lateen.generate.view import View


class Part(Protocol):
    """Some resources of a snapshot."""

    @property
    def key(self) -> Hashable:
        """What it is, in one plan."""

    def make(self, view: View) -> Made:
        """Return its resources as this view has them."""


@dataclass(frozen=True, slots=True)
class Made:
    """What a part came to."""

    resources: tuple[Resource, ...] = ()
    wants: tuple[Part, ...] = ()
    """Parts that are needed because of it; several may want the same."""


NOTHING = Made()


class VirtualHostPart(Protocol):
    """One virtual host of a route configuration."""

    @property
    def key(self) -> Hashable:
        """What it is, in one plan."""

    def make(self, view: View) -> MadeHost:
        """Return it as this view has it."""


@dataclass(frozen=True, slots=True)
class MadeHost:
    """A virtual host, serialised; an empty fragment when there is none after all."""

    fragment: Fragment
    wants: tuple[Part, ...] = ()
    leads_to: tuple[str, ...] = ()
    """Clusters that must be told with it, because the proxy cannot ask for them."""


@dataclass(frozen=True, slots=True)
class HostRoutes:
    """The routes of a virtual host, and the clusters they lead to."""

    routes: Sequence[Fields] = ()
    leads_to: tuple[str, ...] = ()


NO_HOST = MadeHost(Fragment.of(b""))


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteConfigurationPart:
    """A route configuration, whose virtual hosts are made one by one."""

    name: str
    hosts: tuple[VirtualHostPart, ...]
    ignore_port: bool = True

    @property
    def key(self) -> Hashable:
        """Routes are known by name."""
        return ("routes", self.name)

    def make(self, view: View) -> Made:
        """Return the whole."""
        hosts = [made_host(host, view) for host in self.hosts]
        resource = self.resource(Fragments.of(host.fragment for host in hosts), hosts)
        return Made((resource,), tuple(part for host in hosts for part in host.wants))

    def resource(self, fragments: Fragments, hosts: Iterable[MadeHost]) -> Resource:
        """Return the resource of its hosts, whose fragments these are."""
        made = spliced_route_configuration(self.name, fragments, ignore_port=self.ignore_port)
        leads_to = tuple(dict.fromkeys(cluster for host in hosts for cluster in host.leads_to))
        return replace(made, leads_to=leads_to) if leads_to else made


def made_host(part: VirtualHostPart, view: View) -> MadeHost:
    """Return a virtual host as it is remembered, or made now."""
    return view.piece(part.key, lambda: part.make(view))


def made_in_full(parts: Iterable[Part], view: View) -> Iterator[Resource]:
    """Make every part and all that they want, each once."""
    seen: set[Hashable] = set()
    pending = list(parts)
    pending.reverse()
    while pending:
        part = pending.pop()
        if part.key in seen:
            continue
        seen.add(part.key)
        made = part.make(view)
        yield from made.resources
        pending.extend(made.wants)
