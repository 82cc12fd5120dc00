"""Findings with their place: the file, line and path of a field of an object.

Called by the rules of this room, which know objects and paths but not files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lateen.config.codes import Code, Subject
from lateen.config.kinds import document_kind
from lateen.config.objects import ConfigObject
from lateen.config.positions import Path, Positions, render_path
from lateen.model.findings import Finding
from lateen.model.names import ObjectKey


@dataclass(slots=True)
class Report:
    """Collects findings. Without positions (objects from an API) a finding has its object's place."""

    positions: Mapping[ObjectKey, Positions]
    findings: list[Finding] = field(default_factory=list)

    def add(self, code: Code, subject: ConfigObject[Any], path: Path, message: str) -> None:
        """Add a finding about the field `path` of `subject`; the path begins at the document's root."""
        known = self.positions.get(subject.key)
        place = known.line_of(path) if known is not None else (subject.origin.line, 0)
        about = Subject(
            kind=document_kind(subject.key.kind),
            namespace=subject.key.namespace,
            name=subject.key.name,
            path=render_path(path),
        )
        self.findings.append(code.finding(message, file=subject.origin.source, place=place, subject=about))
