"""View: the mesh as one proxy sees it, gathered once per snapshot and handed to every pass.

Made by `snapshot.generate`. Holds answers of `mesh.queries` that several passes need, so that none asks twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lateen.config.durations import to_fields
from lateen.config.mesh_config import MeshOutboundTrafficPolicyMode
from lateen.config.networking import DestinationRule, OutboundTrafficPolicyMode, Sidecar
from lateen.config.objects import ConfigObject
from lateen.envoy.filters import FilterDefaults, filter_defaults
from lateen.envoy.messages import Fields
from lateen.envoy.metadata import config_metadata, setting_metadata
from lateen.mesh.queries import destination_rule_for, services_for, sidecar_for
from lateen.mesh.state import MeshState
from lateen.model.names import Hostname
from lateen.model.proxies import Interception, Proxy, ProxyType
from lateen.model.services import Service


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What one proxy sees of a state."""

    state: MeshState
    proxy: Proxy
    services: tuple[Service, ...]
    """Those it may call, by host."""
    by_host: Mapping[Hostname, Service]
    sidecar: ConfigObject[Sidecar] | None
    allow_any: bool
    """Whether calls to unknown hosts are let through."""
    traffic_policy_metadata: Fields
    """Who decided that."""
    defaults: FilterDefaults
    connect_timeout: Fields
    detection_timeout: Fields
    """How long to wait for a client's first bytes; zero waits for ever."""
    _rules: dict[Hostname, ConfigObject[DestinationRule] | None] = field(default_factory=dict)

    def rule(self, host: Hostname) -> ConfigObject[DestinationRule] | None:
        """Return the DestinationRule of a host for this proxy; remembered, because many passes ask."""
        if host not in self._rules:
            self._rules[host] = destination_rule_for(self.state, self.proxy, host)
        return self._rules[host]

    @property
    def explicit(self) -> bool:
        """Whether this is a sidecar without interception."""
        return self.proxy.type is ProxyType.SIDECAR and self.proxy.interception is Interception.NONE

    @property
    def lookup_family(self) -> str:
        """Which addresses of a DNS name are used: IPv6 only by a proxy that has no IPv4 address."""
        addresses = self.proxy.addresses
        return "V6_ONLY" if addresses and all(":" in address for address in addresses) else "V4_ONLY"


def view_of(state: MeshState, proxy: Proxy) -> View:
    """Gather the view of a proxy."""
    services = services_for(state, proxy)
    sidecar = sidecar_for(state, proxy)
    allow_any, metadata = _outbound_traffic_policy(state, sidecar)
    return View(
        state=state,
        proxy=proxy,
        services=services,
        by_host={service.host: service for service in services},
        sidecar=sidecar,
        allow_any=allow_any,
        traffic_policy_metadata=metadata,
        defaults=filter_defaults(state.mesh_config),
        connect_timeout=to_fields(state.mesh_config.connect_timeout),
        detection_timeout=to_fields(state.mesh_config.protocol_detection_timeout or "0s"),
    )


def _outbound_traffic_policy(state: MeshState, sidecar: ConfigObject[Sidecar] | None) -> tuple[bool, Fields]:
    """Return whether unknown hosts pass, and who says so: the Sidecar before the mesh."""
    if sidecar is not None and (policy := sidecar.spec.outbound_traffic_policy) is not None:
        return policy.mode is OutboundTrafficPolicyMode.ALLOW_ANY, config_metadata(sidecar)
    mode = state.mesh_config.outbound_traffic_policy.mode
    return mode is not MeshOutboundTrafficPolicyMode.REGISTRY_ONLY, setting_metadata("MeshConfig outboundTrafficPolicy")
