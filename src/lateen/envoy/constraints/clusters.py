"""Clusters and their endpoints: what Envoy refuses beside the rules of its API. Part of `loading`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from lateen.envoy.constraints.kinds import nanoseconds
from lateen.envoy.constraints.values import is_address
from lateen.envoy.constraints.violations import Violation, under
from lateen.envoy.messages import Message

_STATIC, _STRICT_DNS, _LOGICAL_DNS, _EDS, _ORIGINAL_DST = range(5)
_PROVIDED = 6
_MOST_WEIGHT = (1 << 32) - 1
_RING_MOST = 8 * 1024 * 1024
_LONGEST_EJECTION = 300 * 1_000_000_000
_DEFAULT_EJECTION = 30 * 1_000_000_000


def discovery(message: Message) -> Iterator[Violation]:
    """What a type of cluster needs to find its endpoints, and what it cannot use."""
    if message.WhichOneof("cluster_discovery_type") == "cluster_type":
        return
    if message.type == _EDS and not message.HasField("eds_cluster_config"):
        yield Violation(path="eds_cluster_config", rule="must be set")
    if message.type == _EDS and message.HasField("load_assignment"):
        yield Violation(path="load_assignment", rule="must not be set: EDS tells the endpoints")
    if message.type == _ORIGINAL_DST:
        if message.lb_policy != _PROVIDED and not message.HasField("load_balancing_policy"):
            yield Violation(path="lb_policy", rule="must be CLUSTER_PROVIDED where the type is ORIGINAL_DST")
        if message.load_assignment.endpoints:
            yield Violation(path="load_assignment", rule="must be empty where the type is ORIGINAL_DST")
    elif message.lb_policy == _PROVIDED and not message.HasField("load_balancing_policy"):
        yield Violation(path="lb_policy", rule="must not be CLUSTER_PROVIDED: this type of cluster provides none")
    if message.type == _LOGICAL_DNS and not _is_single(message.load_assignment):
        yield Violation(path="load_assignment", rule="must have one endpoint where the type is LOGICAL_DNS")
    if message.type == _STATIC:
        yield from under("load_assignment", names_for_addresses(message.load_assignment))


def _is_single(assignment: Message) -> bool:
    return len(assignment.endpoints) == 1 and len(assignment.endpoints[0].lb_endpoints) == 1


def names_for_addresses(assignment: Message) -> Iterator[Violation]:
    """Nobody resolves a name here."""
    for place, locality in enumerate(assignment.endpoints):
        for index, one in enumerate(locality.lb_endpoints):
            socket = one.endpoint.address.socket_address
            named = one.endpoint.address.WhichOneof("address") == "socket_address" and socket.address
            if named and not socket.resolver_name and not is_address(socket.address):
                rule = f"must be an IP address, not {socket.address!r}: nobody resolves it in this type of cluster"
                yield Violation(path=f"endpoints[{place}].lb_endpoints[{index}].endpoint.address", rule=rule)


def endpoint_address(message: Message) -> Iterator[Violation]:
    """An endpoint is somewhere."""
    if not message.HasField("address"):
        yield Violation(path="address", rule="must be set")


def endpoint_weights(message: Message) -> Iterator[Violation]:
    """Sums of weights fit into 32 bits."""
    by_priority: defaultdict[int, int] = defaultdict(int)
    for index, locality in enumerate(message.endpoints):
        by_priority[locality.priority] += locality.load_balancing_weight.value
        if sum(one.load_balancing_weight.value for one in locality.lb_endpoints) > _MOST_WEIGHT:
            yield Violation(path=f"endpoints[{index}]", rule=f"must have weights whose sum is at most {_MOST_WEIGHT}")
    if any(total > _MOST_WEIGHT for total in by_priority.values()):
        yield Violation(path="endpoints", rule=f"must have localities whose weights add up to at most {_MOST_WEIGHT}")


def outlier_detection(message: Message) -> Iterator[Violation]:
    """An ejection is not longer than the longest."""
    base = _time(message, "base_ejection_time", _DEFAULT_EJECTION)
    longest = _time(message, "max_ejection_time", max(_LONGEST_EJECTION, base))
    if longest < base:
        yield Violation(path="max_ejection_time", rule="must not be less than base_ejection_time")


def _time(message: Message, name: str, default: int) -> int:
    return nanoseconds(getattr(message, name)) if message.HasField(name) else default


def ring(message: Message) -> Iterator[Violation]:
    """A ring is between its bounds."""
    least, most = _number(message, "minimum_ring_size", 1024), _number(message, "maximum_ring_size", _RING_MOST)
    if least > most:
        yield Violation(path="minimum_ring_size", rule=f"must not be greater than maximum_ring_size, which is {most}")


def table(message: Message) -> Iterator[Violation]:
    """Maglev's permutations need a prime."""
    size = _number(message, "table_size", 65537)
    if not _is_prime(size):
        yield Violation(path="table_size", rule=f"must be a prime number, not {size}")


def _number(message: Message, name: str, default: int) -> int:
    return int(getattr(message, name).value) if message.HasField(name) else default


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))


CLUSTER_RULES: dict[str, Any] = {
    "envoy.config.cluster.v3.Cluster": (discovery,),
    "envoy.config.endpoint.v3.Endpoint": (endpoint_address,),
    "envoy.config.endpoint.v3.ClusterLoadAssignment": (endpoint_weights,),
    "envoy.config.cluster.v3.OutlierDetection": (outlier_detection,),
    "envoy.config.cluster.v3.Cluster.RingHashLbConfig": (ring,),
    "envoy.config.cluster.v3.Cluster.MaglevLbConfig": (table,),
    "envoy.extensions.load_balancing_policies.ring_hash.v3.RingHash": (ring,),
    "envoy.extensions.load_balancing_policies.maglev.v3.Maglev": (table,),
}
