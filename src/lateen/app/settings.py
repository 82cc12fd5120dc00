"""What a control plane is told at start, and where it then listens. Made by the command line, the demo and tests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


class StartError(Exception):
    """The control plane cannot start; the message is one line that says what to do."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        """As in the command line's contract: 2 for wrong usage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that a control plane is told. Addresses are `HOST:PORT`; port 0 takes a free one."""

    config_dirs: tuple[Path, ...] = ()
    """Folders to watch, in order of precedence. Their objects are read-only for the API."""
    store: str = "memory:"
    """Where the API's changes live."""
    state: Path | None = None
    """Folder where what was learned is kept, made if there is none; None keeps it in memory only."""
    mesh_config: Path | None = None
    """File with Istio's MeshConfig; read at start."""
    ca: Path | None = None
    """Folder of the certificate authority, made if there is none; None keeps it in memory: after a restart it is
    another one, and workloads join anew."""
    ca_files: Path | None = None
    """Folder with a certificate authority to use instead of our own, in files named as Istio names them."""
    grpc: str = "127.0.0.1:15010"
    """Plaintext xDS, on loopback only."""
    secure_grpc: str = ""
    """xDS and registrations with mutual TLS; empty takes the host of `grpc` and its port + 2, or a free one."""
    join: str = ""
    """Where workloads get their first certificate; empty takes the host of `secure_grpc` and its port + 1, or a free
    one."""
    certificate_ttl: float = 24 * 3600.0
    """Life of a workload's certificate, in seconds, and the longest that is issued. There is no revocation: this is how
    long a stolen key is of use."""
    rotation_pause: float = 30.0
    """Shortest time, in seconds, of each phase in which a root is rotated: agents need to connect."""
    api_socket: Path | None = None
    """Unix socket of the HTTP API; None for none."""
    http: str = "127.0.0.1:15080"
    monitoring: str = "127.0.0.1:15014"
    plain_key_hosts: tuple[str, ...] = ()
    """Hosts besides loopback from which keys of tokens are taken over plain http."""
    key_refresh: float = 20 * 60.0
    """Seconds until keys of tokens are fetched again."""
    debounce_quiet: float = 0.1
    """Seconds without a change before a state is built."""
    debounce_max: float = 10.0
    """Longest delay of a change, in seconds, while others keep coming."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """Where a control plane listens, `HOST:PORT` with the real ports."""

    grpc: str
    http: str
    monitoring: str
    secure_grpc: str = ""
    join: str = ""
