"""What a Sidecar's egress listeners import: services and VirtualServices by `namespace/host`.

Called by `mesh.queries`. Source: Istio's Sidecar reference, "IstioEgressListener.hosts".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from lateen.config.networking import Destination, IstioEgressListener, VirtualService
from lateen.mesh.state import BoundVirtualService
from lateen.model.names import Hostname, host_matches, resolve_host
from lateen.model.services import Service


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


def imported_services(
    egress: Sequence[IstioEgressListener],
    namespace: str,
    visible: Sequence[Service],
    rules: Sequence[BoundVirtualService],
) -> tuple[Service, ...]:
    """Return the services of `visible` that the listeners import, in the same order, with the ports they import."""
    ports: dict[Hostname, set[int]] = {}
    by_host = {service.host: service for service in visible}
    for listener in egress:
        hosts = EgressHosts.parse(listener.hosts, namespace)
        wanted = listener.port.number if listener.port else 0
        for service in visible:
            if hosts.imports(service.namespace, service.host):
                _add(ports, service, wanted)
        for bound in rules:
            if not hosts.imports_rule(bound):
                continue
            for destination in destinations(bound.object.spec):
                target = by_host.get(resolve_host(destination.host, bound.object.key.namespace))
                if target is not None:
                    _add(ports, target, destination.port.number if destination.port else wanted)
    return tuple(_trimmed(service, ports[service.host]) for service in visible if ports.get(service.host))


def _add(ports: dict[Hostname, set[int]], service: Service, wanted: int) -> None:
    numbers = {port.number for port in service.ports}
    ports.setdefault(service.host, set()).update(numbers & {wanted} if wanted else numbers)


def _trimmed(service: Service, numbers: set[int]) -> Service:
    if len(numbers) == len(service.ports):
        return service
    return replace(service, ports=tuple(port for port in service.ports if port.number in numbers))


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
