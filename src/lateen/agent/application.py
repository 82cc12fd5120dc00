"""The app beside the sidecar: its environment, and when and where it accepts connections.

Used by `app_life`. Must not know: Envoy, or how the workload is registered.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from collections.abc import Mapping, Sequence
from typing import Protocol

from lateen.agent.addresses import LOOPBACK
from lateen.agent.errors import StartError
from lateen.agent.http1 import Connect
from lateen.agent.listening import Match, match_ports
from lateen.agent.notifying import VARIABLES

_NO_PROXY = "localhost,127.0.0.1,::1"
POLL_SECONDS = 0.05
_SETTLE_SECONDS = 1.0
"""How long an app must listen on an unexpected port before that port is taken for the declared one."""


def check_program(command: Sequence[str]) -> None:
    """Look for the app's program before anything is begun. StartError when there is none of this name.

    Whether it can be started shows when it is: it may be another user's to run.
    """
    name = command[0] if command else ""
    folders = ("",) if "/" in name else os.get_exec_path()
    if name and not any(os.path.exists(os.path.join(folder, name)) for folder in folders):  # noqa: PTH110, PTH118  as exec
        raise StartError(f"cannot start {name!r}: {os.strerror(errno.ENOENT)}", exit_code=127)


def app_environment(environment: Mapping[str, str], offered: Mapping[int, int], http_proxy: str) -> dict[str, str]:
    """Return the app's environment.

    `PORT` is the port to listen on (the first declared), `PORT_9080` the one for declared port 9080. With a proxy URL,
    the variables that HTTP clients read; Node needs NODE_USE_ENV_PROXY to read them.
    """
    env = {name: value for name, value in environment.items() if name not in VARIABLES}
    for position, (declared, port) in enumerate(offered.items()):
        env[f"PORT_{declared}"] = str(port)
        if position == 0:
            env["PORT"] = str(port)
    if http_proxy:
        direct = ",".join(part for part in (_NO_PROXY, environment.get("NO_PROXY", "")) if part)
        env |= {
            "HTTP_PROXY": http_proxy,
            "http_proxy": http_proxy,
            "NO_PROXY": direct,
            "no_proxy": direct,
            "NODE_USE_ENV_PROXY": "1",
        }
    return env


async def accepts(port: int, connect: Connect = asyncio.open_connection) -> bool:
    """Whether something accepts TCP connections on this loopback port."""
    try:
        async with asyncio.timeout(1):
            _, writer = await connect(LOOPBACK, port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


class Scanner(Protocol):
    """Tells which ports the app listens on now (`listening.ListeningPorts`)."""

    def scan(self) -> frozenset[int]:
        """Return the ports; empty when it cannot know."""


async def wait_until_serving(
    offered: Mapping[int, int], scanner: Scanner, connect: Connect = asyncio.open_connection
) -> dict[int, int]:
    """Wait until the app accepts connections on every declared port; return declared port -> its port.

    Waits for ever: the caller bounds it, or gives a hint after a while.
    """
    clock = asyncio.get_running_loop().time
    unexpected: tuple[dict[int, int], float] = ({}, 0.0)
    while True:
        found: Match = match_ports(offered, scanner.scan())
        guess = dict(found.guessed)
        if guess != unexpected[0]:
            unexpected = (guess, clock())
        serving = dict(found.certain)
        if guess and clock() - unexpected[1] >= _SETTLE_SECONDS:
            serving |= guess
        for declared, port in offered.items():
            # The offered port is ours: whoever accepts there is the app, even if /proc does not tell.
            serving.setdefault(declared, port)
        if all([await accepts(port, connect) for port in serving.values()]):
            return {declared: serving[declared] for declared in offered}
        await asyncio.sleep(POLL_SECONDS)


async def wait_for_ports(
    ports: tuple[int, ...], connect: Connect = asyncio.open_connection, *, accepting: bool, pause: float = 0.2
) -> None:
    """Wait until all these loopback ports accept connections, or until one of them no longer does."""
    while True:
        if all([await accepts(port, connect) for port in ports]) == accepting:
            return
        await asyncio.sleep(pause)
