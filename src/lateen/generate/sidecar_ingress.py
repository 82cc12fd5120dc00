"""Ports that a Sidecar's `ingress` says its workload has, instead of those of its services.

Called by `sidecars_inbound`. Source: Istio's Sidecar reference, "IstioIngressListener". A listed port that a service of
the workload has as well is that service's; any other is the Sidecar's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lateen.config.networking import CaptureMode, IstioIngressListener
from lateen.config.security import MutualTLSMode
from lateen.envoy import names
from lateen.envoy.clusters import (
    address_cluster,
    inbound_source,
    intercepted_inbound_cluster,
    loopback_assignment,
    static_cluster,
)
from lateen.envoy.messages import Fields
from lateen.generate.gateway_tls import Termination, termination_of
from lateen.generate.secrets import CredentialSecret
from lateen.generate.view import View
from lateen.mesh.queries import ServiceInstance
from lateen.model.names import Hostname
from lateen.model.protocols import Protocol, protocol_named, protocol_of_port
from lateen.model.services import Endpoint, Service, ServicePort

_EVERY_ADDRESS = ("0.0.0.0", "[::]")
"""In `defaultEndpoint`: the workload's own address, where others would reach it."""


def ingress_listeners(view: View) -> Sequence[IstioIngressListener]:
    """Return the listeners of the Sidecar that applies; none means that services say what the workload serves."""
    if view.sidecar is None:
        return ()
    return [listener for listener in view.sidecar.spec.ingress if listener.port is not None and listener.port.number]


def ingress_instances(view: View) -> list[ServiceInstance]:
    """Return what the Sidecar says that the workload serves, at the addresses where its listeners are."""
    by_port = {item.endpoint.port: item for item in reversed(view.instances())}
    found = []
    for listener in ingress_listeners(view):
        address = _bound_at(view, listener)
        if address:
            found.append(_instance(view, listener, address, by_port))
    return found


def is_bound(view: View, port: int) -> bool:
    """Whether a port has a listener of its own although the proxy intercepts."""
    listener = _at(view, port)
    return listener is not None and listener.capture_mode is CaptureMode.NONE


def own_tls(view: View, port: int) -> Termination | None:
    """Return how a port ends TLS of its own, None when it does not.

    Only where mutual TLS is switched off for the port (Istio): a caller cannot be asked for both.
    """
    listener = _at(view, port)
    if (
        listener is None
        or listener.port is None
        or listener.tls is None
        or view.mutual_tls_modes().at(port) is not MutualTLSMode.DISABLE
    ):
        return None
    return termination_of(view, listener.tls, http=protocol_named(listener.port.protocol) is Protocol.HTTPS)


def own_tls_secrets(view: View) -> tuple[CredentialSecret, ...]:
    """Return the secrets that the ports with TLS of their own need."""
    numbers = [one.port.number for one in ingress_listeners(view) if one.port is not None]
    found = (ending for number in numbers if (ending := own_tls(view, number)) is not None and ending.socket)
    return tuple(CredentialSecret(name) for name in dict.fromkeys(name for one in found for name in one.secrets))


def application_cluster(view: View, name: str, port: int) -> Fields | None:
    """Return the way to the application behind a port as the Sidecar says it; None when it says nothing."""
    listener = _at(view, port)
    if listener is None or not (listener.default_endpoint or is_bound(view, port)):
        return None
    if listener.default_endpoint.startswith("unix://"):
        return address_cluster(name, listener.default_endpoint, 0)
    host, _, wanted = listener.default_endpoint.rpartition(":")
    number = int(wanted or port)
    if host in _EVERY_ADDRESS and view.explicit and view.proxy.addresses:
        return address_cluster(name, view.proxy.addresses[0], number)
    if host in _EVERY_ADDRESS and not view.explicit and not is_bound(view, port):
        return intercepted_inbound_cluster(name, port=number)
    # An intercepting proxy is told the same as its replicas, which have other addresses.
    cluster = static_cluster(name, loopback_assignment(name, number))
    return cluster if view.explicit else {**cluster, "upstream_bind_config": inbound_source()}


def _at(view: View, port: int) -> IstioIngressListener | None:
    return next((one for one in ingress_listeners(view) if one.port is not None and one.port.number == port), None)


def _bound_at(view: View, listener: IstioIngressListener) -> str:
    """Return the address of a listener, empty when the proxy has none."""
    if view.explicit:
        return listener.bind or next(iter(view.proxy.addresses), "")
    return listener.bind or names.WILDCARD_ADDRESS


def _instance(
    view: View, listener: IstioIngressListener, address: str, by_port: dict[int, ServiceInstance]
) -> ServiceInstance:
    assert view.sidecar is not None
    assert listener.port is not None
    number, known = listener.port.number, by_port.get(listener.port.number)
    protocol = protocol_of_port(name=listener.port.name, app_protocol=listener.port.protocol)
    if known is not None:
        port = replace(known.port, protocol=protocol)
        return replace(known, port=port, endpoint=replace(known.endpoint, address=address))
    key = view.sidecar.key
    port = ServicePort(number=number, protocol=protocol, name=listener.port.name)
    service = Service(
        host=Hostname(f"{key.name}.{key.namespace}"),
        namespace=key.namespace,
        ports=(port,),
        origin=view.sidecar.origin,
    )
    return ServiceInstance(
        service=service, port=port, endpoint=Endpoint(address=address, port=number, service_port=number)
    )
