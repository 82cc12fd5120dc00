"""The process around the control plane: event loop, signals, and flags that need reading.

Called by `lateen serve`. Signals are handled here and nowhere else.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import structlog

from lateen.app.running import run_control_plane
from lateen.app.settings import Settings
from lateen.cli.exits import ExitCode, Failure
from lateen.config.durations import seconds

_LOG = structlog.get_logger(__name__)


def read_debounce(quiet: str, longest: str) -> tuple[float, float]:
    """Return `--debounce-quiet` and `--debounce-max` in seconds. Raises Failure when they are no such pair."""
    least, most = _read_duration("--debounce-quiet", quiet), _read_duration("--debounce-max", longest)
    if least > most:
        raise Failure(
            f"--debounce-quiet {quiet} is longer than --debounce-max {longest}: a change cannot wait for that",
            code=ExitCode.USAGE,
        )
    return least, most


def read_key_refresh(text: str) -> float:
    """Return `--key-refresh` in seconds. Raises Failure when it is less than a second."""
    read = _read_duration("--key-refresh", text)
    if read < 1:
        raise Failure(f"--key-refresh {text} would keep the issuers busy; at least 1s", code=ExitCode.USAGE)
    return read


LONGEST_TTL = 24 * 3600.0
SHORTEST_TTL = 60.0


def read_certificate_ttl(text: str) -> float:
    """Return `--certificate-ttl` in seconds. Raises Failure when it is out of range."""
    read = _read_duration("--certificate-ttl", text)
    if not SHORTEST_TTL <= read <= LONGEST_TTL:
        raise Failure(
            f"--certificate-ttl {text} is not between 1m and 24h: certificates cannot be taken back, "
            "and each is renewed at half of its life",
            code=ExitCode.USAGE,
        )
    return read


def read_rotation_pause(text: str) -> float:
    """Return `--rotation-pause` in seconds. Raises Failure when it is negative."""
    return _read_duration("--rotation-pause", text)


def _read_duration(flag: str, text: str) -> float:
    try:
        read = seconds(text)
    except ValueError as error:
        raise Failure(f"{flag}: {error}", code=ExitCode.USAGE) from error
    if read < 0:
        raise Failure(f"{flag} {text} is negative; 0 does not wait at all", code=ExitCode.USAGE)
    return read


def ca_folder(state: Path | None) -> Path | None:
    """Return where the certificate authority lives: in `--state`, else where the user's programs keep their state.

    None, with a warning, when the user has no such place: nobody asked for it.
    """
    if state is not None:
        return state / "ca"
    given = os.environ.get("XDG_STATE_HOME", "")
    try:
        base = Path(given) if given.startswith("/") else Path.home() / ".local" / "state"
        folder = base / "lateen"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.access(folder, os.W_OK | os.X_OK):
            return folder / "ca"
        reason = f"{folder} cannot be written to"
    except (OSError, RuntimeError) as error:  # RuntimeError: no home
        reason = str(error)
    _LOG.warning("the certificate authority is new at each start: --state DIR keeps it", reason=reason)
    return None


def serve_until_signal(settings: Settings) -> None:
    """Run a control plane until SIGTERM or SIGINT. Raises StartError when it cannot start."""
    if sys.platform == "win32":
        asyncio.run(_serve(settings))
        return
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await run_control_plane(settings, stop=stop)
