"""What a security policy is about: a selector of workloads, or references to what they stand behind, never both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lateen.config.codes import NO_EFFECT
from lateen.config.decoding import closest
from lateen.config.networking import MatchLabelsSelector
from lateen.config.positions import Path
from lateen.config.security import PolicyTargetReference
from lateen.config.validation import fields
from lateen.config.violations import Violation

_GATEWAY = ("gateway.networking.k8s.io", "Gateway")
_TARGETS = (
    _GATEWAY,
    ("gateway.networking.k8s.io", "GatewayClass"),
    ("", "Service"),
    ("networking.istio.io", "ServiceEntry"),
)
_MOST = 16


def inert_reference(violation: Violation) -> bool:
    """Whether it only says that this kind of target has no effect: of no interest in a kind that has none itself."""
    return violation.code is NO_EFFECT


def attachment(
    selector: MatchLabelsSelector | None,
    one: PolicyTargetReference | None,
    several: Sequence[PolicyTargetReference],
    _namespace: str,
) -> Iterator[Violation]:
    """The fields `selector`, `targetRef` and `targetRefs` of a policy: only one of them is set."""
    given = [
        name
        for name, value in (("selector", selector), ("targetRef", one), ("targetRefs", several or None))
        if value is not None
    ]
    if len(given) > 1:
        yield Violation(
            (given[1],), f"{' and '.join(f'`{name}`' for name in given)} exclude each other", "keep one of them"
        )
    if selector is not None:
        yield from fields.selector(("selector", "matchLabels"), selector.match_labels, required=True)
    if one is not None:
        yield from _reference(("targetRef",), one)
    if len(several) > _MOST:
        yield Violation(("targetRefs",), f"there are {len(several)} references", f"at most {_MOST} are allowed")
    for index, reference in enumerate(several):
        yield from _reference(("targetRefs", index), reference)


def _reference(path: Path, reference: PolicyTargetReference) -> Iterator[Violation]:
    if not reference.name:
        yield Violation((*path, "name"), "the field `name` is required", "name what the policy is attached to")
    if reference.namespace:
        hint = "remove it: a policy is attached to what is in its own namespace"
        yield Violation((*path, "namespace"), "must not be set", hint)
    group = "" if reference.group == "core" else reference.group
    if (group, reference.kind) not in _TARGETS:
        near = closest(reference.kind, (kind for _, kind in _TARGETS))
        known = ", ".join(f"{kind} of {group or 'core'}" for group, kind in _TARGETS)
        right = next((group for group, kind in _TARGETS if kind == near), "")
        hint = f"did you mean `kind: {near}`, `group: {right or 'core'}`?" if near else f"write one of: {known}"
        yield Violation((*path, "kind"), f"a policy cannot be attached to {reference.group}/{reference.kind}", hint)
    elif (group, reference.kind) != _GATEWAY:
        message = f"a policy attached to a {reference.kind} acts in a waypoint, and there are none"
        yield Violation((*path, "kind"), message, "use a selector of the workloads", NO_EFFECT)
