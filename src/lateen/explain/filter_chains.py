"""Which filter chain of a listener takes a connection.

Called by `routing` for the caller's side, by `verdicts` for the workload's. Source: FilterChainMatch in
`envoy.config.listener.v3`: criterion by criterion, the most specific value first, those that name none last, and never
back. So a chain that would match in all can lose to one that only matches in the first criterion.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

from lateen.envoy.listeners import HTTP_PROTOCOLS
from lateen.envoy.messages import Fields
from lateen.explain.explanations import Condition
from lateen.explain.matchers import in_range, range_text

HTTP_MANAGER = "http_connection_manager"


@dataclass(frozen=True, slots=True, kw_only=True)
class Transport:
    """What a connection is before anybody reads its bytes."""

    name: str
    """`mutual TLS`, `TLS` or `plain text`."""
    offered: tuple[str, ...] = ()
    """ALPN."""
    server_name: str = ""
    http: bool = True
    """Whether its first bytes are a request."""

    @property
    def proves_identity(self) -> bool:
        """Whether the caller shows the certificate of its workload."""
        return self.name == "mutual TLS"

    @property
    def protocol(self) -> str:
        """Envoy's word."""
        return "raw_buffer" if self.name == "plain text" else "tls"


PLAINTEXT = Transport(name="plain text")
BYTES = Transport(name="plain text", http=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Criterion:
    """One thing that chains ask of a connection."""

    field: str
    attribute: str
    value: str
    """What the connection has."""
    rank: Callable[[Any], int | None]
    """How specifically a chain's value matches; None when it does not."""
    text: Callable[[Any], list[str]]


def filter_chain(listener: Fields, transport: Transport, address: str, port: int) -> Fields | None:
    """Return the chain that takes a connection; None when none does, and it is closed."""
    chains = list(listener.get("filter_chains", ()))
    for criterion in _criteria(listener, transport, address, port):
        asking = [(chain, _asked(chain, criterion.field)) for chain in chains]
        ranked = [(chain, criterion.rank(value)) for chain, value in asking if value]
        best = max((rank for _, rank in ranked if rank is not None), default=None)
        chains = [chain for chain, value in asking if not value]
        if best is not None:
            chains = [chain for chain, rank in ranked if rank == best]
    default: Fields | None = listener.get("default_filter_chain")
    return chains[0] if chains else default


def failed_criteria(
    listener: Fields, chain: Fields, transport: Transport, address: str, port: int
) -> tuple[Condition, ...]:
    """Return what a chain asks of a connection that this one does not have."""
    return tuple(
        Condition(attribute=criterion.attribute, wanted=criterion.text(value), actual=criterion.value)
        for criterion in _criteria(listener, transport, address, port)
        if (value := _asked(chain, criterion.field)) and criterion.rank(value) is None
    )


def matched_criteria(listener: Fields, chain: Fields, transport: Transport, address: str, port: int) -> str:
    """Return what a chain asked for and got, in words; empty for one that asks for nothing."""
    met = [
        f"{criterion.attribute} {' or '.join(criterion.text(value))}"
        for criterion in _criteria(listener, transport, address, port)
        if (value := _asked(chain, criterion.field))
    ]
    return ", ".join(met)


def http_manager(chain: Fields) -> Fields | None:
    """Return the HTTP connection manager of a chain; None when it only moves bytes."""
    for item in chain.get("filters", ()):
        if HTTP_MANAGER in item["name"]:
            found: Fields = item.get("typed_config", {})
            return found
    return None


def _asked(chain: Fields, field: str) -> Any:
    return chain.get("filter_chain_match", {}).get(field)


def _criteria(listener: Fields, transport: Transport, address: str, port: int) -> Sequence[_Criterion]:
    sniffs = any("http_inspector" in item.get("name", "") for item in listener.get("listener_filters", ()))
    plain_http = sniffs and transport.protocol == "raw_buffer" and transport.http
    protocols = transport.offered or (HTTP_PROTOCOLS[1:2] if plain_http else ())

    def network(blocks: Iterable[Fields]) -> int | None:
        return max((_length(block) for block in blocks if in_range(block, address)), default=None)

    def name(patterns: Iterable[str]) -> int | None:
        # A wildcard may be as long as a name that it covers, but is never as specific.
        lengths = (2 * len(one) - ("*" in one) for one in patterns if _covers(one, transport.server_name))
        return max(lengths, default=None)

    def whole(value: Any) -> list[str]:
        return [str(value)]

    return (
        _Criterion(
            field="destination_port",
            attribute="port",
            value=str(port),
            rank=lambda value: 1 if value == port else None,
            text=whole,
        ),
        _Criterion(
            field="prefix_ranges",
            attribute="address",
            value=address,
            rank=network,
            text=lambda value: [range_text(block) for block in value],
        ),
        _Criterion(field="server_names", attribute="server name", value=transport.server_name, rank=name, text=list),
        _Criterion(
            field="transport_protocol",
            attribute="transport protocol",
            value=transport.protocol,
            rank=lambda value: 1 if value == transport.protocol else None,
            text=whole,
        ),
        _Criterion(
            field="application_protocols",
            attribute="protocol",
            value=", ".join(protocols),
            rank=lambda value: 1 if any(one in value for one in protocols) else None,
            text=lambda value: ["HTTP"] if list(value) == list(HTTP_PROTOCOLS) else list(value),
        ),
    )


def _length(block: Fields) -> int:
    return ip_network(range_text(block), strict=False).prefixlen


def _covers(pattern: str, name: str) -> bool:
    return pattern == name or (pattern.startswith("*.") and name.endswith(pattern[1:]))
