"""A mesh over several hosts of `virtual_hosts`: a control plane and agents that can be held, killed and looked at.

Tests reach into a host's network from a thread of their own (`setns`), so that a question costs no process.
"""

from __future__ import annotations

import ctypes
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from e2e.meshes import eventually
from e2e.virtual_hosts import LATEEN, Network, VirtualHost

T = TypeVar("T")
CLONE_NEWNET = 0x40000000
SECURE_PORT, JOIN_PORT = 15012, 15013
_LIBC = ctypes.CDLL(None, use_errno=True)


def step_into(host: VirtualHost) -> None:
    """Move the calling thread into the host's network, for good."""
    with Path(f"/proc/{host.holder.pid}/ns/net").open() as network:
        if _LIBC.setns(network.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")


def on(host: VirtualHost, action: Callable[[], T]) -> T:
    """Do something in the host's network, whose sockets stay there."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(step_into, host).result()
        return thread.submit(action).result()


def dial(host: VirtualHost, address: str, port: int, timeout: float = 20) -> socket.socket:
    return on(host, lambda: socket.create_connection((address, port), timeout))


def ask(host: VirtualHost, address: str, port: int, path: str = "/", **headers: str) -> tuple[int, str]:
    """One HTTP/1.1 request from this host; underscores in names of headers are hyphens."""
    connection = http.client.HTTPConnection(address, port, timeout=20)
    connection.sock = dial(host, address, port)
    with closing(connection):
        connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def file_on(host: VirtualHost, path: str) -> Path:
    """A file of the host, as this process reaches it."""
    return Path(f"/proc/{host.holder.pid}/root{path}")


# --- processes -----------------------------------------------------------------------------------------------


def processes_on(host: VirtualHost) -> dict[int, str]:
    """Process id -> command line of what runs in the host's network, its holder aside."""
    network, found = Path(f"/proc/{host.holder.pid}/ns/net").readlink(), {}
    # Of the holder's own child too, by its number: it says that it is there before it becomes the sleeper.
    holders = {host.holder.pid, *children(host.holder.pid)}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with suppress(OSError):
            if (entry / "ns/net").readlink() == network and "\nState:\tZ" not in (entry / "status").read_text():
                found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    return {pid: line for pid, line in found.items() if pid not in holders}


def children(pid: int) -> dict[int, str]:
    """Process id -> command line."""
    found = {}
    with suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            with suppress(OSError):
                found[int(child)] = Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    return found


def began(pid: int) -> int:
    """When a process was started, in ticks since boot: its number does not tell, as numbers begin again. 0: gone."""
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    return 0


def left_behind(host: VirtualHost) -> list[str]:
    """What an agent could have left on its host: processes, folders, sockets, interfaces, rules."""
    found = [f"process {pid}: {line[:100]}" for pid, line in processes_on(host).items()]
    found += [f"folder {path.name}" for path in file_on(host, "/run").glob("lateen-*")]
    unix = Path(f"/proc/{host.holder.pid}/net/unix").read_text().splitlines()[1:]
    found += [f"socket {words[7]}" for line in unix if len(words := line.split()) > 7]
    found += [f"interface {line}" for line in host.run("ip", "-o", "link").stdout.splitlines() if "lateen" in line]
    return found + [f"rule {line}" for line in host.run("nft", "list", "ruleset").stdout.splitlines()]


class EndedError(Exception):
    """An agent ended that should not: nothing to wait for any more."""


@dataclass
class Agent:
    """One agent on a host, started again and again as systemd would."""

    host: VirtualHost
    name: str
    command: tuple[str, ...]
    environment: dict[str, str]
    state: Path
    """Folder that it keeps; a test may give it a new one."""
    process: subprocess.Popen[bytes] | None = None
    memory: set[Path] = field(default_factory=set)
    """Shared memory that its Envoys were ever seen to have."""

    def start(self) -> None:
        assert self.process is None or self.process.poll() is not None
        flags = ("--state", str(self.state))
        split = self.command.index("--") if "--" in self.command else len(self.command)
        words = (*self.command[:split], *flags, *self.command[split:])
        self.process = self.host.start(*LATEEN, *words, log=self.name, TMPDIR="/run", **self.environment)

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def log(self) -> str:
        return self.host.log(self.name)

    def envoys(self) -> list[int]:
        """Its Envoys, oldest first."""
        found = sorted((pid for pid, line in children(self.pid).items() if "--restart-epoch" in line), key=began)
        for file in file_on(self.host, "/run").glob("lateen-*/base-id"):
            with suppress(OSError):
                self.memory.add(Path(f"/dev/shm/envoy_shared_memory_{file.read_text()}0"))
        return found

    def says(self) -> str:
        """Its answer to a readiness probe, at the address that it said; empty while it gives none."""
        said = re.findall(r'"address": "([^"]+)".*"event": "ready"', self.log())
        try:
            return ask(
                self.host, said[-1] if said else next(iter(self.host.addresses.values())), 15021, "/healthz/ready"
            )[1].strip()
        except (OSError, http.client.HTTPException):
            return ""

    def until(self, probe: Callable[[], object], what: str, seconds: float = 45) -> None:
        try:
            eventually(probe, seconds=seconds, what=what)
        except AssertionError as error:
            raise AssertionError(f"{error}; {self.name} says {self.says()!r}\n{self.log()[-3000:]}") from None

    def ready(self) -> bool:
        if self.process is not None and self.process.poll() is not None:
            raise EndedError(f"{self.name} ended:\n{self.log()[-3000:]}")
        return bool(self.envoys()) and self.says() == "ready"

    def at_rest(self) -> bool:
        """Whether one Envoy alone serves, by the control plane: none is being relieved, and none is to be."""
        status = json.loads(self._asked("GET /status").partition(b"\r\n\r\n")[2])
        return status["connected"] and status["configuration"] == "stream" and len(self.envoys()) == 1

    def _asked(self, what: str) -> bytes:
        """Ask it at the socket that it has for its owner."""
        (path,) = (self.state / "agents").glob("*/agent.sock")
        with socket.socket(socket.AF_UNIX) as made:
            folder = os.open(path.parent, os.O_RDONLY)
            made.settimeout(60)
            try:
                made.connect(f"/proc/self/fd/{folder}/agent.sock")
            finally:
                os.close(folder)
            made.sendall(f"{what} HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n".encode())
            with made.makefile("rb") as stream:
                return stream.read()

    def restart_envoy(self) -> threading.Thread:
        """Ask for a hot restart, as `lateen proxy restart` does, without waiting for its end."""

        def post() -> None:
            with suppress(OSError):
                self._asked("POST /restart")

        thread = threading.Thread(target=post, daemon=True)
        thread.start()
        return thread

    def end(self, number: int = signal.SIGTERM, seconds: float = 45) -> int:
        """Signal it and wait for its end."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} does not end:\n{self.log()[-3000:]}") from None

    def gone(self, *, besides: str = "") -> None:
        """Wait until nothing of it is left."""

        def nothing() -> bool:
            found = [line for line in left_behind(self.host) if not besides or besides not in line]
            found += [str(path) for path in self.memory if path.exists()]
            assert not found, found
            return True

        self.until(nothing, "nothing of it to be left")


# --- the mesh ------------------------------------------------------------------------------------------------


@dataclass
class HostMesh:
    """A control plane on a host, whose agents prove themselves with tokens."""

    net: Network
    plane: VirtualHost
    folder: Path
    flags: tuple[str, ...] = ()
    listen: str = "[::]"
    process: subprocess.Popen[bytes] | None = None

    def serve(self) -> None:
        """Start the control plane and wait until it serves; what it knows is on its disk."""
        self.process = self.plane.start(
            *LATEEN, "serve", "--secure-grpc", f"{self.listen}:{SECURE_PORT}", "--join", f"{self.listen}:{JOIN_PORT}",
            "--state", "/var/lib/lateen-plane", "--config", str(self.folder / "config"), *self.flags, log="plane",
        )  # fmt: skip
        process = self.process

        def ready() -> bool:
            assert process.poll() is None, self.plane.log("plane")[-3000:]
            return ask(self.plane, "127.0.0.1", 15080, "/readyz")[0] == 200

        eventually(ready, seconds=60, what="the control plane")

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def token(self, account: str) -> Path:
        file = self.folder / f"{account}.token"
        if not file.exists():
            words = ("token", "create", "--service-account", f"default/{account}")
            made = self.plane.run(*LATEEN, *words, LATEEN_SERVER="http://127.0.0.1:15080")
            assert made.returncode == 0, made.stderr
            file.write_text(made.stdout)
        return file

    def agent(
        self, host: VirtualHost, name: str, *words: str, account: str = "", version: int = 4, **environment: str
    ) -> Agent:
        """An agent on a host, not started; `words` are of `lateen`, what follows `--` is the app."""
        where = self.plane.addresses[version]
        where = f"[{where}]" if ":" in where else where
        flags = ("--control-plane", f"{where}:{SECURE_PORT}", "--token", str(self.token(account or name)))
        account_flags = ("--service-account", account or name)
        split = words.index("--") if "--" in words else len(words)
        command = (*words[:split], *flags, *account_flags, *words[split:])
        return Agent(host, name, command, environment, self.folder / f"state-{name}")

    @contextmanager
    def unreachable(self, agent: Agent, port: int) -> Iterator[None]:
        """Nothing from this agent's host reaches a port of the control plane, while it has no connection there yet."""
        rule = f"ip saddr {agent.host.ip} tcp dport {port} drop"
        script = f"table inet hold {{ chain input {{ type filter hook input priority 0; {rule}; }}; }}\n"
        subprocess.run(
            ("nsenter", "-t", str(self.plane.holder.pid), "-n", "nft", "-f", "-"), input=script, text=True, check=True
        )
        try:
            yield
        finally:
            self.plane.run("nft", "delete", "table", "inet", "hold", check=True)


def connecting(host: VirtualHost, port: int) -> bool:
    """Whether a connection from this host to a port waits for an answer (SYN_SENT)."""
    lines = Path(f"/proc/{host.holder.pid}/net/tcp").read_text().splitlines()[1:]
    return any(line.split()[2].endswith(f":{port:04X}") and line.split()[3] == "02" for line in lines)


@contextmanager
def host_mesh(
    net: Network, folder: Path, config: str, *flags: str, plane: VirtualHost | None = None
) -> Iterator[HostMesh]:
    (folder / "config").mkdir()
    (folder / "config" / "mesh.yaml").write_text(config)
    made = HostMesh(net, plane or net.host("plane"), folder, flags)
    made.serve()
    yield made


# --- load ----------------------------------------------------------------------------------------------------


@dataclass
class Load:
    """Requests through the proxy of a host, by threads that keep their connection and threads that open new ones."""

    host: VirtualHost
    proxy: tuple[str, int]
    url: str
    headers: dict[str, str] = field(default_factory=dict)
    pace: float = 0.01
    answered: Counter[str] = field(default_factory=Counter)
    """200s by version of the app."""
    failures: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    @property
    def total(self) -> int:
        return sum(self.answered.values())

    def wait_for(self, version: str, more: int = 10, seconds: float = 45) -> None:
        """Wait until so many further requests were answered by this version."""
        wanted = self.answered[version] + more
        eventually(lambda: self.answered[version] >= wanted, seconds=seconds, what=f"answers of {version}: {self}")

    def __str__(self) -> str:
        return f"{dict(self.answered)} answered, {len(self.failures)} failed: {self.failures[-3:]}"

    def run(self, *, keep: bool) -> None:
        step_into(self.host)
        while not self._stop.is_set():
            with closing(http.client.HTTPConnection(*self.proxy, timeout=30)) as connection:
                good = self._ask(connection)
                while keep and good and not self._stop.is_set():
                    good = self._ask(connection)

    def _ask(self, connection: http.client.HTTPConnection) -> bool:
        try:
            connection.request("GET", self.url, headers=self.headers)
            response = connection.getresponse()
            body = response.read()
            problem = "" if response.status == 200 else f"{response.status} {body[:160]!r}"
        except (OSError, http.client.HTTPException) as error:
            problem = repr(error)
        if problem:
            self.failures.append(f"{time.time() % 1000:.3f} {problem}")
        else:
            self.answered[json.loads(body)["version"]] += 1
        self._stop.wait(self.pace)
        return not problem


@contextmanager
def load(host: VirtualHost, url: str, *, threads: int = 4, port: int = 15001, **headers: str) -> Iterator[Load]:
    """Send requests during the block: half of the threads keep their connections."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    made = Load(host, ("127.0.0.1", port), url, named)
    running = [
        threading.Thread(target=made.run, kwargs={"keep": number % 2 == 0}, daemon=True) for number in range(threads)
    ]
    for thread in running:
        thread.start()
    try:
        yield made
    finally:
        made._stop.set()
        for thread in running:
            thread.join(35)


def python_of_everybody() -> str:
    """A Python that every user may run: an app of another user than root needs one."""
    for candidate in ("/usr/bin/python3", sys.executable):
        done = subprocess.run(
            ("setpriv", "--reuid", "65534", "--clear-groups", candidate, "-c", ""), capture_output=True, check=False
        )
        if done.returncode == 0:
            return candidate
    return ""
