"""Interception of this machine itself: apply on trial, confirm, verify, take back; each under a lock, each on record.

Called by `lateen intercept`, by `python -m lateen.agent.interception` and by `lifecycle`. What is done is on record
before it is done, so that whatever happens in between, `revert` finds it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

from lateen.agent.interception import records, trials
from lateen.agent.interception.capture import Capture
from lateen.agent.interception.programs import (
    BACKENDS,
    Backend,
    InterceptionError,
    cgroup_folder,
    need_root,
    run_program,
    said,
)
from lateen.agent.interception.records import Record, RecordError
from lateen.private_files import write_private
from lateen.systemd_units import UNIT_MODE, UNITS_FOLDER, RulesUnit, rules_unit

TRIAL_SECONDS = 60.0
_UNASSIGNED = ("198.51.100.1/32", "2001:db8::1/128")
"""For examples (RFC 5737, RFC 3849): nobody answers there but a proxy."""
_PROBE_SECONDS = 3.0


@contextmanager
def locked(folder: Path, name: str) -> Iterator[None]:
    """Be the only one who changes the rules of this name. InterceptionError when the folder cannot be written to."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(folder / f".{name or 'default'}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise InterceptionError(f"the state folder {folder} cannot be used: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def recorded(folder: Path, name: str) -> Record | None:
    """Return what is on record. InterceptionError when it cannot be read."""
    try:
        return records.read(folder, name)
    except RecordError as error:
        raise InterceptionError(str(error)) from error


def all_recorded(folder: Path) -> Iterator[Record]:
    """Yield what is on record of all names, as far as it can be read: others may not be allowed to."""
    try:
        names = [path.stem for path in sorted(folder.glob("*.json"))]
    except OSError:
        return
    for name in names:
        with contextlib.suppress(RecordError):
            if found := records.read(folder, "" if name == "default" else name):
                yield found


def apply(
    folder: Path, record: Record, way: Backend, *, trial_seconds: float = 0.0, systemd: bool | None = None
) -> str:
    """Put the rules in force; on trial for `trial_seconds`, or for good when that is 0. Returns who ends the trial.

    Replaces rules of the same name. When they cannot be applied, nothing is left behind.
    """
    need_root("interception of this machine")
    name = record.capture.name
    with locked(folder, name):
        if (old := recorded(folder, name)) and old.backend != way.name:
            BACKENDS[old.backend]().revert(old.capture)
        waits = ""
        if trial_seconds:
            trial = os.urandom(4).hex()
            waits = trials.begin(folder, name, trial, trial_seconds, systemd=systemd)
            record = replace(record, trial=trial, deadline=time.time() + trial_seconds)
        records.write(folder, record)
        try:
            way.apply(record.capture)
        except BaseException:
            _bring_back(folder, name, old)
            raise
        if not trial_seconds and record.unit:
            install_unit(folder, name)
        return waits


def _bring_back(folder: Path, name: str, old: Record | None) -> None:
    """Have what was in force before new rules failed, and have it on record; or nothing, where that fails too."""
    if old is not None:
        records.write(folder, old)
        try:
            # Those of another backend are gone by now, and of iptables one IP version may be.
            BACKENDS[old.backend]().apply(old.capture)
            return
        except InterceptionError:
            with contextlib.suppress(InterceptionError):
                BACKENDS[old.backend]().revert(old.capture)
    records.remove(folder, name)


def confirm(folder: Path, name: str) -> Record:
    """Keep the rules. InterceptionError when there are none, or when the trial is over."""
    need_root("interception of this machine")
    with locked(folder, name):
        found = recorded(folder, name)
        if found is None:
            raise InterceptionError("there is nothing to confirm: the rules were taken back, or never applied")
        kept = found.confirmed()
        records.write(folder, kept)
        if kept.unit:
            install_unit(folder, name)
        return kept


def revert(folder: Path, name: str, *, trial: str = "") -> bool:
    """Take the rules back and forget them; with `trial`, only if they are still on that trial. Returns whether."""
    need_root("interception of this machine")
    with locked(folder, name):
        found = recorded(folder, name)
        if found is None or (trial and found.trial != trial):
            return False
        BACKENDS[found.backend]().revert(found.capture)
        if found.cgroup:
            with contextlib.suppress(OSError, InterceptionError):
                made = cgroup_folder(found.cgroup)
                made.rmdir()
                # Ours too, and of others of ours as long as there are any.
                made.parent.rmdir()
        _remove_unit(name)
        records.remove(folder, name)
        return True


def restore(folder: Path, name: str) -> bool:
    """Put confirmed rules in force again, after a reboot. Returns whether there are any."""
    with locked(folder, name):
        found = recorded(folder, name)
        if found is None or found.trial:
            return False
        if found.cgroup or found.capture.cgroups:
            # A cgroup does not outlive a reboot; whoever starts the app in it finds it.
            for cgroup in found.capture.cgroups:
                cgroup_folder(cgroup).mkdir(parents=True, exist_ok=True)
        BACKENDS[found.backend]().apply(found.capture)
        return True


def withdraw(folder: Path, name: str) -> bool:
    """Take the rules out of force, but remember them. Returns whether there are any.

    A unit that stops because it was removed does nothing: what is in force by then is not what it brought.
    """
    with locked(folder, name):
        found = recorded(folder, name) if unit_path(name).is_file() else None
        if found is not None:
            BACKENDS[found.backend]().revert(found.capture)
        return found is not None


def differences(record: Record) -> tuple[str, ...]:
    """Return how the rules in force differ from the recorded ones, as lines of a diff; empty when they do not."""
    # Only here, and not in the agents of a whole machine.
    import difflib

    way = BACKENDS[record.backend]()
    expected, live = way.expected(record.capture), way.live(record.capture)
    return tuple(difflib.unified_diff(expected.splitlines(), live.splitlines(), "planned", "in force", lineterm=""))


def unit_path(name: str) -> Path:
    """Return where the unit of these rules is."""
    return Path(UNITS_FOLDER) / f"lateen-intercept-{name or 'default'}.service"


def unit(folder: Path, name: str) -> str:
    """Return the text of the unit.

    It reads the record, so it need not change when the rules do, and does nothing when they were taken back meanwhile.
    """
    words = trials.command(folder)
    return rules_unit(
        RulesUnit(
            description=f"Lateen: interception rules {name or 'default'}",
            start=(*words, "restore", name),
            stop=(*words, "withdraw", name),
            environment=trials.environment(),
            needs=(str(folder.absolute()), words[0]),
        )
    )


def install_unit(folder: Path, name: str) -> None:
    """Write the unit, enable it, and have it count as started; where there is no systemd, it is found when there is."""
    path = unit_path(name)
    try:
        write_private(path, unit(folder, name).encode())
        path.chmod(UNIT_MODE)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise InterceptionError(f"the unit cannot be written to {path.parent}: {why}") from error
    done = run_program(("systemctl", "enable", "--quiet", path.name))
    if done.returncode:
        raise InterceptionError(f"the unit is written, but not enabled: {said(done)}")
    if trials.systemd_runs():
        # Not waited for: it waits for the lock that is held here. It puts in force what is in force already.
        run_program(("systemctl", "start", "--quiet", "--no-block", path.name))


def _remove_unit(name: str) -> None:
    path = unit_path(name)
    if not path.is_file():
        return
    run_program(("systemctl", "disable", "--quiet", path.name))
    path.unlink(missing_ok=True)
    if trials.systemd_runs():
        run_program(("systemctl", "stop", "--quiet", "--no-block", path.name))
        run_program(("systemctl", "daemon-reload"))


# --- a real connection ---------------------------------------------------------------------------------------


def probe_target(capture: Capture) -> tuple[str, int] | None:
    """Return an address and port that the rules intercept and where nobody is; None when they leave no such one."""
    port = next((port for port in capture.include_ports or (80, 7, 9) if port not in capture.exclude_ports), 0)
    excluded = [ip_network(text, strict=False) for text in capture.exclude_networks]
    for text in capture.include_networks or _UNASSIGNED[:1]:
        address = ip_network(text, strict=False)[0 if "/32" in text or "/128" in text else 1 if "/" in text else 0]
        if port and not any(address in network for network in excluded):
            return str(address), port
    return None


def probe(capture: Capture) -> str:
    """Connect as one who is intercepted; return what is wrong, empty when the proxy took the connection."""
    target = probe_target(capture)
    if not capture.outbound or target is None:
        return ""
    outcome = _outcome(capture, *target)
    if not outcome:
        return ""
    where = f"a connection to {target[0]}:{target[1]}"
    if outcome == errno.ECONNREFUSED:
        return f"{where} is intercepted, but nobody listens on port {capture.outbound_port}: is the sidecar running?"
    return f"{where} does not reach the proxy: {os.strerror(outcome)}"


def _outcome(capture: Capture, address: str, port: int) -> int:
    """Connect in a child of this process, which becomes the intercepted user; return 0 or the errno.

    A fork and not a program: that user may not be allowed to run ours.
    """
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = errno.EIO
    try:
        if capture.users:
            os.setgroups([])
            os.setresuid(capture.users[0], capture.users[0], capture.users[0])
        elif capture.cgroups:
            (cgroup_folder(capture.cgroups[0]) / "cgroup.procs").write_text("0")
        made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        made.settimeout(_PROBE_SECONDS)
        code = made.connect_ex((address, port))
    except OSError as error:
        code = error.errno or errno.EIO
    finally:
        # Nothing of the parent's is to be flushed or cleaned up twice.
        os._exit(errno.ETIMEDOUT if code == errno.EAGAIN else code)
