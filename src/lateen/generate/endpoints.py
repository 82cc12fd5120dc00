"""Endpoints of clusters: as EDS resources, or inline where Envoy resolves names itself.

Called by `clusters`.
"""

from __future__ import annotations

from collections.abc import Mapping

from lateen.config.networking import TrafficPolicy
from lateen.envoy.endpoints import Takes, as_found, assignment_resource, load_assignment, none_takes_it
from lateen.envoy.messages import Fields
from lateen.envoy.resources import Resource
from lateen.generate.localities import arrangement, of_policy
from lateen.generate.mutual_tls import calls_mesh, has_part
from lateen.generate.networks import as_reached
from lateen.generate.view import View
from lateen.model.services import Endpoint, Service


def eds_assignment(
    view: View, cluster: str, service: Service, port: int, labels: Mapping[str, str], policy: TrafficPolicy | None
) -> Resource:
    """Return the assignment of an EDS cluster with this policy."""
    return assignment_resource(
        cluster,
        as_reached(view, view.endpoints(service.host, port, labels), mutual_tls=calls_mesh(view, service, policy)),
        view.endpoint_entries,
        _takes(view),
        arrangement(of_policy(policy, view.mesh_config), view.proxy),
    )


def inline_assignment(
    view: View,
    cluster: str,
    service: Service,
    port: int,
    labels: Mapping[str, str],
    policy: TrafficPolicy | None,
    *,
    single: bool,
) -> Fields:
    """Return the assignment of a cluster of DNS names. `single`: Envoy's LOGICAL_DNS takes exactly one name."""
    found = [
        item
        for item in as_reached(
            view, view.endpoints(service.host, port, labels), mutual_tls=calls_mesh(view, service, policy)
        )
        if item.address and not item.address.startswith("unix://")
    ]
    if not found and not labels and not service.host.startswith("*"):
        # A DNS service without endpoints is its own name.
        found = [Endpoint(address=service.host, port=port, service_port=port)]
    arrange = as_found if single else arrangement(of_policy(policy, view.mesh_config), view.proxy)
    return load_assignment(cluster, found[:1] if single else found, _takes(view), arrange)


def _takes(view: View) -> Takes:
    """Return how to tell endpoints that take mutual TLS: nobody asks for a proxy that cannot speak it."""
    return view.takes_mutual_tls if has_part(view) else none_takes_it
