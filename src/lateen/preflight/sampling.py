"""A smaller mesh in place of a large one: of services that are alike, one.

Called by `flight`. In a mesh of a thousand services nearly all are configured alike, from templates: what Envoy says of
one it says of all. Two services are alike when their ports are, and their rules but for the names in them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Hashable, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from lateen.config.objects import ConfigObject
from lateen.mesh.state import BoundVirtualService, MeshState
from lateen.model.names import Hostname, ObjectKey

_ENDPOINTS = 4
"""Of one service in a smaller mesh."""
_HOSTS = 100
"""Of one VirtualService: its rules are the same for each of them, and trying one takes 2 ms."""


def sampled(state: MeshState, most: int, about: Collection[ObjectKey] = ()) -> MeshState:
    """Return the state itself, or one with at most about `most` services: those of the objects `about` first."""
    state = _with_few_hosts(state)
    if len(state.services) <= most and len(state.virtual_services) <= 2 * most:
        return state
    rules, named = _rules(state)
    hosts: list[Hostname] = []
    seen: set[Hashable] = set()
    for host in sorted(state.services, key=lambda host: named[host].isdisjoint(about)):
        service = state.services[host]
        ports = tuple((port.number, port.protocol) for port in service.ports)
        shape = (ports, service.resolution, service.external, bool(service.addresses), tuple(sorted(rules[host])))
        if len(hosts) < most and shape not in seen:
            seen.add(shape)
            hosts.append(host)
    return _with_services(state, frozenset(hosts), _chosen(state, frozenset(hosts), 2 * most, about))


def hosts_beyond(state: MeshState) -> int:
    """Return how many hosts of VirtualServices are not tried because theirs have many others with the same rules."""
    return sum(max(len(one.hosts) - _HOSTS, 0) for one in state.virtual_services)


def _with_few_hosts(state: MeshState) -> MeshState:
    """Return the state with the first hosts of each VirtualService."""
    if all(len(one.hosts) <= _HOSTS for one in state.virtual_services):
        return state
    fewer = [replace(one, hosts=one.hosts[:_HOSTS]) for one in state.virtual_services]
    return replace(state, virtual_services=fewer)


def _rules(state: MeshState) -> tuple[defaultdict[Hostname, set[bytes]], defaultdict[Hostname, set[ObjectKey]]]:
    """Return the shapes of the rules of each host, and their keys."""
    shapes: defaultdict[Hostname, set[bytes]] = defaultdict(set)
    keys: defaultdict[Hostname, set[ObjectKey]] = defaultdict(set)
    bound: list[tuple[ConfigObject[Any], tuple[Hostname, ...]]] = [
        (one.object, one.hosts) for one in state.virtual_services
    ]
    bound += [(one.object, (host,)) for host, ones in state.destination_rules.items() for one in ones]
    for item, hosts in bound:
        for host in hosts:
            shapes[host].add(_shape(item, host))
            keys[host].add(item.key)
    return shapes, keys


def _shape(item: ConfigObject[Any], host: str = "") -> bytes:
    """Return a rule without the names that it is called by."""
    text = msgspec.json.encode(item.spec)
    for name in (host, host.partition(".")[0], item.key.name, item.key.namespace):
        if name:
            text = text.replace(f'"{name}"'.encode(), b'""').replace(f'"{name}.'.encode(), b'".')
    return text


def _chosen(
    state: MeshState, hosts: frozenset[Hostname], most: int, about: Collection[ObjectKey]
) -> list[BoundVirtualService]:
    """Return the rules of these hosts, and of others one of each shape."""
    seen: set[bytes] = set()
    left = most
    chosen: list[BoundVirtualService] = []
    for one in state.virtual_services:
        wanted = one.object.key in about or not hosts.isdisjoint(one.hosts)
        if not wanted and left > 0 and not any(host in state.services for host in one.hosts):
            shape = _shape(one.object, one.hosts[0] if one.hosts else "")
            wanted = shape not in seen
            seen.add(shape)
            left -= wanted
        if wanted:
            chosen.append(one)
    return chosen


def _with_services(
    state: MeshState, hosts: frozenset[Hostname], virtual_services: list[BoundVirtualService]
) -> MeshState:
    return replace(
        state,
        services={host: service for host, service in state.services.items() if host in hosts},
        endpoints={host: found[:_ENDPOINTS] for host, found in state.endpoints.items() if host in hosts},
        selectors={host: found for host, found in state.selectors.items() if host in hosts},
        doubles={host: found for host, found in state.doubles.items() if host in hosts},
        destination_rules={
            host: found for host, found in state.destination_rules.items() if host in hosts or host.startswith("*")
        },
        virtual_services=virtual_services,
        policies={kind: _unlike(found) for kind, found in state.policies.items()},
        sidecars=_unlike(state.sidecars),
    )


def _unlike(objects: Sequence[ConfigObject[Any]]) -> list[ConfigObject[Any]]:
    """Return the first of each shape, in order."""
    first: dict[tuple[bytes, bool], ConfigObject[Any]] = {}
    for one in objects:
        first.setdefault((_shape(one), bool(one.made_of)), one)
    return list(first.values())
