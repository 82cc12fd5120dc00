"""What one proxy begins with: the ProxyConfigs that are about its workload, over MeshConfig's `defaultConfig`. Pure.

Called by `app` when a workload registers. Source: Istio's ProxyConfig reference: a ProxyConfig with a selector that
matches wins over one of the namespace, that over one of the root namespace, and that over `defaultConfig`, field by
field and variable by variable. Of several in one place the oldest counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from lateen.config.durations import seconds
from lateen.config.mesh_config import MeshConfig
from lateen.config.objects import ConfigObject
from lateen.config.probes import probe_of
from lateen.config.workload_groups import WorkloadProxyConfig
from lateen.mesh.workloads import from_registration
from lateen.model.proxies import labels_match
from lateen.model.proxy_settings import LONGEST_DRAIN_SECONDS, ProxySettings
from lateen.model.workloads import WorkloadRegistration

PROXY_CONFIG = "ProxyConfig"
META_PREFIX = "ISTIO_META_"
"""Variables that Istio's own agent reads; nobody does here."""


def proxy_settings(
    workload: WorkloadRegistration, configs: Iterable[ConfigObject[WorkloadProxyConfig]], mesh_config: MeshConfig
) -> ProxySettings:
    """Return the settings of a registered workload's proxy."""
    settings = default_settings(mesh_config)
    for config in _about(workload, tuple(configs), mesh_config.root_namespace):
        settings = replace(
            settings,
            concurrency=settings.concurrency if config.concurrency is None else config.concurrency,
            environment={**settings.environment, **config.environment_variables},
        )
    return settings


def default_settings(mesh_config: MeshConfig) -> ProxySettings:
    """Return what MeshConfig says of every proxy."""
    default = mesh_config.default_config
    merges = mesh_config.enable_prometheus_merge
    if default is None:
        return ProxySettings(merges_metrics=merges)
    matcher = default.proxy_stats_matcher
    return ProxySettings(
        concurrency=default.concurrency,
        environment={name: text for name, text in default.proxy_metadata.items() if not name.startswith(META_PREFIX)},
        drain_seconds=_drain(default.termination_drain_duration),
        envoy_drain_seconds=_drain(default.drain_duration),
        stats_prefixes=tuple(matcher.inclusion_prefixes) if matcher else (),
        stats_suffixes=tuple(matcher.inclusion_suffixes) if matcher else (),
        stats_regexps=tuple(matcher.inclusion_regexps) if matcher else (),
        probe=probe_of(default.readiness_probe),
        merges_metrics=merges,
    )


def _drain(text: str) -> float | None:
    return min(seconds(text), LONGEST_DRAIN_SECONDS) if text else None


def _about(
    workload: WorkloadRegistration, configs: tuple[ConfigObject[WorkloadProxyConfig], ...], root: str
) -> Iterator[WorkloadProxyConfig]:
    """Yield what counts, the widest first."""
    labels = from_registration(workload).labels

    def first(namespace: str, *, selecting: bool) -> Iterator[WorkloadProxyConfig]:
        found = [
            item
            for item in configs
            if item.key.namespace == namespace
            and (item.spec.selector is not None and bool(item.spec.selector.match_labels)) is selecting
            and (not selecting or labels_match(_selector(item.spec), labels))
        ]
        if found:
            yield min(found, key=lambda item: (item.created, item.key.name)).spec

    if workload.namespace != root:
        yield from first(root, selecting=False)
    yield from first(workload.namespace, selecting=False)
    yield from first(workload.namespace, selecting=True)


def _selector(config: WorkloadProxyConfig) -> dict[str, str]:
    return config.selector.match_labels if config.selector is not None else {}
