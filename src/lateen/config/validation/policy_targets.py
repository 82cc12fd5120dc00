"""What a security policy is attached to: workloads by a selector, or the objects of target references.

Called by the rules of the kinds that have both. Source: Istio's validation, and the rules of its CRDs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lateen.config.networking import MatchLabelsSelector
from lateen.config.positions import Path
from lateen.config.security import PolicyTargetReference
from lateen.config.validation import fields
from lateen.config.violations import Violation

MAX_TARGETS = 16
_TARGETS = {
    ("gateway.networking.k8s.io", "Gateway"),
    ("gateway.networking.k8s.io", "GatewayClass"),
    ("", "Service"),
    ("core", "Service"),
    ("networking.istio.io", "ServiceEntry"),
}
"""Group and kind."""


def attachment(
    selector: MatchLabelsSelector | None,
    target_ref: PolicyTargetReference | None,
    target_refs: Sequence[PolicyTargetReference],
    namespace: str,
) -> Iterator[Violation]:
    """A selector, one target reference or a list of them, but only one of the three."""
    named = {"selector": selector, "targetRef": target_ref, "targetRefs": target_refs or None}
    given = [name for name, value in named.items() if value is not None]
    for name in given[1:]:
        yield Violation((name,), f"`{given[0]}` and `{name}` exclude each other", "keep one of them")
    if selector is not None:
        yield from fields.selector(("selector", "matchLabels"), selector.match_labels)
    if target_ref is not None:
        yield from _target(("targetRef",), target_ref, namespace)
    if len(target_refs) > MAX_TARGETS:
        yield Violation(("targetRefs",), f"{len(target_refs)} targets are more than the {MAX_TARGETS} that are allowed")
    for index, target in enumerate(target_refs):
        yield from _target(("targetRefs", index), target, namespace)


def _target(path: Path, target: PolicyTargetReference, namespace: str) -> Iterator[Violation]:
    if not target.name:
        yield Violation((*path, "name"), "a target needs a name", "write the name of the object")
    if not target.kind:
        yield Violation((*path, "kind"), "a target needs a kind", "write Gateway and its group")
    elif (target.group, target.kind) not in _TARGETS:
        hint = "write `group: gateway.networking.k8s.io, kind: Gateway`"
        yield Violation((*path, "kind"), f"a policy cannot be attached to {target.kind} of {target.group!r}", hint)
    if target.namespace and target.namespace != namespace:
        yield Violation(
            (*path, "namespace"), "a target is in the policy's own namespace", "move the policy, or remove it"
        )
