"""A network namespace whose outbound TCP all goes to port 15001, as an init container of Istio would arrange it.

The namespace belongs to one thread of this process and has no name, so it is gone with the thread and the processes
that were started from it, however the tests end. Nothing of the machine's own network changes but one veth pair.
"""

from __future__ import annotations

import ctypes
import errno
import ipaddress
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pytest

CLONE_NEWNET = 0x40000000
SYSTEM_PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
PROGRAMS = {"ip": "iproute2", "iptables": "iptables", "setpriv": "util-linux"}
"""What is needed, and the Debian package that has it."""
UPLINKS = ipaddress.ip_network("198.18.0.0/15")
"""Set aside for tests of networks (RFC 2544): each run takes four addresses of it."""
VIRTUAL_IPS = ipaddress.ip_network("203.0.113.0/24")
"""For examples only (RFC 5737), so nobody has them; known in the namespace alone."""
PROXY_GROUP = 1337
"""Connections of processes in this group are not redirected, or the proxy's own would come back to it."""


def virtual_ip(number: int) -> str:
    return str(VIRTUAL_IPS[number])


@dataclass(frozen=True)
class Namespace:
    host: str
    """This machine's address as the namespace sees it."""
    address: str
    """The namespace's address as this machine sees it."""
    thread: ThreadPoolExecutor
    """Its only thread is inside; nothing else of this process is."""

    def connect(self, address: str, port: int, *, timeout: float = 20) -> socket.socket:
        """Open a connection from inside. A socket stays in the namespace where it was made."""
        made = self.thread.submit(socket.socket, socket.AF_INET, socket.SOCK_STREAM).result()
        try:
            made.settimeout(timeout)
            made.connect((address, port))
        except BaseException:
            made.close()
            raise
        return made

    def start_proxy(self, *command: str, folder: Path, log: BinaryIO) -> subprocess.Popen[bytes]:
        """Start a program inside, in a folder, whose connections are not redirected; it dies with this process."""
        setpriv = _program("setpriv")
        # Twice, because a change of the group takes back the wish to die.
        as_proxy = (setpriv, "--regid", str(PROXY_GROUP), "--clear-groups", setpriv, "--pdeathsig", "KILL")
        start = lambda: subprocess.Popen(  # noqa: E731
            (*as_proxy, *command), stdout=subprocess.DEVNULL, stderr=log, cwd=folder
        )
        return self.thread.submit(start).result()


@contextmanager
def redirected_namespace(port: int) -> Iterator[Namespace]:
    """A namespace whose outbound TCP goes to this port. Skips the test where that is not possible."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces and iptables need root")
    if missing := [package for program, package in PROGRAMS.items() if not _program(program)]:
        pytest.skip(f"not installed; on Debian and Ubuntu: apt-get install {' '.join(missing)}")
    host, address = _free_pair()
    outer, inner = f"lt{os.getpid()}o", f"lt{os.getpid()}i"
    with ThreadPoolExecutor(1) as thread:
        thread_id = thread.submit(_unshare_network).result()

        def inside(*command: str) -> None:
            thread.submit(_run, *command).result()

        _run("ip", "link", "add", outer, "type", "veth", "peer", "name", inner, "netns", str(thread_id))
        try:
            _run("ip", "address", "add", f"{host}/30", "dev", outer)
            _run("ip", "link", "set", outer, "up")
            inside("ip", "link", "set", "lo", "up")
            inside("ip", "address", "add", f"{address}/30", "dev", inner)
            inside("ip", "link", "set", inner, "up")
            # A destination needs a route before it can be redirected. What the proxy passes on to a virtual IP finds
            # nobody there and is refused at once.
            inside("ip", "route", "add", "local", str(VIRTUAL_IPS), "dev", "lo")
            chain = ("iptables", "-w", "-t", "nat", "-A", "OUTPUT", "-p", "tcp")
            inside(*chain, "-m", "owner", "--gid-owner", str(PROXY_GROUP), "-j", "RETURN")
            inside(*chain, "-j", "REDIRECT", "--to-ports", str(port))
            yield Namespace(host, address, thread)
        finally:
            _run("ip", "link", "delete", outer)


def _program(name: str) -> str:
    return shutil.which(name, path=SYSTEM_PATH) or ""


def _unshare_network() -> int:
    """Move the calling thread into a new network namespace; return its id."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        reason = errno.errorcode[ctypes.get_errno()]
        pytest.skip(f"this machine permits no network namespaces ({reason}); a container needs CAP_SYS_ADMIN")
    return threading.get_native_id()


def _run(name: str, *arguments: str) -> None:
    done = subprocess.run((_program(name), *arguments), capture_output=True, text=True, check=False, timeout=30)
    if done.returncode == 0:
        return
    said = f"{name} {' '.join(arguments)}: {done.stderr.strip()}"
    if "not permitted" in said or "not supported" in said:
        pytest.skip(f"this machine does not permit it: {said}")
    raise AssertionError(said)


def _free_pair() -> tuple[str, str]:
    """Return two addresses of a network of four that no interface here has, another one for each process."""
    taken = Path("/proc/net/fib_trie").read_text()
    size = UPLINKS.num_addresses // 4
    for number in range(os.getpid(), os.getpid() + size):
        first = UPLINKS[number % size * 4]
        if f" {first}\n" not in taken:
            return str(first + 1), str(first + 2)
    raise AssertionError(f"no network free in {UPLINKS}")
