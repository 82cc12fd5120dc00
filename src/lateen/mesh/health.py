"""What gateways found out about plain endpoints, put into the endpoints of a host. Called by `mesh.build`. Pure."""

from __future__ import annotations

from dataclasses import replace

from lateen.model.health import HealthTarget
from lateen.model.names import Hostname
from lateen.model.services import Endpoint


def target_of(host: Hostname, endpoint: Endpoint) -> HealthTarget | None:
    """Return what is asked to check an endpoint of a host; None when nothing is."""
    check = endpoint.check
    if check is None:
        return None
    return HealthTarget(host, check.text, endpoint.address, endpoint.port if check.own_port else check.probe.port)


def has_checks(endpoints: tuple[Endpoint, ...]) -> bool:
    """Whether any of these is checked."""
    return any(endpoint.check is not None for endpoint in endpoints)


def with_health(host: Hostname, endpoints: tuple[Endpoint, ...], sick: frozenset[HealthTarget]) -> tuple[Endpoint, ...]:
    """Return the endpoints of a host, those unhealthy that are sick: the same object when none is."""
    if not sick or not any(endpoint.check is not None and target_of(host, endpoint) in sick for endpoint in endpoints):
        return endpoints
    return tuple(
        replace(endpoint, healthy=False) if target_of(host, endpoint) in sick else endpoint for endpoint in endpoints
    )
