"""The two places where the app knows nothing of its proxy: a network namespace of its own, or this machine with rules.

`NetworkPlace` is `--intercept netns`, `HostPlace` is `--intercept host`; opened by `places`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import shlex
import socket
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeAlias

from lateen.agent.addresses import LOOPBACK
from lateen.agent.application import accepts
from lateen.agent.interception import host, trials
from lateen.agent.interception.capture import (
    AGENT_PORTS,
    DELIVERY_SOURCES,
    OUTBOUND_PORT,
    PROXY_ID,
    SSH_PORT,
    TPROXY,
    Capture,
    CaptureError,
)
from lateen.agent.interception.names import NameTable
from lateen.agent.interception.network import AppNetwork, app_network, socket_here
from lateen.agent.interception.places import Enter, Place, hops
from lateen.agent.interception.programs import (
    InterceptionError,
    backend,
    cgroup_folder,
    cgroup_root,
    need_root,
)
from lateen.agent.interception.records import STATE_FOLDER, Record
from lateen.agent.interception.relay import Relay, bound_sockets
from lateen.agent.interception.resolvers import PORT, Resolvers
from lateen.agent.settings import NETNS, OUTBOUND, RUN, AgentSettings
from lateen.envoy.bootstrap import DNS_PORT
from lateen.model.proxies import Interception

Streams: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]
_OUTSIDE = "outside"
_LOCK = "\0lateen/intercept/host"
_UNASSIGNED = (("192.0.2.1", socket.AF_INET), ("2001:db8::1", socket.AF_INET6))
"""For examples; asked for the way there only, nothing is sent."""


class TransparentPlace(Place, ABC):
    """What both have in common: an app that may listen on loopback, on its own address, or on all."""

    _tried: tuple[str, ...] = (LOOPBACK,)
    """Addresses of the app, in this order, that stand for loopback where Envoy calls it."""

    @abstractmethod
    async def _connect_from_here(self, host: str, port: int, **options: Any) -> Streams:
        """Connect to an address of the app without being intercepted."""

    async def _connect_app(self, host: str, port: int, **options: Any) -> Streams:
        """Connect to the app: where loopback is meant, to the first of its addresses that it listens on."""
        if host != LOOPBACK:
            return await self._connect_from_here(host, port, **options)
        *others, last = self._tried
        for address in others:
            with contextlib.suppress(ConnectionRefusedError):
                return await self._connect_from_here(address, port, **options)
        return await self._connect_from_here(last, port, **options)

    def _addresses_tried(self, settings: AgentSettings) -> tuple[str, ...]:
        """Return the addresses where those find the app who call it."""
        own = self.addresses[0]
        if settings.inbound_mode == TPROXY or settings.hops == OUTBOUND:
            return (own,)
        return (LOOPBACK,) if own == LOOPBACK else (LOOPBACK, own)

    async def told_ports(self, found: Mapping[int, int]) -> dict[int, int]:
        """Say 0 for an app that listens on its own address only: Envoy calls it where its caller did."""
        told = await super().told_ports(found)
        return {declared: await self._told_port(port) for declared, port in told.items()}

    async def _told_port(self, port: int) -> int:
        on_loopback = await accepts(port, self._connect_from_here) or not await accepts(port, self._connect_app)
        return port if on_loopback else 0


class NetworkPlace(TransparentPlace):
    """A network of the app's own."""

    outside = _OUTSIDE
    answers_dns = True

    def __init__(self, settings: AgentSettings, network: AppNetwork) -> None:
        self._settings = settings
        self._network = network
        self._entrance: Enter | None = None
        self._user = _user(settings.app_user)
        self.addresses = network.addresses
        self.connect = network.connect
        self.connect_app = self._connect_app
        self._tried = self._addresses_tried(settings)
        self._wanted = self._wish()
        self.interception = Interception.TPROXY if settings.inbound_mode == TPROXY else Interception.REDIRECT

    def _wish(self) -> Capture:
        outbound, inbound = hops(self._settings)
        return _capture(
            outbound=outbound,
            inbound=inbound,
            exclude_users=(),
            exclude_groups=(),
            exclude_networks=self._settings.exclude_networks,
            exclude_ports=self._settings.exclude_ports,
            exclude_inbound_ports=AGENT_PORTS,
            dns_port=PORT,
            inbound_mode=self._settings.inbound_mode,
            ipv6=self._network.ipv6,
        )

    def inside(self) -> AbstractContextManager[None]:
        """Step into the namespace."""
        return self._network.inside()

    def prepare(self, folder: Path) -> None:
        """Give Envoy the way out, and the app its resolv.conf."""
        (folder / _OUTSIDE).symlink_to(f"/proc/{os.getpid()}/ns/net")
        self._entrance = self._network.entrance(folder)

    async def _connect_from_here(self, host: str, port: int, **options: Any) -> Streams:
        """Inside, connections to the inside's own addresses are nobody's to intercept."""
        return await self._network.connect(host, port, **options)

    def envoy_entrance(self) -> Enter | None:
        """Envoy is inside, as root."""
        return self._entrance

    def app_entrance(self) -> Enter | None:
        """The app is inside, as its user."""
        return _then(self._entrance, _becoming(self._user))

    def capture(self, folder: Path) -> None:
        """Lead everything inside to Envoy: there is nobody else."""
        del folder
        self._network.apply(self._wanted)

    async def serve(self) -> None:
        """Answer the app's DNS."""
        await self._network.answer_dns(self._settings.namespace)


class HostPlace(TransparentPlace):
    """This machine, with rules for one user, or for one cgroup that is made for the app."""

    interception = Interception.REDIRECT

    def __init__(self, settings: AgentSettings, state: Path = STATE_FOLDER) -> None:
        if settings.own_rules or settings.app_user:
            need_root("--intercept host")
        self._settings = settings
        self._state = state
        self._user = _user(settings.app_user)
        seed = f"{settings.namespace}/{settings.service}/{settings.version}"
        self._name = f"run_{blake2b(seed.encode(), digest_size=4).hexdigest()}"
        self._cgroup = self._own_cgroup()
        self._refuse_circles()
        self._applied = False
        self.answers_dns = settings.dns and hops(settings)[0]
        self._sockets: tuple[list[socket.socket], list[socket.socket]] = [], []
        found = own_addresses()
        if settings.address:
            # Of the other IP version it is left as it is: the app's connections of that version are intercepted too.
            version = ":" in settings.address
            found = [settings.address, *(each for each in found if (":" in each) != version)]
        if not found:
            raise InterceptionError("this machine has no address that others reach: say one with --address")
        self.addresses = tuple(found)
        self._ipv6 = any(":" in address for address in found)
        self.connect_app = self._connect_app
        self._tried = self._addresses_tried(settings)
        self._wanted = self._wish()

    def _own_cgroup(self) -> str:
        """Return the cgroup to make for the app: where its user does not tell it from others, or from its proxy."""
        told_apart = self._user is not None and self._user[0] != os.geteuid()
        mine = self._settings.own_rules and self._settings.mode == RUN
        return f"lateen/{self._name}" if mine and not told_apart else ""

    def _refuse_circles(self) -> None:
        """Raise InterceptionError where the rules would lead the proxy's own connections back to it, for ever."""
        settings, us = self._settings, os.geteuid()
        by_user = self._user is not None and not self._cgroup
        if settings.own_rules and by_user and self._user and self._user[0] == us and hops(settings)[0]:
            raise InterceptionError(
                f"--app-user {settings.app_user} is who the agent and its Envoy run as: their own connections would be "
                "intercepted as well. Run the app as another user, or start it with `lateen run`, which tells it by a "
                "cgroup",
                exit_code=2,
            )
        groups = {os.getegid(), *os.getgroups()}
        for record in () if settings.own_rules else host.all_recorded(self._state):
            capture = record.capture
            if capture.outbound_port == OUTBOUND_PORT and capture.takes(us, groups):
                raise InterceptionError(
                    f"the rules in force {f'of the name {capture.name} ' if capture.name else ''}intercept user {us}, "
                    "whom the agent and its Envoy run as: their own connections would come back to them. Run the agent "
                    f"as another user, as {PROXY_ID}, or apply rules with --exclude-user {us}",
                    exit_code=2,
                )

    def _wish(self) -> Capture:
        outbound, inbound = hops(self._settings)
        declared = tuple(port for port, _ in self._settings.ports)
        return _capture(
            name=self._name,
            outbound=outbound,
            # Without a port there is nothing inbound, and "all" would be everybody's.
            inbound=inbound and bool(declared),
            users=(self._user[0],) if self._user and not self._cgroup else (),
            cgroups=(self._cgroup,) if self._cgroup else (),
            cgroup_root=cgroup_root() if self._cgroup else "",
            exclude_networks=self._settings.exclude_networks,
            exclude_ports=self._settings.exclude_ports,
            inbound_ports=declared if inbound else (),
            exclude_inbound_ports=tuple(port for port in (SSH_PORT, *AGENT_PORTS) if port not in declared),
            dns_port=DNS_PORT if self.answers_dns else 0,
            ipv6=self._ipv6,
        )

    async def _connect_from_here(self, host: str, port: int, **options: Any) -> Streams:
        """Connect from where the rules let pass what is on its way to the app, as from Envoy."""
        # Of IPv6 the machine has no such address.
        own = host in self.addresses and ":" not in host
        local = (DELIVERY_SOURCES[0], 0) if own else None
        return await asyncio.open_connection(host, port, local_addr=local, **options)

    def prepare(self, folder: Path) -> None:
        """Make the cgroup, and take the port where DNS is answered."""
        del folder
        if self.answers_dns:
            try:
                self._sockets = bound_sockets(DNS_PORT, ipv6=self._ipv6)
            except OSError as error:
                raise InterceptionError(
                    f"port {DNS_PORT}, where DNS is answered, cannot be had ({error.strerror}): is another sidecar "
                    "intercepting on this machine? --no-dns leaves DNS alone"
                ) from error
        if self._cgroup:
            try:
                cgroup_folder(self._cgroup).mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise InterceptionError(
                    f"the cgroup {self._cgroup} cannot be made ({error.strerror}): give the app a user, --app-user"
                ) from error

    def app_entrance(self) -> Enter | None:
        """The app is in its cgroup, or of its user."""
        if not self._cgroup:
            return _becoming(self._user)
        members = str(cgroup_folder(self._cgroup) / "cgroup.procs")

        def join() -> None:
            with open(members, "w") as file:  # noqa: PTH123  as little as possible between fork and exec
                file.write("0")

        return _then(join, _becoming(self._user))

    async def serve(self) -> None:
        """Answer the app's DNS. The agent's own questions are not its user's, or not its cgroup's."""
        if not self.answers_dns:
            return
        table = NameTable(self._settings.namespace)
        await table.open(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        (datagrams, streams), self._sockets = self._sockets, ([], [])
        await Relay(table, Resolvers(socket_here)).run(datagrams, streams)

    def capture(self, folder: Path) -> None:
        """Apply the rules; should the agent be killed, its guard takes them back."""
        if not self._settings.own_rules:
            return
        way = backend(capture=self._wanted)
        trial = os.urandom(4).hex()
        undo = folder / "undo"
        words = (*trials.command(self._state), "expire", self._name, trial)
        variables = (f"export {name}={shlex.quote(value)}\n" for name, value in trials.environment().items())
        undo.write_text(f"{''.join(variables)}exec {shlex.join(words)}\n")
        self._applied = True
        host.apply(self._state, Record(capture=self._wanted, backend=way.name, trial=trial, cgroup=self._cgroup), way)

    def release(self) -> None:
        """Take the rules back, and the cgroup once it is empty."""
        if self._applied:
            self._applied = False
            host.revert(self._state, self._name)
        for never_served in (*self._sockets[0], *self._sockets[1]):
            never_served.close()


@contextmanager
def transparent_place(settings: AgentSettings) -> Iterator[Place]:
    """Open the place for the block. InterceptionError when it cannot be."""
    if settings.interception == NETNS:
        with app_network(f"{settings.namespace}/{settings.service}/{settings.version}") as network:
            yield NetworkPlace(settings, network)
        return
    made = HostPlace(settings)
    with _alone():
        try:
            yield made
        finally:
            made.release()


@contextmanager
def _alone() -> Iterator[None]:
    """Be the only agent that intercepts on this machine. InterceptionError when there is another.

    Two that start at once would both find ports 15001 and 15006 free, and their Envoys then share them: sockets of
    listeners have SO_REUSEPORT. An abstract name is known in one network namespace, and goes with whoever has it.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as lock:
        try:
            lock.bind(_LOCK)
        except OSError as error:
            raise InterceptionError(
                "another agent intercepts on this machine already: its Envoy has ports 15001 and 15006 on every "
                "address; --intercept netns has room for any number of workloads"
            ) from error
        yield


def _capture(**wishes: Any) -> Capture:
    try:
        return Capture(**wishes)
    except CaptureError as error:
        raise InterceptionError(str(error), exit_code=2) from error


def _user(name: str) -> tuple[int, int, tuple[int, ...]] | None:
    """Return uid, gid and groups of a user, by name or number."""
    if not name:
        return None
    with contextlib.suppress(KeyError):
        entry = pwd.getpwuid(int(name)) if name.isdigit() else pwd.getpwnam(name)
        return entry.pw_uid, entry.pw_gid, tuple(os.getgrouplist(entry.pw_name, entry.pw_gid))
    if name.isdigit():
        return int(name), int(name), ()
    raise InterceptionError(f"--app-user {name}: there is no such user")


def _becoming(user: tuple[int, int, tuple[int, ...]] | None) -> Enter | None:
    if user is None:
        return None
    uid, gid, groups = user

    def become() -> None:
        os.setgroups(groups)
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)

    return become


def _then(first: Enter | None, second: Enter | None) -> Enter | None:
    if first is None or second is None:
        return first or second

    def both() -> None:
        first()
        second()

    return both


def own_addresses() -> list[str]:
    """Return the addresses that this machine's connections to others come from."""
    found = []
    for target, family in _UNASSIGNED:
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as made:
            made.connect((target, 9))
            found.append(str(made.getsockname()[0]))
    return found
