"""The last good configuration of one Envoy, as a bootstrap that needs no control plane. Pure.

What a proxy serves by is spread over discovery resources that it fetched one by one. Envoy shows all of it on its
admin page (`/config_dump?include_eds`), as accepted: what it rejected, or still waits for, is not in force and not in
there. From that page and the bootstrap we make another bootstrap, in which each reference to the control plane is
replaced by what the reference led to. An Envoy that starts from it serves as the first one did; what is not yet known
to it cannot be fetched.

Two things are not on that page. Private keys are blanked out: the workload's own are in files already, and to others
(a gateway's server certificates) the caller says which file holds them; where none does, the clusters and listeners
that need it are left out, and named. And of an endpoint only the address, weight and priority are kept: that it was
ejected or failed a check a while ago says little about now.

Why not keep what came over the stream: Envoy speaks with the control plane itself, so that the agent stays small; and
a dump is what Envoy made of it, with nothing to reconcile. Source: Envoy's `admin/v3/config_dump.proto`.

Used by `keeping`. Must not know: files, or when to look.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lateen.envoy.bootstrap import CERTIFICATE_SECRET, ROOTS_SECRET

Json = dict[str, Any]

_PATH_SOURCE = "path_config_source"
_ON_DEMAND = "envoy.extensions.filters.http.on_demand."
_TCP_PROXY = "envoy.extensions.filters.network.tcp_proxy."
_VHDS_SUFFIX = ".vhds"


@dataclass(frozen=True, slots=True, kw_only=True)
class LastGood:
    """A bootstrap that stands alone, and what could not be put into it."""

    bootstrap: Json
    missing: tuple[str, ...] = ()
    """`listener NAME: why` and `cluster NAME: why`, sorted."""


class DumpError(ValueError):
    """The page is not what Envoy shows."""


@dataclass(slots=True)
class _Known:
    """What the references of a dump lead to."""

    routes: Mapping[str, Json]
    assignments: Mapping[str, Json]
    extensions: Mapping[str, Json]
    secret_files: Mapping[str, str]
    lost: list[str] = field(default_factory=list)
    """Names of what a resource needs and the dump does not have; emptied for each resource."""


def last_good(bootstrap: Json, dump: Json, secret_files: Mapping[str, str] | None = None) -> LastGood:
    """Return a bootstrap of what the dump shows. DumpError when it is no dump.

    `bootstrap`: the one that Envoy was started with; the new one has its node, admin page, statistics and limits.
    `secret_files`: for secrets that came from the control plane, the file that holds each, as Envoy reads it.
    """
    try:
        return _last_good(bootstrap, _sections(dump), secret_files or {})
    except (KeyError, TypeError, AttributeError) as error:
        raise DumpError(f"not a configuration dump of Envoy: {error!r}") from error


def wanted_secrets(dump: Json) -> frozenset[str]:
    """Return the names of the secrets that came from the control plane, which the dump shows without their keys."""
    try:
        shown = _sections(dump).get("SecretsConfigDump", {}).get("dynamic_active_secrets", [])
        return frozenset(item["name"] for item in shown) - {CERTIFICATE_SECRET, ROOTS_SECRET}
    except (KeyError, TypeError, AttributeError) as error:
        raise DumpError(f"not a configuration dump of Envoy: {error!r}") from error


def is_at_rest(dump: Json) -> bool:
    """Whether nothing that the dump shows still warms up: then all that was accepted is in force."""
    try:
        sections = _sections(dump)
        warming = sections.get("ClustersConfigDump", {}).get("dynamic_warming_clusters", [])
        listeners = sections.get("ListenersConfigDump", {}).get("dynamic_listeners", [])
        return not warming and not any("warming_state" in item for item in listeners)
    except (KeyError, TypeError, AttributeError) as error:
        raise DumpError(f"not a configuration dump of Envoy: {error!r}") from error


def with_app_ports(bootstrap: Json, moved: Mapping[int, int]) -> Json:
    """Return the bootstrap with the app where it is now; `moved`: its ports then -> its ports now."""
    changed = {old: new for old, new in moved.items() if old != new}
    if not changed:
        return bootstrap
    static = bootstrap["static_resources"]
    clusters = [
        _moved(cluster, changed) if str(cluster.get("name", "")).startswith("inbound|") else cluster
        for cluster in static["clusters"]
    ]
    return {**bootstrap, "static_resources": {**static, "clusters": clusters}}


def _moved(value: Any, ports: Mapping[int, int]) -> Any:
    if isinstance(value, list):
        return [_moved(item, ports) for item in value]
    if not isinstance(value, dict):
        return value
    return {key: ports.get(item, item) if key == "port_value" else _moved(item, ports) for key, item in value.items()}


def _sections(dump: Json) -> dict[str, Json]:
    """Return the sections by type. Of one type there may be several: settings of HTTP and of network filters (ECDS)."""
    found: dict[str, Json] = {}
    for section in dump["configs"]:
        known = found.setdefault(section["@type"].rpartition(".")[2], {})
        for key, value in section.items():
            known[key] = [*known.get(key, ()), *value] if isinstance(value, list) else value
    return found


def _last_good(bootstrap: Json, sections: Mapping[str, Json], secret_files: Mapping[str, str]) -> LastGood:
    known = _Known(
        routes=dict(_named(sections, "RoutesConfigDump", "dynamic_route_configs", "route_config", "name")),
        assignments=dict(
            _named(sections, "EndpointsConfigDump", "dynamic_endpoint_configs", "endpoint_config", "cluster_name")
        ),
        extensions=dict(_named(sections, "EcdsConfigDump", "ecds_filters", "ecds_filter", "name")),
        secret_files=secret_files,
    )
    missing: list[str] = []

    def resolved(kind: str, found: Iterator[tuple[str, Json]]) -> list[Json]:
        kept = []
        for name, resource in found:
            known.lost.clear()
            made = _resolve(resource, known)
            if known.lost:
                missing.append(f"{kind} {name}: {', '.join(sorted(set(known.lost)))}")
            else:
                kept.append(made)
        return kept

    clusters = resolved("cluster", _named(sections, "ClustersConfigDump", "dynamic_active_clusters", "cluster", "name"))
    listeners = resolved("listener", _listeners(sections))
    static = bootstrap["static_resources"]
    alone = {key: value for key, value in bootstrap.items() if key not in ("dynamic_resources", "hds_config")}
    alone["static_resources"] = {
        **static,
        "clusters": [*static["clusters"], *clusters],
        "listeners": [*static["listeners"], *listeners],
    }
    return LastGood(bootstrap=alone, missing=tuple(sorted(missing)))


def _named(
    sections: Mapping[str, Json], section: str, entries: str, entry: str, name: str
) -> Iterator[tuple[str, Json]]:
    """Yield name -> resource, without the type that the dump says of each."""
    for item in sections.get(section, {}).get(entries, []):
        if entry in item:
            resource = {key: value for key, value in item[entry].items() if key != "@type"}
            yield resource[name], resource


def _listeners(sections: Mapping[str, Json]) -> Iterator[tuple[str, Json]]:
    """Yield the listeners that serve; one that only warms up, or was rejected, has no active state."""
    for item in sections.get("ListenersConfigDump", {}).get("dynamic_listeners", []):
        if "active_state" in item:
            listener = item["active_state"]["listener"]
            yield listener["name"], {key: value for key, value in listener.items() if key != "@type"}


# --- references ----------------------------------------------------------------------------------------------


def _resolve(value: Any, known: _Known) -> Any:
    """Return the value with every reference to the control plane replaced."""
    if isinstance(value, list):
        return [made for item in value if (made := _resolve(item, known)) is not None]
    if not isinstance(value, dict):
        return value
    if _fetches_only(value):
        return None
    made = value
    for rule in (_routes, _extension, _endpoints, _secret):
        made = rule(made, known)
    return {key: found for key, item in made.items() if (found := _resolve(item, known)) is not None}


def _fetches_only(value: Json) -> bool:
    """Whether this filter does nothing but ask the control plane for what is not there."""
    config = value.get("typed_config")
    return isinstance(config, dict) and _ON_DEMAND in str(config.get("@type", ""))


def _routes(value: Json, known: _Known) -> Json:
    """A connection manager that gets its routes by name has them inline; a TCP proxy fetches no cluster any more."""
    if _TCP_PROXY in str(value.get("@type", "")):
        return {key: item for key, item in value.items() if key != "on_demand"}
    reference = value.get("rds")
    if not isinstance(reference, dict) or "route_config_name" not in reference:
        return value
    name = reference["route_config_name"]
    routes = known.routes.get(name)
    rest = {key: item for key, item in value.items() if key != "rds"}
    # An Envoy that was never sent these routes answers 404, and so does one that has none.
    return {**rest, "route_config": _without_fetching(routes or {"name": name})}


def _without_fetching(routes: Json) -> Json:
    return {key: value for key, value in routes.items() if key != "vhds"}


def _extension(value: Json, known: _Known) -> Json:
    """A filter whose settings are a resource of their own has them inline."""
    if "config_discovery" not in value or "name" not in value:
        return value
    found = known.extensions.get(value["name"])
    if found is None:
        known.lost.append(f"settings of {value['name']}")
        return value
    rest = {key: item for key, item in value.items() if key != "config_discovery"}
    return {**rest, "typed_config": found["typed_config"]}


def _endpoints(value: Json, known: _Known) -> Json:
    """A cluster with discovered endpoints has them inline."""
    reference = value.get("eds_cluster_config")
    if not isinstance(reference, dict):
        return value
    name = reference.get("service_name") or value["name"]
    rest = {key: item for key, item in value.items() if key not in ("eds_cluster_config", "type")}
    assignment = known.assignments.get(name) or known.assignments.get(value["name"]) or {"cluster_name": name}
    return {**rest, "type": "STATIC", "load_assignment": _assignment(assignment)}


def _assignment(shown: Json) -> Json:
    """Return the endpoints as they may be said: the page shows numbers 0 that no configuration may say."""
    return {
        **{key: value for key, value in shown.items() if key != "endpoints"},
        "endpoints": [
            {
                **{key: value for key, value in group.items() if key not in ("lb_endpoints", "load_balancing_weight")},
                **({"load_balancing_weight": weight} if (weight := group.get("load_balancing_weight")) else {}),
                "lb_endpoints": [
                    {key: value for key, value in endpoint.items() if key != "health_status"}
                    for endpoint in group.get("lb_endpoints", [])
                ],
            }
            for group in shown.get("endpoints", [])
        ],
    }


def _secret(value: Json, known: _Known) -> Json:
    """A secret that came over the stream is read from the file that keeps it."""
    source = value.get("sds_config")
    if not isinstance(source, dict) or _PATH_SOURCE in source or "name" not in value:
        return value
    path = known.secret_files.get(value["name"])
    if path is None:
        known.lost.append(f"secret {value['name']}")
        return value
    return {"name": value["name"], "sds_config": {_PATH_SOURCE: {"path": path}, "resource_api_version": "V3"}}
