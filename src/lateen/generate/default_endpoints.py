"""Where a gateway's server sends what no VirtualService is about: its `defaultEndpoint`, on the gateway's own host.

Called by `gateways` and `gateway_routes`. Source: Istio's Gateway reference, "Server.defaultEndpoint".
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from lateen.envoy import names
from lateen.envoy.clusters import ClusterDraft, address_cluster, all_open_circuit_breakers
from lateen.envoy.filters import passthrough
from lateen.envoy.listeners import UNIX_PREFIX
from lateen.envoy.messages import Fields
from lateen.envoy.resources import CLUSTER, make_resource
from lateen.envoy.routes import cluster_route
from lateen.generate.parts import Made, MadeHost
from lateen.generate.view import View
from lateen.generate.virtual_hosts import host_of

_EVERY_ADDRESS = ("0.0.0.0", "[::]")


@dataclass(frozen=True, slots=True)
class DefaultEndpoint:
    """The cluster of an endpoint."""

    endpoint: str

    @property
    def key(self) -> Hashable:
        """The endpoint."""
        return ("default endpoint", self.endpoint)

    @property
    def cluster(self) -> str:
        """The cluster's name."""
        return names.default_cluster(self.endpoint)

    def make(self, view: View) -> Made:
        """Return the cluster."""
        if self.endpoint.startswith(UNIX_PREFIX):
            fields = address_cluster(self.cluster, self.endpoint, 0)
        else:
            host, _, port = self.endpoint.rpartition(":")
            own = view.proxy.addresses[0] if view.proxy.addresses else names.LOOPBACK_ADDRESS
            address = own if host in _EVERY_ADDRESS else host.strip("[]") or names.LOOPBACK_ADDRESS
            fields = address_cluster(self.cluster, address, int(port))
        fields |= {"connect_timeout": view.connect_timeout, "circuit_breakers": all_open_circuit_breakers()}
        return Made((make_resource(CLUSTER, self.cluster, ClusterDraft(fields=fields).finish()),))

    def filters(self, view: View) -> list[Fields]:
        """Return the network filters that pass bytes on to it."""
        return [passthrough(self.cluster, view.defaults)]


@dataclass(frozen=True, slots=True)
class DefaultHost:
    """The virtual host of names that no VirtualService is about."""

    configuration: str
    name: str
    domains: tuple[str, ...]
    endpoint: DefaultEndpoint

    @property
    def key(self) -> Hashable:
        """Its name in its route configuration."""
        return ("default host", self.configuration, self.name)

    def make(self, _view: View) -> MadeHost:
        """Return it, and want the cluster."""
        route: Fields = {
            "name": names.DEFAULT_ROUTE,
            "match": {"prefix": "/"},
            "route": cluster_route(self.endpoint.cluster),
        }
        made = host_of(self.name, self.domains, [route])
        return MadeHost(made.fragment, (self.endpoint,))
