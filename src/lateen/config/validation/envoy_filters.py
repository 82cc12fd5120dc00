"""Rules of EnvoyFilter, as Istio's validation has them. Called by `validation.rules`.

The values of patches are JSON of Envoy's messages: `envoy.patches` reads them, and `analysis.envoy_filters` says what
is wrong with them, because this room knows no protobuf.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lateen.config.envoy_filter import (
    ApplyTo,
    EnvoyConfigObjectMatch,
    EnvoyConfigObjectPatch,
    EnvoyFilter,
    FilterMatch,
    PatchContext,
    PatchOperation,
)
from lateen.config.metadata import Metadata
from lateen.config.positions import Path
from lateen.config.validation import fields
from lateen.config.validation.policy_targets import attachment
from lateen.config.validation.regexes import MAX_LENGTH, regex
from lateen.config.violations import Violation, warning

HTTP_CONNECTION_MANAGER = "envoy.filters.network.http_connection_manager"

DEPRECATED_FILTERS: Mapping[str, tuple[str, ...]] = {
    "envoy.buffer": ("envoy.filters.http.buffer",),
    "envoy.cors": ("envoy.filters.http.cors",),
    "envoy.csrf": ("envoy.filters.http.csrf",),
    "envoy.http_dynamo_filter": ("envoy.filters.http.dynamo",),
    "envoy.ext_authz": ("envoy.filters.http.ext_authz", "envoy.filters.network.ext_authz"),
    "envoy.fault": ("envoy.filters.http.fault",),
    "envoy.grpc_http1_bridge": ("envoy.filters.http.grpc_http1_bridge",),
    "envoy.grpc_json_transcoder": ("envoy.filters.http.grpc_json_transcoder",),
    "envoy.grpc_web": ("envoy.filters.http.grpc_web",),
    "envoy.gzip": ("envoy.filters.http.gzip",),
    "envoy.health_check": ("envoy.filters.http.health_check",),
    "envoy.ip_tagging": ("envoy.filters.http.ip_tagging",),
    "envoy.lua": ("envoy.filters.http.lua",),
    "envoy.rate_limit": ("envoy.filters.http.ratelimit",),
    "envoy.router": ("envoy.filters.http.router",),
    "envoy.squash": ("envoy.filters.http.squash",),
    "envoy.listener.http_inspector": ("envoy.filters.listener.http_inspector",),
    "envoy.listener.original_dst": ("envoy.filters.listener.original_dst",),
    "envoy.listener.original_src": ("envoy.filters.listener.original_src",),
    "envoy.listener.proxy_protocol": ("envoy.filters.listener.proxy_protocol",),
    "envoy.listener.tls_inspector": ("envoy.filters.listener.tls_inspector",),
    "envoy.client_ssl_auth": ("envoy.filters.network.client_ssl_auth",),
    "envoy.http_connection_manager": (HTTP_CONNECTION_MANAGER,),
    "envoy.mongo_proxy": ("envoy.filters.network.mongo_proxy",),
    "envoy.ratelimit": ("envoy.filters.network.ratelimit",),
    "envoy.redis_proxy": ("envoy.filters.network.redis_proxy",),
    "envoy.tcp_proxy": ("envoy.filters.network.tcp_proxy",),
}
"""Names that filters had before Envoy 1.14, and what they are called now."""

_LISTENER_CLASS = frozenset((ApplyTo.LISTENER, ApplyTo.FILTER_CHAIN, ApplyTo.NETWORK_FILTER, ApplyTo.HTTP_FILTER))
_MATCHES: Mapping[ApplyTo, str] = {
    **dict.fromkeys(_LISTENER_CLASS, "listener"),
    ApplyTo.ROUTE_CONFIGURATION: "routeConfiguration",
    ApplyTo.VIRTUAL_HOST: "routeConfiguration",
    ApplyTo.HTTP_ROUTE: "routeConfiguration",
    ApplyTo.CLUSTER: "cluster",
}
"""What an object of a class is matched by. Istio asks nothing of the others."""

_INTERNALS = (
    "an EnvoyFilter changes what is generated for Envoy, which may be different in any later version",
    "prefer another kind where one does it, and check after each upgrade",
)


def envoy_filter(spec: EnvoyFilter, metadata: Metadata) -> Iterator[Violation]:
    """Yield what is wrong with an EnvoyFilter."""
    yield warning((), *_INTERNALS)
    selector = spec.workload_selector
    if selector is not None:
        yield from fields.selector(("workloadSelector", "labels"), selector.labels)
        if not selector.labels:
            hint = "add labels, or leave the selector out"
            yield warning(("workloadSelector",), "a selector without labels selects the whole namespace", hint)
        if spec.target_refs:
            message = "`workloadSelector` and `targetRefs` exclude each other"
            yield Violation(("targetRefs",), message, "keep one of them")
    yield from attachment(None, None, spec.target_refs, metadata.namespace)
    for index, patch in enumerate(spec.config_patches):
        yield from _config_patch(("configPatches", index), patch)


def _config_patch(path: Path, item: EnvoyConfigObjectPatch) -> Iterator[Violation]:
    match = item.match or EnvoyConfigObjectMatch()
    if match.context is PatchContext.WAYPOINT:
        # Accepted whatever else it says, as in Istio: there are no waypoints. `config.acting` says so.
        return
    missing = list(_missing(path, item))
    if missing:
        yield from missing
        return
    yield from _proxy(path, match)
    yield from _object(path, item.apply_to, match)


def _missing(path: Path, item: EnvoyConfigObjectPatch) -> Iterator[Violation]:
    if item.apply_to is ApplyTo.INVALID:
        yield Violation((*path, "applyTo"), "the field `applyTo` is required", "write HTTP_FILTER, CLUSTER, …")
    elif item.patch is None:
        yield Violation(path, "the field `patch` is required", "add `patch: {operation: …, value: …}`")
    elif item.patch.operation is PatchOperation.INVALID:
        hint = "write MERGE, ADD, INSERT_BEFORE, REMOVE, …"
        yield Violation((*path, "patch", "operation"), "the field `operation` is required", hint)
    elif item.patch.value is None and item.patch.operation is not PatchOperation.REMOVE:
        hint = "write what to add or to merge"
        yield Violation((*path, "patch"), f"{item.patch.operation.value} needs a `value`", hint)


def _proxy(path: Path, match: EnvoyConfigObjectMatch) -> Iterator[Violation]:
    version = match.proxy.proxy_version if match.proxy is not None else ""
    here = (*path, "match", "proxy", "proxyVersion")
    if len(version) > MAX_LENGTH:
        message = f"the expression has {len(version)} characters: above {MAX_LENGTH} it matches no proxy"
        yield warning(here, message, "write a short one")
    elif version:
        yield from regex(here, version)


def _object(path: Path, apply_to: ApplyTo, match: EnvoyConfigObjectMatch) -> Iterator[Violation]:
    given = [
        name
        for name, value in (
            ("listener", match.listener),
            ("routeConfiguration", match.route_configuration),
            ("cluster", match.cluster),
            ("waypoint", match.waypoint),
        )
        if value is not None
    ]
    if len(given) > 1:
        both = " and ".join(f"`{name}`" for name in given)
        yield Violation((*path, "match", given[1]), f"{both} exclude each other", "keep one of them")
        return
    wanted = _MATCHES.get(apply_to, "")
    if given and wanted and given[0] != wanted:
        message = f"applyTo {apply_to.value} cannot have a match by `{given[0]}`"
        yield Violation((*path, "match", given[0]), message, f"match by `{wanted}`")
        return
    chain = match.listener.filter_chain if match.listener is not None else None
    if chain is not None and chain.filter is not None and apply_to in _LISTENER_CLASS:
        yield from _filter((*path, "match", "listener", "filterChain", "filter"), apply_to, chain.filter)


def _filter(path: Path, apply_to: ApplyTo, match: FilterMatch) -> Iterator[Violation]:
    if apply_to in (ApplyTo.LISTENER, ApplyTo.FILTER_CHAIN):
        yield warning(path, f"a match by filter has no effect with applyTo {apply_to.value}", "remove it")
    if not match.name:
        yield Violation((*path, "name"), "a match by filter needs the name of the filter", "add `name: …`")
        return
    sub_filter = match.sub_filter
    if sub_filter is not None:
        here = (*path, "subFilter")
        if apply_to is not ApplyTo.HTTP_FILTER:
            yield Violation(here, "`subFilter` is for applyTo HTTP_FILTER only", "remove it")
            return
        if HTTP_CONNECTION_MANAGER not in canonical_names(match.name):
            hint = f"write {HTTP_CONNECTION_MANAGER}"
            yield Violation((*path, "name"), "`subFilter` needs a match by HTTP connection manager", hint)
            return
        if not sub_filter.name:
            yield Violation((*here, "name"), "a match by HTTP filter needs the name of the filter", "add `name: …`")
            return
        yield from _deprecated((*here, "name"), sub_filter.name)
    yield from _deprecated((*path, "name"), match.name)


def _deprecated(path: Path, name: str) -> Iterator[Violation]:
    if name in DEPRECATED_FILTERS:
        yield warning(path, f"{name} is an old name", f"write {' or '.join(DEPRECATED_FILTERS[name])}")


def canonical_names(name: str) -> tuple[str, ...]:
    """Return what filters of a name are called now; `envoy.ext_authz` may be an HTTP or a network filter."""
    return DEPRECATED_FILTERS.get(name, (name,))
