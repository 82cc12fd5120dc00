"""The traffic policies of a DestinationRule, by where they stand. Used by what looks at their settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lateen.config.networking import DestinationRule, TrafficPolicy
from lateen.config.positions import Path


def traffic_policies(spec: DestinationRule) -> Iterator[tuple[Path, TrafficPolicy, Mapping[str, str]]]:
    """Yield path, policy and labels: of the rule itself, which has none, then of its subsets."""
    if spec.traffic_policy is not None:
        yield ("spec", "trafficPolicy"), spec.traffic_policy, {}
    for index, subset in enumerate(spec.subsets):
        if subset.traffic_policy is not None:
            yield ("spec", "subsets", index, "trafficPolicy"), subset.traffic_policy, subset.labels
