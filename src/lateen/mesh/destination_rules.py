"""DestinationRules of one host and namespace: which apply to a proxy, and how several become one.

Called by `mesh.queries`. Source of the rules: Istio's DestinationRule reference and its documented merging
("Multiple virtual services and destination rules for the same host").
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import msgspec

from lateen.config.networking import DestinationRule
from lateen.config.objects import ConfigObject
from lateen.mesh.state import BoundDestinationRule
from lateen.model.proxies import Proxy, labels_match


def select_for(rules: Sequence[BoundDestinationRule], proxy: Proxy) -> list[BoundDestinationRule]:
    """Return the rules that apply to a proxy, the decisive one first.

    Those with the oldest matching workload selector come before those without one, which fill what they leave
    open. A selector counts only in the rule's own namespace.
    """
    open_rules = [rule for rule in rules if rule.object.spec.workload_selector is None]
    for rule in rules:
        selector = rule.object.spec.workload_selector
        if (
            selector is not None
            and rule.object.key.namespace == proxy.namespace
            and labels_match(selector.match_labels, proxy.labels)
        ):
            same = [other for other in rules if other.object.spec.workload_selector == selector]
            return [*same, *open_rules]
    return open_rules


def merged(rules: Sequence[BoundDestinationRule]) -> ConfigObject[DestinationRule]:
    """Return one rule for several (at least one) of a host: the first, with the others' subsets appended.

    The first subset of a name and the first traffic policy win; export and selector are the first's.
    """
    first = rules[0].object
    if len(rules) == 1:
        return first
    subsets = {subset.name: subset for rule in reversed(rules) for subset in reversed(rule.object.spec.subsets)}
    ordered = dict.fromkeys(subset.name for rule in rules for subset in rule.object.spec.subsets)
    policy = next((rule.object.spec.traffic_policy for rule in rules if rule.object.spec.traffic_policy), None)
    spec = msgspec.structs.replace(first.spec, subsets=[subsets[name] for name in ordered], traffic_policy=policy)
    digest = hashlib.sha256("\n".join(rule.object.digest for rule in rules).encode()).hexdigest()
    return replace(first, spec=spec, digest=digest)
