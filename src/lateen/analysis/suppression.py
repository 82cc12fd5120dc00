"""Findings that a user has seen and accepts: by annotation of the object, or by a rule of the command line.

Called by `references` for annotations and by the command line for both. A document that is refused has no object, so
no annotation hides why it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from lateen.config.objects import ConfigObject
from lateen.model.findings import Finding
from lateen.model.names import ObjectKey

SUPPRESS = "galley.istio.io/analyze-suppress"
"""Istio's annotation: codes with commas between them, or `*`."""

_RULE = re.compile(r"([A-Za-z]+[0-9]+|\*)=(\S+) (\S+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Suppression:
    """A code, and the objects that it is not said of; `*` stands for any characters."""

    code: str
    kind: str
    name: str
    """`NAME.NAMESPACE`."""

    @classmethod
    def parse(cls, text: str) -> Suppression:
        """Read `CODE=KIND NAME.NAMESPACE`; ValueError for anything else."""
        match = _RULE.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is not of the form CODE=KIND NAME.NAMESPACE")
        return cls(code=match[1].upper(), kind=match[2], name=match[3])

    def covers(self, finding: Finding) -> bool:
        """Whether the finding is not to be said."""
        name = f"{finding.name}.{finding.namespace}" if finding.namespace else finding.name
        return (
            self.code in ("*", finding.code) and fnmatchcase(finding.kind, self.kind) and fnmatchcase(name, self.name)
        )


def without_annotated(findings: Iterable[Finding], objects: Sequence[ConfigObject[Any]]) -> tuple[Finding, ...]:
    """Leave out what the objects' own annotations suppress."""
    suppressed = {
        one.key: frozenset(code.strip() for code in one.annotations[SUPPRESS].split(","))
        for one in objects
        if SUPPRESS in one.annotations
    }
    if not suppressed:
        return tuple(findings)
    return tuple(
        found
        for found in findings
        if suppressed.get(ObjectKey(found.kind, found.namespace, found.name), frozenset()).isdisjoint(("*", found.code))
    )


def without_suppressed(findings: Iterable[Finding], rules: Sequence[Suppression]) -> tuple[Finding, ...]:
    """Leave out what the rules suppress."""
    return tuple(found for found in findings if not any(rule.covers(found) for rule in rules))
