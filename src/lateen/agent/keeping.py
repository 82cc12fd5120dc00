"""What an agent keeps on disk, so that its workload serves when the control plane is away: one folder per workload.

The folder holds the last good configuration of its Envoy (`last_good`), the secrets that came to it from the control
plane (a gateway's server certificates), and the identity it was served with: certificate, key, roots, and where the
control plane was. All files are for their owner only, each replaced whole, and
say the version of their form; what cannot be read counts as not there, and is said. Folders of workloads that have
not come back for a month are removed.

Used by `envoy_life` and `certificates`, and by `lateen join` for a first identity. Blocking: files are small. Must not
know: Envoy's process, or the network.
"""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

from lateen.agent.log import get_log
from lateen.agent.private_folders import remove_folder
from lateen.agent.settings import AgentSettings
from lateen.private_files import write_private

_T = TypeVar("_T")
FORM = 1
"""Version of the files' form."""
MAX_BYTES = 64 << 20
"""Largest file that is read: a proxy that is told of 5,000 services has 20 MB."""
KEPT_SECONDS = 30 * 24 * 3600
MOST_CRASHES = 5
_CRASH = "crash-"
_CONFIGURATION, _IDENTITY, _SECRETS = "configuration.json", "identity.json", "secrets.json"
_SHAPE = ("service_account", "port_map", "interception", "hops", "inbound_mode", "dns")
"""Settings besides ports and upstreams that Envoy's listeners follow from: with others it would serve otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptConfiguration:
    """A bootstrap that stands alone, and when it was good."""

    bootstrap: dict[str, Any]
    saved_at: float
    """Seconds since 1970."""
    name: str
    """The workload's name at that time."""
    settings: str = ""
    """The agent's settings as JSON, with what the control plane had said of them."""
    app_ports: Mapping[int, int] = field(default_factory=dict)
    """Service port -> where the app was expected."""
    missing: tuple[str, ...] = ()

    @property
    def age(self) -> float:
        """Seconds since it was kept."""
        return max(0.0, time.time() - self.saved_at)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class KeptIdentity:
    """A certificate with its key, and whom it was got from. Shows nothing of itself."""

    chain: str
    key: str
    roots: str
    """PEM, all three."""
    secure: tuple[str, int]
    """The control plane's address for those who have a certificate."""
    join: tuple[str, int]
    uri: str
    """SPIFFE ID."""


class Keeper:
    """One workload's folder."""

    def __init__(self, folder: Path, fits: str, owner: int | None = None, *, shape: str = "") -> None:
        """`fits` says for which settings the content is good: with others it counts as not there.

        `shape` says the same of the configuration alone: an identity is good whatever the ports.
        `owner`: the user whose files they are, if not this one.
        """
        self._folder = folder
        self._owner = os.geteuid() if owner is None else owner
        identity, others = (blake2b(text.encode(), digest_size=16).hexdigest() for text in (fits, fits + shape))
        self._fits = {_IDENTITY: identity, _CONFIGURATION: others, _SECRETS: others}
        self._log = get_log().bind(folder=str(folder))
        self._written: dict[str, bytes] = {}
        self._refused: dict[str, tuple[int, int]] = {}
        """Files that cannot be used, as they were then: they are asked for again and again, and can be large."""

    @property
    def folder(self) -> Path:
        """Where it is."""
        return self._folder

    def keep_configuration(self, kept: KeptConfiguration) -> None:
        """Replace the last good configuration; only what is new is written."""
        content = {
            "bootstrap": kept.bootstrap,
            "name": kept.name,
            "settings": kept.settings,
            "appPorts": {str(port): app_port for port, app_port in kept.app_ports.items()},
            "missing": list(kept.missing),
        }
        self._write_new(_CONFIGURATION, content, savedAt=kept.saved_at)

    def has_configuration(self) -> bool:
        """Whether there may be a last good configuration: one of other settings counts, too."""
        return (self._folder / _CONFIGURATION).is_file()

    def configuration(self) -> KeptConfiguration | None:
        """Return the last good configuration; None when there is none for these settings."""

        def read(found: dict[str, Any]) -> KeptConfiguration:
            return KeptConfiguration(
                bootstrap=dict(found["bootstrap"]),
                saved_at=float(found["savedAt"]),
                name=str(found["name"]),
                settings=str(found["settings"]),
                app_ports={int(port): int(app_port) for port, app_port in found["appPorts"].items()},
                missing=tuple(map(str, found["missing"])),
            )

        return self._read(_CONFIGURATION, read)

    def keep_secrets(self, secrets: Mapping[str, bytes]) -> None:
        """Replace the secrets, by name; those that are not named any more are forgotten."""
        content = {name: base64.b64encode(secret).decode() for name, secret in sorted(secrets.items())}
        if content:
            self._write_new(_SECRETS, {"secrets": content})
        else:
            self._written.pop(_SECRETS, None)
            (self._folder / _SECRETS).unlink(missing_ok=True)

    def secrets(self) -> dict[str, bytes]:
        """Return the secrets by name, each as Envoy reads it; empty when there are none."""

        def read(found: dict[str, Any]) -> dict[str, bytes]:
            return {str(name): base64.b64decode(secret) for name, secret in found["secrets"].items()}

        return self._read(_SECRETS, read) or {}

    def keep_identity(self, kept: KeptIdentity) -> None:
        """Replace the identity."""
        content = {
            "chain": kept.chain,
            "key": kept.key,
            "roots": kept.roots,
            "secure": list(kept.secure),
            "join": list(kept.join),
            "uri": kept.uri,
        }
        self._write(_IDENTITY, _json(content))

    def identity(self, *, for_any: bool = False) -> KeptIdentity | None:
        """Return the identity; None when there is none. `for_any`: for whatever settings it was kept."""

        def read(found: dict[str, Any]) -> KeptIdentity:
            def address(name: str) -> tuple[str, int]:
                host, port = found[name]
                return str(host), int(port)

            chain, key, roots, uri = (str(found[name]) for name in ("chain", "key", "roots", "uri"))
            return KeptIdentity(
                chain=chain, key=key, roots=roots, uri=uri, secure=address("secure"), join=address("join")
            )

        return self._read(_IDENTITY, read, for_any=for_any)

    def keep_crash(self, text: str, *, now: float) -> str:
        """Write a report of a crash, and remove all but the newest few; return its path, empty when there is none."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = self._free_report(now)
            write_private(path, text.encode("utf-8", "replace"), durable=False)
            for old in sorted(self._folder.glob(f"{_CRASH}*.txt"))[:-MOST_CRASHES]:
                old.unlink(missing_ok=True)
        except OSError as error:
            self._log.warning("cannot keep the report of a crash", reason=str(error))
            return ""
        return str(path)

    def _free_report(self, now: float) -> Path:
        """Return a name that no report has yet; names sort by time, also of several crashes in one second."""
        microseconds = round(now * 1_000_000)
        while True:
            second, rest = divmod(microseconds, 1_000_000)
            stamp = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime(second))}.{rest:06}"
            path = self._folder / f"{_CRASH}{stamp}-{os.getpid()}.txt"
            if not path.exists():
                return path
            microseconds += 1

    def _write_new(self, name: str, content: dict[str, Any], **head: float) -> None:
        """Write it if it is not what was written last, whatever its `head` says."""
        encoded = _json(content)
        digest = blake2b(encoded, digest_size=16).digest()
        if self._written.get(name) != digest and self._write(name, encoded, **head):
            self._written[name] = digest

    def _write(self, name: str, encoded: bytes, **head: float) -> bool:
        """Write an object that is not empty, encoded; large ones are encoded once."""
        before = _json({"form": FORM, "fits": self._fits[name], **head})
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_private(self._folder / name, b"%b,%b" % (before[:-1], encoded[1:]))
        except OSError as error:
            self._log.warning("cannot keep what the workload needs without a control plane", reason=str(error))
            return False
        return True

    def _read(self, name: str, read: Callable[[dict[str, Any]], _T], *, for_any: bool = False) -> _T | None:
        path = self._folder / name
        try:
            status = path.stat()
            seen = (status.st_mtime_ns, status.st_size)
            if self._refused.get(name) == seen and not for_any:
                return None
            self._refused[name] = seen
            if status.st_size > MAX_BYTES or status.st_uid != self._owner:
                raise ValueError("too large, or another user's")
            found = json.loads(path.read_bytes())
            if found["form"] != FORM:
                return None
            if found["fits"] != self._fits[name] and not for_any:
                self._log.warning("what was kept is of other flags: it is not used", file=name)
                return None
            kept = read(found)
            del self._refused[name]
            return kept
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            self._log.warning(
                "what was kept cannot be used", file=name, reason=f"{type(error).__name__}: {error}"[:200]
            )
            return None


def _json(content: dict[str, Any]) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()


def workload_keeper(
    parent: Path,
    settings: AgentSettings,
    ip: str,
    *,
    ports: Mapping[str, int],
    interception: str,
    addresses: Sequence[str],
    owner: int | None = None,
) -> Keeper:
    """Return the keeper of one workload below `parent`.

    `ip` and `ports` are the agent's own; `interception` and `addresses` those of its place.
    """
    who = ".".join(filter(None, (settings.namespace, settings.name or settings.service, settings.version)))
    fits = {
        "mode": settings.mode,
        "control_plane": settings.control_plane,
        "ports": dict(ports),
        "interception": [interception, *addresses],
    }
    shape = {name: getattr(settings, name) for name in _SHAPE} | {
        "ports": sorted(settings.ports),
        "upstreams": [asdict(upstream) for upstream in settings.upstreams],
    }
    return Keeper(parent / f"{who}@{ip.replace(':', '-')}", json.dumps(fits), owner, shape=json.dumps(shape))


def state_folder(given: str) -> Path | None:
    """Return where agents of this user keep what they keep: as given, else as the XDG base directory spec says."""
    if given:
        return Path(given).absolute() / "agents"
    base, home = os.environ.get("XDG_STATE_HOME", ""), os.environ.get("HOME", "")
    if base.startswith("/"):
        return Path(base) / "lateen" / "agents"
    return Path(home) / ".local" / "state" / "lateen" / "agents" if home.startswith("/") else None


def forget_the_old(parent: Path, *, now: float) -> None:
    """Remove the folders of workloads that have not come back for a month."""
    try:
        folders = [entry for entry in parent.iterdir() if entry.is_dir() and not entry.is_symlink()]
    except OSError:
        return
    for folder in folders:
        try:
            newest = max((file.stat().st_mtime for file in folder.iterdir()), default=folder.stat().st_mtime)
        except OSError:
            continue
        if now - newest > KEPT_SECONDS:
            remove_folder(folder)
