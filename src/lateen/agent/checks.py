"""One check of an app: by HTTP, a connection, gRPC's health service or a command. Bounded in time and in what it reads.

Called for `watching` and by `app_pages`; loaded only where there is a probe. An outcome is a text: what is wrong, empty
for nothing. Must not know: how outcomes are counted, or what becomes of them.
"""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field

from lateen.agent.addresses import LOOPBACK, host_port
from lateen.agent.grpc_call import CallHead
from lateen.agent.http1 import MAX_HEAD_BYTES, Connect, Http1Error, exchange
from lateen.agent.interception.places import Enter
from lateen.agent.probes import health_problem, health_request, http_problem
from lateen.agent.processes import start
from lateen.agent.unary_call import CallError, ask
from lateen.model.probes import EXEC, GRPC, HTTP, Probe

USER_AGENT = "lateen-probe/1"
_HEALTH = "/grpc.health.v1.Health/Check"
_KILL_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """How the app is reached."""

    connect: Connect = asyncio.open_connection
    ports: Mapping[int, int] = field(default_factory=dict)
    """Declared port -> where the app listens for it."""
    enter: Enter | None = None
    """What a command does first, to be where the app is."""
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))


async def check(probe: Probe, target: Target) -> str:
    """Make one check; return what is wrong, empty for nothing. Raises nothing but CancelledError."""
    try:
        async with asyncio.timeout(probe.timeout):
            if probe.kind == EXEC:
                return await _exec(probe, target)
            if probe.kind == GRPC:
                return await _grpc(probe, target)
            return http_problem(await http_status(probe, target)) if probe.kind == HTTP else await _tcp(probe, target)
    except TimeoutError:
        return f"no answer within {probe.timeout:g} s"
    except ConnectionRefusedError:
        return "connection refused"
    except (OSError, EOFError) as error:
        return str(error)[:200] or type(error).__name__
    except Http1Error as error:
        return str(error)


async def http_status(probe: Probe, target: Target, more: Mapping[str, str] | None = None) -> int:
    """Ask by HTTP; return the status. The caller bounds the time. OSError and Http1Error as `http1.exchange`."""
    host, port = _address(probe, target)
    headers = {"user-agent": USER_AGENT, "accept": "*/*", **(more or {})}
    headers |= {name.lower(): value for name, value in probe.headers}
    tls = _unverified() if probe.tls else None
    asked = exchange(host, port, probe.path, headers=headers, connect=target.connect, tls=tls)
    async with asked as (status, _, _):
        return status


async def _tcp(probe: Probe, target: Target) -> str:
    _, writer = await target.connect(*_address(probe, target))
    writer.close()
    return ""


async def _grpc(probe: Probe, target: Target) -> str:
    host, port = _address(probe, target)
    head = CallHead(method=_HEALTH, authority=host_port(host, port), content_type="application/grpc")
    reader, writer = await target.connect(host, port, limit=MAX_HEAD_BYTES)
    try:
        return health_problem(await ask(reader, writer, head, health_request(probe.service)))
    except CallError as error:
        return f"gRPC {error.status.name}" if error.status else "no answer of gRPC's health service"
    finally:
        writer.close()


async def _exec(probe: Probe, target: Target) -> str:
    """Run the command where the app is; what it writes goes to our stderr. Whatever is left of it is killed."""
    try:
        child = await start(probe.command, env=target.environment, quiet_stdout=True, enter=target.enter)
    except (OSError, subprocess.SubprocessError) as error:
        return f"cannot start {probe.command[0][:80]!r}: {getattr(error, 'strerror', None) or error}"
    try:
        code = await child.exit_code()
    finally:
        if not child.group_is_empty():
            await child.stop(signal.SIGKILL, _KILL_SECONDS)
    return f"exit code {code}" if code else ""


def _address(probe: Probe, target: Target) -> tuple[str, int]:
    return probe.host or LOOPBACK, probe.port if probe.host else target.ports.get(probe.port, probe.port)


def _unverified() -> ssl.SSLContext:
    """As Kubernetes probes: it is a question to the app beside us, not to somebody of a name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
