"""Listeners and filter chains: addresses, matches, listener filters.

Called by `generate`, which fills the chains. Source: Envoy's listener.proto, listener_components.proto.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache

from lateen.envoy import names
from lateen.envoy.messages import Fields, packed, typed_extension

HTTP_PROTOCOLS = ("http/1.0", "http/1.1", "h2c")
"""What the HTTP inspector calls plain-text HTTP."""

_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}")
"""Asked for every endpoint; `ipaddress` takes ten times as long."""

_KNOWN_NETWORKS = 1 << 16

UNIX_PREFIX = "unix://"
OUTBOUND = "OUTBOUND"
INBOUND = "INBOUND"


def socket_address(address: str, port: int) -> Fields:
    """Return an Address: an IP and port, or the path of `unix:///path`."""
    if address.startswith(UNIX_PREFIX):
        return {"pipe": {"path": address.removeprefix(UNIX_PREFIX)}}
    return {"socket_address": {"address": address, "port_value": port}}


def is_ip(address: str) -> bool:
    """Whether this is an IP address literal."""
    if _IPV4.fullmatch(address):
        return True
    if ":" not in address:
        return False
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True


def cidr_range(text: str) -> Fields:
    """Return a CidrRange of `10.0.0.0/8` or a single address; host bits are dropped. ValueError for anything else."""
    prefix, length = network_of(text)
    return {"address_prefix": prefix, "prefix_len": {"value": length}}


def is_cidr(text: str) -> bool:
    """Whether the text is an address or a range that `cidr_range` takes."""
    try:
        network_of(text)
    except ValueError:
        return False
    return True


@lru_cache(_KNOWN_NETWORKS)
def network_of(text: str) -> tuple[str, int]:
    """Read a range. The same endpoints stand in the filter chains of many services (1.2 million in one benchmark)."""
    network = ipaddress.ip_network(text, strict=False)
    return str(network.network_address), network.prefixlen


def filter_chain(
    filters: Sequence[Fields],
    *,
    match: Fields | None = None,
    name: str = "",
    transport_socket: Fields | None = None,
    metadata: Fields | None = None,
) -> Fields:
    """Return a FilterChain."""
    chain: Fields = {"filters": list(filters)}
    for key, value in (
        ("filter_chain_match", match),
        ("name", name),
        ("transport_socket", transport_socket),
        ("metadata", metadata),
    ):
        if value:
            chain[key] = value
    if transport_socket:
        # A client that never finishes its handshake must not hold memory for ever.
        chain["transport_socket_connect_timeout"] = {"seconds": 15}
    return chain


def http_match() -> Fields:
    """Return the match of connections that the HTTP inspector found to be plain-text HTTP."""
    return {"transport_protocol": "raw_buffer", "application_protocols": list(HTTP_PROTOCOLS)}


def port_match(port: int) -> Fields:
    """Return the match of a connection's original destination port."""
    return {"destination_port": {"value": port}}


def sni_match(hosts: Iterable[str]) -> Fields:
    """Return the match of TLS server names; `*` alone matches any TLS connection."""
    wanted = sorted(host for host in set(hosts) if host != "*")
    match: Fields = {"transport_protocol": "tls"}
    if wanted:
        match["server_names"] = wanted
    return match


def prefix_match(ranges: Iterable[str]) -> Fields:
    """Return the match of original destination addresses."""
    return {"prefix_ranges": [cidr_range(text) for text in sorted(set(ranges))]}


def bound_listener(name: str, address: str, port: int, *, direction: str, chains: Sequence[Fields]) -> Fields:
    """Return a Listener; the caller adds what is special about it."""
    return {
        "name": name,
        "address": socket_address(address, port),
        "traffic_direction": direction,
        "filter_chains": list(chains),
    }


def also_ipv6(listener: Fields, port: int) -> None:
    """Let a listener of every IPv4 address be one of every IPv6 address too."""
    listener.setdefault("additional_addresses", []).append({"address": socket_address("::", port)})


def virtual_listener(name: str, address: str, port: int, *, chains: Sequence[Fields], default: Fields | None) -> Fields:
    """Return an outbound Listener that is found by original destination and does not bind its port."""
    listener = bound_listener(name, address, port, direction=OUTBOUND, chains=chains)
    listener["bind_to_port"] = {"value": False}
    if default is not None:
        listener["default_filter_chain"] = default
    return listener


def add_inspectors(listener: Fields, *, tls: bool, http: bool, detection_timeout: Fields) -> None:
    """Add the listener filters that look at the first bytes, and their time limit.

    Without the HTTP inspector nothing needs a limit; with it, a peer that stays silent (a server-first protocol)
    goes on to the default chain when time is up. A limit of zero waits for ever.
    """
    filters = listener.setdefault("listener_filters", [])
    if tls:
        filters.append(tls_inspector())
    if http:
        filters.append(http_inspector())
    listener["listener_filters_timeout"] = detection_timeout if http else {"seconds": 0}
    listener["continue_on_listener_filters_timeout"] = True


@cache
def tls_inspector() -> Fields:
    """Return the listener filter that reads SNI and ALPN. Shared: do not change it."""
    return typed_extension(
        "envoy.filters.listener.tls_inspector", "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"
    )


@cache
def http_inspector() -> Fields:
    """Return the listener filter that recognises plain-text HTTP. Shared: do not change it."""
    return typed_extension(
        "envoy.filters.listener.http_inspector", "envoy.extensions.filters.listener.http_inspector.v3.HttpInspector"
    )


@cache
def original_destination() -> Fields:
    """Return the listener filter that restores the address the client dialled. Shared: do not change it."""
    return typed_extension(
        "envoy.filters.listener.original_dst", "envoy.extensions.filters.listener.original_dst.v3.OriginalDst"
    )


@cache
def original_source() -> Fields:
    """Return the listener filter that lets the proxy call the workload from the client's address. Shared.

    The mark leads the workload's answers back to the proxy: see `agent.interception.nft`.
    """
    config: Fields = {"mark": names.PROXY_MARK}
    return {
        "name": "envoy.filters.listener.original_src",
        "typed_config": packed("envoy.extensions.filters.listener.original_src.v3.OriginalSrc", config),
    }


def only_on_ports(listener_filter: Fields, ports: Iterable[int]) -> Fields:
    """Return the listener filter switched off on every other destination port.

    An inspector waits for the client's first bytes, which a server-first protocol never sends.
    """
    return {**listener_filter, "filter_disabled": {"not_match": _any_port(ports)}}


def not_on_ports(listener_filter: Fields, ports: Iterable[int]) -> Fields:
    """Return the listener filter switched off on these destination ports."""
    return {**listener_filter, "filter_disabled": _any_port(ports)}


def _any_port(ports: Iterable[int]) -> Fields:
    ranges: list[Fields] = [{"destination_port_range": {"start": port, "end": port + 1}} for port in sorted(set(ports))]
    return ranges[0] if len(ranges) == 1 else {"or_match": {"rules": ranges}}


def api_listener(name: str, connection_manager: Fields) -> Fields:
    """Return a gRPC client's listener (gRFC A27): a packed connection manager and no address of its own."""
    return {"name": name, "api_listener": {"api_listener": connection_manager}}


def tls_server_socket(context: Fields) -> Fields:
    """Return the transport socket that terminates TLS."""
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": packed("envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext", context),
    }


def outbound_stat_prefix(listener_name: str) -> str:
    """Return the statistics prefix of an outbound connection manager, `outbound_0.0.0.0_9080;`."""
    return names.stat_prefix(f"outbound_{listener_name}")


def inbound_stat_prefix(listener_name: str) -> str:
    """Return the statistics prefix of an inbound connection manager, `inbound_0.0.0.0_9080;`."""
    return names.stat_prefix(f"inbound_{listener_name}")
