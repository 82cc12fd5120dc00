"""Findings: what is wrong with a document, where, and what to write instead.

The JSON shape is a contract of the command line (`lateen validate -o json`). Field paths are written as in
Istio's messages: `spec.http[0].route[1].weight`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Severity(Enum):
    """How bad: an error refuses the object, a warning and an info do not."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One problem at one place. Codes `ISTnnnn` are Istio's own, `LATnnnn` are ours (docs/reference/findings.md)."""

    code: str
    severity: Severity
    message: str
    """One sentence, and after it the hint: what to write instead."""
    file: str = ""
    line: int = 0
    column: int = 0
    """1-based; 0 when unknown."""
    kind: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""
    """Path of the field in the document, empty for the whole object."""

    def __str__(self) -> str:
        """`bookshop.yaml:12:5: error LAT0003 VirtualService default/reviews spec.http[0]: message`."""
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part)
        subject = " ".join(
            part for part in (self.kind, "/".join(p for p in (self.namespace, self.name) if p), self.path) if part
        )
        return ": ".join(
            part for part in (place, f"{self.severity.value} {self.code} {subject}".rstrip(), self.message) if part
        )


def has_errors(findings: tuple[Finding, ...] | list[Finding]) -> bool:
    """Whether any finding is an error."""
    return any(finding.severity is Severity.ERROR for finding in findings)
