"""How a call reaches a workload: with which transport it comes, and which listener takes it.

Called by `verdicts` and `clusters`. Both are read off generated resources: the caller's cluster and the workload's
listener, in protobuf's JSON form.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lateen.envoy.bootstrap import CERTIFICATE_SECRET
from lateen.envoy.messages import Fields
from lateen.envoy.mutual_tls import MUTUAL_TLS, TLS_MODE
from lateen.envoy.names import VIRTUAL_INBOUND
from lateen.explain.filter_chains import PLAINTEXT, Transport
from lateen.explain.served import Served
from lateen.model.services import Endpoint


def transport_to(served: Served, name: str, endpoint: Endpoint) -> Transport:
    """Return how a cluster in a caller's snapshot connects to one of its endpoints."""
    cluster = served.cluster(name)
    if cluster is None:
        return PLAINTEXT
    return transport_of(socket_of(cluster, _socket_metadata(served.assignment(cluster), endpoint)))


def socket_of(cluster: Fields, metadata: Mapping[str, str]) -> Fields:
    """Return the transport socket by which a cluster reaches an endpoint with this metadata."""
    for candidate in cluster.get("transport_socket_matches", ()):
        wanted: Mapping[str, str] = candidate.get("match", {})
        if all(metadata.get(key) == value for key, value in wanted.items()):
            found: Fields = candidate.get("transport_socket", {})
            return found
    default: Fields = cluster.get("transport_socket", {})
    return default


def socket_metadata(told: Fields) -> Mapping[str, str]:
    """Return the metadata of an endpoint that chooses its transport socket."""
    found: Mapping[str, str] = (
        told.get("metadata", {}).get("filter_metadata", {}).get("envoy.transport_socket_match", {})
    )
    return found


def told_endpoints(assignment: Fields) -> Iterator[tuple[str, int, Fields, Fields]]:
    """Yield address, port (0 for a socket's path), the endpoint and its locality, in order."""
    for locality in assignment.get("endpoints", ()):
        for told in locality.get("lb_endpoints", ()):
            address = told.get("endpoint", {}).get("address", {})
            place = address.get("socket_address", {})
            path = address.get("pipe", {}).get("path", "")
            yield place.get("address", path), int(place.get("port_value", 0)), told, locality


def _socket_metadata(assignment: Fields, endpoint: Endpoint) -> Mapping[str, str]:
    """Return what the caller is told of an endpoint; of one that is imagined, what it would be told."""
    for address, port, told, _ in told_endpoints(assignment):
        if (address, port) == (endpoint.address, endpoint.port):
            return socket_metadata(told)
    return {TLS_MODE: MUTUAL_TLS} if endpoint.tls_mode == MUTUAL_TLS else {}


def transport_of(socket: Fields) -> Transport:
    """Return what a connection by a transport socket is."""
    config = socket.get("typed_config", {})
    context = config.get("common_tls_context")
    if context is None:
        return PLAINTEXT
    secrets = context.get("tls_certificate_sds_secret_configs", ())
    own = any(secret.get("name") == CERTIFICATE_SECRET for secret in secrets)
    return Transport(
        name="mutual TLS" if own else "TLS",
        offered=tuple(context.get("alpn_protocols", ())),
        server_name=config.get("sni", ""),
    )


def inbound_listener(served: Served, address: str, port: int) -> Fields | None:
    """Return the listener of a sidecar that takes connections to a port of its workload."""
    virtual = served.listener(VIRTUAL_INBOUND)
    if virtual is not None:
        return virtual
    return next((found for found in served.listeners(f"_{port}") if _address(found) == address), None)


def _address(listener: Fields) -> str:
    found: str = listener.get("address", {}).get("socket_address", {}).get("address", "")
    return found
