"""A network namespace of its own for one app and its Envoy; the agent stays outside.

As in a pod, app and proxy share a network, and rules there lead everything to the proxy. Unlike a pod's, this network
has no way out: no forwarding, no masquerading, no bridge, nothing on the machine but one veth interface and its
address. Envoy listens inside and connects outside (its bootstrap says so: `upstream_bind_config` with a network
namespace), and so can do what the machine itself can, workloads on its loopback addresses included. The agent makes
the sockets that belong inside by stepping in for the moment of making them.

The namespace has no name: it lives as long as its processes, and the veth pair with it, so that nothing is left however
the agent dies. What may be left is an interface whose app outlived its agent's guard: the next agent that takes its
number removes it, and knows that it may because the number's lock is held by the living only.

Addresses are four of 100.120.0.0/16 (RFC 6598, for carriers, which is not routed on the Internet), as the number says:
the machine has the first, the app the second. Numbers whose addresses the machine has a route for are passed over.
Called by `lifecycle`, through `places`.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import json
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import blake2b
from ipaddress import IPv4Network, IPv6Address, ip_address, ip_network
from pathlib import Path
from ssl import SSLContext

from lateen.agent.interception import relay
from lateen.agent.interception.capture import DELIVERY_SOURCES, PROXY_ID, TPROXY, TPROXY_TABLE, Capture
from lateen.agent.interception.names import NameTable
from lateen.agent.interception.programs import (
    InterceptionError,
    Nft,
    backend,
    need_root,
    needed_program,
    run_program,
    said,
)
from lateen.agent.interception.resolvers import PORT, RESOLV_CONF, Resolvers

RANGE = IPv4Network("100.120.0.0/16")
RANGE6 = IPv6Address("fd6c:6174:6565:6e00::")
"""Unique local addresses (RFC 4193), of a prefix of our own."""
LOCKS = Path("/run/lateen/networks")
INNER_INTERFACE = "eth0"
_SIZE = 4
_MOST_PROBES = 256
_CLONE_NEWNET, _CLONE_NEWNS = 0x40000000, 0x00020000
_MS_BIND, _MS_REC, _MS_PRIVATE = 4096, 16384, 1 << 18
_NAME_CACHES = (Path("/run/nscd/socket"), Path("/run/systemd/resolve/io.systemd.Resolve"))
"""Sockets that answer for the machine, past any resolv.conf."""


class AppNetwork:
    """The namespace, while it is open. Addresses are as the machine sees them."""

    def __init__(self, number: int, lock: int) -> None:
        self._lock = lock
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._here = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self._inside = -1
        self.number = number
        self.interface = f"lateen{number}"
        first = RANGE[number * _SIZE]
        self.host_address, self.address = str(first + 1), str(first + 2)
        self.host_address6, self.address6 = (str(RANGE6 + number * _SIZE + at) for at in (1, 2))
        self.ipv6 = _has_ipv6()
        self._resolv_conf = RESOLV_CONF.read_text() if RESOLV_CONF.is_file() else ""

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where the app is reached from this machine."""
        return (self.address, self.address6) if self.ipv6 else (self.address,)

    # --- making and going --------------------------------------------------------------------------------

    def open(self) -> None:
        """Make the namespace and its one link to the machine. InterceptionError when that is not possible."""
        self._call("unshare", _CLONE_NEWNET)
        try:
            self._inside = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            self._call("setns", self._here, _CLONE_NEWNET)
        run_program(("ip", "link", "delete", self.interface))
        peer = f"peer name {INNER_INTERFACE} netns /proc/{os.getpid()}/fd/{self._inside}"
        outer = [
            f"link add {self.interface} type veth {peer}",
            f"address add {self.host_address}/30 dev {self.interface}",
        ]
        inner = ["link set lo up", f"address add {self.address}/30 dev {INNER_INTERFACE}"]
        if self.ipv6:
            outer.append(f"address add {self.host_address6}/126 dev {self.interface} nodad")
            inner.append(f"address add {self.address6}/126 dev {INNER_INTERFACE} nodad")
            inner.append(f"address add {DELIVERY_SOURCES[1]}/128 dev lo")
        _ip([*outer, f"link set {self.interface} up"])
        inner.append(f"link set {INNER_INTERFACE} up")
        # A destination without a route cannot be intercepted: the connection fails before any rule sees it.
        inner.append(f"route add default via {self.host_address}")
        if self.ipv6:
            inner.append(f"route add default via {self.host_address6}")
        _ip(inner, self._enter)
        # As in containers: whoever the app runs as, port 80 of its own network is the app's.
        self._set({"ip_unprivileged_port_start": 0})

    def close(self) -> None:
        """Remove it, whoever is left inside."""
        with contextlib.suppress(InterceptionError):
            run_program(("ip", "link", "delete", self.interface))
        for descriptor in (self._inside, self._here, self._lock):
            if descriptor >= 0:
                os.close(descriptor)

    def apply(self, capture: Capture) -> None:
        """Put rules in force inside; they go with the namespace."""
        way = Nft() if capture.inbound_mode == TPROXY else backend(capture=capture)
        if capture.inbound_mode == TPROXY:
            self._route_marked()
        way.apply(capture, inside=self._enter)

    def _route_marked(self) -> None:
        """Deliver marked packets here, whatever their address is."""
        for version in (4, 6) if self.ipv6 else (4,):
            for words in (
                ("rule", "add", "fwmark", str(PROXY_ID), "lookup", str(TPROXY_TABLE)),
                ("route", "add", "local", "default", "dev", "lo", "table", str(TPROXY_TABLE)),
            ):
                done = run_program(("ip", f"-{version}", *words), inside=self._enter)
                if done.returncode:
                    raise InterceptionError(f"ip {' '.join(words)}: {said(done)}")
        self._set({f"conf/{name}/rp_filter": 0 for name in ("all", INNER_INTERFACE, "lo")})

    def _set(self, settings: Mapping[str, int]) -> None:
        """Change settings of the inside's IPv4."""
        # /proc/sys/net shows the network of who looks.
        script = "".join(f"echo {value} > /proc/sys/net/ipv4/{name}\n" for name, value in settings.items())
        done = run_program(("sh",), f"set -e\n{script}", inside=self._enter)
        if done.returncode:
            raise InterceptionError(f"the settings of the app's network cannot be changed: {said(done)}")

    # --- stepping in -------------------------------------------------------------------------------------

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Make sockets inside, in a block that never awaits: the thread is elsewhere meanwhile."""
        self._enter()
        try:
            yield
        finally:
            self._call("setns", self._here, _CLONE_NEWNET)

    async def connect(
        self, host: str, port: int, *, limit: int = 1 << 16, ssl: SSLContext | None = None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect from inside, as `asyncio.open_connection` does, to an IP address."""
        with self.inside():
            made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        try:
            made.setblocking(False)
            await asyncio.get_running_loop().sock_connect(made, (host, port))
            return await asyncio.open_connection(sock=made, limit=limit, ssl=ssl, server_hostname=host if ssl else None)
        except BaseException:
            made.close()
            raise

    def entrance(self, folder: Path) -> Callable[[], None]:
        """Return what a child calls between fork and exec to be inside, with the DNS of the inside.

        `folder`: private to the agent; a resolv.conf is written there.
        """
        ours, empty = folder / "resolv.conf", folder / "empty"
        ours.write_text(relay.inner_resolv_conf(self._resolv_conf))
        ours.chmod(0o644)
        empty.touch()
        mounts = [(str(ours), str(RESOLV_CONF))] if RESOLV_CONF.is_file() else []
        mounts += [(str(empty), str(place)) for place in _NAME_CACHES if place.exists()]
        prepared = [(source.encode(), target.encode()) for source, target in mounts]
        libc, inside = self._libc, self._inside

        def enter() -> None:
            # No functions of ours that might import or log: between fork and exec little is safe.
            failed = libc.setns(inside, _CLONE_NEWNET) or libc.unshare(_CLONE_NEWNS)
            failed = failed or libc.mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None)
            for source, target in prepared:
                failed = failed or libc.mount(source, target, None, _MS_BIND, None)
            if failed:
                raise OSError(ctypes.get_errno(), "cannot enter the network namespace")

        return enter

    # --- DNS ---------------------------------------------------------------------------------------------

    async def answer_dns(self, namespace: str) -> None:
        """Answer what is asked inside, until cancelled."""

        def inside() -> socket.socket:
            with self.inside():
                return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

        with self.inside():
            datagrams, streams = relay.bound_sockets(PORT, ipv6=self.ipv6)
        table = NameTable(namespace)
        await table.open(inside)
        await relay.Relay(table, Resolvers(socket_here)).run(datagrams, streams)

    def _enter(self) -> None:
        self._call("setns", self._inside, _CLONE_NEWNET)

    def _call(self, name: str, *arguments: int) -> None:
        if getattr(self._libc, name)(*arguments) != 0:
            why = os.strerror(ctypes.get_errno())
            raise InterceptionError(
                f"no network namespace can be made ({name}: {why}): that takes root with CAP_SYS_ADMIN; "
                "in a container, --cap-add SYS_ADMIN, or --intercept proxy, which needs no rights"
            )


@contextmanager
def app_network(seed: str) -> Iterator[AppNetwork]:
    """Open a network for the block. The same seed gets the same addresses whenever they are free."""
    need_root("--intercept netns")
    needed_program("ip")
    network = _free_number(seed)
    try:
        network.open()
        yield network
    finally:
        network.close()


def _free_number(seed: str) -> AppNetwork:
    try:
        LOCKS.mkdir(mode=0o755, parents=True, exist_ok=True)
    except OSError as error:
        raise InterceptionError(f"{LOCKS} cannot be made: {error.strerror}") from error
    taken = _routed()
    count = RANGE.num_addresses // _SIZE
    start = int.from_bytes(blake2b(seed.encode(), digest_size=4).digest(), "big")
    for step in range(_MOST_PROBES):
        number = (start + step) % count
        lock = os.open(LOCKS / str(number), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        if any(RANGE[number * _SIZE] in network for name, network in taken if name != f"lateen{number}"):
            os.close(lock)
            continue
        return AppNetwork(number, lock)
    raise InterceptionError(f"no addresses of {RANGE} are free: the machine has routes for all that were tried")


def _routed() -> list[tuple[str, IPv4Network]]:
    """Return (interface, network) of the machine's routes that lie in, or around, our range. The default is none."""
    done = run_program(("ip", "-json", "-4", "route", "show", "table", "all"))
    found = []
    for route in json.loads(done.stdout or "[]"):
        if route.get("dst", "default") != "default":
            try:
                network = ip_network(route["dst"], strict=False)
            except ValueError:
                # A word of the kernel's for something else than a network.
                continue
            if isinstance(network, IPv4Network) and network.prefixlen and network.overlaps(RANGE):
                found.append((str(route.get("dev", "")), network))
    return found


def _ip(commands: list[str], inside: Callable[[], None] | None = None) -> None:
    done = run_program(("ip", "-batch", "-"), "\n".join(commands) + "\n", inside=inside)
    if done.returncode:
        raise InterceptionError(f"the app's network cannot be set up: {said(done)}")


def _has_ipv6() -> bool:
    # New networks begin with the default, or with what this one has.
    switches = [Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6") for name in ("all", "default")]
    return all(switch.is_file() and switch.read_text().strip() == "0" for switch in switches)


def socket_here(address: str, kind: int) -> socket.socket:
    """Return a socket of the machine that can reach this address."""
    made = socket.socket(socket.AF_INET6 if ip_address(address).version == 6 else socket.AF_INET, kind)
    made.setblocking(False)
    return made
