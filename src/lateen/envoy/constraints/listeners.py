"""Listeners and their filters: what Envoy refuses beside the rules of its API. Part of `loading`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

from lateen.envoy.constraints.values import is_address
from lateen.envoy.constraints.violations import Violation
from lateen.envoy.messages import Message

_ROUTER = "envoy.extensions.filters.http.router.v3.Router"
_TERMINAL = frozenset(
    f"envoy.extensions.filters.network.{name}"
    for name in (
        "http_connection_manager.v3.HttpConnectionManager",
        "tcp_proxy.v3.TcpProxy",
        "redis_proxy.v3.RedisProxy",
    )
)
_NOT_TERMINAL = frozenset(
    f"envoy.extensions.filters.network.{name}"
    for name in ("rbac.v3.RBAC", "ext_authz.v3.ExtAuthz", "mongo_proxy.v3.MongoProxy", "set_filter_state.v3.Config")
)


def address(message: Message) -> Iterator[Violation]:
    """A listener listens somewhere, at a number and not at a name."""
    if message.HasField("api_listener") or message.HasField("internal_listener"):
        return
    if not message.HasField("address"):
        yield Violation(path="address", rule="must be set")
        return
    socket = message.address.socket_address
    if socket.address and not socket.resolver_name and not is_address(socket.address):
        rule = f"must be an IP address, not {socket.address!r}"
        yield Violation(path="address.socket_address.address", rule=rule)


def filter_chains(message: Message) -> Iterator[Violation]:
    """A connection belongs to one chain; so no two may want the same ones."""
    datagrams = message.address.socket_address.protocol == 1
    if message.HasField("api_listener") or datagrams:
        return
    if not message.filter_chains and not message.HasField("default_filter_chain"):
        yield Violation(path="filter_chains", rule="must not be empty")
    seen: dict[tuple[object, ...], int] = {}
    for index, chain in enumerate(message.filter_chains):
        for name in chain.filter_chain_match.server_names:
            if "*" in name[1:] or (name.startswith("*") and not name.startswith("*.")):
                rule = f"must not hold {name!r}: a wildcard stands for whole labels at the beginning"
                yield Violation(path=f"filter_chains[{index}].filter_chain_match.server_names", rule=rule)
        others = {seen.setdefault(wanted, index) for wanted in _wanted(chain.filter_chain_match)} - {index}
        for other in sorted(others)[:1]:
            rule = f"must differ from that of filter_chains[{other}]: no connection could tell them apart"
            yield Violation(path=f"filter_chains[{index}].filter_chain_match", rule=rule)


def _wanted(match: Message) -> Iterator[tuple[object, ...]]:
    """Yield what a match stands for, one for each combination of its lists: Envoy takes each but once."""
    rest = type(match)()
    rest.CopyFrom(match)
    lists: list[list[object]] = []
    for name in ("prefix_ranges", "server_names", "application_protocols", "source_prefix_ranges", "source_ports"):
        values: list[object] = [each if isinstance(each, str | int) else _range(each) for each in getattr(match, name)]
        lists.append(values or [None])
        rest.ClearField(name)
    return product([rest.SerializeToString(deterministic=True)], *lists)


def _range(each: Message) -> tuple[str, int]:
    return each.address_prefix, each.prefix_len.value


def network_filters(message: Message) -> Iterator[Violation]:
    """The last filter ends the connection, and no other does."""
    kinds = [_kind(each) for each in message.filters]
    last = len(kinds) - 1
    for index, kind in enumerate(kinds):
        if kind in _TERMINAL and index != last:
            yield Violation(path=f"filters[{index}]", rule="must be the last: it ends the connection")
        if kind in _NOT_TERMINAL and index == last:
            yield Violation(path=f"filters[{index}]", rule="must not be the last: nothing answers after it")


def http_filters(message: Message) -> Iterator[Violation]:
    """The router is the last filter. None at all is as legal as it is useless."""
    kinds = [_kind(each) for each in message.http_filters]
    for index, kind in enumerate(kinds):
        if kind == _ROUTER and index != len(kinds) - 1:
            yield Violation(path=f"http_filters[{index}]", rule="must be the last: it is the router")
    if kinds and kinds[-1] in _KNOWN_HTTP:
        yield Violation(path=f"http_filters[{len(kinds) - 1}]", rule="must not be the last: the router must")


_KNOWN_HTTP = frozenset(
    f"envoy.extensions.filters.http.{name}"
    for name in (
        "cors.v3.Cors",
        "fault.v3.HTTPFault",
        "rbac.v3.RBAC",
        "jwt_authn.v3.JwtAuthentication",
        "ext_authz.v3.ExtAuthz",
        "grpc_stats.v3.FilterConfig",
        "health_check.v3.HealthCheck",
    )
)


def _kind(each: Message) -> str:
    """Return the full name of what a filter is set with."""
    name: str = each.typed_config.type_url.rpartition("/")[2]
    return name


def jwt_requirements(message: Message) -> Iterator[Violation]:
    """A requirement speaks of a provider that there is."""
    for index, rule in enumerate(message.rules):
        for name in _providers(rule.requires):
            if name not in message.providers:
                yield Violation(
                    path=f"rules[{index}].requires", rule=f"must name a provider that is there, not {name!r}"
                )
        if rule.requirement_name and rule.requirement_name not in message.requirement_map:
            yield Violation(path=f"rules[{index}].requirement_name", rule="must be in requirement_map")


def _providers(requirement: Message) -> Iterator[str]:
    match requirement.WhichOneof("requires_type"):
        case "provider_name":
            yield requirement.provider_name
        case "provider_and_audiences":
            yield requirement.provider_and_audiences.provider_name
        case "requires_any":
            yield from _of_all(requirement.requires_any.requirements)
        case "requires_all":
            yield from _of_all(requirement.requires_all.requirements)


def _of_all(requirements: Sequence[Message]) -> Iterator[str]:
    for one in requirements:
        yield from _providers(one)


LISTENER_RULES = {
    "envoy.config.listener.v3.Listener": (address, filter_chains),
    "envoy.config.listener.v3.FilterChain": (network_filters,),
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager": (http_filters,),
    "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication": (jwt_requirements,),
}
