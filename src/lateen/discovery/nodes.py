"""Who connected: Istio's node id and metadata -> `Proxy`.

Called by `server` for the first request of a stream; pure. Source of the names: Istio, "Proxy node id"
(`TYPE~IP~NAME.NAMESPACE~DOMAIN`) and its node metadata. `LATEEN` in the metadata is ours: what only our agent says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

from lateen.discovery.values import ForbiddenError, Node, PeerError
from lateen.model.identities import Identity
from lateen.model.proxies import Capability, Interception, Proxy, ProxyType, Upstream
from lateen.model.services import NETWORK_LABEL

_FORM = "TYPE~IP~NAME.NAMESPACE~DOMAIN, for instance sidecar~10.0.0.7~reviews-v2-1.default~default.svc.cluster.local"
_TYPES = {kind.value: kind for kind in ProxyType}
_ON_DEMAND_SINCE = (1, 40)
"""First version of Envoy with which on-demand discovery was tried."""
_MAX_ID = 1024
_MAX_ENTRIES = 1000
"""Labels, mapped ports, upstreams: more than any workload has."""


def proxy_from_node(node: Node, *, delta: bool = False) -> Proxy:
    """Return the proxy that this node describes; PeerError says what is malformed and how it should look.

    `delta`: it speaks the incremental variant. Only in that can Envoy ask for single clusters beside all it is told.
    """
    if len(node.id) > _MAX_ID or not node.id.isprintable():
        # It stands in logs, tables and terminals.
        raise PeerError(f"node id {node.id[:200]!r} is longer than {_MAX_ID} characters, or not all are printable")
    parts = node.id.split("~")
    if len(parts) != 4:
        raise PeerError(f"node id {node.id[:200]!r} is not of the form {_FORM}")
    type_, address, identifier, domain = parts
    if type_ not in _TYPES:
        raise PeerError(f"node type {type_[:50]!r} in node id {node.id[:200]!r} is not one of {', '.join(_TYPES)}")
    name, namespace = _name(identifier, _text(node.metadata, "NAMESPACE"), node.id)
    ours = _mapping(node.metadata, "LATEEN")
    labels = _labels(_mapping(node.metadata, "LABELS"))
    return Proxy(
        type=_TYPES[type_],
        name=name,
        namespace=namespace,
        addresses=_addresses(address, _text(node.metadata, "INSTANCE_IPS")),
        labels=labels,
        service_account=_text(node.metadata, "SERVICE_ACCOUNT") or "default",
        cluster_id=_text(node.metadata, "CLUSTER_ID") or "Kubernetes",
        network=_text(node.metadata, "NETWORK") or labels.get(NETWORK_LABEL, ""),
        locality=node.locality,
        interception=_interception(_text(node.metadata, "INTERCEPTION_MODE")),
        capability=_capability(node),
        dns_domain=domain.removeprefix(f"{namespace}.svc.") or "cluster.local",
        port_map=_port_map(_mapping(ours, "portMap")),
        privileged=ours.get("unprivileged") is not True,
        upstreams=_upstreams(ours.get("upstreams", [])),
        asks_on_demand=delta and _is_envoy_since(node.user_agent, _ON_DEMAND_SINCE),
        certificates=ours.get("certificates") is True,
        istio_version=_text(node.metadata, "ISTIO_VERSION"),
        metadata={key: value for key, value in node.metadata.items() if isinstance(value, str)},
        answers_dns=ours.get("dns") is True,
        registers=ours.get("registers") is True,
    )


def proven_proxy(proxy: Proxy, identity: Identity | None) -> Proxy:
    """Return the proxy as far as its connection proves who it is. ForbiddenError when that is somebody else.

    Namespace and service account are what policies and secrets go by; everything else a node may say of itself,
    because it only decides about its own configuration. Without an identity (plain text, loopback) it is taken at its
    word and gets no private keys.
    """
    if identity is None:
        return replace(proxy, private_keys=False)
    said = (proxy.namespace, proxy.service_account)
    if said != (identity.namespace, identity.service_account):
        raise ForbiddenError(
            f"node {proxy.id} says it is service account {said[1]!r} of namespace {said[0]!r}, but its certificate is "
            f"that of {identity}"
        )
    return proxy


def _is_envoy_since(user_agent: str, since: tuple[int, int]) -> bool:
    """Whether `envoy 1.40.0` is no older than `since`."""
    found = re.match(r"envoy (\d{1,4})\.(\d{1,4})\b", user_agent)
    return found is not None and (int(found[1]), int(found[2])) >= since


def _name(identifier: str, namespace: str, node_id: str) -> tuple[str, str]:
    """Split NAME.NAMESPACE; a name may have dots, so the namespace of the metadata decides when it is there."""
    if namespace:
        name = identifier.removesuffix(f".{namespace}")
    else:
        name, _, namespace = identifier.rpartition(".")
    if not name or not namespace:
        raise PeerError(f"node id {node_id[:200]!r} names no workload and namespace: {_FORM}")
    return name, namespace


def _addresses(first: str, instance_ips: str) -> tuple[str, ...]:
    """Return the address of the node id, then the others of INSTANCE_IPS (comma-separated)."""
    addresses = [first, *(part.strip() for part in instance_ips.split(",") if part.strip())]
    for address in addresses:
        try:
            ip_address(address)
        except ValueError:
            raise PeerError(f"{address[:100]!r} in the node id or INSTANCE_IPS is not an IP address") from None
    return tuple(dict.fromkeys(addresses))


def _capability(node: Node) -> Capability:
    """A gRPC client says so itself (`gRPC C-core ...`, `grpc-go`), or by Istio's metadata GENERATOR."""
    if _text(node.metadata, "GENERATOR") == "grpc" or node.user_agent.lower().startswith("grpc"):
        return Capability.GRPC
    return Capability.ENVOY


def _interception(mode: str) -> Interception:
    try:
        return Interception(mode or Interception.REDIRECT.value)
    except ValueError:
        known = ", ".join(known.value for known in Interception)
        raise PeerError(f"node metadata INTERCEPTION_MODE is {mode[:50]!r}, not one of {known}") from None


def _labels(labels: Mapping[str, Any]) -> dict[str, str]:
    for key, value in labels.items():
        if not isinstance(value, str):
            raise PeerError(f"node metadata LABELS: the value of {key[:100]!r} is not a string")
    return dict(labels)


def _port_map(ports: Mapping[str, Any]) -> dict[int, int]:
    return {
        _port(declared, "LATEEN.portMap"): _port(bound, f"LATEEN.portMap[{declared[:10]}]")
        for declared, bound in ports.items()
    }


def _upstreams(declared: Any) -> tuple[Upstream, ...]:
    if not isinstance(declared, list) or len(declared) > _MAX_ENTRIES:
        raise PeerError(f"node metadata LATEEN.upstreams is not a list of at most {_MAX_ENTRIES}")
    upstreams = []
    for index, upstream in enumerate(declared):
        path = f"LATEEN.upstreams[{index}]"
        if not isinstance(upstream, dict) or not isinstance(upstream.get("host"), str):
            raise PeerError(f'node metadata {path} is not of the form {{"host": "", "port": 0, "localPort": 0}}')
        upstreams.append(
            Upstream(
                host=upstream["host"],
                port=_port(upstream.get("port"), f"{path}.port"),
                local_port=_port(upstream.get("localPort"), f"{path}.localPort"),
            )
        )
    return tuple(upstreams)


def _port(value: Any, path: str) -> int:
    """Read a port: a JSON number (a float in a Struct), or digits where it is a key."""
    try:
        port = int(value)
    except (TypeError, ValueError, OverflowError):
        port = 0
    if not 0 < port < 65536:
        raise PeerError(f"node metadata {path}: {str(value)[:20]!r} is not a port")
    return port


def _text(metadata: Mapping[str, Any], name: str) -> str:
    value = metadata.get(name, "")
    if not isinstance(value, str):
        raise PeerError(f"node metadata {name} is not a string")
    return value


def _mapping(metadata: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = metadata.get(name, {})
    if not isinstance(value, dict) or len(value) > _MAX_ENTRIES:
        raise PeerError(f"node metadata {name} is not a map of at most {_MAX_ENTRIES} entries")
    return value
