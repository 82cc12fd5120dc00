"""Clusters: how a proxy finds and reaches an upstream, before traffic policy (see `cluster_policies`).

Called by `generate`. A cluster under construction is a `ClusterDraft`, because traffic policies touch both the
message and its HTTP protocol options, which Envoy wants packed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

from lateen.envoy import names
from lateen.envoy.filters import ADS, dns_cache
from lateen.envoy.listeners import socket_address
from lateen.envoy.messages import Fields, Message, packed, prepared

UNLIMITED = 4_294_967_295
"""Envoy's circuit breakers default to 1024; Istio opens them, so that only a DestinationRule limits."""

HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_FOR_EVER: Fields = {"seconds": 9_000_000_000}
"""Near Envoy's longest duration, 2^63 ns."""


@dataclass(slots=True, kw_only=True)
class ClusterDraft:
    """A cluster while it is being built; `finish` returns the message's fields."""

    fields: Fields
    http_options: Fields = field(default_factory=dict)

    def finish(self) -> Fields:
        """Return the fields of the Cluster, HTTP options packed."""
        options = self.http_options
        if options:
            if not _PROTOCOLS & options.keys():
                # Options of HTTP in general still need a protocol; HTTP/1.1 is Envoy's own default.
                options["explicit_http_config"] = {"http_protocol_options": {}}
            self.fields["typed_extension_protocol_options"] = {HTTP_OPTIONS: packed(HTTP_OPTIONS, options)}
        return self.fields


_PROTOCOLS = frozenset(("explicit_http_config", "use_downstream_protocol_config", "auto_config"))


def eds_cluster(name: str) -> Fields:
    """Return a cluster whose endpoints come over ADS under the cluster's own name."""
    return {
        "name": name,
        "alt_stat_name": names.stat_prefix(name),
        "type": "EDS",
        "eds_cluster_config": {
            "eds_config": {**ADS, "initial_fetch_timeout": {"seconds": 0}},
            "service_name": name,
        },
    }


def dns_cluster(name: str, assignment: Fields, *, logical: bool, lookup_family: str, refresh_rate: Fields) -> Fields:
    """Return a cluster of DNS names: all addresses of each (STRICT_DNS), or the first only (LOGICAL_DNS).

    `refresh_rate`: how often to ask again when an answer has no time to live.
    """
    return {
        "name": name,
        "alt_stat_name": names.stat_prefix(name),
        "type": "LOGICAL_DNS" if logical else "STRICT_DNS",
        "dns_lookup_family": lookup_family,
        "dns_refresh_rate": refresh_rate,
        "respect_dns_ttl": True,
        "load_assignment": assignment,
    }


def static_cluster(name: str, assignment: Fields) -> Fields:
    """Return a cluster with its endpoints inline."""
    return {
        "name": name,
        "alt_stat_name": names.stat_prefix(name),
        "type": "STATIC",
        "load_assignment": assignment,
    }


def original_destination_cluster(name: str) -> Fields:
    """Return a cluster that connects to the address the client dialled."""
    return {
        "name": name,
        "alt_stat_name": names.stat_prefix(name),
        "type": "ORIGINAL_DST",
        "lb_policy": "CLUSTER_PROVIDED",
    }


def passthrough_cluster(connect_timeout: Fields) -> Fields:
    """Return where unknown hosts go under interception: whatever address the client dialled."""
    return {
        **original_destination_cluster(names.PASSTHROUGH_CLUSTER),
        **_open(connect_timeout),
        "typed_extension_protocol_options": {HTTP_OPTIONS: _client_protocol()},
    }


def dynamic_cluster(name: str) -> Fields:
    """Return a cluster that connects to the host of each request, resolved when it is asked for."""
    config: Fields = {"dns_cache_config": dns_cache(), "allow_insecure_cluster_options": True}
    return {
        "name": name,
        "alt_stat_name": names.stat_prefix(name),
        "lb_policy": "CLUSTER_PROVIDED",
        "cluster_type": {
            "name": "envoy.clusters.dynamic_forward_proxy",
            "typed_config": packed("envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig", config),
        },
    }


def dynamic_passthrough_cluster(connect_timeout: Fields, name: str = names.PASSTHROUGH_CLUSTER) -> Fields:
    """Return where unknown hosts go when they are looked up with each request, as explicit mode has to."""
    return {
        **dynamic_cluster(name),
        **_open(connect_timeout),
        "typed_extension_protocol_options": {HTTP_OPTIONS: _client_protocol()},
    }


def blackhole_cluster(connect_timeout: Fields) -> Fields:
    """Return the cluster without endpoints."""
    return {
        "name": names.BLACKHOLE_CLUSTER,
        "alt_stat_name": names.stat_prefix(names.BLACKHOLE_CLUSTER),
        "type": "STATIC",
        "connect_timeout": connect_timeout,
    }


def inbound_passthrough_cluster(connect_timeout: Fields) -> Fields:
    """Return where intercepted connections to ports of no service go: the port they were meant for."""
    return {
        **original_destination_cluster(names.INBOUND_PASSTHROUGH_CLUSTER),
        **_open(connect_timeout),
        "upstream_bind_config": inbound_source(),
        "typed_extension_protocol_options": {HTTP_OPTIONS: _client_protocol()},
    }


def intercepted_inbound_cluster(name: str, *, port: int = 0) -> Fields:
    """Return the cluster of an intercepted workload's port: the address the client dialled, from 127.0.0.6.

    `port`: another port at that address than the one that was dialled.
    """
    override: Fields = {"original_dst_lb_config": {"upstream_port_override": {"value": port}}} if port else {}
    return {
        **override,
        **original_destination_cluster(name),
        "upstream_bind_config": inbound_source(),
        # Connections to oneself always have the same address: nothing to clean up.
        "cleanup_interval": _FOR_EVER,
    }


def inbound_source() -> Fields:
    """Return the bind configuration that tells interception rules this is the sidecar calling its workload."""
    return {"source_address": {"address": names.INBOUND_PASSTHROUGH_BIND, "port_value": 0}}


def open_circuit_breakers() -> Fields:
    """Return one fresh threshold without limits, for a policy to narrow."""
    limit = {"value": UNLIMITED}
    return {
        "max_connections": limit,
        "max_pending_requests": limit,
        "max_requests": limit,
        "max_retries": limit,
        "track_remaining": True,
    }


def use_http2(draft: ClusterDraft) -> None:
    """Speak HTTP/2 upstream from the first byte."""
    draft.http_options["explicit_http_config"] = {"http2_protocol_options": {}}


def use_client_protocol(draft: ClusterDraft) -> None:
    """Speak upstream what the client spoke: for sniffed ports."""
    draft.http_options.pop("explicit_http_config", None)
    draft.http_options["use_downstream_protocol_config"] = {
        "http_protocol_options": {},
        "http2_protocol_options": {},
    }


@cache
def all_open_circuit_breakers() -> Message:
    """Return circuit breakers without limits, for the clusters that no policy narrows. Shared: do not change it."""
    return prepared("envoy.config.cluster.v3.CircuitBreakers", {"thresholds": [open_circuit_breakers()]})


def address_cluster(name: str, address: str, port: int) -> Fields:
    """Return the cluster of one address, or of the path of a socket."""
    return static_cluster(name, load_assignment(name, [socket_address(address, port)]))


def loopback_assignment(name: str, port: int) -> Fields:
    """Return the inline assignment of an application on this host."""
    return load_assignment(name, [socket_address(names.LOOPBACK_ADDRESS, port)])


def load_assignment(name: str, addresses: Sequence[Fields]) -> Fields:
    """Return a ClusterLoadAssignment of equal endpoints without locality."""
    return {
        "cluster_name": name,
        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}} for address in addresses]}],
    }


def _open(connect_timeout: Fields) -> Fields:
    return {
        "connect_timeout": connect_timeout,
        "circuit_breakers": all_open_circuit_breakers(),
    }


@cache
def _client_protocol() -> Fields:
    return packed(
        HTTP_OPTIONS,
        {
            "common_http_protocol_options": {"idle_timeout": {"seconds": 300}},
            "use_downstream_protocol_config": {"http_protocol_options": {}, "http2_protocol_options": {}},
        },
    )
