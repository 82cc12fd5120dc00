"""Health checks of plain endpoints, which have no agent: what is checked, how, and what came of it.

An endpoint that takes a check has a `HealthCheck`; gateways are asked to make it, and what they find is a set of
`HealthTarget`s that are sick. Envoy names nothing but a cluster and an address in its reports, so that is what a
target is made of.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from lateen.model.names import Hostname
from lateen.model.probes import Probe


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """One check, as it is written in an annotation."""

    text: str
    """Its words with one space between them: equal checks have equal texts."""
    probe: Probe
    own_port: bool
    """Each endpoint is asked at its own port, and not at the probe's."""


class HealthTarget(NamedTuple):
    """What is asked: one address and port, for one service, by one check."""

    host: Hostname
    """Of the service; also the host of HTTP checks."""
    check: str
    """Its text."""
    address: str
    port: int

    @property
    def cluster(self) -> str:
        """Name of its group in what a gateway is asked for."""
        return cluster_of(self.host, self.check)


def cluster_of(host: str, check: str) -> str:
    """Return the name that a service's check has for Envoy."""
    return f"health-check|{host}|{check}"
