"""Exit codes and streams of the offline commands, and of wrong usage: a table, run in this process."""

from __future__ import annotations

import json
import logging
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog
import yaml

from lateen.agent import envoy_process
from lateen.agent.errors import StartError
from lateen.cli.main import run

GOOD = """
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {ports: [{port: 9080, name: http}], selector: {app: reviews}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec: {hosts: [reviews], http: [{route: [{destination: {host: reviews}}]}]}
"""
DANGLING = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: lost}
spec: {hosts: [lost], http: [{route: [{destination: {host: nowhere}}]}]}
"""
BROKEN = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: broken}
spec: {hosts: [reviews], http: [{rout: []}]}
"""
UNKNOWN = "{apiVersion: example.com/v1, kind: Sandwich, metadata: {name: lunch}}"
PROXY = "{type: sidecar, name: reviews-1, labels: {app: reviews}, addresses: [10.0.0.5]}"
FINDING_KEYS = {"file", "line", "kind", "namespace", "name", "path", "code", "severity", "message"}

Lateen = Callable[[str], tuple[int, str, str]]


@pytest.fixture
def lateen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Lateen]:
    """Run a command in a folder of examples; return code, stdout, stderr. Logging is as before afterwards."""
    for name, text in {
        "good.yaml": GOOD,
        "dangling.yaml": DANGLING,
        "broken.yaml": BROKEN,
        "unknown.yaml": UNKNOWN,
        "proxy.yaml": PROXY,
        "mesh.yaml": "outboundTrafficPolicy: {mode: REGISTRY_ONLY}",
        "badmesh.yaml": "outboundTrafficPolicy: {mode: SOMETIMES}",
    }.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LATEEN_SERVER", raising=False)

    def made(words: str) -> tuple[int, str, str]:
        code = run(shlex.split(words))
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return code, printed.out, printed.err

    root, handlers, level = logging.getLogger(), logging.getLogger().handlers[:], logging.getLogger().level
    yield made
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("--help", 0),
        ("--version", 0),
        ("validate -f good.yaml", 0),
        ("validate -f good.yaml dangling.yaml", 0),
        ("validate -f unknown.yaml", 0),
        ("validate -f good.yaml -f broken.yaml", 1),
        ("validate -f good.yaml --mesh-config mesh.yaml", 0),
        ("validate -f good.yaml --mesh-config badmesh.yaml", 1),
        ("validate -f good.yaml --mesh-config missing.yaml", 2),
        ("validate -f missing.yaml", 2),
        ("validate", 2),
        ("validate -f good.yaml -o xml", 2),
        ("validate --nonsense", 2),
        ("analyze -f good.yaml", 0),
        ("analyze -f good.yaml dangling.yaml", 1),
        ("analyze --mesh-config mesh.yaml", 2),
        ("analyze --server http://127.0.0.1:1", 3),
        ("generate -f good.yaml --proxy proxy.yaml", 0),
        ("generate -f good.yaml --proxy proxy.yaml --static", 0),
        ("generate -f good.yaml --proxy proxy.yaml -o table", 0),
        ("generate -f good.yaml --proxy proxy.yaml -o yaml", 0),
        ("generate -f good.yaml --status", 0),
        ("generate -f good.yaml", 2),
        ("generate -f broken.yaml --proxy proxy.yaml", 1),
        ("generate -f good.yaml --proxy good.yaml", 1),
        ("generate -f good.yaml --proxy missing.yaml", 2),
        ("sail", 2),
        ("get sandwiches", 2),
        ("get vs web -A", 2),
        ("delete", 2),
        ("delete vs", 2),
        ("proxy-config cats web.default", 2),
        ("get vs --server ftp://x", 2),
        ("get vs --server http://127.0.0.1:1", 3),
        ("apply -f good.yaml --server http://127.0.0.1:1", 3),
        ("proxy-status --server 127.0.0.1:1", 3),
        ("version --server http://127.0.0.1:1", 0),
        ("serve --config missing", 2),
        ("serve --store sqlite:x", 2),
        ("serve --http nonsense", 2),
        ("serve --grpc nonsense", 2),
        ("serve --grpc 0.0.0.0:0", 2),
        ("serve --grpc 127.0.0.1:0 --secure-grpc nonsense", 2),
        ("serve --grpc 127.0.0.1:99999", 2),
        ("serve --mesh-config nope", 2),
        ("serve --debounce-quiet soon", 2),
        ("serve --debounce-quiet 0.5", 2),
        ("serve --debounce-quiet=-1s", 2),
        ("serve --debounce-max=-1s", 2),
        ("serve --debounce-quiet 11s", 2),
        ("serve --debounce-quiet 2s --debounce-max 1s", 2),
        ("serve --mesh-config badmesh.yaml", 1),
        ("run --service a --locality a/b/c/d -- true", 2),
        ("run --service a --address nonsense -- true", 2),
        ("run --service a --port 15001 -- true", 2),
        ("proxy sidecar --service a --upstream b:1=19080 --upstream c:1=19080", 2),
        ("proxy gateway --name A", 2),
    ],
)
def test_exit_codes(lateen: Lateen, words: str, code: int) -> None:
    ended, _, err = lateen(words)

    assert ended == code, err
    if code:
        assert err


def test_findings_in_json_are_a_list_on_stdout_alone(lateen: Lateen) -> None:
    _, out, err = lateen("validate -f good.yaml broken.yaml -o json")
    findings = json.loads(out)

    assert set(findings[0]) >= FINDING_KEYS
    [error] = [found for found in findings if found["severity"] == "error"]
    assert (error["file"], error["line"], error["path"]) == ("broken.yaml", 5, "spec.http[0].rout")
    assert "route" in error["message"]
    assert err.strip() == "2 objects, 1 error, 0 warnings"


def test_no_findings_in_json_are_an_empty_list(lateen: Lateen) -> None:
    assert json.loads(lateen("validate -f good.yaml -o json")[1]) == []
    assert yaml.safe_load(lateen("validate -f good.yaml -o yaml")[1]) == []


def test_an_unknown_kind_is_a_warning(lateen: Lateen) -> None:
    [finding] = json.loads(lateen("validate -f unknown.yaml -o json")[1])

    assert (finding["severity"], finding["kind"]) == ("warning", "Sandwich")


def test_a_dangling_host_has_istios_code_and_its_line(lateen: Lateen) -> None:
    findings = json.loads(lateen("analyze -f good.yaml dangling.yaml -o json")[1])
    [finding] = [found for found in findings if found["code"] == "IST0101"]

    assert (finding["file"], finding["line"], finding["name"]) == ("dangling.yaml", 5, "lost")
    assert finding["path"].startswith("spec.http[0].route[0].destination")


def test_generate_prints_protobuf_json_by_type(lateen: Lateen) -> None:
    made = json.loads(lateen("generate -f good.yaml --proxy proxy.yaml")[1])

    assert set(made) == {"listeners", "routes", "clusters", "endpoints", "secrets", "extensions"}
    assert "outbound|9080||reviews.default.svc.cluster.local" in [cluster["name"] for cluster in made["clusters"]]


def test_generate_takes_the_mesh_config(lateen: Lateen) -> None:
    words = "generate -f good.yaml --proxy proxy.yaml"
    assert lateen(words)[1] != lateen(f"{words} --mesh-config mesh.yaml")[1]


def test_a_static_bootstrap_is_whole(lateen: Lateen) -> None:
    made = json.loads(lateen("generate -f good.yaml --proxy proxy.yaml --static")[1])

    assert {"static_resources", "admin"} <= set(made)


def test_an_unreachable_server_says_what_to_do(lateen: Lateen) -> None:
    _, out, err = lateen("get vs --server http://127.0.0.1:1")

    assert out == ""
    assert "http://127.0.0.1:1" in err
    assert "lateen serve" in err
    assert len(err.strip().splitlines()) == 2


def test_an_unknown_kind_of_get_is_answered_with_the_nearest(lateen: Lateen) -> None:
    assert "virtualservices" in lateen("get virtualservice5")[2]


@pytest.mark.parametrize("address", ["nonsense", "nonsense:0", "127.0.0.1:99999"])
def test_an_address_that_is_none_is_not_called_reachable(lateen: Lateen, address: str) -> None:
    code, out, err = lateen(f"serve --http 127.0.0.1:0 --monitoring 127.0.0.1:0 --grpc {address}")

    assert code in (1, 2)
    assert "--grpc" in err
    assert "reachable" not in out + err
    assert len(err.splitlines()) == 1


def test_the_version_of_a_missing_envoy_is_not_shown(lateen: Lateen, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(path: str = "") -> str:
        raise StartError(path)

    words = "version -o json --server http://127.0.0.1:1"
    assert json.loads(lateen(words)[1])["envoy"].startswith("1.")
    monkeypatch.setattr(envoy_process, "find_envoy", missing)
    assert json.loads(lateen(words)[1])["envoy"] == "not found"


def test_findings_in_sarif_and_as_annotations(lateen: Lateen) -> None:
    code, out, _ = lateen("analyze -f good.yaml dangling.yaml -o sarif")
    [run] = json.loads(out)["runs"]
    assert code == 1
    assert "IST0101" in {result["ruleId"] for result in run["results"]}
    code, out, _ = lateen("validate -f good.yaml -o github")
    assert all(line.startswith("::") for line in out.splitlines())


def test_suppressed_findings_are_not_said_and_do_not_count(lateen: Lateen) -> None:
    code, out, _ = lateen("analyze -f good.yaml dangling.yaml --suppress 'IST0101=* *'")
    assert "IST0101" not in out
    assert code == 0
    code, _, err = lateen("analyze -f good.yaml --suppress IST0101")
    assert code == 2
    assert "CODE=KIND NAME.NAMESPACE" in err
