"""The workloads of a mesh as policies see them: labels in a namespace, and what their ports carry.

Called by the rules about selectors and mutual TLS. Workloads with equal labels are one here, since no policy can tell
them apart. In files there are often no workloads at all; then the selectors of services say which ones are to come.
Everything is found by label, so that many policies over many workloads stay cheap.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from lateen.config.kubernetes import Endpoints, EndpointSlice
from lateen.config.networking import WorkloadEntry
from lateen.config.objects import ConfigObject
from lateen.mesh.queries import endpoints_behind, every_service, selector_behind
from lateen.mesh.state import MeshState
from lateen.mesh.workloads import from_registration
from lateen.model.protocols import Protocol
from lateen.model.proxies import labels_match
from lateen.model.services import Endpoint, Service

ItemT = TypeVar("ItemT")


@dataclass(slots=True, eq=False)
class Alike:
    """Workloads of one namespace with equal labels. Grows while it is read from a state."""

    namespace: str
    labels: Mapping[str, str]
    declared: bool
    """Whether such a workload is known; if not, a service selects such ones, and they may have more labels."""
    ports: defaultdict[int, set[Protocol]] = field(default_factory=lambda: defaultdict(set))
    """What is known to be behind each port, under every number that it has."""
    unnumbered: bool = False
    """Whether a port of it has a name for a number, so that `ports` is not all."""

    def may_have(self, selector: Mapping[str, str]) -> bool:
        """Whether a workload may match, as far as services say; a label that it shares speaks for it."""
        if self.declared:
            return labels_match(selector, self.labels)
        shared = selector.keys() & self.labels.keys()
        return bool(shared) and all(selector[key] == self.labels[key] for key in shared)


class ByLabels(Generic[ItemT]):
    """Items with a selector, found by the labels of a workload without a look at all of them."""

    def __init__(self, items: Iterable[tuple[Mapping[str, str], ItemT]]) -> None:
        self._everywhere: list[tuple[int, ItemT]] = []
        self._by_pair: defaultdict[tuple[str, str], list[tuple[int, Mapping[str, str], ItemT]]] = defaultdict(list)
        for order, (selector, item) in enumerate(items):
            if selector:
                self._by_pair[min(selector.items())].append((order, selector, item))
            else:
                self._everywhere.append((order, item))

    def matching(self, labels: Mapping[str, str]) -> list[ItemT]:
        """Return the items that select a workload with these labels, in their order."""
        found = [
            (order, item)
            for pair in labels.items()
            for order, selector, item in self._by_pair.get(pair, ())
            if labels_match(selector, labels)
        ]
        return [item for _, item in sorted([*self._everywhere, *found], key=lambda one: one[0])]


class Workloads:
    """All workloads of a state, by namespace and label."""

    def __init__(self, state: MeshState, objects: Sequence[ConfigObject[Any]]) -> None:
        self._all: dict[tuple[str, bool, frozenset[tuple[str, str]]], Alike] = {}
        self.running = bool(state.workloads)
        """Whether workloads are registered: a mesh that runs, not only files."""
        self.unlabelled = {one.key.namespace for one in objects if isinstance(one.spec, Endpoints | EndpointSlice)}
        """Namespaces whose pods are known by address only."""
        for registration in state.workloads:
            labels = from_registration(registration).labels
            alike = self._alike(registration.namespace, labels, declared=True)
            for port in registration.ports:
                # Its protocol is what a service says of it.
                alike.ports[port.port].update(())
                alike.ports[port.app_port or port.port].update(())
                alike.unnumbered |= not port.app_port
        for one in objects:
            if isinstance(one.spec, WorkloadEntry):
                self._alike(one.key.namespace, {**one.spec.labels, **one.labels}, declared=True)
        for service in every_service(state):
            if not service.external:
                place = service.host, service.namespace
                self._of_service(service, endpoints_behind(state, *place), selector_behind(state, *place) or {})
        self._by_namespace: defaultdict[str, list[Alike]] = defaultdict(list)
        self._by_pair: defaultdict[tuple[str, str], list[Alike]] = defaultdict(list)
        for alike in self._all.values():
            self._by_namespace[alike.namespace].append(alike)
            for pair in alike.labels.items():
                self._by_pair[pair].append(alike)

    def _alike(self, namespace: str, labels: Mapping[str, str], *, declared: bool) -> Alike:
        frozen = frozenset(labels.items())
        return self._all.setdefault((namespace, declared, frozen), Alike(namespace, labels, declared))

    def _of_service(self, service: Service, endpoints: Sequence[Endpoint], selector: Mapping[str, str]) -> None:
        protocols = {port.number: port.protocol for port in service.ports}
        seen: set[tuple[int, int, int, str]] = set()
        for endpoint in endpoints:
            # Endpoints of one workload share their labels, so most of them are passed over here.
            mark = (id(endpoint.labels), endpoint.port, endpoint.app_port, endpoint.namespace)
            if mark in seen or not endpoint.labels:
                continue
            seen.add(mark)
            alike = self._alike(endpoint.namespace or service.namespace, endpoint.labels, declared=True)
            for number in (endpoint.port, endpoint.app_port or endpoint.port):
                alike.ports[number].add(protocols.get(endpoint.service_port, Protocol.UNSUPPORTED))
        if not selector:
            return
        alike = self._alike(service.namespace, selector, declared=False)
        for port in service.ports:
            alike.ports[port.number].add(port.protocol)
            if isinstance(port.target_port, str):
                alike.unnumbered = True
            elif port.target_port:
                alike.ports[port.target_port].add(port.protocol)

    def of(self, namespace: str) -> Sequence[Alike]:
        """Return all of a namespace; of the whole mesh for the empty name."""
        return self._by_namespace.get(namespace, ()) if namespace else tuple(self._all.values())

    def selected(self, namespace: str, selector: Mapping[str, str]) -> list[Alike]:
        """Return those that a selector surely matches, in a namespace or (empty) in all.

        What a service selects has at least the service's labels, so it counts when these are enough.
        """
        return [
            alike
            for alike in self._candidates(namespace, selector)
            if (not namespace or alike.namespace == namespace) and labels_match(selector, alike.labels)
        ]

    def may_select(self, namespace: str, selector: Mapping[str, str]) -> bool:
        """Whether a selector matches something, or may match what is to come. When too little is known: yes."""
        if self.unlabelled if not namespace else namespace in self.unlabelled:
            return True
        if not any(alike.declared for alike in self.of(namespace)):
            return True
        return any(
            (not namespace or alike.namespace == namespace) and alike.may_have(selector)
            for pair in selector.items()
            for alike in self._by_pair.get(pair, ())
        )

    def _candidates(self, namespace: str, selector: Mapping[str, str]) -> Sequence[Alike]:
        if not selector:
            return self.of(namespace)
        return min((self._by_pair.get(pair, []) for pair in selector.items()), key=len)
