"""Patches of a bootstrap: what Envoy reads when it starts, and no control plane can change later.

Called by `lateen generate --static`, and by `app` for agents, which merge it themselves (`envoy.bootstrap`). Only
merging acts, as in Istio. Pure: JSON in, JSON out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lateen.config.envoy_filter import ApplyTo
from lateen.envoy.messages import from_json, to_json
from lateen.generate.envoy_filters.merging import merge_patch
from lateen.generate.envoy_filters.patches import MERGES, FilterPatch
from lateen.generate.envoy_filters.selection import Selection
from lateen.mesh.state import MeshState
from lateen.model.proxies import Interception, Proxy, ProxyType
from lateen.model.workloads import WorkloadRegistration

BOOTSTRAP = "envoy.config.bootstrap.v3.Bootstrap"


def bootstrap_patches(state: MeshState, proxy: Proxy) -> tuple[FilterPatch, ...]:
    """Return the patches of a proxy's bootstrap, in the order in which they are merged."""
    found = Selection().patch_set(state, proxy)
    patches = found.of(ApplyTo.BOOTSTRAP) if found is not None else ()
    return tuple(patch for patch in patches if patch.operation in MERGES)


def patched_bootstrap(bootstrap: dict[str, Any], patches: Iterable[FilterPatch]) -> dict[str, Any]:
    """Return a bootstrap in protobuf's JSON form with these patches merged into it."""
    patches = tuple(patches)
    if not patches:
        return bootstrap
    message = from_json(BOOTSTRAP, bootstrap)
    for patch in patches:
        merge_patch(message, patch)
    return to_json(BOOTSTRAP, message.SerializeToString(deterministic=True))


def bootstrap_patch(state: MeshState, registration: WorkloadRegistration) -> dict[str, Any]:
    """Return what is to be merged into the bootstrap of a registered workload's Envoy; empty for nothing."""
    gateway = not registration.service
    labels = dict(registration.labels)
    if not gateway:
        labels.setdefault("app", registration.service)
        if registration.version:
            labels.setdefault("version", registration.version)
    proxy = Proxy(
        type=ProxyType.GATEWAY if gateway else ProxyType.SIDECAR,
        name=registration.name,
        namespace=registration.namespace,
        labels=labels,
        interception=Interception.NONE,
    )
    return patched_bootstrap({}, bootstrap_patches(state, proxy))
