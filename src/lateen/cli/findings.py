"""Printing findings in all three formats, and the summary line. Called by validate, analyze, generate and apply."""

from __future__ import annotations

from collections.abc import Sequence

from lateen.cli.options import Output
from lateen.cli.output import note, print_json, print_yaml
from lateen.model.findings import Finding, Severity

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


def print_findings(findings: Sequence[Finding], output: Output) -> None:
    """Print findings to stdout: one line each as a table of words, or a list as JSON or YAML.

    The table is for reading, so a message is not cut: each finding is one whole line, as a compiler prints it.
    """
    ordered = sorted(findings, key=lambda found: (found.file, found.line, found.column, found.path, found.code))
    match output:
        case Output.JSON:
            print_json([finding_row(found) for found in ordered])
        case Output.YAML:
            print_yaml([[finding_row(found) for found in ordered]])
        case Output.TABLE:
            for found in ordered:
                print(found)  # noqa: T201


def summary(objects: int, findings: Sequence[Finding]) -> str:
    """Return `12 objects, 1 error, 2 warnings`."""
    counts = [(objects, "object")]
    counts += [(_count(findings, severity), severity.value) for severity in (Severity.ERROR, Severity.WARNING)]
    if infos := _count(findings, Severity.INFO):
        counts.append((infos, "info"))
    return ", ".join(f"{number} {word}{'' if number == 1 else 's'}" for number, word in counts)


def _count(findings: Sequence[Finding], severity: Severity) -> int:
    return sum(1 for found in findings if found.severity is severity)


def note_summary(objects: int, findings: Sequence[Finding]) -> None:
    """Print the summary to stderr."""
    note(summary(objects, findings))
