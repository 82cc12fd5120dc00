"""The command line against a control plane, both as real processes: exit codes, streams, signals."""

from __future__ import annotations

import http.client
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from lateen.cli import client
from lateen.cli.main import run
from local_tokens import proof

LATEEN = [sys.executable, "-m", "lateen.cli.main"]
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {ports: [{port: 80, name: http}]}
"""
SECRET = """
apiVersion: v1
kind: Secret
metadata: {name: key}
stringData: {tls.key: hush-hush}
"""
BROKEN = """
apiVersion: v1
kind: Service
metadata: {name: bad}
spec: {prots: []}
"""
DANGLING = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: lost}
spec:
  hosts: [lost]
  http:
  - route: [{destination: {host: nowhere}}]
"""


@dataclass(frozen=True)
class Ended:
    returncode: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Server:
    process: subprocess.Popen[bytes]
    grpc: str
    http: str
    log: Path

    def run(self, *words: str, stdin: str = "") -> Ended:
        """Run a command against this control plane, in this process: starting Python dozens of times takes long."""
        out, err, before = io.StringIO(), io.StringIO(), sys.stdin
        sys.stdin = io.TextIOWrapper(io.BytesIO(stdin.encode()))
        try:
            with redirect_stdout(out), redirect_stderr(err):
                code = run([*words, *([] if "--server" in words else ["--server", f"http://{self.http}"])])
        finally:
            sys.stdin = before
        assert "Traceback" not in err.getvalue()
        return Ended(code, out.getvalue(), err.getvalue())


def start(folder: Path, *words: str) -> Server:
    """Start a control plane on free ports and wait until it is ready."""
    log = folder / "serve.log"
    addresses = [f"--{flag}=127.0.0.1:0" for flag in ("grpc", "http", "monitoring")]
    with log.open("wb") as stream:
        process = subprocess.Popen([*LATEEN, "serve", *addresses, *words], stderr=stream, stdout=subprocess.PIPE)
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.poll() is None:
        for line in log.read_text().splitlines():
            if '"control plane ready"' in line:
                told = json.loads(line)
                return Server(process, told["grpc"], told["http"], log)
        time.sleep(0.02)
    process.kill()
    raise AssertionError(log.read_text())


def stop(server: Server, number: signal.Signals = signal.SIGTERM) -> tuple[int, float]:
    """Signal a control plane; return its exit code and the seconds it took."""
    begun = time.monotonic()
    server.process.send_signal(number)
    code = server.process.wait(60)
    assert server.process.stdout is not None
    assert server.process.stdout.read() == b""
    server.process.stdout.close()
    return code, time.monotonic() - begun


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    config = folder / "config"
    config.mkdir()
    (config / "fixed.yaml").write_text(SERVICE.replace("web", "fixed"))
    started = start(folder, "--config", str(config))
    yield started
    stop(started)


@pytest.fixture
def files(tmp_path: Path) -> Callable[[str, str], str]:
    def made(name: str, text: str) -> str:
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return made


Files = Callable[[str, str], str]


def test_an_object_lives_from_apply_to_delete(server: Server, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)  # a parallel test run sets it
    file = files("web.yaml", SERVICE)
    assert server.run("apply", "-f", file, "--dry-run").returncode == 0
    assert server.run("get", "service.v1", "web").returncode == 1

    applied = server.run("apply", "-f", file, "--wait", "-o", "json")
    assert applied.returncode == 0
    assert json.loads(applied.stdout)["applied"][0]["action"] == "created"

    table = server.run("get", "service.v1").stdout.splitlines()
    assert table[0].split() == ["NAMESPACE", "NAME", "ABOUT", "ORIGIN"]
    assert any(line.endswith(f"{file}:2") for line in table), "nothing is cut in a pipe"

    assert server.run("delete", "svc", "web").returncode == 0
    assert server.run("delete", "svc", "web").returncode == 1


def test_what_get_prints_can_be_applied_again(server: Server, files: Files) -> None:
    server.run("apply", "-f", files("web.yaml", SERVICE))
    printed = server.run("get", "service.v1", "web", "-o", "yaml").stdout
    again = server.run("apply", "-f", "-", "-o", "json", stdin=printed)
    listed = server.run("get", "service.v1", "-o", "json").stdout
    every = server.run("apply", "-f", "-", "--dry-run", "-o", "json", stdin=listed)
    server.run("delete", "-f", files("web.yaml", SERVICE))

    assert yaml.safe_load(printed)["metadata"] == {"name": "web", "namespace": "default"}
    assert [found["action"] for found in json.loads(again.stdout)["applied"]] == ["unchanged"]
    assert every.returncode == 1, "fixed.yaml is in a folder"
    assert "managed by" in every.stderr


def test_delete_of_a_file_means_the_namespace_of_n(server: Server, files: Files) -> None:
    """A document that names its namespace keeps it."""
    file, own = files("web.yaml", SERVICE), files("own.yaml", SERVICE.replace("name: web", "name: own, namespace: own"))
    server.run("apply", "-f", file)
    server.run("apply", "-n", "shop", "-f", file, own)
    deleted = server.run("delete", "-n", "shop", "-f", file, "-f", own)
    left = [server.run("get", "service.v1", "web", "-n", namespace).returncode for namespace in ("default", "shop")]
    broken = server.run("delete", "-f", file, "-f", files("broken.yaml", BROKEN))
    server.run("delete", "-f", file)

    assert deleted.stderr.splitlines() == ["deleted Service shop/web", "deleted Service own/own"]
    assert left == [0, 1]
    assert broken.returncode == 1
    assert "nothing was deleted" in broken.stderr


def test_secrets_are_printed_without_their_values(server: Server, files: Files) -> None:
    server.run("apply", "-f", files("secret.yaml", SECRET))
    shown = server.run("get", "secrets", "key", "-o", "yaml")
    server.run("delete", "secret", "key")

    assert "tls.key" in shown.stdout
    assert "hush-hush" not in shown.stdout
    assert "hidden" in shown.stderr


def test_nothing_is_applied_when_one_document_is_wrong(server: Server, files: Files) -> None:
    refused = server.run("apply", "-f", files("a.yaml", SERVICE), "-f", files("b.yaml", BROKEN))

    assert refused.returncode == 1
    assert f"{files('b.yaml', BROKEN)}:5" in refused.stderr
    assert refused.stdout == ""
    assert server.run("get", "service.v1", "web").returncode == 1


def test_why_nothing_was_applied_is_json_like_that_of_validate(server: Server, files: Files) -> None:
    file = files("b.yaml", BROKEN)
    refused = server.run("apply", "-f", file, "-o", "json")
    validated = io.StringIO()
    with redirect_stdout(validated):
        run(["validate", "-f", file, "-o", "json"])

    assert refused.returncode == 1
    assert json.loads(refused.stdout) == json.loads(validated.getvalue())
    assert "nothing was applied" in refused.stderr


@pytest.mark.parametrize("words", ["", "--wait", "--dry-run"])
def test_an_object_that_refers_to_nothing_is_stored_and_is_an_error(server: Server, files: Files, words: str) -> None:
    file = files("lost.yaml", DANGLING)
    applied = server.run("apply", "-f", file, "-o", "json", *words.split())
    stored = server.run("get", "vs", "lost").returncode
    again = server.run("apply", "-f", file, *words.split())
    server.run("delete", "vs", "lost")

    [finding] = [found for found in json.loads(applied.stdout)["findings"] if found["severity"] == "error"]
    assert (finding["file"], finding["line"], finding["column"]) == (file, 8, 28), "of the field, not of the object"
    assert (applied.returncode, again.returncode) == (1, 1)
    assert stored == (1 if words == "--dry-run" else 0)
    assert ("nothing was changed" if words == "--dry-run" else "stored all the same") in again.stderr


def test_the_running_mesh_is_analysed_like_files(server: Server, files: Files) -> None:
    """Without files `analyze` asks the control plane: the same findings, formats and exit codes."""
    file = files("lost.yaml", DANGLING)
    before = server.run("analyze", "-o", "json")
    server.run("apply", "-f", file)
    analysed, shown = server.run("analyze", "-o", "json"), server.run("analyze", "-o", "sarif")
    accepted = server.run("analyze", "--suppress", "IST0101=* *")
    server.run("delete", "vs", "lost")

    assert before.returncode == 0
    assert analysed.returncode == 1
    [finding] = [found for found in json.loads(analysed.stdout) if found["severity"] == "error"]
    assert (finding["code"], finding["kind"], finding["name"]) == ("IST0101", "VirtualService", "lost")
    assert "IST0101" in {result["ruleId"] for result in json.loads(shown.stdout)["runs"][0]["results"]}
    assert accepted.returncode == 0


def test_a_file_of_a_watched_folder_cannot_be_deleted(server: Server) -> None:
    refused = server.run("delete", "svc", "fixed")

    assert refused.returncode == 1
    assert "fixed.yaml:2" in refused.stderr


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("get vs", 0, "no virtualservices"),
        ("get vs nothing", 1, "there is no VirtualService default/nothing"),
        ("get services", 0, ""),
        ("get services nothing", 1, "no service nothing"),
        ("get workloads -A", 0, "no workloads"),
        ("get sandwiches", 2, "sandwiches"),
        ("proxy-status", 0, "no proxy is connected"),
        ("proxy-status nobody", 1, "no proxy nobody"),
        ("proxy-config routes nobody", 1, "no proxy nobody"),
        ("proxy-config cats nobody", 2, "cats"),
        ("apply -f /no/such/file", 2, "/no/such/file"),
        ("apply -f - --timeout x", 2, "--timeout"),
        ("version", 0, ""),
    ],
)
def test_exit_codes_and_messages(server: Server, words: str, code: int, said: str) -> None:
    ended = server.run(*words.split())

    assert ended.returncode == code, ended.stderr
    assert said in ended.stderr


def test_a_server_that_is_no_control_plane_is_said_to_be_none(server: Server) -> None:
    ended = server.run("get", "vs", "--server", f"http://{server.grpc}")

    assert ended.returncode == 3
    assert server.grpc in ended.stderr


def test_a_server_that_never_answers_is_a_timeout(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert run(["get", "vs", "--server", f"http://127.0.0.1:{port}"]) == 4


def test_processes_end_with_the_codes_too(server: Server) -> None:
    """And LATEEN_SERVER names the control plane."""
    others = ["--http=127.0.0.1:0", "--monitoring=127.0.0.1:0"]
    taken = subprocess.run(
        [*LATEEN, "serve", "--grpc", server.grpc, *others], capture_output=True, text=True, check=False
    )
    environment = os.environ | {"LATEEN_SERVER": f"http://{server.http}"}
    asked = subprocess.run(
        [*LATEEN, "get", "service.v1", "-o", "json"], env=environment, capture_output=True, text=True, check=False
    )

    assert taken.returncode == 1
    assert server.grpc in taken.stderr
    assert "--grpc" in taken.stderr
    assert len(taken.stderr.strip().splitlines()) == 1
    assert asked.returncode == 0
    assert json.loads(asked.stdout)["kind"] == "List"


def own_proof(address: str) -> dict[str, str]:
    """Return the headers of the control plane's own user, none where it asks for none."""
    connection = http.client.HTTPConnection(address, timeout=10)
    connection.request("GET", "/v1/version")
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return proof(answer.headers.get("Lateen-Token-File"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_serve_at_once_and_in_silence(tmp_path: Path, number: signal.Signals) -> None:
    """Even while somebody waits for an answer of the API."""
    started = start(tmp_path)
    host, _, port = started.http.partition(":")
    head = "POST /v1/config HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in own_proof(started.http).items())
    with socket.create_connection((host, int(port))) as waiting:
        waiting.sendall(f"{head}\r\n".encode())
        code, seconds = stop(started, number)

    assert code == 0
    assert seconds < 15, "0.7 s on an idle machine; who waits for the client waits for ever"
    assert "Traceback" not in started.log.read_text()
    assert '"level": "error"' not in started.log.read_text()
