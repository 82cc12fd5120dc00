"""Hosts made of namespaces: each with a network, /etc, /var/lib and /run of its own, joined by one routed segment.

A host is held by one sleeping process; what runs on it enters its namespaces. Changes of /etc and /var/lib land in a
layer of the host's own (overlay), so the machine's files stay as they are. When the holder goes, so does the host.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from e2e.meshes import eventually, reap

SYSTEM_PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
LATEEN = (sys.executable, "-m", "lateen.cli.main")
_HOLDER = """
set -e
mount --make-rprivate /
mount -t tmpfs none "$1"
for path in etc var/lib; do
  mkdir -p "$1/upper/$path" "$1/work/$path"
  mount -t overlay overlay -o "lowerdir=/$path,upperdir=$1/upper/$path,workdir=$1/work/$path" "/$path"
done
mount -t tmpfs none /run
ip link set lo up
echo ready
exec sleep infinity
"""


@dataclass
class VirtualHost:
    """One host."""

    name: str
    holder: subprocess.Popen[str]
    folder: Path
    """Where its layers are mounted, for itself."""
    addresses: dict[int, str]
    """By IP version."""
    environment: dict[str, str]
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def ip(self) -> str:
        return self.addresses[4]

    def _inside(self, command: tuple[str, ...]) -> tuple[str, ...]:
        return ("nsenter", "-t", str(self.holder.pid), "-n", "-m", *command)

    def run(self, *command: str, check: bool = False, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self._inside(command), capture_output=True, text=True, check=check, timeout=90, cwd="/",
            env={**self.environment, **environment},
        )  # fmt: skip

    def lateen(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.run(*LATEEN, *words)

    def start(self, *command: str, log: str, **environment: str) -> subprocess.Popen[bytes]:
        with (self.folder.parent / f"{self.name}-{log}.log").open("ab") as output:
            # nsenter execs the command: the process is the command's.
            made = subprocess.Popen(
                self._inside(command), stdout=output, stderr=output, cwd="/", env={**self.environment, **environment}
            )
        self.processes.append(made)
        return made

    def log(self, name: str) -> str:
        return (self.folder.parent / f"{self.name}-{name}.log").read_text(errors="replace")

    def python(self, script: str, *arguments: str) -> str:
        done = self.run(sys.executable, "-c", script, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def read(self, path: str) -> str:
        return self.run("cat", path, check=True).stdout

    def tree(self) -> dict[str, str]:
        """Where a join may write, as a program on this host sees it: path -> mode, owner and content."""
        script = """
import hashlib, os, stat, sys
for top in sys.argv[1:]:
    for folder, folders, files in os.walk(top):
        for name in (".", *folders, *files):
            path = os.path.join(folder, name)
            about = os.lstat(path)
            if stat.S_ISLNK(about.st_mode):
                content = os.readlink(path)
            elif stat.S_ISREG(about.st_mode):
                content = hashlib.sha256(open(path, 'rb').read()).hexdigest()
            else:
                content = ''
            print(path.replace(' ', '?'), oct(about.st_mode), about.st_uid, content)
"""
        said = self.python(script, "/etc", "/var/lib/lateen", "/run")
        return dict(line.split(" ", 1) for line in said.splitlines())

    def start_unit(self, name: str) -> subprocess.Popen[bytes]:
        """Start what a unit's ExecStart says, with its environment and folder, as systemd would."""
        unit = self.read(f"/etc/systemd/system/lateen-{name}.service")
        lines = [line.partition("=") for line in unit.splitlines()]
        (command,) = (shlex.split(value) for key, _, value in lines if key == "ExecStart")
        self.run("mkdir", "-p", "-m", "0700", f"/run/lateen-{name}", check=True)
        told = dict(value.replace("%t", "/run").split("=", 1) for key, _, value in lines if key == "Environment")
        confine: tuple[str, ...] = ("setpriv", "--no-new-privs")
        if any(key == "CapabilityBoundingSet" for key, _, _ in lines):
            confine = (*confine, "--bounding-set", "-all,+net_bind_service", "--inh-caps", "-all")
        return self.start(*confine, *command, log=name, **told)

    def switch_off(self) -> None:
        """End everything on it at once, and its network with it."""
        for process in self.processes:
            process.kill()
            process.wait()
        self._let_go()

    def _let_go(self) -> None:
        reap(self.holder)

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.processes:
            reap(process, 30)
        self._let_go()


@dataclass
class Network:
    """A router, and one link from it to each host: hosts are in networks of their own."""

    folder: Path
    environment: Mapping[str, str]
    hosts: list[VirtualHost] = field(default_factory=list)
    router: VirtualHost | None = None

    def host(self, name: str) -> VirtualHost:
        """Make a host with an address of each IP version, and routes to all others."""
        if self.router is None:
            self.router = self._hold("router")
            self.router.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        made = self._hold(name)
        # From now on it is closed with the others, also when what follows fails.
        self.hosts.append(made)
        self._connect(made, len(self.hosts) - 1)
        return made

    def again(self, host: VirtualHost) -> VirtualHost:
        """Make a host anew that was switched off: its address and name are the same, nothing else is left of it."""
        number = self.hosts.index(host)
        if self.router is not None:
            # The kernel takes down a network some time after its last process; its end of the wire would be in the way.
            self.router.run("ip", "link", "delete", f"to{number}")
        made = self.hosts[number] = self._hold(host.name, f"{host.name}-again")
        self._connect(made, number)
        return made

    def _connect(self, made: VirtualHost, number: int) -> None:
        made.addresses = {4: f"198.18.{number}.2", 6: f"fd00:18:{number}::2"}
        router = self.router
        assert router is not None
        _ip(router, "link", "add", f"to{number}", "type", "veth", "peer", "name", "up0", "netns", str(made.holder.pid))
        for host, link, last in ((router, f"to{number}", 1), (made, "up0", 2)):
            _ip(host, "address", "add", f"198.18.{number}.{last}/24", "dev", link)
            _ip(host, "-6", "address", "add", f"fd00:18:{number}::{last}/64", "dev", link, "nodad")
            _ip(host, "link", "set", link, "up")
        _ip(made, "route", "add", "default", "via", f"198.18.{number}.1")
        _ip(made, "-6", "route", "add", "default", "via", f"fd00:18:{number}::1")

    def _hold(self, name: str, folder_name: str = "") -> VirtualHost:
        folder = self.folder / f"host-{folder_name or name}"
        folder.mkdir()
        command = ("unshare", "--net", "--mount", "--kill-child", "sh", "-c", _HOLDER, "sh", str(folder))
        holder = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert holder.stdout is not None
        said = holder.stdout.readline()
        if said.strip() != "ready":
            reap(holder)
            pytest.skip(f"this machine permits no such hosts: {said}")
        return VirtualHost(name, holder, folder, {}, dict(self.environment))

    def close(self) -> None:
        for host in reversed(self.hosts):
            host.close()
        if self.router:
            self.router.close()


def _ip(host: VirtualHost, *words: str) -> None:
    host.run("ip", *words, check=True)


def why_not() -> str:
    """Return why there can be no such hosts here."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "hosts of namespaces need Linux and root"
    missing = [name for name in ("ip", "nsenter", "unshare", "setpriv") if not shutil.which(name, path=SYSTEM_PATH)]
    return f"not installed: {', '.join(missing)}" if missing else ""


@contextmanager
def network(folder: Path) -> Iterator[Network]:
    made = Network(folder, {**os.environ, "PATH": SYSTEM_PATH})
    try:
        yield made
    finally:
        made.close()


def wait_ready(host: VirtualHost, name: str, address: str) -> None:
    """Wait until the agent on a host says that it is ready."""
    script = "import sys,urllib.request as u; u.urlopen(sys.argv[1], timeout=3).read()"
    target = f"http://{f'[{address}]' if ':' in address else address}:15021/healthz/ready"

    def ready() -> bool:
        return host.run(sys.executable, "-c", script, target).returncode == 0

    try:
        eventually(ready, seconds=40, what=f"{name} on {host.name}")
    except AssertionError as error:
        raise AssertionError(f"{error}\n{host.log(name)[-3000:]}") from None
