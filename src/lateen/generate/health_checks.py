"""What a gateway is asked to check: the plain endpoints of services that its namespace sees.

Called by `discovery.health_service` (through `app`) for each state. Pure. Endpoints with a check are few: a state
knows the hosts that have some (`MeshState.checked`), so that a large mesh without any costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from lateen.envoy.health_checks import CheckedCluster, specifier
from lateen.mesh.health import target_of
from lateen.mesh.queries import endpoints_behind, service_seen
from lateen.mesh.state import MeshState
from lateen.model.health import HealthTarget, cluster_of
from lateen.model.probes import Probe
from lateen.model.proxies import Proxy

MOST_TARGETS = 2000
"""That one gateway checks; each report names all of them."""
REPORTED_PER_SECOND = 200
"""Each at some 120 bytes. Not less often than that: a control plane that comes back waits for the first report, and for
three seconds at most, before it tells running proxies anything."""
_SHORTEST = 1.0
"""Seconds between two reports."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedChecks:
    """What one gateway is asked for."""

    targets: dict[HealthTarget, Probe]
    """By host, check, address and port."""
    left_out: int
    """How many there are beyond `MOST_TARGETS`."""

    def message(self) -> bytes:
        """Return the HealthCheckSpecifier: one cluster for each check of each service."""
        groups: dict[str, list[HealthTarget]] = {}
        for target in self.targets:
            groups.setdefault(cluster_of(target.host, target.check), []).append(target)
        clusters = [
            CheckedCluster(name=name, host=found[0].host, probe=self.targets[found[0]], targets=found)
            for name, found in groups.items()
        ]
        return specifier(clusters, max(_SHORTEST, len(self.targets) / REPORTED_PER_SECOND))


def wanted_checks(state: MeshState, proxy: Proxy) -> WantedChecks:
    """Return what this gateway is asked to check."""
    found: dict[HealthTarget, Probe] = {}
    for host in state.checked:
        service = service_seen(state, host, proxy.namespace)
        if service is None:
            continue
        for endpoint in endpoints_behind(state, host, service.namespace):
            target = target_of(host, endpoint)
            if target is not None and endpoint.check is not None and _is_near(endpoint.network, proxy):
                found.setdefault(target, endpoint.check.probe)
    ordered = sorted(found)
    taken = {target: found[target] for target in islice(ordered, MOST_TARGETS)}
    return WantedChecks(targets=taken, left_out=len(ordered) - len(taken))


def _is_near(network: str, proxy: Proxy) -> bool:
    """Whether it can be called at its own address: what is in another network can not."""
    return not network or network == proxy.network
