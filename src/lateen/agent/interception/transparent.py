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
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any

from lateen.agent.interception import host, trials
from lateen.agent.interception.capture import AGENT_PORTS, SSH_PORT, TPROXY, Capture, CaptureError
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

_OUTSIDE = "outside"
_UNASSIGNED = (("192.0.2.1", socket.AF_INET), ("2001:db8::1", socket.AF_INET6))
"""For examples; asked for the way there only, nothing is sent."""


class NetworkPlace(Place):
    """A network of the app's own."""

    outside = _OUTSIDE
    answers_dns = True

    def __init__(self, settings: AgentSettings, network: AppNetwork) -> None:
        self._settings = settings
        self._network = network
        self._entrance: Enter | None = None
        self._user = _user(settings.app_user)
        self.addresses = network.addresses
        self.connect = self.connect_app = network.connect
        self._wanted = self._wish()
        if settings.inbound_mode == TPROXY or settings.hops == OUTBOUND:
            self.connect_app = self._connect_as_others
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

    async def _connect_as_others(self, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Go to the app's own address: an app that listens on loopback only is not reached there."""
        del host
        return await self._network.connect(self.addresses[0], port)

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


class HostPlace(Place):
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
        self._cgroup = "" if self._user or not settings.own_rules or settings.mode != RUN else f"lateen/{self._name}"
        self._applied = False
        self.answers_dns = settings.dns and hops(settings)[0]
        self._sockets: tuple[list[socket.socket], list[socket.socket]] = [], []
        found = [settings.address] if settings.address else own_addresses()
        if not found:
            raise InterceptionError("this machine has no address that others reach: say one with --address")
        self.addresses = tuple(found)
        self._ipv6 = any(":" in address for address in found)
        self._wanted = self._wish()

    def _wish(self) -> Capture:
        outbound, inbound = hops(self._settings)
        declared = tuple(port for port, _ in self._settings.ports)
        return _capture(
            name=self._name,
            outbound=outbound,
            # Without a port there is nothing inbound, and "all" would be everybody's.
            inbound=inbound and bool(declared),
            users=(self._user[0],) if self._user else (),
            cgroups=(self._cgroup,) if self._cgroup else (),
            cgroup_root=cgroup_root() if self._cgroup else "",
            exclude_networks=self._settings.exclude_networks,
            exclude_ports=self._settings.exclude_ports,
            inbound_ports=declared if inbound else (),
            exclude_inbound_ports=tuple(port for port in (SSH_PORT, *AGENT_PORTS) if port not in declared),
            dns_port=DNS_PORT if self.answers_dns else 0,
            ipv6=self._ipv6,
        )

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

        return join

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
        variables = (f"export {shlex.quote(variable)}\n" for variable in trials.environment())
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
    try:
        yield made
    finally:
        made.release()


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
