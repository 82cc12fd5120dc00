"""Where a rule's destination leads: a host, a port, a subset, and so a cluster."""

from __future__ import annotations

from typing import NamedTuple

from lateen.config.networking import Destination
from lateen.envoy import names
from lateen.generate.view import View
from lateen.model.names import Hostname, resolve_host


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
