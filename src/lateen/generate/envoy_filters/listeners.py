"""Patches of one listener: itself, its filter chains, its filters, the HTTP filters inside. Called by `snapshots`.

Source: Istio, `listener_patch.go`. Where our listeners are other than Istio's, a match means what it would reach there:

- `virtualInbound` names every inbound listener of a sidecar without interception (each port has one of its own);
- a gateway's port is the one that its Gateway declares, or the one that is bound;
- `http_proxy` carries all ports of such a sidecar. An HTTP filter that is inserted for one of them is put there
  disabled, and enabled by the virtual hosts of the port (`routes`). Nothing else can be done to one port of it.
"""

from __future__ import annotations

from lateen.config.envoy_filter import (
    ApplyTo,
    FilterChainMatch,
    FilterClass,
    ListenerMatch,
    PatchContext,
    PatchOperation,
)
from lateen.config.validation.envoy_filters import HTTP_CONNECTION_MANAGER, canonical_names
from lateen.envoy import names
from lateen.envoy.filters import FILTERS_BY_ROUTE
from lateen.envoy.messages import Message
from lateen.envoy.patches import pack, unpacked
from lateen.generate.envoy_filters.clusters import merged_chain_socket
from lateen.generate.envoy_filters.merging import merge_any, merge_patch
from lateen.generate.envoy_filters.origins import note_origins
from lateen.generate.envoy_filters.patches import INSERTS, MERGES, CannotApplyError, FilterPatch, Run
from lateen.generate.envoy_filters.placing import Matches, place, put_before, reorder
from lateen.generate.envoy_filters.routes import patch_route_configuration

_HTTP = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_VIRTUAL = (names.VIRTUAL_INBOUND, names.VIRTUAL_OUTBOUND)
_AFTER_CLASS = {
    FilterClass.AUTHN: ("envoy.filters.http.jwt_authn", "envoy.filters.network.rbac"),
    FilterClass.AUTHZ: (
        "envoy.filters.http.rbac",
        "envoy.filters.http.ext_authz",
        "envoy.filters.network.rbac",
        "envoy.filters.network.ext_authz",
    ),
}
"""What an added filter of a class comes after."""
_TERMINAL = ("envoy.filters.http.router", HTTP_CONNECTION_MANAGER, "envoy.filters.network.tcp_proxy")
"""Filters that must be the last: what is added comes before them, where Envoy would refuse it after."""


def listener_context(listener: Message, *, gateway: bool) -> PatchContext:
    """Return the side of the proxy that a listener is on."""
    if gateway:
        return PatchContext.GATEWAY
    inbound = listener.traffic_direction == _INBOUND
    return PatchContext.SIDECAR_INBOUND if inbound else PatchContext.SIDECAR_OUTBOUND


_INBOUND = 1
"""envoy.config.core.v3.TrafficDirection."""


def patch_listener(listener: Message, run: Run) -> bool:
    """Apply the patches to a listener; False when it is removed."""
    for patch in run.of(ApplyTo.LISTENER):
        if not _is_meant(listener, patch, run):
            continue
        if patch.operation is PatchOperation.REMOVE:
            run.done(patch)
            return False
        if patch.operation in MERGES:
            merge_patch(listener, patch)
            run.done(patch)
    for patch in run.of(ApplyTo.LISTENER_FILTER):
        if _is_meant(listener, patch, run):
            _patch_listener_filters(listener, patch, run)
    return _patch_chains(listener, run)


def port_of_match(match: ListenerMatch | None) -> int:
    """Return the port that a match of an outbound listener is about: by number, or as `0.0.0.0_9080` says it."""
    if match is None:
        return 0
    address, _, port = match.name.rpartition("_")
    by_name = int(port) if address == names.WILDCARD_ADDRESS and port.isdigit() else 0
    return match.port_number or by_name


def _is_meant(listener: Message, patch: FilterPatch, run: Run) -> bool:
    match = patch.match.listener
    if match is None:
        return True
    if match.name and match.name != listener.name and not _goes_by(listener, match.name, run):
        return False
    if patch.apply_to is not ApplyTo.LISTENER and listener.name in _VIRTUAL:
        # A port of theirs is a filter chain.
        return True
    return not match.port_number or match.port_number in _ports(listener, run)


def _goes_by(listener: Message, name: str, run: Run) -> bool:
    return (
        run.explicit
        and run.context is PatchContext.SIDECAR_INBOUND
        and name == names.VIRTUAL_INBOUND
        and listener.name != names.HTTP_PROXY
    )


def _ports(listener: Message, run: Run) -> tuple[int, ...]:
    """Return the ports that a listener is known by."""
    bound = listener.address.socket_address.port_value
    declared = listener.name.rpartition("_")[2]
    return (bound, int(declared)) if run.context is PatchContext.GATEWAY and declared.isdigit() else (bound,)


# --- listener filters ----------------------------------------------------------------------------------------


def _patch_listener_filters(listener: Message, patch: FilterPatch, run: Run) -> None:
    wanted = patch.match.listener.listener_filter if patch.match.listener is not None else ""
    matches = _named(wanted) if wanted else None
    filters = listener.listener_filters
    if patch.operation is not PatchOperation.MERGE:
        if place(filters, patch.value, patch.operation, matches):
            run.done(patch)
        return
    for item in filters:
        if matches is not None and matches(item):
            _merge_filter(item, patch, run)


def _named(name: str) -> Matches:
    known = (name, *canonical_names(name))
    return lambda item: item.name in known


def _merge_filter(item: Message, patch: FilterPatch, run: Run) -> None:
    """Merge a filter into another: inside its settings, and its name."""
    value = patch.value
    if not item.HasField("typed_config"):
        run.failed(patch, f"the settings of {item.name} come from elsewhere: nothing can be merged into them")
        return
    try:
        if value.HasField("typed_config"):
            merge_any(item.typed_config, value.typed_config)
    except CannotApplyError as error:
        run.failed(patch, str(error))
        return
    if value.name:
        item.name = value.name
    run.done(patch)


# --- filter chains -------------------------------------------------------------------------------------------


def _patch_chains(listener: Message, run: Run) -> bool:
    """Patch the filter chains; False when a listener is left without any."""
    kept = [at for at, chain in enumerate(listener.filter_chains) if _patch_chain(listener, chain, run)]
    if len(kept) != len(listener.filter_chains):
        reorder(listener.filter_chains, kept)
    if listener.HasField("default_filter_chain") and not _patch_chain(listener, listener.default_filter_chain, run):
        listener.ClearField("default_filter_chain")
    for patch in run.of(ApplyTo.FILTER_CHAIN):
        if patch.operation is PatchOperation.ADD and _is_meant(listener, patch, run):
            chain = listener.filter_chains.add()
            chain.CopyFrom(patch.value)
            note_origins(chain, [patch])
            run.done(patch)
    return bool(listener.filter_chains) or listener.HasField("default_filter_chain")


def _patch_chain(listener: Message, chain: Message, run: Run) -> bool:
    """Apply the patches to a filter chain; False when it is removed."""
    noted = len(run.noted)
    for patch in run.of(ApplyTo.FILTER_CHAIN):
        if not _is_meant(listener, patch, run) or not _is_meant_chain(listener, chain, patch, run):
            continue
        if patch.operation is PatchOperation.REMOVE:
            run.done(patch)
            return False
        if patch.operation in MERGES:
            try:
                if not merged_chain_socket(chain, patch.value):
                    merge_patch(chain, patch)
                run.done(patch)
            except CannotApplyError as error:
                run.failed(patch, str(error))
    _patch_network_filters(listener, chain, run)
    note_origins(chain, run.noted[noted:])
    return True


def _is_meant_chain(listener: Message, chain: Message, patch: FilterPatch, run: Run) -> bool:
    match = patch.match.listener
    if match is None:
        return True
    destination = chain.filter_chain_match.destination_port.value
    if listener.name in _VIRTUAL and match.port_number and destination != match.port_number:
        return False
    wanted = match.filter_chain
    if wanted is None:
        return True
    if wanted.destination_port and destination != wanted.destination_port:
        # Without interception, a chain's destination is where its listener is bound.
        bound = listener.address.socket_address.port_value
        if not (run.explicit and run.context is PatchContext.SIDECAR_INBOUND and bound == wanted.destination_port):
            return False
    return _has(chain, wanted)


def _has(chain: Message, wanted: FilterChainMatch) -> bool:
    """Whether a chain has what a match asks of it."""
    match = chain.filter_chain_match
    protocols = set(wanted.application_protocols.split(",")) if wanted.application_protocols else set()
    return (
        (not wanted.name or wanted.name == chain.name)
        and (not wanted.sni or wanted.sni in match.server_names)
        and (not wanted.transport_protocol or wanted.transport_protocol == match.transport_protocol)
        and protocols.issubset(match.application_protocols)
    )


# --- network filters -----------------------------------------------------------------------------------------


def _network_filter(patch: FilterPatch) -> Matches | None:
    chain = patch.match.listener.filter_chain if patch.match.listener is not None else None
    return _named(chain.filter.name) if chain is not None and chain.filter is not None else None


def _patch_network_filters(listener: Message, chain: Message, run: Run) -> None:
    meant = [
        patch
        for patch in run.of(ApplyTo.NETWORK_FILTER)
        if _is_meant(listener, patch, run) and _is_meant_chain(listener, chain, patch, run)
    ]
    for patch in meant:
        if patch.operation is not PatchOperation.MERGE and _place_filter(chain.filters, patch, _network_filter(patch)):
            run.done(patch)
    for item in chain.filters:
        for patch in meant:
            matches = _network_filter(patch)
            if patch.operation is PatchOperation.MERGE and (matches is None or matches(item)):
                _merge_filter(item, patch, run)
        if item.name == HTTP_CONNECTION_MANAGER and item.HasField("typed_config"):
            _patch_http(listener, chain, item, run)


def _place_filter(filters: Message, patch: FilterPatch, matches: Matches | None) -> bool:
    """Do what `place` does; what is added comes where its class says, and never after a filter that must be last."""
    if patch.operation is not PatchOperation.ADD or patch.value.name in _TERMINAL:
        return place(filters, patch.value, patch.operation, matches)
    wanted = _AFTER_CLASS.get(patch.filter_class, ())
    last = max((at for at, item in enumerate(filters) if item.name in wanted), default=-1)
    end = next((at for at, item in enumerate(filters) if item.name in _TERMINAL), len(filters))
    put_before(filters, last + 1 if last >= 0 else end, patch.value)
    return True


# --- HTTP filters --------------------------------------------------------------------------------------------


def _patch_http(listener: Message, chain: Message, item: Message, run: Run) -> None:
    """Patch what stands in an HTTP connection manager: its filters, and routes of its own."""
    manager = unpacked(item.typed_config)
    if manager is None or manager.DESCRIPTOR.full_name != _HTTP:
        return
    before = manager.SerializeToString(deterministic=True)
    meant = [patch for patch in run.of(ApplyTo.HTTP_FILTER) if _is_meant_http(listener, chain, item, patch, run)]
    for patch in meant:
        if _is_of_a_port(listener, patch, run):
            _insert_disabled(manager.http_filters, patch, run)
        elif patch.operation is not PatchOperation.MERGE and _place_filter(
            manager.http_filters, patch, _http_filter(patch)
        ):
            run.done(patch)
    for one in manager.http_filters:
        for patch in meant:
            matches = _http_filter(patch)
            if (
                patch.operation is PatchOperation.MERGE
                and not _is_of_a_port(listener, patch, run)
                and (matches is None or matches(one))
            ):
                _merge_filter(one, patch, run)
                if one.name in FILTERS_BY_ROUTE:
                    # Who changes what it does wants it everywhere, also where no route turns it on.
                    one.disabled = patch.value.disabled
    if manager.HasField("route_config"):
        patch_route_configuration(manager.route_config, run)
    if manager.SerializeToString(deterministic=True) != before:
        pack(item.typed_config, manager)


def _http_filter(patch: FilterPatch) -> Matches | None:
    chain = patch.match.listener.filter_chain if patch.match.listener is not None else None
    found = chain.filter if chain is not None else None
    return _named(found.sub_filter.name) if found is not None and found.sub_filter is not None else None


def _is_meant_http(listener: Message, chain: Message, item: Message, patch: FilterPatch, run: Run) -> bool:
    matches = _network_filter(patch)
    if matches is not None and not matches(item):
        return False
    if _is_of_a_port(listener, patch, run):
        wanted = patch.match.listener.filter_chain if patch.match.listener is not None else None
        return wanted is None or (not wanted.destination_port and _has(chain, wanted))
    return _is_meant(listener, patch, run) and _is_meant_chain(listener, chain, patch, run)


def _is_of_a_port(listener: Message, patch: FilterPatch, run: Run) -> bool:
    """Whether a patch is about one of the ports that the proxy listener of explicit mode carries."""
    port = port_of_match(patch.match.listener)
    return (
        run.explicit
        and listener.name == names.HTTP_PROXY
        and port not in (0, listener.address.socket_address.port_value)
        and patch.match.listener is not None
        and (not patch.match.listener.name or patch.match.listener.name.startswith(names.WILDCARD_ADDRESS))
    )


def _insert_disabled(filters: Message, patch: FilterPatch, run: Run) -> None:
    """Insert a filter that the virtual hosts of a port enable."""
    if patch.operation not in INSERTS and patch.operation is not PatchOperation.ADD:
        reason = "without interception one listener carries all ports: only inserting a filter can be about one of them"
        run.failed(patch, reason)
        return
    disabled = type(patch.value)()
    disabled.CopyFrom(patch.value)
    disabled.disabled = True
    if any(item.name == disabled.name and not item.disabled for item in filters):
        run.failed(patch, f"there is a filter {disabled.name} for all ports already: give this one another name")
        return
    if any(item.name == disabled.name for item in filters):
        run.done(patch)
        return
    matches = _http_filter(patch)
    at = next((position for position, item in enumerate(filters) if matches is not None and matches(item)), None)
    if matches is not None and at is None:
        return
    match patch.operation:
        case PatchOperation.INSERT_FIRST:
            put_before(filters, 0, disabled)
        case PatchOperation.INSERT_BEFORE:
            put_before(filters, at or 0, disabled)
        case PatchOperation.INSERT_AFTER if at is not None:
            put_before(filters, at + 1, disabled)
        case _:
            end = next((one for one, item in enumerate(filters) if item.name in _TERMINAL), len(filters))
            put_before(filters, end, disabled)
    run.done(patch)
