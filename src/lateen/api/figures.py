"""What the monitoring port needs of a control plane beyond the API: its counts. Protocols that `app` fulfils.

The shapes of the discovery room's figures are repeated here because edges never import each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Protocol

from lateen.api.control_plane import ControlPlane
from lateen.model.health import HealthTarget


class Histogram(Protocol):
    """Counts by upper bound, not cumulated; the last count is of what is above every bound."""

    @property
    def bounds(self) -> tuple[float, ...]: ...  # noqa: D102
    @property
    def counts(self) -> Sequence[int]: ...  # noqa: D102
    @property
    def total(self) -> float: ...  # noqa: D102


class Figures(Protocol):
    """Counted by discovery since the start; see there for each. Mappings are by message name or gRPC status."""

    @property
    def pushes(self) -> Mapping[str, int]: ...  # noqa: D102
    @property
    def pushed_bytes(self) -> Mapping[str, int]: ...  # noqa: D102
    @property
    def resources(self) -> Mapping[str, int]: ...  # noqa: D102
    @property
    def rejects(self) -> Mapping[str, int]: ...  # noqa: D102
    @property
    def requests(self) -> int: ...  # noqa: D102
    @property
    def throttled(self) -> int: ...  # noqa: D102
    @property
    def opened(self) -> int: ...  # noqa: D102
    @property
    def ended(self) -> Mapping[str, int]: ...  # noqa: D102
    @property
    def evicted(self) -> int: ...  # noqa: D102
    @property
    def convergence(self) -> Histogram: ...  # noqa: D102
    @property
    def queue(self) -> Histogram: ...  # noqa: D102
    @property
    def send(self) -> Histogram: ...  # noqa: D102
    @property
    def generate(self) -> Histogram: ...  # noqa: D102
    @property
    def sizes(self) -> Mapping[str, Histogram]: ...  # noqa: D102


class Shared(Protocol):
    """How often an answer was there already, and how often it had to be made."""

    @property
    def hits(self) -> int: ...  # noqa: D102
    @property
    def misses(self) -> int: ...  # noqa: D102


class MemoryPart(Protocol):
    """How much of something is kept; bytes are those of serialised content."""

    @property
    def count(self) -> int: ...  # noqa: D102
    @property
    def bytes(self) -> int: ...  # noqa: D102


class ScopeStatus(Protocol):
    """Proxies that are served the same, and how much that is."""

    @property
    def key(self) -> str: ...  # noqa: D102
    @property
    def proxies(self) -> int: ...  # noqa: D102
    @property
    def version(self) -> str: ...  # noqa: D102
    @property
    def resources(self) -> Mapping[str, int]: ...  # noqa: D102
    @property
    def bytes(self) -> int: ...  # noqa: D102


class LearnedHost(Protocol):
    """A host that a workload was seen calling."""

    @property
    def workload(self) -> str: ...  # noqa: D102
    @property
    def host(self) -> str: ...  # noqa: D102
    @property
    def last_seen(self) -> int: ...  # noqa: D102
    @property
    def state(self) -> Enum: ...  # noqa: D102


class LearnedHosts(Protocol):
    """What was learned of all workloads; its length is the number of hosts."""

    def __len__(self) -> int: ...
    def entries(self, workload: str | None = None) -> Iterator[LearnedHost]: ...  # noqa: D102


class HealthFigures(Protocol):
    """What gateways say of plain endpoints."""

    @property
    def reports(self) -> int:
        """Reports taken since the start."""

    @property
    def gateways(self) -> int:
        """How many report now."""

    @property
    def sick(self) -> frozenset[HealthTarget]:
        """The targets that all who have an opinion call sick."""

    def opinions(self) -> Mapping[HealthTarget, Mapping[str, bool]]:
        """Return for each target whether it is healthy, by gateway."""


class CertificateFigures(Protocol):
    """Of the certificate authority, since the start. Times are Unix seconds."""

    @property
    def requests(self) -> int:
        """Certificates that were asked for."""

    @property
    def issued(self) -> int:
        """Those that were given out."""

    @property
    def refused(self) -> Mapping[str, int]:
        """Those that were not, by reason."""

    @property
    def root_expires(self) -> float:
        """When the root under which certificates are issued expires."""

    @property
    def signer_expires(self) -> float:
        """When the certificate that signs them does."""


class Monitored(ControlPlane, Protocol):
    """The running control plane as the monitoring port sees it."""

    @property
    def figures(self) -> Figures:
        """What discovery counted."""

    @property
    def sharing(self) -> Mapping[str, Shared]:
        """How often an answer was shared, by what it is about."""

    @property
    def build_times(self) -> Histogram:
        """Seconds that it took to build each state."""

    @property
    def rebuilt(self) -> int:
        """How many parts of snapshots were generated."""

    @property
    def certificates(self) -> CertificateFigures:
        """What the certificate authority counted."""

    @property
    def health(self) -> HealthFigures:
        """What gateways say of plain endpoints."""

    @property
    def dns_names_left_out(self) -> int:
        """Names of services that a sidecar is not told of; of the one that most are."""

    @property
    def learned(self) -> LearnedHosts:
        """What workloads were seen calling."""

    def scopes(self) -> Sequence[ScopeStatus]:
        """Return the scopes and what they are served."""

    def memory(self) -> Mapping[str, MemoryPart]:
        """Return what is kept, by part."""
