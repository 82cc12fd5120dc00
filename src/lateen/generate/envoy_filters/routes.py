"""Patches of a route configuration, its virtual hosts and their routes. Called by `snapshots` and `listeners`.

Source: Istio, `rc_patch.go`. A sidecar without interception has one route configuration for all ports, `http_proxy`;
there a match by port is about the virtual hosts of the port. What a proxy asks for host by host (`80.vhds`) goes by the
name that it has otherwise (`80`).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from lateen.config.envoy_filter import (
    ApplyTo,
    PatchContext,
    PatchOperation,
    RouteAction,
    RouteConfigurationMatch,
)
from lateen.envoy import names
from lateen.envoy.filters import turned_on
from lateen.envoy.messages import Message
from lateen.generate.envoy_filters.merging import merge_patch
from lateen.generate.envoy_filters.origins import note_origins
from lateen.generate.envoy_filters.patches import INSERTS, MERGES, FilterPatch, Run
from lateen.generate.envoy_filters.placing import place, reorder

_ON_DEMAND = ".vhds"
_ACTIONS = {
    "route": RouteAction.ROUTE,
    "redirect": RouteAction.REDIRECT,
    "direct_response": RouteAction.DIRECT_RESPONSE,
}
_HTTP_PORT = 80


@dataclass(frozen=True, slots=True)
class HostNames:
    """What a virtual host is called: its name and domains, and those that it has when it is not asked for."""

    names: Collection[str]
    domains: Collection[str]


def patch_route_configuration(configuration: Message, run: Run) -> None:
    """Apply the patches to a route configuration and everything in it."""
    name = configuration.name
    noted = len(run.noted)
    for patch in run.of(ApplyTo.HTTP_FILTER):
        # Who changes what a filter does wants it everywhere, also where no route turns it on.
        for filter_name in patch.wants_on & set(configuration.typed_per_filter_config):
            del configuration.typed_per_filter_config[filter_name]
            run.done(patch)
    for patch in run.of(ApplyTo.ROUTE_CONFIGURATION):
        if patch.operation in MERGES and _is_meant(patch, name, run):
            merge_patch(configuration, patch)
            configuration.name = name
            run.done(patch)
    note_origins(configuration, run.noted[noted:])
    hosts = configuration.virtual_hosts
    kept = [at for at, host in enumerate(hosts) if patch_virtual_host(host, name, run)]
    added = [patch for patch in _hosts_to_add(name, run) if patch.value.name not in {host.name for host in hosts}]
    if len(kept) != len(hosts):
        reorder(hosts, kept)
    for patch in added:
        host = hosts.add()
        host.CopyFrom(patch.value)
        note_origins(host, [patch])
        run.done(patch)


def _hosts_to_add(configuration: str, run: Run) -> list[FilterPatch]:
    return [
        patch
        for patch in run.of(ApplyTo.VIRTUAL_HOST)
        if patch.operation is PatchOperation.ADD
        and (_is_meant(patch, configuration, run) or _is_meant_proxy(patch, configuration, run))
    ]


def added_host(configuration: str, host: str, run: Run) -> Message | None:
    """Return the virtual host that a patch adds for a Host header, of those that are asked for one by one."""
    for patch in _hosts_to_add(configuration, run):
        if host in patch.value.domains:
            made: Message = type(patch.value)()
            made.CopyFrom(patch.value)
            made.name = host
            del made.domains[:]
            made.domains.append(host)
            note_origins(made, [patch])
            run.done(patch)
            return made
    return None


def patch_virtual_host(host: Message, configuration: str, run: Run, known: HostNames | None = None) -> bool:
    """Apply the patches to a virtual host and its routes; False when it is removed."""
    called = known or HostNames((host.name,), tuple(host.domains))
    noted, name = len(run.noted), host.name
    for patch in run.of(ApplyTo.VIRTUAL_HOST):
        if not _is_meant_host(patch, configuration, called, run):
            continue
        if patch.operation is PatchOperation.REMOVE:
            run.done(patch)
            return False
        if patch.operation in MERGES:
            merge_patch(host, patch)
            run.done(patch)
        elif patch.operation is PatchOperation.REPLACE:
            host.CopyFrom(patch.value)
            run.done(patch)
    if known is not None:
        # Envoy asked for exactly this one.
        host.name = name
    meant = [patch for patch in run.of(ApplyTo.HTTP_ROUTE) if _is_meant_host(patch, configuration, called, run)]
    if meant:
        _patch_routes(host, meant, run)
    _enable_filters(host, configuration, called, run)
    note_origins(host, run.noted[noted:])
    return True


# --- what is meant -------------------------------------------------------------------------------------------


def _is_meant(patch: FilterPatch, configuration: str, run: Run) -> bool:
    """Whether a whole route configuration is what a patch is about."""
    match = patch.match.route_configuration
    if match is None:
        return True
    known = configuration.removesuffix(_ON_DEMAND)
    if match.name and match.name not in (configuration, known):
        return False
    if run.context is PatchContext.GATEWAY:
        return _is_meant_gateway(match, configuration)
    return not match.port_number or match.port_number == _port_of(known)


def _is_meant_gateway(match: RouteConfigurationMatch, configuration: str) -> bool:
    port, port_name, gateway = _gateway_parts(configuration)
    return (
        (not match.port_name or match.port_name == port_name)
        and (not match.gateway or match.gateway == gateway)
        and (not match.port_number or match.port_number == port)
    )


def _gateway_parts(name: str) -> tuple[int, str, str]:
    """Return port, name of the server's port and `namespace/name` of the Gateway, as far as a name has them."""
    parts = name.split(".")
    port = int(parts[1]) if len(parts) > 1 and parts[1].isdigit() else 0
    if parts[0] == "https" and len(parts) >= 5:
        return port, ".".join(parts[2:-2]), f"{parts[-1]}/{parts[-2]}"
    return port, "", ""


def _port_of(name: str) -> int:
    """Return the port of `80`, `inbound|9080||` and `reviews.default.svc.cluster.local:9080`."""
    text = name.split("|")[1] if name.startswith("inbound|") else name.rpartition(":")[2]
    return int(text) if text.isdigit() else 0


def _port_of_host(name: str) -> int:
    """Return the port of a virtual host that stands for one: without one in its name it is 80."""
    _, colon, port = name.rpartition(":")
    if name in (names.ALLOW_ANY, names.BLOCK_ALL, names.HTTP_PROXY):
        return 0
    return int(port) if colon and port.isdigit() else _HTTP_PORT


def _is_proxy(configuration: str, run: Run) -> bool:
    """Whether this is the route configuration of all ports."""
    return (
        run.explicit
        and run.context is PatchContext.SIDECAR_OUTBOUND
        and configuration.removesuffix(_ON_DEMAND) == names.HTTP_PROXY
    )


def _is_meant_proxy(patch: FilterPatch, configuration: str, run: Run) -> bool:
    """Whether a patch is about a port of the route configuration that has all."""
    match = patch.match.route_configuration
    return _is_proxy(configuration, run) and match is not None and (_wanted_port(match) != 0)


def _wanted_port(match: RouteConfigurationMatch) -> int:
    by_name = int(match.name) if match.name.isdigit() else 0
    if match.name and match.name not in (names.HTTP_PROXY, names.HTTP_PROXY + _ON_DEMAND) and not by_name:
        return 0
    if match.port_number and by_name and match.port_number != by_name:
        return 0
    return match.port_number or by_name


def _is_meant_host(patch: FilterPatch, configuration: str, called: HostNames, run: Run) -> bool:
    if not _is_meant(patch, configuration, run):
        match = patch.match.route_configuration
        assert match is not None
        ports = {_port_of_host(name) for name in called.names}
        if not _is_meant_proxy(patch, configuration, run) or _wanted_port(match) not in ports:
            return False
    wanted = patch.match.route_configuration.vhost if patch.match.route_configuration is not None else None
    if wanted is None:
        return True
    return (not wanted.name or wanted.name in called.names) and (
        not wanted.domain_name or wanted.domain_name in called.domains
    )


def _is_meant_route(patch: FilterPatch, route: Message) -> bool:
    vhost = patch.match.route_configuration.vhost if patch.match.route_configuration is not None else None
    wanted = vhost.route if vhost is not None else None
    if wanted is None:
        return True
    if wanted.name and wanted.name != route.name:
        return False
    action = _ACTIONS.get(route.WhichOneof("action") or "")
    return wanted.action is RouteAction.ANY or action is None or action is wanted.action


def _names_a_route(patch: FilterPatch) -> bool:
    match = patch.match.route_configuration
    return match is not None and match.vhost is not None and match.vhost.route is not None


# --- routes --------------------------------------------------------------------------------------------------


def _patch_routes(host: Message, meant: list[FilterPatch], run: Run) -> None:
    """Merge and remove first, then add, as in Istio."""
    kept = [at for at, route in enumerate(host.routes) if _patch_route(route, meant, run)]
    if len(kept) != len(host.routes):
        reorder(host.routes, kept)
    for patch in meant:
        if patch.operation not in INSERTS and patch.operation is not PatchOperation.ADD:
            continue
        added = type(patch.value)()
        added.CopyFrom(patch.value)
        note_origins(added, [patch])
        if _placed(host.routes, added, patch):
            run.done(patch)


def _placed(routes: Message, added: Message, patch: FilterPatch) -> bool:
    if not _names_a_route(patch):
        return place(routes, added, patch.operation, None)
    if patch.operation is PatchOperation.INSERT_FIRST and not any(_is_meant_route(patch, route) for route in routes):
        return False
    return place(routes, added, patch.operation, lambda route: _is_meant_route(patch, route))


def _patch_route(route: Message, meant: list[FilterPatch], run: Run) -> bool:
    """Merge into a route; False when it is removed."""
    for patch in meant:
        if not _is_meant_route(patch, route):
            continue
        if patch.operation is PatchOperation.REMOVE:
            run.done(patch)
            return False
        if patch.operation in MERGES:
            merge_patch(route, patch)
            note_origins(route, [patch])
            run.done(patch)
    return True


# --- filters of one port, without interception ---------------------------------------------------------------


def _enable_filters(host: Message, configuration: str, called: HostNames, run: Run) -> None:
    """Enable the HTTP filters that the proxy listener has for the port of a virtual host."""
    if not _is_proxy(configuration, run):
        return
    ports = {_port_of_host(name) for name in called.names}
    for patch in run.of(ApplyTo.HTTP_FILTER):
        match = patch.match.listener
        if match is None or (patch.operation not in INSERTS and patch.operation is not PatchOperation.ADD):
            continue
        if _port_of_listener(match.name, match.port_number) in ports and patch.value.name:
            turn_on(host, patch.value.name)
            run.done(patch)


def turn_on(host: Message, name: str) -> None:
    """Have an HTTP filter on for a virtual host, unless the host says something for it already."""
    if name not in host.typed_per_filter_config:
        config, setting = host.typed_per_filter_config[name], turned_on()
        config.type_url, config.value = setting["type_url"], setting["value"]


def _port_of_listener(name: str, number: int) -> int:
    address, _, port = name.rpartition("_")
    if name and (address != names.WILDCARD_ADDRESS or not port.isdigit()):
        return 0
    return number or (int(port) if port.isdigit() else 0)
