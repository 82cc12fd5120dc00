"""Endpoints of clusters: as EDS resources, or inline where Envoy resolves names itself.

Called by `clusters`.
"""

from __future__ import annotations

from collections.abc import Mapping

from lateen.envoy.endpoints import Takes, assignment_resource, load_assignment, none_takes_it
from lateen.envoy.messages import Fields
from lateen.envoy.resources import Resource
from lateen.generate.mutual_tls import has_part
from lateen.generate.view import View
from lateen.model.services import Endpoint, Service


def eds_assignment(view: View, cluster: str, service: Service, port: int, labels: Mapping[str, str]) -> Resource:
    """Return the assignment of an EDS cluster."""
    return assignment_resource(cluster, view.endpoints(service.host, port, labels), view.endpoint_entries, _takes(view))


def inline_assignment(
    view: View, cluster: str, service: Service, port: int, labels: Mapping[str, str], *, single: bool
) -> Fields:
    """Return the assignment of a cluster of DNS names. `single`: Envoy's LOGICAL_DNS takes exactly one name."""
    found = [
        item
        for item in view.endpoints(service.host, port, labels)
        if item.address and not item.address.startswith("unix://")
    ]
    if not found and not labels and not service.host.startswith("*"):
        # A DNS service without endpoints is its own name.
        found = [Endpoint(address=service.host, port=port, service_port=port)]
    return load_assignment(cluster, found[:1] if single else found, _takes(view))


def _takes(view: View) -> Takes:
    """Return how to tell endpoints that take mutual TLS: nobody asks for a proxy that cannot speak it."""
    return view.takes_mutual_tls if has_part(view) else none_takes_it
