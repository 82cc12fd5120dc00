"""Looks at this machine and at the control plane, and changes nothing: what `checks` judges.

Called by `cli/join.py`. Nothing secret is sent: the control plane is asked for its certificate only. Must not know:
what follows from what is seen.
"""

from __future__ import annotations

import os
import pwd
import socket
import ssl
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import cast

from lateen.agent.addresses import LOOPBACK, METRICS_PORT, READY_PORT, port_problem
from lateen.agent.join_tokens import JoinToken
from lateen.agent.secure_connection import client_context
from lateen.agent.settings import GATEWAY, HOST, INBOUND, AgentSettings
from lateen.cli.joining.checks import FolderSeen, PortInUse, ServerSeen
from lateen.envoy.bootstrap import ADMIN_PORT, DNS_PORT, OUTBOUND_PORT, PROMETHEUS_PORT
from lateen.model.identities import control_plane_identity

_CONNECT_SECONDS = 5.0
_RUN_SECONDS = 30.0
_NO_CHECK_TIME = 0x200000
"""OpenSSL's X509_V_FLAG_NO_CHECK_TIME: a clock that is wrong is to be told from a server that is."""
_INBOUND_PORT = 15006


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a name led to."""

    addresses: tuple[str, ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """One control plane, as it was found."""

    address: tuple[str, int]
    found: Found = Found()
    servers: tuple[ServerSeen, ...] = ()

    @property
    def problem(self) -> str:
        """Why it cannot be joined by; empty when it can."""
        away = (f"port {server.port}: {server.reason}" for server in self.servers if not server.reached)
        return self.found.problem or next(away, "")


def plane(address: tuple[str, int], join_port: int, roots: str, token: JoinToken | None) -> Plane:
    """Look for one control plane, and at its two ports."""
    host, port = address
    found = resolve(host)
    asked = () if found.problem else (("secure", port), ("join", join_port))
    servers = tuple(server(what, host, number, roots, token) for what, number in asked)
    return Plane(address=address, found=found, servers=servers)


def resolve(host: str) -> Found:
    """Return the addresses of a name."""
    try:
        answers = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        return Found(problem=getattr(error, "strerror", None) or str(error))
    return Found(addresses=tuple(dict.fromkeys(str(answer[4][0]) for answer in answers)))


def way_to(addresses: Sequence[str]) -> str:
    """Return this machine's address on the way to the first of these that there is a way to; empty without one."""
    for address in addresses:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((address, 9))  # sends nothing
                return str(probe.getsockname()[0])
        except OSError:
            continue
    return ""


def user_of(name: str) -> pwd.struct_passwd | None:
    """Return the user; None when there is none."""
    try:
        return pwd.getpwuid(int(name)) if name.isdigit() else pwd.getpwnam(name)
    except KeyError:
        return None


def run_problem(command: Sequence[str], user: pwd.struct_passwd | None) -> tuple[str, str]:
    """Run a program as a user; return what it printed, and why it did not run."""
    other = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user and os.geteuid() == 0 else {}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_RUN_SECONDS, cwd="/", **other
        )  # type: ignore[call-overload]
    except subprocess.TimeoutExpired:
        return "", f"it takes longer than {_RUN_SECONDS:g} s"
    except OSError as error:
        return "", error.strerror or str(error)
    if done.returncode:
        return "", (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1][:300]
    return str(done.stdout), ""


def envoy(settings: AgentSettings, user: pwd.struct_passwd | None) -> tuple[str, str]:
    """Return Envoy's version, and why it cannot be used."""
    from lateen.agent.envoy_process import OLDEST_ENVOY, find_envoy, read_version
    from lateen.agent.errors import StartError

    try:
        binary = find_envoy(settings.envoy_path)
    except StartError as error:
        return "", str(error)
    printed, problem = run_problem((binary, "--version"), user)
    if problem:
        return "", f"{binary} does not run: {problem}"
    version = read_version(printed)
    if version[:2] < OLDEST_ENVOY:
        found = ".".join(map(str, version)) or "no Envoy"
        return "", f"{binary} is {found}, and {'.'.join(map(str, OLDEST_ENVOY))} or newer is needed"
    return ".".join(map(str, version)), ""


def systemd_runs() -> bool:
    """Whether systemd is this machine's init, as sd_booted(3) has it."""
    return Path("/run/systemd/system").is_dir()


def folder_seen(place: Path, path: PurePosixPath) -> FolderSeen:
    """Look at a folder, or at the nearest above it that is there."""
    there = next(folder for folder in (place, *place.parents) if folder.is_dir())
    about = os.statvfs(there)
    return FolderSeen(
        path=str(path), writable=os.access(there, os.W_OK | os.X_OK), free_bytes=about.f_bavail * about.f_frsize
    )


def ports(settings: AgentSettings, own: str) -> tuple[PortInUse, ...]:
    """Try to bind what the agent and its Envoy will."""
    private = "127.0.0.1" if not own.startswith("127.") else own
    wanted = [(private, ADMIN_PORT, False), (own, METRICS_PORT, False), (own, READY_PORT, False)]
    wanted.append((own, PROMETHEUS_PORT, False))
    if settings.interception == HOST:
        wanted += [("0.0.0.0", OUTBOUND_PORT, False), ("0.0.0.0", _INBOUND_PORT, False)]
        if settings.dns and settings.hops != INBOUND:
            wanted.append((LOOPBACK, DNS_PORT, False))
    else:
        wanted.append((private, OUTBOUND_PORT, False))
        # With rules the app has its ports itself, and may be there already.
        wanted += [(own, port, True) for port, _ in settings.ports]
    wanted += [(private, upstream.local_port, False) for upstream in settings.upstreams]
    if settings.mode == GATEWAY:
        wanted += [(own, bound, False) for bound in settings.port_map.values()]
    return tuple(
        PortInUse(address=address, port=port, problem=port_problem(address, port), declared=declared)
        for address, port, declared in wanted
    )


def rules(settings: AgentSettings) -> tuple[str, str, str]:
    """Return what will put the agent's rules in force, why nothing can, and what to do; empty where it needs none."""
    if settings.interception != HOST or not settings.own_rules:
        return "", "", ""
    from lateen.agent.interception.programs import InterceptionError, backend

    if settings.app_user and not settings.app_user.isdigit() and user_of(settings.app_user) is None:
        return "", f"there is no user {settings.app_user!r}", "`useradd --system NAME`, or another --app-user"
    try:
        return backend().name, "", ""
    except InterceptionError as error:
        problem, _, todo = str(error).partition(": ")
        return "", problem, todo


def server(what: str, host: str, port: int, roots: str, token: JoinToken | None) -> ServerSeen:
    """Connect to one port of the control plane, and see who shows a certificate there."""
    try:
        with socket.create_connection((host, port), _CONNECT_SECONDS) as plain:
            return _shown(what, port, plain, roots, token)
    except OSError as error:
        reason = "no answer" if isinstance(error, TimeoutError) else error.strerror or str(error)
        return ServerSeen(what=what, port=port, reached=False, reason=reason)


def _shown(what: str, port: int, plain: socket.socket, roots: str, token: JoinToken | None) -> ServerSeen:
    def seen(reason: str) -> ServerSeen:
        return ServerSeen(what=what, port=port, reached=True, reason=reason)

    if token is None or not roots:
        return seen("no roots")
    try:
        context = client_context(roots)
        context.verify_flags |= ssl.VerifyFlags(_NO_CHECK_TIME)
        with context.wrap_socket(plain) as secure:
            shown = secure.getpeercert() or {}
    except ssl.SSLCertVerificationError as error:
        return seen(error.verify_message)
    except (OSError, ValueError) as error:
        return seen(getattr(error, "reason", None) or str(error) or "no TLS")
    alternatives = cast("tuple[tuple[str, str], ...]", shown.get("subjectAltName", ()))
    names = [name for kind, name in alternatives if kind == "URI"]
    wanted = control_plane_identity(token.trust_domain).uri if token.trust_domain else ""
    begins, ends = (float(ssl.cert_time_to_seconds(str(shown[key]))) for key in ("notBefore", "notAfter"))
    if wanted and names != [wanted]:
        return seen(f"its certificate is of {', '.join(names)[:200] or 'nobody'}, not of {wanted}")
    return ServerSeen(what=what, port=port, reached=True, trusted=True, begins=begins, ends=ends)


def now() -> float:
    """Return the time, in seconds since 1970."""
    return time.time()
