"""`lateen explain` on files: exit codes, forms of output, width."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from lateen.cli.main import run

MESH = """
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {selector: {app: reviews}, ports: [{name: http, port: 9080}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: viewer}
spec: {rules: [{from: [{source: {principals: [cluster.local/ns/web/sa/frontend]}}]}]}
"""
PROXY = "{type: sidecar, name: web-1, serviceAccount: web, addresses: [10.0.0.9]}"

Explain = Callable[..., tuple[int, str, str]]


@pytest.fixture
def explain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Explain:
    """Run `lateen explain` in a folder of examples; return code, stdout, stderr."""
    (tmp_path / "mesh.yaml").write_text(MESH)
    (tmp_path / "proxy.yaml").write_text(PROXY)
    (tmp_path / "claims.json").write_text('{"iss": "me"}')
    monkeypatch.chdir(tmp_path)

    def ran(*arguments: str, line: str = "GET http://reviews:9080/x") -> tuple[int, str, str]:
        code = run(["explain", "-f", "mesh.yaml", "--proxy", "proxy.yaml", "--request", line, *arguments])
        return (code, *capsys.readouterr())

    return ran


def test_what_can_be_explained_is_no_error(explain: Explain) -> None:
    """Allowed or not: the exit code is about the question."""
    denied, allowed = explain("-o", "json"), explain("-o", "json", "--from", "web/frontend")

    assert (denied[0], allowed[0]) == (0, 0)
    assert json.loads(denied[1])["verdict"] == "denied"
    assert json.loads(allowed[1])["verdict"] == "allowed"


def test_the_table_fits_80_columns_and_ends_with_a_policy_that_can_be_applied(explain: Explain) -> None:
    code, out, _ = explain()
    head, _, policy = out.partition("apiVersion:")

    assert code == 0
    assert all(len(line) <= 80 for line in out.splitlines())
    assert "principal: wanted cluster.local/ns/web/sa/frontend" in head
    assert "mesh.yaml:7" in head
    assert yaml.safe_load("apiVersion:" + policy)["kind"] == "AuthorizationPolicy"


def test_yaml_and_json_are_the_same(explain: Explain) -> None:
    assert yaml.safe_load(explain("-o", "yaml")[1]) == json.loads(explain("-o", "json")[1])


@pytest.mark.parametrize(
    ("arguments", "line", "code", "words"),
    [
        ([], "http://reviews:9080/x", 2, "no method"),
        (["--header", "x"], "GET http://reviews:9080/x", 2, "NAME=VALUE"),
        (["--jwt", "nowhere.json"], "GET http://reviews:9080/x", 2, "nowhere.json"),
        (["--from", "x"], "GET http://reviews:9080/x", 2, "NAMESPACE/SERVICE_ACCOUNT"),
        ([], "tcp://reviews", 2, "no port"),
    ],
)
def test_wrong_questions(explain: Explain, arguments: list[str], line: str, code: int, words: str) -> None:
    ended, out, error = explain(*arguments, line=line)

    assert (ended, out) == (code, "")
    assert words in error
    assert "Traceback" not in error


def test_claims_are_read_from_a_file(explain: Explain) -> None:
    assert json.loads(explain("-o", "json", "--jwt", "claims.json")[1])["request"]["claims"] == {"iss": "me"}


def test_without_files_a_proxy_is_a_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = run(["explain", "--proxy", "proxy.yaml", "--request", "GET http://reviews/"])

    assert code == 2
    assert "goes with -f" in capsys.readouterr().err
