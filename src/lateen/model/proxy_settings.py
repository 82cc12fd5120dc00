"""What the control plane tells an agent before its Envoy starts: settings of the proxy, and traits of the workload.

Part of the attach protocol (`model.workloads`): both stand in the answer to a registration, `{"registered": {"proxy":
..., "group": ...}}`. The agent goes by the first answer: Envoy reads most of it only when it starts. An agent that is
older ignores what it does not know; one that is newer takes what is missing as unset. Standard library only, because
the agent must stay small.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from lateen.model.probes import Probe, is_a_path

MAX_SETTINGS_BYTES = 32 * 1024
"""Half of what an attach message may hold."""
LONGEST_DRAIN_SECONDS = 3600.0
MOST_THREADS = 1024
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,255}")
_LOADER = re.compile(r"(?i)(LD|DYLD|MALLOC)_.*|GLIBC_TUNABLES|PATH|IFS|ENV|BASH_ENV|PYTHON.*")
"""Variables that say which code a process loads."""
_ALWAYS = frozenset(("labels", "service_account", "locality", "network", "ports"))
"""Traits that were always told: an older agent expects them."""


def is_variable(name: str) -> bool:
    """Whether this can name a variable of an environment."""
    return _VARIABLE.fullmatch(name) is not None


def loads_code(name: str) -> bool:
    """Whether a variable decides which code a process loads: never a setting of a proxy."""
    return _LOADER.fullmatch(name) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxySettings:
    """Settings of one proxy, from ProxyConfigs and MeshConfig's `defaultConfig`. None and empty are unset."""

    concurrency: int | None = None
    """Envoy's worker threads; 0 is one for each core that the workload may use."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Of Envoy's process."""
    drain_seconds: float | None = None
    """Longest wait for requests in flight when the workload goes (Istio: terminationDrainDuration)."""
    envoy_drain_seconds: float | None = None
    """Time that Envoy takes to close connections of listeners that go (Istio: drainDuration)."""
    stats_prefixes: tuple[str, ...] = ()
    stats_suffixes: tuple[str, ...] = ()
    stats_regexps: tuple[str, ...] = ()
    """RE2; checked by the control plane, because the agent does not load RE2."""
    probe: Probe | None = None
    """How workloads are found ready that say nothing themselves, by flag or group (Istio: readinessProbe)."""
    merges_metrics: bool = True
    """Whether the agent's metrics page holds the app's metrics too (Istio: enablePrometheusMerge)."""

    def without_texts(self) -> ProxySettings:
        """Return what of these settings is small whatever it says: the numbers."""
        return replace(self, environment={}, stats_prefixes=(), stats_suffixes=(), stats_regexps=(), probe=None)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types, without what is unset."""
        said = {name: value for name, value in asdict(self).items() if value not in (None, (), {})}
        if self.merges_metrics:
            del said["merges_metrics"]
        return said

    @classmethod
    def from_json(cls, value: object) -> ProxySettings:
        """Read `to_json`'s form from a peer: what cannot be a setting is left out, and nothing raises."""
        said = value if isinstance(value, dict) else {}
        return cls(
            concurrency=_number(said.get("concurrency"), most=MOST_THREADS),
            environment={name: text for name, text in _texts(said.get("environment")).items() if not loads_code(name)},
            drain_seconds=_seconds(said.get("drain_seconds")),
            envoy_drain_seconds=_seconds(said.get("envoy_drain_seconds")),
            stats_prefixes=_patterns(said.get("stats_prefixes")),
            stats_suffixes=_patterns(said.get("stats_suffixes")),
            stats_regexps=_patterns(said.get("stats_regexps")),
            probe=Probe.from_json(said.get("probe")),
            merges_metrics=said.get("merges_metrics") is not False,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupTraits:
    """What a workload is by its WorkloadGroup, its own flags included: what its node must say to Envoy's server."""

    labels: Mapping[str, str] = field(default_factory=dict)
    service_account: str = ""
    locality: str = ""
    network: str = ""
    ports: tuple[int, ...] = ()
    """Ports of the group, for a workload that names none itself."""
    probe: Probe | None = None
    """How its workloads are found ready."""
    metrics_port: int = 0
    """Where the app has its own metrics; 0 is the first port of the workload."""
    metrics_path: str = ""
    """Empty: it has none that the group knows of."""

    def without_texts(self) -> GroupTraits:
        """Return what has the limits of a registration: all but the probe."""
        return replace(self, probe=None)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {name: value for name, value in asdict(self).items() if name in _ALWAYS or value}

    @classmethod
    def from_json(cls, value: object) -> GroupTraits | None:
        """Read `to_json`'s form from a peer; None when it is none."""
        if not isinstance(value, dict):
            return None
        ports = value.get("ports")
        numbers = [port for port in ports if type(port) is int] if isinstance(ports, list | tuple) else []
        return cls(
            labels=_texts(value.get("labels")),
            service_account=_text(value.get("service_account")),
            locality=_text(value.get("locality")),
            network=_text(value.get("network")),
            ports=tuple(numbers),
            probe=Probe.from_json(value.get("probe")),
            metrics_port=_number(value.get("metrics_port"), most=65535) or 0,
            metrics_path=path if is_a_path(path := _text(value.get("metrics_path"))) else "",
        )


def fits(*parts: Mapping[str, Any]) -> bool:
    """Whether what is to be told is small enough."""
    return sum(len(json.dumps(part)) for part in parts) <= MAX_SETTINGS_BYTES


def _number(value: object, *, most: int) -> int | None:
    return value if type(value) is int and 0 <= value <= most else None


def _seconds(value: object) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return float(value) if 0 <= value <= LONGEST_DRAIN_SECONDS else None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        return {}
    return {name: text for name, text in value.items() if isinstance(text, str) and "\0" not in text}


def _patterns(value: object) -> tuple[str, ...]:
    return tuple(text for text in value if isinstance(text, str) and text) if isinstance(value, list | tuple) else ()
