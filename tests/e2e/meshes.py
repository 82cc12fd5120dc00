"""A real mesh for end-to-end tests: `lateen serve`, `lateen run`, `lateen proxy gateway`, all as processes.

Everything is on loopback, on free ports and in a temporary directory, and gone when the `with` ends.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from local_tokens import proof
from ports import free_port

T = TypeVar("T")
APPS = Path(__file__).parent / "apps"
LATEEN = [sys.executable, "-m", "lateen.cli.main"]


def eventually(probe: Callable[[], T | None], *, seconds: float = 60, what: str = "the condition") -> T:
    """Return the first truthy result of `probe`; its last answer or error is in the failure."""
    deadline = time.monotonic() + seconds
    last: object = None
    over = False
    while not over:
        # Looked at once more when it is over: this process may have stood still all the time.
        over = time.monotonic() >= deadline
        try:
            if result := probe():
                return result
            last = result
        except (OSError, AssertionError, KeyError, ValueError, http.client.HTTPException) as error:
            last = error
        time.sleep(0.02)  # the interval of a poll, not a wait for something to be over
    raise AssertionError(f"waited {seconds} s for {what}; last: {last!r}")


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def good(answer: Answer) -> Answer | None:
    """The answer if it is a 200, for `eventually`."""
    return answer if answer.status == 200 else None


def request(
    port: int,
    path: str = "/",
    *,
    address: str = "127.0.0.1",
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    timeout: float = 30,
) -> Answer:
    """One HTTP/1.1 request; `path` may be an absolute URL when the peer is an HTTP proxy."""
    connection = http.client.HTTPConnection(address, port, timeout=timeout)
    begun = time.monotonic()
    try:
        connection.putrequest(method, path, skip_host=any(k.lower() == "host" for k in headers or {}))
        for name, value in (headers or {}).items():
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("content-length", str(len(body)))
        connection.endheaders(body)
        response = connection.getresponse()
        content = response.read()
        seconds = time.monotonic() - begun
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, content, seconds)
    finally:
        connection.close()


def reap(popen: subprocess.Popen[Any], seconds: float = 0.0) -> bool:
    """Wait for a process, kill it when that takes longer; return whether it went by itself.

    After SIGKILL without a limit: one that is still there when nobody refers to it is an error of a test that has
    nothing to do with it, in `Popen.__del__`.
    """
    try:
        popen.wait(seconds)
        return True
    except subprocess.TimeoutExpired:
        popen.kill()
        popen.wait()
        return False
    finally:
        for stream in (popen.stdin, popen.stdout, popen.stderr):
            if stream:
                stream.close()


def tell(control: Path, word: str) -> None:
    """Tell an app by the file that it reads whenever it likes: it never finds half a word, or none."""
    new = control.with_suffix(".new")
    new.write_text(word)
    new.replace(control)


def runs(pid: int) -> bool:
    """Whether a process has not ended; one that nobody has reaped has. (Linux)"""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


@dataclass
class Process:
    """One lateen process and where its proxy is."""

    popen: subprocess.Popen[bytes]
    log: Path
    addresses: dict[str, Any] = field(default_factory=dict)

    @property
    def proxy(self) -> tuple[str, int]:
        host, _, port = self.addresses["http_proxy"].removeprefix("http://").rpartition(":")
        return host, int(port)

    def get(self, url: str, **options: Any) -> Answer:
        """Send a request through this workload's sidecar, as its application would with HTTP_PROXY."""
        address, port = self.proxy
        return request(port, url, address=address, **options)

    def stop(self, *, seconds: float = 60) -> int:
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGTERM)
        try:
            return self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            reap(self.popen)
            raise AssertionError(f"did not stop; its log ends:\n{self.tail()}") from None

    def tail(self, lines: int = 40) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


@contextmanager
def tunnel(proxy: tuple[str, int], authority: str) -> Iterator[tuple[socket.socket, BinaryIO]]:
    """A CONNECT through an HTTP proxy: the connection to `host:port` behind it, and its reading side."""
    with socket.create_connection(proxy, 30) as connection:
        connection.sendall(f"CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\n\r\n".encode())
        stream = connection.makefile("rb")
        assert b"200" in stream.readline()
        while stream.readline() not in (b"\r\n", b""):
            pass
        yield connection, stream


class Mesh:
    """A control plane and what was started beside it."""

    def __init__(
        self,
        folder: Path,
        *,
        config: Path | None = None,
        mesh_config: Path | None = None,
        secure_address: str = "",
        flags: tuple[str, ...] = (),
    ) -> None:
        """`secure_address`: where proxies find the control plane, if not on loopback."""
        self.folder = folder
        self.grpc, self.http, self.monitoring = free_port(), free_port(), free_port()
        self.processes: list[Process] = []
        self.environment = {**os.environ, "XDG_STATE_HOME": str(folder / "state")}
        """A certificate authority of its own."""
        self._proof: dict[str, str] = {}
        self.arguments = [
            "serve", "--grpc", f"127.0.0.1:{self.grpc}", "--http", f"127.0.0.1:{self.http}",
            "--monitoring", f"127.0.0.1:{self.monitoring}",
        ]  # fmt: skip
        self.secure = free_port()
        if secure_address:
            self.arguments += ["--secure-grpc", f"{secure_address}:{self.secure}"]
        if config:
            self.arguments += ["--config", str(config)]
        if mesh_config:
            self.arguments += ["--mesh-config", str(mesh_config)]
        self.arguments += flags
        self.control_plane = self.serve()

    def serve(self) -> Process:
        process = self.start("control-plane", self.arguments)

        def ready() -> bool:
            assert process.popen.poll() is None, f"serve ended:\n{process.tail()}"
            return request(self.http, "/readyz").status == 200

        try:
            eventually(ready, what="the control plane", seconds=60)
        except BaseException:
            # When it is the first, there is no mesh yet that somebody could close.
            reap(process.popen)
            raise
        return process

    def start(self, name: str, arguments: list[str], environment: Mapping[str, str] | None = None) -> Process:
        return self.start_program(name, [*LATEEN, *arguments], environment)

    def start_program(self, name: str, command: list[str], environment: Mapping[str, str] | None = None) -> Process:
        """Start one that need not be the command line's."""
        log = self.folder / f"{name}-{len(self.processes)}.log"
        with log.open("wb") as stderr:
            popen = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env={**self.environment, **(environment or {})},
                cwd=self.folder,
            )
        process = Process(popen, log)
        self.processes.append(process)
        return process

    def wait_addresses(self, *processes: Process, seconds: float = 90) -> None:
        """Read the line of --print-addresses of each process."""
        import selectors

        deadline = time.monotonic() + seconds
        for process in processes:
            assert process.popen.stdout is not None
            with selectors.DefaultSelector() as selector:
                selector.register(process.popen.stdout, selectors.EVENT_READ)
                if not selector.select(max(0.1, deadline - time.monotonic())):
                    raise AssertionError(f"no addresses in time; its log:\n{process.tail()}")
            line = process.popen.stdout.readline()
            assert line, f"ended with {process.popen.wait()}; its log:\n{process.tail()}"
            process.addresses = json.loads(line)
        self.wait_listening(*processes)

    def wait_listening(self, *processes: Process) -> None:
        """Wait until the apps among them accept connections, and so have endpoints that are sent to others."""
        awaited = {str(process.addresses["workload"]) for process in processes if process.addresses.get("inbound")}

        def listening() -> bool:
            items = self.api("/v1/workloads").json["items"]
            return awaited <= {f"{item['name']}.{item['namespace']}" for item in items if item["ready"]}

        if awaited:
            eventually(listening, what=f"{', '.join(sorted(awaited))} to listen")

    def run(
        self,
        service: str,
        *command: str,
        port: str = "80/http",
        version: str = "",
        flags: tuple[str, ...] = (),
        wait: bool = True,
        **environment: str,
    ) -> Process:
        """`lateen run` an app; without a command it is tests/e2e/apps/echo.py."""
        arguments = ["run", "--service", service, "--control-plane", f"127.0.0.1:{self.grpc}", "--print-addresses"]
        if version:
            arguments += ["--version", version]
        if port:
            arguments += ["--port", port]
        command = command or (sys.executable, str(APPS / "echo.py"))
        name = service.partition(".")[0]
        process = self.start(
            f"{name}-{version}", [*arguments, *flags, "--", *command], {"VERSION": version, "NAME": name, **environment}
        )
        if wait:
            self.wait_addresses(process)
        return process

    def gateway(self, name: str = "ingress", *flags: str, wait: bool = True) -> Process:
        """`lateen proxy gateway` with Istio's usual label."""
        process = self.start(
            name,
            [
                "proxy", "gateway", "--name", name, "--namespace", "default", "--label", "istio=ingressgateway",
                "--control-plane", f"127.0.0.1:{self.grpc}", "--print-addresses", *flags,
            ],
        )  # fmt: skip
        if wait:
            self.wait_addresses(process)
        return process

    def api(self, path: str, *, method: str = "GET", body: bytes | None = None, timeout: float = 60) -> Answer:
        """Ask the API, as the control plane's own user."""
        answer = request(self.http, path, method=method, body=body, timeout=timeout, headers=self._proof)
        if answer.status == 401:  # the first time, and when the control plane was started again
            self._proof = proof(answer.headers.get("lateen-token-file"))
            answer = request(self.http, path, method=method, body=body, timeout=timeout, headers=self._proof)
        return answer

    def apply(self, yaml: str) -> Any:
        """Apply documents and wait until every proxy has acknowledged them."""
        answer = self.api("/v1/config?wait=50", method="POST", body=yaml.encode())
        assert answer.status == 200, answer.body.decode()
        assert answer.json["synced"], answer.body.decode()
        return answer.json

    def delete_all(self, *kinds: str) -> None:
        """Delete every object of these kinds."""
        for kind in kinds:
            for found in self.api(f"/v1/config/{kind}").json["items"]:
                path = f"/v1/config/{kind}/{found['namespace']}/{found['name']}?wait=50"
                answer = self.api(path, method="DELETE")
                assert answer.status == 200
                assert answer.json["synced"], path

    def command(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a lateen command against this control plane."""
        return subprocess.run(
            [*LATEEN, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=90,
            env={**self.environment, "LATEEN_SERVER": f"http://127.0.0.1:{self.http}"},
            cwd=self.folder,
        )

    def close(self) -> None:
        """Stop everything, newest first, and insist that it went."""
        for process in self.processes:
            if process.popen.poll() is None:
                process.popen.send_signal(signal.SIGTERM)
        stuck = [process for process in reversed(self.processes) if not reap(process.popen, 60)]
        assert not stuck, f"did not stop: {[process.popen.args for process in stuck]}"


@contextmanager
def running_mesh(folder: Path, **options: Any) -> Iterator[Mesh]:
    mesh = Mesh(folder, **options)
    try:
        yield mesh
    finally:
        mesh.close()


@contextmanager
def outside_app(name: str = "outside") -> Iterator[int]:
    """An echo application that is not in the mesh; yields its port on 127.0.0.1."""
    port = free_port()
    app = subprocess.Popen([sys.executable, str(APPS / "echo.py")], env={**os.environ, "PORT": str(port), "NAME": name})
    try:
        eventually(lambda: request(port, "/count").status == 200, what="the outside app")
        yield port
    finally:
        app.kill()
        app.wait()
