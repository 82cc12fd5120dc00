"""Route configurations: what Envoy refuses beside the rules of its API. Part of `loading`."""

from __future__ import annotations

from collections.abc import Iterator

from lateen.envoy.constraints.kinds import nanoseconds
from lateen.envoy.constraints.violations import Violation
from lateen.envoy.messages import Message

_MOST_WEIGHT = (1 << 32) - 1
_LONGEST_BODY = 4096


def domains(message: Message) -> Iterator[Violation]:
    """A domain leads to one virtual host, whatever its case."""
    seen: dict[str, str] = {}
    for index, host in enumerate(message.virtual_hosts):
        for place, domain in enumerate(host.domains):
            if (other := seen.get(domain.lower())) is not None:
                rule = f"must be unique: {domain} is a domain of virtual host {other} already"
                yield Violation(path=f"virtual_hosts[{index}].domains[{place}]", rule=rule)
            seen.setdefault(domain.lower(), host.name)


def removed_headers(message: Message) -> Iterator[Violation]:
    """Nobody takes the request line or the host away."""
    for index, name in enumerate(message.request_headers_to_remove):
        if name.startswith(":") or name.lower() == "host":
            rule = "must not begin with `:` or be Host: Envoy lets nobody remove these"
            yield Violation(path=f"request_headers_to_remove[{index}]", rule=rule)


def weights(message: Message) -> Iterator[Violation]:
    """Shares of nothing are no shares; a cluster is named directly or by a header."""
    total = sum(one.weight.value for one in message.clusters)
    if message.clusters and not total:
        yield Violation(path="clusters", rule="must have weights whose sum is greater than 0")
    if total > _MOST_WEIGHT:
        yield Violation(path="clusters", rule=f"must have weights whose sum is at most {_MOST_WEIGHT}")
    for index, one in enumerate(message.clusters):
        if not one.name and not one.cluster_header:
            yield Violation(path=f"clusters[{index}]", rule="must have a name or a cluster_header")
        elif one.name and one.cluster_header:
            yield Violation(path=f"clusters[{index}]", rule="must not have both a name and a cluster_header")


def rewrites(message: Message) -> Iterator[Violation]:
    """One rewrite of the path."""
    given = [
        name
        for name in ("prefix_rewrite", "regex_rewrite", "path_rewrite_policy", "path_rewrite")
        if _has(message, name)
    ]
    if len(given) > 1:
        yield Violation(path=given[1], rule=f"must not be set together with {given[0]}")


def _has(message: Message, name: str) -> bool:
    known = message.DESCRIPTOR.fields_by_name.get(name)
    if known is None:
        return False
    return message.HasField(name) if known.message_type is not None else bool(getattr(message, name))


def mirror(message: Message) -> Iterator[Violation]:
    """A copy goes somewhere."""
    if bool(message.cluster) is bool(message.cluster_header):
        yield Violation(path="cluster", rule="must be set, or cluster_header, and not both")


def direct_response(message: Message) -> Iterator[Violation]:
    """Bodies are kept in memory."""
    size = len(message.body.inline_string.encode()) or len(message.body.inline_bytes)
    if size > _LONGEST_BODY:
        yield Violation(path="body", rule=f"must be at most {_LONGEST_BODY} bytes long")


def back_off(message: Message) -> Iterator[Violation]:
    """The waits between tries grow."""
    both = message.HasField("max_interval") and message.HasField("base_interval")
    if both and nanoseconds(message.max_interval) < nanoseconds(message.base_interval):
        yield Violation(path="max_interval", rule="must not be less than base_interval")


ROUTE_RULES = {
    "envoy.config.route.v3.RouteConfiguration": (domains, removed_headers),
    "envoy.config.route.v3.VirtualHost": (removed_headers,),
    "envoy.config.route.v3.Route": (removed_headers,),
    "envoy.config.route.v3.WeightedCluster": (weights,),
    "envoy.config.route.v3.WeightedCluster.ClusterWeight": (removed_headers,),
    "envoy.config.route.v3.RouteAction": (rewrites,),
    "envoy.config.route.v3.DirectResponseAction": (direct_response,),
    "envoy.config.route.v3.RetryPolicy.RetryBackOff": (back_off,),
    "envoy.config.route.v3.RouteAction.RequestMirrorPolicy": (mirror,),
}
