"""A workload that registers by a WorkloadGroup: what the group's template makes of it. Pure.

Called by `registries.agents`. Source: Istio's automatic registration of machines (`pilot/pkg/autoregistration`): labels
of the workload win over those of the group's metadata, and those over the template's; a network and a locality that the
workload names win over the template's; its service account must be the template's.
"""

from __future__ import annotations

from dataclasses import replace

from lateen.config.networking import WorkloadEntry
from lateen.config.probes import probe_of, scraped
from lateen.config.workload_groups import WorkloadGroup
from lateen.mesh.elections import workload_named
from lateen.mesh.state import MeshState
from lateen.mesh.workloads import from_registration
from lateen.model.proxies import Proxy
from lateen.model.proxy_settings import GroupTraits
from lateen.model.services import Locality
from lateen.model.workloads import DEFAULT_SERVICE_ACCOUNT, WorkloadPort, WorkloadRegistration

WORKLOAD_GROUP = "WorkloadGroup"


def account_problem(registration: WorkloadRegistration, group: WorkloadGroup) -> str:
    """Return why a workload may not be of a group, empty when it may. Its service account is proven already.

    Without certificates nobody has one: a workload that names none has the group's then.
    """
    wanted, said = group.template.service_account, registration.service_account
    if not wanted or said == wanted or (said == DEFAULT_SERVICE_ACCOUNT and not registration.identity):
        return ""
    return (
        f"workloads of the group {registration.group}.{registration.namespace} have the service account {wanted!r}, "
        f"and this one has {said!r}: start it with --service-account {wanted} and a token for that"
    )


def with_group(registration: WorkloadRegistration, group: WorkloadGroup) -> WorkloadRegistration:
    """Return the registration with what the group says."""
    template = group.template
    marked = group.metadata.labels if group.metadata is not None else {}
    return replace(
        registration,
        labels={**template.labels, **marked, **registration.labels},
        service_account=template.service_account or registration.service_account,
        network=registration.network or template.network,
        locality=registration.locality or template.locality,
        weight=template.weight,
        ports=_ports(registration, template),
    )


def _ports(registration: WorkloadRegistration, template: WorkloadEntry) -> tuple[WorkloadPort, ...]:
    """Name the workload's ports as the template does, by which services find them; it has the template's if none."""
    names: dict[int, str] = {}
    for name, number in template.ports.items():
        names.setdefault(number, name)
    if not registration.ports:
        return tuple(WorkloadPort(port=number, name=name) for number, name in sorted(names.items()))
    return tuple(replace(port, name=port.name or names.get(port.port, "")) for port in registration.ports)


def traits(registration: WorkloadRegistration, group: WorkloadGroup | None = None) -> GroupTraits | None:
    """Return what the agent of a registered workload is told of its group; None without one."""
    if not registration.group:
        return None
    metadata = group.metadata if group is not None else None
    port, path = scraped(metadata.annotations) if metadata is not None else (0, "")
    return GroupTraits(
        labels=dict(registration.labels),
        service_account=registration.service_account,
        locality=registration.locality,
        network=registration.network,
        ports=tuple(port.port for port in registration.ports),
        probe=probe_of(group.probe) if group is not None else None,
        metrics_port=port,
        metrics_path=path,
    )


def as_grouped(state: MeshState, proxy: Proxy) -> Proxy:
    """Return the proxy with what its workload's group says now: its node says what the group said when Envoy started.

    The same object for a proxy whose workload is of no group, or whose node is right.
    """
    workload = workload_named(state.workloads, proxy.namespace, proxy.name)
    if workload is None or not workload.group:
        return proxy
    labels, locality = from_registration(workload).labels, Locality.parse(workload.locality)
    if (labels, locality, workload.network) == (proxy.labels, proxy.locality, proxy.network):
        return proxy
    return replace(proxy, labels=labels, locality=locality, network=workload.network)
