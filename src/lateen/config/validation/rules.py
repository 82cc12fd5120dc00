"""Which rules belong to which kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from lateen.config.metadata import Metadata
from lateen.config.networking import Spec
from lateen.config.validation.destination_rules import destination_rule
from lateen.config.validation.gateways import gateway
from lateen.config.validation.kubernetes_kinds import endpoint_slice, endpoints, secret, service
from lateen.config.validation.service_entries import service_entry, standalone_workload_entry
from lateen.config.validation.sidecars import sidecar
from lateen.config.validation.virtual_services import virtual_service
from lateen.config.violations import Violation

Rule = Callable[[Any, Metadata], Iterator[Violation]]

RULES: Mapping[str, Rule] = {
    "VirtualService": virtual_service,
    "DestinationRule": destination_rule,
    "Gateway": gateway,
    "ServiceEntry": service_entry,
    "WorkloadEntry": standalone_workload_entry,
    "Sidecar": sidecar,
    "Service": service,
    "EndpointSlice": endpoint_slice,
    "Endpoints": endpoints,
    "Secret": secret,
}


def validate(kind: str, spec: Spec, metadata: Metadata) -> Iterator[Violation]:
    """Yield every violation of an object; paths begin at the spec."""
    rule = RULES.get(kind)
    if rule is not None:
        yield from rule(spec, metadata)
