"""Printing findings in all formats, and the summary line. Called by validate, analyze, generate and apply."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lateen.cli.finding_formats import FindingOutput, github, sarif
from lateen.cli.options import Output
from lateen.cli.output import line_width, note, print_json, print_yaml
from lateen.model.findings import Finding, Severity

if TYPE_CHECKING:
    from lateen.api.schemas import FindingView

Row = dict[str, str | int]


def finding_row(finding: Finding) -> Row:
    """Return the finding in the JSON shape of the command line's contract."""
    return {
        "file": finding.file,
        "line": finding.line,
        "column": finding.column,
        "kind": finding.kind,
        "namespace": finding.namespace,
        "name": finding.name,
        "path": finding.path,
        "code": finding.code,
        "severity": finding.severity.value,
        "message": finding.message,
    }


def finding_of(view: FindingView) -> Finding:
    """Return a finding as the API tells it."""
    return Finding(
        code=view.code,
        severity=Severity(view.severity),
        message=view.message,
        file=view.file,
        line=view.line,
        column=view.column,
        kind=view.kind,
        namespace=view.namespace,
        name=view.name,
        path=view.path,
    )


def print_findings(findings: Sequence[Finding], output: Output | FindingOutput) -> None:
    """Print findings to stdout: as a table of words, or in a format for machines.

    The table is for reading, so a message is never cut: in a pipe each finding is one whole line, as a compiler prints
    it, and on a terminal it is folded.
    """
    ordered = sorted(findings, key=lambda found: (found.file, found.line, found.column, found.path, found.code))
    match FindingOutput(output.value):
        case FindingOutput.JSON:
            print_json([finding_row(found) for found in ordered])
        case FindingOutput.YAML:
            print_yaml([[finding_row(found) for found in ordered]])
        case FindingOutput.SARIF:
            from importlib.metadata import version

            print_json(sarif(ordered, version("lateen")))
        case FindingOutput.GITHUB:
            for found in ordered:
                print(github(found))  # noqa: T201
        case FindingOutput.TABLE:
            width = line_width()
            for found in ordered:
                print(str(found) if width is None else folded(found, width))  # noqa: T201


def folded(finding: Finding, width: int) -> str:
    """Return a finding in lines no wider than `width`; words break only where there is no other way."""
    lines = textwrap.wrap(str(finding), width, subsequent_indent="    ", break_on_hyphens=False)
    return "\n".join(lines)


def summary(objects: int | None, findings: Sequence[Finding]) -> str:
    """Return `12 objects, 1 error, 2 warnings`; without objects where they were not counted."""
    counts = [(objects, "object")] if objects is not None else []
    counts += [(_count(findings, severity), severity.value) for severity in (Severity.ERROR, Severity.WARNING)]
    if infos := _count(findings, Severity.INFO):
        counts.append((infos, "info"))
    return ", ".join(f"{number} {word}{'' if number == 1 else 's'}" for number, word in counts)


def _count(findings: Sequence[Finding], severity: Severity) -> int:
    return sum(1 for found in findings if found.severity is severity)


def note_summary(objects: int | None, findings: Sequence[Finding]) -> None:
    """Print the summary to stderr."""
    note(summary(objects, findings))
