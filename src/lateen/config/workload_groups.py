"""WorkloadGroup and ProxyConfig of `networking.istio.io`: what workloads, and their proxies, begin with.

Structs without logic, as in `config.networking`. Read by `mesh.workload_groups` and `mesh.proxy_settings`; what the
fields must be, `config.validation.workload_groups` says.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from lateen.config.networking import MatchLabelsSelector, Spec, WorkloadEntry
from lateen.config.proxy_config import ProxyImage, ReadinessProbe


class GroupMetadata(Spec, frozen=True, kw_only=True):
    """What the workloads of a group are marked with."""

    labels: dict[str, str] = {}
    """Of each workload; they win over the template's labels, and the workload's own win over these."""
    annotations: dict[str, str] = {}
    """`prometheus.io/scrape`, `/port` and `/path` say where the app has its metrics; others mean nothing."""


class WorkloadGroup(Spec, frozen=True, kw_only=True):
    """What the workloads that register under its name have in common, as a Deployment's template for pods."""

    metadata: GroupMetadata | None = None
    template: WorkloadEntry
    """Labels, service account, network, locality, weight and named ports. The address is each workload's own."""
    probe: ReadinessProbe | None = None
    """How a workload is found ready, by its agent. Unset: by a connection to each of its ports."""


class WorkloadProxyConfig(Spec, frozen=True, kw_only=True):
    """The kind ProxyConfig: settings of some proxies, which are read when they start."""

    selector: MatchLabelsSelector | None = None
    """Workloads of its namespace; unset is all of them, and all of the mesh in the root namespace."""
    concurrency: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)] | None = None
    """Envoy's worker threads; 0 is one for each core that the workload may use. Unset: as the next wider one says."""
    environment_variables: dict[str, str] = {}
    """Of Envoy's process: what `%ENVIRONMENT(X)%` in an access log and tags of traces read."""
    image: ProxyImage | None = None
    """The image that a cluster would run. Here Envoy is the one that is installed."""
