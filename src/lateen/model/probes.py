"""How an app is found ready: one check and its times, as Kubernetes' readiness probes have them.

Part of the attach protocol (a WorkloadGroup's probe is told to its agents) and of the agent's settings. What a peer
says is bounded here. Standard library only, because the agent must stay small.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

HTTP, TCP, GRPC, EXEC = "http", "tcp", "grpc", "exec"
KINDS = (HTTP, TCP, GRPC, EXEC)
LONGEST_SECONDS = 3600.0
MOST_IN_A_ROW = 1000
MOST_HEADERS = 32
LONGEST_TEXT = 2048
MOST_WORDS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One check. Times are in seconds; defaults are Kubernetes'. ValueError when it cannot be one."""

    kind: str
    port: int = 0
    """As the workload declares it, or any port that the app listens on; 0 for exec."""
    host: str = ""
    """To connect to; empty is where the app is."""
    path: str = "/"
    tls: bool = False
    """HTTPS; the certificate is not verified, as under Kubernetes."""
    headers: tuple[tuple[str, str], ...] = ()
    service: str = ""
    """The one that gRPC's health service is asked about."""
    command: tuple[str, ...] = ()
    delay: float = 0.0
    """Before the first check."""
    timeout: float = 1.0
    period: float = 10.0
    successes: int = 1
    """In a row, before the app counts as ready."""
    failures: int = 3
    """In a row, before it does not."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"a probe is one of {', '.join(KINDS)}")
        if self.kind == EXEC:
            if not all((self.command, *self.command)):
                raise ValueError("an exec probe needs a command")
        elif type(self.port) is not int or not 0 < self.port < 65536:
            raise ValueError(f"port {self.port!r} of the probe is not between 1 and 65535")
        self._check_texts()
        for name, least in (("delay", 0.0), ("timeout", 0.01), ("period", 0.05)):
            if not least <= getattr(self, name) <= LONGEST_SECONDS:
                raise ValueError(f"the probe's {name} is not between {least:g} and {LONGEST_SECONDS:g} seconds")
        for name in ("successes", "failures"):
            if not 1 <= getattr(self, name) <= MOST_IN_A_ROW:
                raise ValueError(f"the probe's {name} are not between 1 and {MOST_IN_A_ROW}")

    def _check_texts(self) -> None:
        """Nothing that it says may end a line of HTTP, or be without bounds."""
        if len(self.headers) > MOST_HEADERS or len(self.command) > MOST_WORDS:
            raise ValueError(f"a probe has at most {MOST_HEADERS} headers, and {MOST_WORDS} words of a command")
        named = (self.host, self.path, self.service, *(text for header in self.headers for text in header))
        if any(len(text) > LONGEST_TEXT for text in (*named, *self.command)):
            raise ValueError(f"a text of the probe is longer than {LONGEST_TEXT} characters")
        if any(not text.isascii() or not text.isprintable() for text in named) or " " in self.host + self.path:
            raise ValueError("a host, path or header of the probe has characters that cannot be sent")
        if any("\0" in word for word in self.command):
            raise ValueError("the probe's command has a word that cannot be passed on")
        if self.kind == HTTP and not self.path.startswith("/"):
            raise ValueError("the probe's path does not begin with a slash")

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: object) -> Probe | None:
        """Read `to_json`'s form from a peer; None when it is none, or one that cannot be."""
        try:
            return cls.read(value)
        except ValueError:
            return None

    @classmethod
    def read(cls, value: object) -> Probe | None:
        """Read `to_json`'s form; ValueError for one that cannot be, None for nothing."""
        if not isinstance(value, dict):
            return None
        try:
            headers = tuple((str(name), str(text)) for name, text in value.get("headers", ()))
            command = tuple(str(word) for word in value.get("command", ()))
            return cls(**{**value, "headers": headers, "command": command})
        except (TypeError, AttributeError) as error:
            raise ValueError(f"the probe cannot be read: {error}") from error


def shown(probe: Probe) -> str:
    """Return a short name for log lines."""
    if probe.kind == EXEC:
        return f"exec {probe.command[0]}"
    more = {HTTP: probe.path, GRPC: f"/{probe.service}" if probe.service else ""}.get(probe.kind, "")
    return f"{'https' if probe.tls else probe.kind}://{probe.host}:{probe.port}{more}"


def is_a_path(text: str) -> bool:
    """Whether this can be the path of a request."""
    return text.startswith("/") and text.isascii() and text.isprintable() and " " not in text and len(text) < 2048
