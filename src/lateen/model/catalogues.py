"""What a registry knows: the contract between `registries` and `mesh`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lateen.model.names import Hostname
from lateen.model.services import Endpoint, Service
from lateen.model.workloads import WorkloadRegistration


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """One registry's whole content at a moment. A newer catalogue of the same name replaces it entirely.

    What did not change since the last one should be the same object: that it did not change shows at once then.
    """

    name: str
    services: tuple[Service, ...] = ()
    endpoints: Mapping[Hostname, tuple[Endpoint, ...]] = field(default_factory=dict)
    workloads: Sequence[WorkloadRegistration] = ()
    """Workloads that registered themselves: they become endpoints of the service they name, and of every
    Service and ServiceEntry whose selector matches their labels. Nobody changes the sequence."""
