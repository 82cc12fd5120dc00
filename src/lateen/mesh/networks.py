"""Networks of a mesh: which one an address is in, and by which gateways others reach it.

Called by `generate`. Pure. Source: Istio's MeshNetworks and its multi-network model: workloads of another network are
called through that network's gateways, which pass connections on, unopened, by their server name. Such a gateway is one
that MeshNetworks names, or a registered one in a network whose Gateway has a server in mode AUTO_PASSTHROUGH.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from math import lcm
from typing import NamedTuple

from lateen.config.mesh_config import MeshConfig
from lateen.config.networking import Gateway, ServerTLSMode
from lateen.config.objects import ConfigObject
from lateen.mesh.state import MeshState
from lateen.model.names import Hostname
from lateen.model.proxies import labels_match
from lateen.model.services import NETWORK_LABEL


class NetworkGateway(NamedTuple):
    """Where a network is entered."""

    address: str
    """An IP: Envoy takes no names in endpoints."""
    port: int


@dataclass(frozen=True, slots=True)
class Networks:
    """What is known of networks in one state."""

    gateways: Mapping[str, tuple[NetworkGateway, ...]] = field(default_factory=dict)
    """By network, in order of address."""
    ranges: tuple[tuple[IPv4Network | IPv6Network, str], ...] = ()
    """Addresses of networks, the narrowest first."""

    def __bool__(self) -> bool:
        return bool(self.gateways)

    @property
    def scale(self) -> int:
        """By what every weight is multiplied, so that it can be shared among the gateways of any network."""
        return lcm(*(len(found) for found in self.gateways.values()))

    def of(self, network: str, address: str) -> str:
        """Return the network of an endpoint: as it says itself, else by its address; empty when nobody says."""
        return network or (_by_address(self.ranges, address) if self.ranges else "")


NONE = Networks()


def networks_of(state: MeshState) -> Networks:
    """Return what a state knows of networks; looked for once in each."""
    known = state.index.networks
    if "" not in known:
        known[""] = _networks(state)
    found: Networks = known[""]
    return found


def _networks(state: MeshState) -> Networks:
    found: defaultdict[str, set[NetworkGateway]] = defaultdict(set)
    for network, gateway in _declared(state.mesh_config, state):
        found[network].add(gateway)
    for network, gateway in _registered(state):
        found[network].add(gateway)
    if not found:
        return NONE
    return Networks(
        {network: tuple(sorted(found[network])) for network in sorted(found)}, tuple(_ranges(state.mesh_config))
    )


def _declared(mesh_config: MeshConfig, state: MeshState) -> Iterator[tuple[str, NetworkGateway]]:
    for name, network in mesh_config.mesh_networks.networks.items() if mesh_config.mesh_networks else ():
        for gateway in network.gateways:
            addresses: Iterable[str] = (gateway.address,)
            if gateway.registry_service_name:
                service = state.services.get(Hostname(gateway.registry_service_name))
                addresses = service.addresses if service is not None else ()
            yield from ((name, NetworkGateway(address, gateway.port)) for address in addresses if _is_ip(address))


def _registered(state: MeshState) -> Iterator[tuple[str, NetworkGateway]]:
    passing = list(_auto_passthrough(state.gateways))
    if not passing:
        return
    for workload in state.workloads:
        network = workload.network or workload.labels.get(NETWORK_LABEL, "")
        if not network or workload.service or not workload.ready or not _is_ip(workload.address):
            continue
        for gateway, port in passing:
            if gateway.spec.selector and labels_match(gateway.spec.selector, workload.labels):
                yield network, NetworkGateway(workload.address, port)


def _auto_passthrough(gateways: Iterable[ConfigObject[Gateway]]) -> Iterator[tuple[ConfigObject[Gateway], int]]:
    for gateway in gateways:
        for server in gateway.spec.servers:
            passes = server.tls is not None and server.tls.mode is ServerTLSMode.AUTO_PASSTHROUGH
            if server.port is not None and passes:
                yield gateway, server.port.number


def _ranges(mesh_config: MeshConfig) -> list[tuple[IPv4Network | IPv6Network, str]]:
    found = [
        (ip_network(item.from_cidr, strict=False), name)
        for name, network in (mesh_config.mesh_networks.networks if mesh_config.mesh_networks else {}).items()
        for item in network.endpoints
        if _is_range(item.from_cidr)
    ]
    return sorted(found, key=lambda item: (-item[0].prefixlen, str(item[0]), item[1]))


@lru_cache(1 << 16)
def _by_address(ranges: tuple[tuple[IPv4Network | IPv6Network, str], ...], address: str) -> str:
    if not _is_ip(address):
        return ""
    read = ip_address(address)
    return next((name for network, name in ranges if read in network), "")


def _is_ip(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _is_range(text: str) -> bool:
    try:
        ip_network(text, strict=False)
    except ValueError:
        return False
    return True
