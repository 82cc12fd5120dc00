"""Where a rule's destination leads: a host, a port, a subset, and so a cluster."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from lateen.config.networking import Destination
from lateen.envoy import names
from lateen.generate.traffic_policies import subset_of
from lateen.generate.view import View
from lateen.model.names import Hostname, resolve_host
from lateen.model.protocols import Protocol


class Target(NamedTuple):
    """One cluster by what it stands for; a tuple, because it is a key of many mappings.

    It need not exist: Envoy then answers 503 (NC), as under Istio.
    """

    host: Hostname
    port: int
    subset: str = ""

    @property
    def cluster(self) -> str:
        """The cluster's name."""
        return names.outbound_cluster(self.host, self.port, self.subset)


def target_of_cluster(cluster: str) -> Target | None:
    """Return what the name of a cluster stands for; None when it is none of a service."""
    host, port, subset = names.outbound_parts(cluster)
    return Target(Hostname(host), port, subset) if host else None


def exists(view: View, target: Target) -> bool:
    """Whether the proxy may call this target and it is there: service, port and subset."""
    service = view.service(target.host)
    port = service.port(target.port) if service is not None else None
    if port is None or port.protocol is Protocol.UDP:
        return False
    return not target.subset or subset_of(view.rule(target.host), target.subset) is not None


def one_would_never_come(view: View, targets: Iterable[Target]) -> bool:
    """Whether requests to one of these targets must not fetch their cluster: every one of them would wait in vain."""
    return view.on_demand and not all(exists(view, target) for target in targets)


def target_of(view: View, destination: Destination, namespace: str, listener_port: int) -> Target:
    """Return the target of a destination in a rule of `namespace`, on a listener.

    A destination without port means the service's only port, else the port of the listener.
    """
    host = resolve_host(destination.host, namespace)
    if destination.port is not None and destination.port.number:
        return Target(host, destination.port.number, destination.subset)
    service = view.service(host)
    if service is not None and len(service.ports) == 1:
        return Target(host, service.ports[0].number, destination.subset)
    return Target(host, listener_port, destination.subset)
