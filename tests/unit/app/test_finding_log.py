"""Findings in the log: said once, errors first, bounded."""

from __future__ import annotations

from structlog.testing import capture_logs

from lateen.app.finding_log import MOST_LINES, FindingLog
from lateen.model.findings import Finding, Severity


def finding(number: int, severity: Severity = Severity.WARNING) -> Finding:
    return Finding(code="LAT0001", severity=severity, message=f"problem {number}", file="a.yaml", line=number)


def test_each_finding_is_said_once_and_its_end_too() -> None:
    log = FindingLog()
    with capture_logs() as first:
        log.update([finding(1), finding(2, Severity.ERROR)])
    with capture_logs() as second:
        log.update([finding(1), finding(2, Severity.ERROR)])
        log.update([finding(1)])
        log.update([])
        log.update([])
    assert [(line["log_level"], line["what"]) for line in first] == [
        ("error", "a.yaml:2: error LAT0001: problem 2"),
        ("warning", "a.yaml:1: warning LAT0001: problem 1"),
    ]
    assert [line["event"] for line in second] == ["no findings any more"]


def test_a_flood_is_bounded() -> None:
    with capture_logs() as lines:
        FindingLog().update(finding(number) for number in range(1000))
    assert len(lines) == MOST_LINES + 1
    assert lines[-1]["count"] == 1000 - MOST_LINES
