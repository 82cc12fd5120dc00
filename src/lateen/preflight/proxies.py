"""Proxies imagined from configuration: one of each sort that the mesh has, or would have.

Called by `flight`. Two proxies are of one sort when they are served the same, which `Generator.scope_of` tells; so it
is enough to name candidates, those that differ most first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lateen.mesh.policies import selector_labels
from lateen.mesh.queries import every_service
from lateen.mesh.references import PROXY_NAMESPACE
from lateen.mesh.state import MeshState
from lateen.model.proxies import Proxy, ProxyType

_ADDRESS = "192.0.2.1"
"""Of a range for documentation (RFC 5737): nobody is there, so no endpoint is taken for this proxy's own."""


def is_imagined(proxy: Proxy) -> bool:
    """Whether no endpoint is known of such a proxy."""
    return proxy.addresses[0] == _ADDRESS


def candidates(state: MeshState) -> Iterator[Proxy]:
    """Yield gateways, then a sidecar of each namespace, then those of workloads, each at most once."""
    seen: set[tuple[object, ...]] = set()
    for proxy in (*_gateways(state), *_plain(state), *_workloads(state)):
        labels = tuple(sorted(proxy.labels.items()))
        what = (proxy.type, proxy.namespace, labels, proxy.service_account, is_imagined(proxy))
        if what not in seen:
            seen.add(what)
            yield proxy


def _gateways(state: MeshState) -> Iterator[Proxy]:
    for gateway in state.gateways:
        namespace = gateway.annotations.get(PROXY_NAMESPACE, gateway.key.namespace)
        yield _proxy(ProxyType.GATEWAY, "gateway", namespace, gateway.spec.selector)


def _plain(state: MeshState) -> Iterator[Proxy]:
    """Yield a sidecar for each namespace that has configuration: what it calls counts, not what it is."""
    namespaces = {service.namespace for service in every_service(state)}
    namespaces |= {bound.object.key.namespace for bound in state.virtual_services}
    namespaces |= {sidecar.key.namespace for sidecar in state.sidecars}
    for namespace in sorted(namespaces):
        yield _proxy(ProxyType.SIDECAR, "client", namespace, {})


def _workloads(state: MeshState) -> Iterator[Proxy]:
    """Yield a sidecar for what selects workloads, and for each sort of workload that is known."""
    for policies in state.policies.values():
        for policy in policies:
            if labels := selector_labels(policy.spec):
                yield _proxy(ProxyType.SIDECAR, "workload", policy.key.namespace, labels)
    for sidecar in state.sidecars:
        if sidecar.spec.workload_selector is not None:
            yield _proxy(ProxyType.SIDECAR, "workload", sidecar.key.namespace, sidecar.spec.workload_selector.labels)
    for patches in state.envoy_filters:
        if patches.spec.workload_selector is not None:
            yield _proxy(ProxyType.SIDECAR, "workload", patches.key.namespace, patches.spec.workload_selector.labels)
    for host, selector in state.selectors.items():
        yield _proxy(ProxyType.SIDECAR, "workload", state.services[host].namespace, selector)
    for endpoints in state.endpoints.values():
        for one in endpoints:
            if one.namespace and one.address.replace(".", "").isdigit():
                account = one.service_account.rpartition("/")[2] or "default"
                yield _proxy(ProxyType.SIDECAR, "workload", one.namespace, one.labels, one.address, account)


def _proxy(
    kind: ProxyType,
    name: str,
    namespace: str,
    labels: Mapping[str, str],
    address: str = _ADDRESS,
    account: str = "default",
) -> Proxy:
    return Proxy(
        type=kind,
        name=name,
        namespace=namespace,
        addresses=(address,),
        labels=dict(labels),
        service_account=account,
        certificates=True,
    )
