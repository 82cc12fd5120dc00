"""Formats of findings for machines: SARIF for tools of code review, workflow commands for GitHub Actions.

Called by `cli/findings.py`. Pure: from findings to text or plain JSON types.
Sources: SARIF 2.1.0 (OASIS, 2020); GitHub "Workflow commands" (`::error file=…,line=…,title=…::message`).
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import PurePath
from typing import Annotated, Any
from urllib.parse import quote

import typer

from lateen.model.findings import Finding, Severity


class FindingOutput(StrEnum):
    """Formats of `-o` for commands whose output is findings."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"
    SARIF = "sarif"
    GITHUB = "github"


FindingOutputOption = Annotated[
    FindingOutput,
    typer.Option("--output", "-o", help="Format of the output; sarif and github are for code review."),
]

SARIF_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_HOME = "docs/reference/findings.md"
_SARIF_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "note"}
_GITHUB_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "notice"}
_STDIN = "-"


def sarif(findings: Sequence[Finding], version: str) -> dict[str, Any]:
    """Return a SARIF log of one run; its rules are the codes that occur."""
    from lateen.config.codes import CODES

    occurring = {found.code for found in findings}
    used = sorted((code for code in CODES if code.code in occurring), key=lambda code: code.code)
    rules = [
        {
            "id": code.code,
            "name": "".join(word.capitalize() for word in code.title.split() if word.isalnum()),
            "shortDescription": {"text": code.title},
            "fullDescription": {"text": code.explanation},
            "help": {"text": f"{code.explanation} See {_HOME}#{code.code.lower()}."},
            "defaultConfiguration": {"level": _SARIF_LEVELS[code.severity]},
        }
        for code in used
    ]
    index = {code.code: place for place, code in enumerate(used)}
    driver = {"name": "lateen", "version": version, "rules": rules}
    results = [_sarif_result(found, index) for found in findings]
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    return {"$schema": SARIF_SCHEMA, "version": "2.1.0", "runs": [run]}


def _sarif_result(finding: Finding, rules: dict[str, int]) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": finding.code,
        "level": _SARIF_LEVELS[finding.severity],
        "message": {"text": finding.message},
    }
    if finding.code in rules:
        result["ruleIndex"] = rules[finding.code]
    location: dict[str, Any] = {}
    if finding.file and finding.file != _STDIN:
        location["physicalLocation"] = {"artifactLocation": {"uri": _uri(finding.file)}}
        if finding.line:
            column = {"startColumn": finding.column} if finding.column else {}
            location["physicalLocation"]["region"] = {"startLine": finding.line} | column
    if name := _subject(finding):
        location["logicalLocations"] = [{"fullyQualifiedName": name, "kind": "resource"}]
    return result | ({"locations": [location]} if location else {})


def _uri(file: str) -> str:
    """Return a file as a URI reference: relative as written, absolute with its scheme."""
    path = PurePath(file)
    return path.as_uri() if path.is_absolute() else quote(path.as_posix())


def _subject(finding: Finding) -> str:
    name = "/".join(part for part in (finding.namespace, finding.name) if part)
    return " ".join(part for part in (finding.kind, name, finding.path) if part)


def github(finding: Finding) -> str:
    """Return the workflow command that annotates the finding's line."""
    properties = {"title": f"{finding.code} {_subject(finding)}".rstrip()}
    if finding.file and finding.file != _STDIN:
        place = {"file": finding.file}
        place |= {"line": str(finding.line)} if finding.line else {}
        place |= {"col": str(finding.column)} if finding.line and finding.column else {}
        properties = place | properties
    written = ",".join(f"{name}={_escaped_property(value)}" for name, value in properties.items())
    return f"::{_GITHUB_LEVELS[finding.severity]} {written}::{_escaped(finding.message)}"


def _escaped(text: str) -> str:
    # As the runner's own toolkit does: otherwise a message could end its line and begin a command.
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escaped_property(text: str) -> str:
    return _escaped(text).replace(":", "%3A").replace(",", "%2C")
