"""How a call reaches a workload: with which transport it comes, and which filter chain takes it.

Called by `explaining`. Both are read off generated resources: the caller's cluster and the workload's listener, in
protobuf's JSON form.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lateen.envoy.bootstrap import CERTIFICATE_SECRET
from lateen.envoy.listeners import HTTP_PROTOCOLS
from lateen.envoy.messages import Fields, to_json
from lateen.envoy.mutual_tls import MUTUAL_TLS, TLS_MODE
from lateen.envoy.names import VIRTUAL_INBOUND, outbound_cluster
from lateen.envoy.resources import CLUSTER, ENDPOINT, EXTENSION, LISTENER, Snapshot
from lateen.explain.destinations import Destination
from lateen.explain.matchers import in_range
from lateen.model.services import Endpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Transport:
    """What a connection is before anybody reads its bytes."""

    name: str
    """`mutual TLS`, `TLS` or `plain text`."""
    offered: tuple[str, ...] = ()
    """ALPN."""
    server_name: str = ""

    @property
    def proves_identity(self) -> bool:
        """Whether the caller shows the certificate of its workload."""
        return self.name == "mutual TLS"

    @property
    def protocol(self) -> str:
        """Envoy's word."""
        return "raw_buffer" if self.name == "plain text" else "tls"


PLAINTEXT = Transport(name="plain text")


def transport_to(snapshot: Snapshot, destination: Destination, endpoint: Endpoint) -> Transport:
    """Return how the cluster of a service in a caller's snapshot connects to one of its endpoints."""
    name = outbound_cluster(destination.service.host, destination.port.number)
    cluster = _resource(snapshot, CLUSTER, name)
    if cluster is None:
        return PLAINTEXT
    metadata = _socket_metadata(_resource(snapshot, ENDPOINT, name) or cluster.get("load_assignment", {}), endpoint)
    for candidate in cluster.get("transport_socket_matches", ()):
        wanted: Mapping[str, str] = candidate.get("match", {})
        if all(metadata.get(key) == value for key, value in wanted.items()):
            return _transport(candidate.get("transport_socket", {}))
    return _transport(cluster.get("transport_socket", {}))


def _socket_metadata(assignment: Fields, endpoint: Endpoint) -> Mapping[str, str]:
    """Return what the caller is told of an endpoint; of one that is imagined, what it would be told."""
    for locality in assignment.get("endpoints", ()):
        for told in locality.get("lb_endpoints", ()):
            place = told.get("endpoint", {}).get("address", {}).get("socket_address", {})
            if (place.get("address"), place.get("port_value")) == (endpoint.address, endpoint.port):
                found: Mapping[str, str] = (
                    told.get("metadata", {}).get("filter_metadata", {}).get("envoy.transport_socket_match", {})
                )
                return found
    return {TLS_MODE: MUTUAL_TLS} if endpoint.tls_mode == MUTUAL_TLS else {}


def _transport(socket: Fields) -> Transport:
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


def _resource(snapshot: Snapshot, kind: str, name: str) -> Fields | None:
    found = snapshot.offer(kind).get(name)
    return None if found is None else to_json(kind, found.body)


def inbound_listener(snapshot: Snapshot, address: str, port: int) -> Fields | None:
    """Return the listener of a sidecar that takes connections to a port of its workload."""
    names = snapshot.offer(LISTENER).told
    if VIRTUAL_INBOUND in names:
        return _resource(snapshot, LISTENER, VIRTUAL_INBOUND)
    return next((found for found in listeners_at(snapshot, port) if _address(found) == address), None)


def listeners_at(snapshot: Snapshot, port: int) -> Iterable[Fields]:
    """Yield the listeners that are bound to a port."""
    for name, resource in sorted(snapshot.offer(LISTENER).told.items()):
        if name.endswith(f"_{port}"):
            yield to_json(LISTENER, resource.body)


def _address(listener: Fields) -> str:
    found: str = listener.get("address", {}).get("socket_address", {}).get("address", "")
    return found


def filter_chain(listener: Fields, transport: Transport, address: str, port: int) -> Fields | None:
    """Return the chain that takes a connection; None when none does, and it is closed.

    As Envoy looks: criterion by criterion, those that name the connection's value before those that name none, and
    never back (FilterChainMatch in `envoy.config.listener.v3`).
    """
    chains = list(listener.get("filter_chains", ()))
    sniffs = any("http_inspector" in item.get("name", "") for item in listener.get("listener_filters", ()))
    protocols = transport.offered or (HTTP_PROTOCOLS[1:2] if sniffs and transport is PLAINTEXT else ())
    tests = (
        ("destination_port", lambda value: value == port),
        ("prefix_ranges", lambda value: any(in_range(block, address) for block in value)),
        ("server_names", lambda value: _names(value, transport.server_name)),
        ("transport_protocol", lambda value: value == transport.protocol),
        ("application_protocols", lambda value: any(one in value for one in protocols)),
    )
    for field, holds in tests:
        asking = [chain for chain in chains if chain.get("filter_chain_match", {}).get(field)]
        chosen = [chain for chain in asking if holds(chain["filter_chain_match"][field])]
        if field == "server_names" and chosen:
            chosen = _most_specific(chosen, transport.server_name)
        chains = chosen or [chain for chain in chains if chain not in asking]
    default: Fields | None = listener.get("default_filter_chain")
    return chains[0] if chains else default


def _names(patterns: Iterable[str], name: str) -> bool:
    return any(_covers(pattern, name) for pattern in patterns)


def _covers(pattern: str, name: str) -> bool:
    return pattern == name or (pattern.startswith("*.") and name.endswith(pattern[1:]))


def _most_specific(chains: list[Fields], name: str) -> list[Fields]:
    def length(chain: Fields) -> int:
        return max(len(one) for one in chain["filter_chain_match"]["server_names"] if _covers(one, name))

    longest = max(map(length, chains))
    return [chain for chain in chains if length(chain) == longest]


def with_extensions(chain: Fields, snapshot: Snapshot) -> Fields:
    """Return a chain whose filters all have their configuration: some are served it by themselves (ECDS)."""
    filters = []
    for named in chain.get("filters", ()):
        item = _complete(named, snapshot)
        manager = item.get("typed_config", {})
        complete = [_complete(inner, snapshot) for inner in manager.get("http_filters", ())]
        filters.append({**item, "typed_config": {**manager, "http_filters": complete}} if complete else item)
    return {**chain, "filters": filters}


def _complete(named: Fields, snapshot: Snapshot) -> Fields:
    if "config_discovery" not in named:
        return named
    served = _resource(snapshot, EXTENSION, named["name"]) or {}
    return {"name": named["name"], "typed_config": served.get("typed_config", {})}
