"""Workloads: what a WorkloadEntry, an inline endpoint or a registered agent has in common, and their endpoints.

Called by `mesh.claims` and `mesh.memberships`. Knows nothing of who selects them.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from lateen.config.health_checks import health_check
from lateen.config.networking import WorkloadEntry
from lateen.mesh.mutual_tls import ISTIO_TLS_MODE
from lateen.model.health import HealthCheck
from lateen.model.identities import Identity
from lateen.model.services import NETWORK_LABEL, Endpoint, Locality, ServicePort
from lateen.model.workloads import WorkloadPort, WorkloadRegistration

TLS_MODE_LABEL = "security.istio.io/tlsMode"
LOCALITY_LABEL = "istio-locality"
"""Istio: the locality of a workload as a label, with `.` for `/`."""


_NOWHERE = Locality()
_NONE: Mapping[str, str] = MappingProxyType({})


class Workload(NamedTuple):
    """Something that runs at one address and can stand behind service ports."""

    namespace: str
    name: str
    address: str
    labels: Mapping[str, str]
    ports: Mapping[str, int]
    """WorkloadEntry.ports: by name of the service's port."""
    service: str = ""
    """Short name of the service that it says to be of."""
    served: tuple[WorkloadPort, ...] | None = None
    """Ports that the workload itself declared; None when it declared none, so that any port may be there."""
    locality: Locality = _NOWHERE
    network: str = ""
    weight: int = 0
    service_account: str = ""
    healthy: bool = True
    tls_mode: str = ""
    check: HealthCheck | None = None
    """How gateways check it, by its own annotation."""

    @property
    def has_ip(self) -> bool:
        """Whether the address is an IP, neither a DNS name nor a socket path."""
        try:
            ipaddress.ip_address(self.address)
        except ValueError:
            return False
        return True

    def endpoint(self, port: ServicePort, check: HealthCheck | None = None) -> Endpoint | None:
        """Return what stands behind a service port here; None when the workload does not serve it.

        `check`: the service's, for workloads without one of their own. Whoever has an agent is checked by that.
        """
        app_port = 0
        if self.served is not None:
            match = _served(self.served, port)
            if match is None:
                return None
            number, app_port = match.port, match.app_port
        elif self.address.startswith("unix://"):
            number = 0
        else:
            found = self._target(port)
            if found is None:
                return None
            number = found
        return Endpoint(
            address=self.address,
            port=number,
            service_port=port.number,
            labels=self.labels,
            locality=self.locality,
            network=self.network,
            weight=self.weight,
            healthy=self.healthy,
            service_account=self.service_account,
            namespace=self.namespace,
            workload=self.name,
            app_port=app_port,
            tls_mode=self.tls_mode,
            check=self._checked(self.check or check),
        )

    def _checked(self, check: HealthCheck | None) -> HealthCheck | None:
        plain = check is not None and self.served is None and not self.tls_mode and self.has_ip
        return check if plain else None

    def _target(self, port: ServicePort) -> int | None:
        """WorkloadEntry.ports by port name, else the target port, else the same number.

        A target port that is a name nobody resolves means that the workload does not serve the port (Istio).
        """
        if port.name and (number := self.ports.get(port.name)):
            return number
        if isinstance(port.target_port, str):
            return self.ports.get(port.target_port)
        return port.target_port or port.number


def _served(served: tuple[WorkloadPort, ...], port: ServicePort) -> WorkloadPort | None:
    """Return the declared port behind a service port: by its name, by target port (number or name), by number.

    A workload's ports have the names that its WorkloadGroup gives them.
    """
    if port.name and (named := next((declared for declared in served if declared.name == port.name), None)):
        return named
    target = port.target_port
    if target:
        for declared in served:
            if target == (declared.name if isinstance(target, str) else declared.port):
                return declared
    return next((declared for declared in served if declared.port == port.number), None)


def from_entry(
    entry: WorkloadEntry,
    namespace: str,
    name: str,
    metadata_labels: Mapping[str, str],
    annotations: Mapping[str, str] = _NONE,
) -> Workload:
    """Return the workload of a WorkloadEntry or an inline endpoint; metadata labels win over the entry's."""
    labels = {**entry.labels, **metadata_labels}
    locality = entry.locality or labels.get(LOCALITY_LABEL, "").replace(".", "/")
    return Workload(
        namespace=namespace,
        name=name,
        address=entry.address,
        labels=labels,
        ports=entry.ports,
        locality=Locality.parse(locality) if locality else _NOWHERE,
        network=entry.network or labels.get(NETWORK_LABEL, ""),
        weight=entry.weight,
        service_account=entry.service_account,
        tls_mode=labels.get(TLS_MODE_LABEL, ISTIO_TLS_MODE if entry.service_account else ""),
        check=health_check(annotations) if annotations else None,
    )


def from_registration(registration: WorkloadRegistration) -> Workload:
    """Return the workload that an agent registered; `app` and `version` labels follow from its flags when unset."""
    labels = dict(registration.labels)
    identity = Identity.parse(registration.identity) if registration.identity else None
    if registration.service:
        labels.setdefault("app", registration.service)
    if registration.version and (registration.group or "version" not in labels):
        # A flag of the workload wins over a label of its group.
        labels["version"] = registration.version
    return Workload(
        namespace=registration.namespace,
        name=registration.name,
        address=registration.address,
        labels=labels,
        ports={},
        service=registration.service,
        served=registration.ports,
        locality=Locality.parse(registration.locality),
        network=registration.network or labels.get(NETWORK_LABEL, ""),
        weight=registration.weight,
        service_account=identity.service_account if identity is not None else registration.service_account,
        healthy=registration.ready,
        # Who has shown a certificate of the mesh has a proxy that takes mutual TLS.
        tls_mode=labels.get(TLS_MODE_LABEL, ISTIO_TLS_MODE if identity is not None else ""),
    )


def endpoints_behind(
    workloads: Iterable[Workload], ports: tuple[ServicePort, ...], check: HealthCheck | None = None
) -> tuple[Endpoint, ...]:
    """Return each workload's endpoints behind these ports, in order."""
    return tuple(
        endpoint
        for workload in workloads
        if workload.address or workload.network
        for port in ports
        if (endpoint := workload.endpoint(port, check)) is not None
    )
