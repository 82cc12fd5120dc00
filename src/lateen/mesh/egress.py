"""What a Sidecar's egress listeners import: services and VirtualServices by `namespace/host`.

Called by `mesh.queries`. Source: Istio's Sidecar reference, "IstioEgressListener.hosts".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from lateen.config.networking import CaptureMode, Destination, IstioEgressListener, VirtualService
from lateen.mesh.bindings import BoundVirtualService
from lateen.mesh.references import MESH_GATEWAY
from lateen.mesh.state import MeshState
from lateen.model.names import Hostname, host_matches, resolve_host
from lateen.model.protocols import Protocol, protocol_named
from lateen.model.services import Service, visible_to


@dataclass(frozen=True, slots=True)
class EgressHosts:
    """The `hosts` of one listener: pairs of namespace and host pattern; an import loses against an exclusion."""

    imported: tuple[tuple[str, str], ...]
    excluded: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, hosts: Sequence[str], namespace: str) -> EgressHosts:
        """Read `namespace/host` entries: `.` is the proxy's namespace, `*` any, `~` before it excludes."""
        imported: list[tuple[str, str]] = []
        excluded: list[tuple[str, str]] = []
        for entry in hosts:
            owner, _, pattern = entry.lower().rpartition("/")
            target = excluded if owner.startswith("~") else imported
            owner = owner.removeprefix("~") or "*"
            target.append((namespace if owner == "." else owner, pattern))
        return cls(tuple(imported), tuple(excluded))

    def imports(self, owner: str, host: str) -> bool:
        """Whether a service of namespace `owner` is imported."""
        return _covered(self.imported, owner, host) and not _covered(self.excluded, owner, host)

    def imports_rule(self, bound: BoundVirtualService) -> bool:
        """Whether a VirtualService is imported: for its hosts a wildcard on either side is enough."""
        owner = bound.object.key.namespace
        return any(
            not _covered(self.excluded, owner, host)
            and any(
                namespace in ("*", owner) and (host_matches(pattern, host) or host_matches(host, pattern))
                for namespace, pattern in self.imported
            )
            for host in bound.hosts
        )


def _covered(entries: tuple[tuple[str, str], ...], owner: str, host: str) -> bool:
    return any(namespace in ("*", owner) and host_matches(pattern, host) for namespace, pattern in entries)


def names_hosts(egress: Sequence[IstioEgressListener]) -> bool:
    """Whether a Sidecar says which hosts or namespaces its workloads use: `*/*` does not."""
    hosts = [host for listener in egress for host in listener.hosts]
    return bool(hosts) and not any(host in ("*/*", "*") for host in hosts)


def opens_listeners(egress: Sequence[IstioEgressListener]) -> bool:
    """Whether a Sidecar says on which listeners its workloads call; a mere list of hosts does not."""
    return any(
        listener.port is not None or listener.bind or listener.capture_mode is CaptureMode.NONE for listener in egress
    )


Imports: TypeAlias = Mapping[Hostname, frozenset[int]]
"""Services by host, with the ports of them that are imported."""


_Found: TypeAlias = dict[Hostname, tuple[Service, set[int]]]
"""Services by host, with ports. The first service of a host stays: what `hosts` names before what routes lead to."""


def imported_services(
    state: MeshState, egress: Sequence[IstioEgressListener], namespace: str
) -> list[tuple[Service, frozenset[int]]]:
    """Return what the listeners of a Sidecar in `namespace` import together: services by host, and ports of them.

    Looks only at what the `hosts` can mean, so a Sidecar that names what it uses costs that much.
    """
    ports: _Found = {}
    for listener in egress:
        _add_imports(ports, state, listener, namespace)
        _add_destinations(ports, state, listener, namespace)
    return [(service, frozenset(numbers)) for _, (service, numbers) in sorted(ports.items()) if numbers]


def listener_imports(state: MeshState, egress: Sequence[IstioEgressListener], namespace: str) -> tuple[Imports, ...]:
    """Return what each listener of a Sidecar takes calls for; none when it does not say on which listeners.

    Destinations of imported rules are not among them: the listener leads there, but is not called by their names.
    """
    if not opens_listeners(egress):
        return ()
    found = []
    for listener in egress:
        ports: _Found = {}
        _add_imports(ports, state, listener, namespace)
        found.append({host: frozenset(numbers) for host, (_, numbers) in sorted(ports.items()) if numbers})
    return tuple(found)


def _wanted(listener: IstioEgressListener) -> int:
    """Return the port of its services that a listener imports; 0 for all, as an HTTP proxy takes them."""
    if listener.port is None or protocol_named(listener.port.protocol) is Protocol.HTTP_PROXY:
        return 0
    return listener.port.number


def _add_imports(ports: _Found, state: MeshState, listener: IstioEgressListener, namespace: str) -> None:
    hosts = EgressHosts.parse(listener.hosts, namespace)
    for service in _services(state, hosts, namespace):
        if hosts.imports(service.namespace, service.host):
            _add(ports, service, _wanted(listener))


def _add_destinations(ports: _Found, state: MeshState, listener: IstioEgressListener, namespace: str) -> None:
    hosts = EgressHosts.parse(listener.hosts, namespace)
    for bound in _rules(state, hosts, namespace):
        if not hosts.imports_rule(bound):
            continue
        for destination in destinations(bound.object.spec):
            host = resolve_host(destination.host, bound.object.key.namespace)
            target = state.index.services.seen(state.services.get(host), host, namespace)
            if target is not None:
                _add(ports, target, destination.port.number if destination.port else _wanted(listener))


def _services(state: MeshState, hosts: EgressHosts, namespace: str) -> Iterator[Service]:
    """Yield every visible service that may be imported, and others."""
    for owner, pattern in hosts.imported:
        found: Sequence[Service] = ()
        if not pattern.startswith("*"):
            found = _named(state, Hostname(pattern), owner, namespace)
        elif owner == "*":
            found = state.index.services.visible(namespace)
        else:
            owned = state.index.services.owned.get(owner)
            doubles = state.index.services.doubles.get(owner, {}).values()
            found = [*(owned.values if owned is not None else ()), *(double.service for double in doubles)]
        yield from (one for one in found if visible_to(one.export_to, one.namespace, namespace))


def _named(state: MeshState, host: Hostname, owner: str, namespace: str) -> Sequence[Service]:
    """Return the services of one host that `owner/host` may mean: of several the one of that owner."""
    service = state.services.get(host)
    if host in state.doubles:
        every = [service, *(double.service for double in state.doubles[host])]
        seen = state.index.services.seen(service, host, namespace)
        return [one for one in every if one and one.namespace == owner] if owner != "*" else [seen] if seen else []
    return () if service is None else (service,)


def _rules(state: MeshState, hosts: EgressHosts, namespace: str) -> Iterator[BoundVirtualService]:
    """Yield every visible VirtualService that may be imported, and others; some more than once."""
    table = state.index.virtual_services.get(MESH_GATEWAY)
    if table is None:
        return
    for owner, pattern in hosts.imported:
        found: Iterable[BoundVirtualService] = ()
        if not pattern.startswith("*"):
            found = (bound for _, bounds in table.hosts.candidates(Hostname(pattern)) for bound in bounds)
        elif owner == "*":
            found = table.visible(namespace)
        elif (owned := table.owned.get(owner)) is not None:
            found = owned.values
        yield from (one for one in found if visible_to(one.export_to, one.object.key.namespace, namespace))


def _add(ports: _Found, service: Service, wanted: int) -> None:
    known, chosen = ports.setdefault(service.host, (service, set()))
    if known.namespace == service.namespace:
        numbers = {port.number for port in service.ports}
        chosen.update(numbers & {wanted} if wanted else numbers)


def destinations(spec: VirtualService) -> Iterator[Destination]:
    """Yield every destination that a VirtualService names: routes of HTTP, TLS and TCP, and mirrors."""
    for route in spec.http:
        yield from (weighted.destination for weighted in route.route)
        yield from (mirror.destination for mirror in route.mirrors)
        if route.mirror is not None:
            yield route.mirror
    for tls in spec.tls:
        yield from (weighted.destination for weighted in tls.route)
    for tcp in spec.tcp:
        yield from (weighted.destination for weighted in tcp.route)
