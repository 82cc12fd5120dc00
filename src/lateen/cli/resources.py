"""Tables of xDS resources: what matters of a listener, route, cluster, endpoint, secret or filter, one line each.

Called by `proxy-config` and `generate -o table`. Works on protobuf JSON with proto field names, as the API serves it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from lateen.cli.output import note, print_rows

Json = Mapping[str, Any]
"""A resource in protobuf JSON: whatever Envoy's schema holds, looked at loosely because it is only shown."""


def print_resources(word: str, resources: Sequence[Json]) -> None:
    """Print the table of one type (`listeners`, `routes`, `clusters`, `endpoints`, `secrets`, `extensions`)."""
    headers, rows_of = _TABLES[word]
    rows = [row for resource in resources for row in rows_of(resource)]
    print_rows(headers, rows, f"no {word}")


def print_resource_tables(snapshot: Mapping[str, Sequence[Json]]) -> None:
    """Print the tables of all types, each under its name."""
    for word, resources in snapshot.items():
        note(f"{word}: {len(resources)}")
        if resources:
            print_resources(word, resources)


def address_text(address: Json) -> str:
    """Return `ip:port` of an Envoy Address, or its pipe's path."""
    if pipe := address.get("pipe"):
        return str(pipe.get("path", ""))
    found = address.get("socket_address", {})
    return f"{found.get('address', '')}:{found.get('port_value', found.get('named_port', 0))}"


def _listener_rows(listener: Json) -> Iterator[list[str]]:
    chains = [*listener.get("filter_chains", ()), *filter(None, [listener.get("default_filter_chain")])]
    filters = [found for chain in chains for found in chain.get("filters", ())]
    leads = list(dict.fromkeys(filter(None, map(_filter_target, filters))))
    address = address_text(listener["address"]) if "address" in listener else "(api)"
    origins = dict.fromkeys(filter(None, map(_origin, (listener, *chains))))
    yield [listener.get("name", ""), address, str(len(chains)), ", ".join(leads), ", ".join(origins)]


def _filter_target(found: Json) -> str:
    config = found.get("typed_config", {})
    if "rds" in config:
        return f"route {config['rds'].get('route_config_name', '')}"
    if "route_config" in config:
        return f"route {config['route_config'].get('name', 'inline')} (inline)"
    return _destination(config)


def _destination(action: Json) -> str:
    if "weighted_clusters" in action:
        shares = action["weighted_clusters"].get("clusters", ())
        return ", ".join(f"{_short(share.get('name', ''))} {share.get('weight', 0)}" for share in shares)
    return _short(action.get("cluster", ""))


def _short(cluster: object) -> str:
    """Return a cluster's name without `outbound|`, so that port and subset are seen on a narrow terminal too."""
    return str(cluster).removeprefix("outbound|")


def _route_rows(configuration: Json) -> Iterator[list[str]]:
    for host in configuration.get("virtual_hosts", ()):
        for route in host.get("routes", ()):
            yield [
                configuration.get("name", ""),
                ", ".join(host.get("domains", ())[:2]),
                _match_text(route.get("match", {})),
                _action_text(route),
                _origin(route),
            ]


def _match_text(match: Json) -> str:
    path = next((f"{word} {match[word]}" for word in ("prefix", "path", "path_separated_prefix") if word in match), "")
    if "connect_matcher" in match:
        path = "CONNECT"
    if "safe_regex" in match:
        path = f"regex {match['safe_regex'].get('regex', '')}"
    path = "/*" if path == "prefix /" else path
    asked = [f"{_not(header, 'invert_match')}{header.get('name', '')}" for header in match.get("headers", ())]
    asked += [f"?{query.get('name', '')}" for query in match.get("query_parameters", ())]
    for claim in match.get("dynamic_metadata", ()):
        steps = [step.get("key", "") for step in claim.get("path", ())]
        asked.append(f"{_not(claim, 'invert')}claim {'.'.join(steps[1:])}")
    return f"{path} [{', '.join(asked)}]" if asked else path


def _not(matcher: Json, field: str) -> str:
    return "not " if matcher.get(field) else ""


def _action_text(route: Json) -> str:
    if "redirect" in route:
        return "redirect"
    if "direct_response" in route:
        return f"answer {route['direct_response'].get('status', '')}"
    return _destination(route.get("route", {}))


def _origin(found: Json) -> str:
    metadata = found.get("metadata", {}).get("filter_metadata", {}).get("lateen", {})
    # The folder is left out, as it is mostly the same for all: `-o json` has it.
    return str(metadata.get("origin", "")).rpartition("/")[2]


def _cluster_rows(cluster: Json) -> Iterator[list[str]]:
    kind = cluster.get("type") or cluster.get("cluster_type", {}).get("name", "STATIC")
    name = cluster.get("name", "")
    # Istio's cluster names are direction|port|subset|host.
    direction, port, subset, host = (name.split("|") + [""] * 3)[:4] if name.count("|") == 3 else ("", "", "", name)
    yield [host or name, port, subset, direction, str(kind), _origin(cluster)]


def _endpoint_rows(assignment: Json) -> Iterator[list[str]]:
    for group in assignment.get("endpoints", ()):
        locality = "/".join(group.get("locality", {}).values())
        for endpoint in group.get("lb_endpoints", ()):
            address = address_text(endpoint.get("endpoint", {}).get("address", {}))
            health = endpoint.get("health_status", "HEALTHY")
            yield [assignment.get("cluster_name", ""), address, health, locality]


def _secret_rows(secret: Json) -> Iterator[list[str]]:
    held = [word for word in ("tls_certificate", "validation_context", "session_ticket_keys") if word in secret]
    yield [secret.get("name", ""), ", ".join(held)]


def _extension_rows(extension: Json) -> Iterator[list[str]]:
    """Yield what a filter asks, rule by rule; nothing for one that asks nothing."""
    name, config = extension.get("name", ""), extension.get("typed_config", {})
    for action, rules in _rbacs(config):
        for rule in sorted(rules.get("policies", {})):
            yield [name, action, rule, "", "", _policy(rule)]
        if not rules.get("policies"):
            yield [name, action, "(no rule)", "", "", ""]
    if server := _authorization_server(config):
        yield [name, "ASK", server, "", "", ""]
    for rule, provider in config.get("providers", {}).items():
        try:
            keys = json.loads(provider.get("local_jwks", {}).get("inline_string", ""))["keys"]
            known = ", ".join(str(key.get("kid", key.get("kty", ""))) for key in keys)
        except (ValueError, KeyError, TypeError, AttributeError):
            known = "(hidden)"
        yield [name, "JWT", provider.get("issuer", ""), ", ".join(provider.get("audiences", ())), known, _policy(rule)]


def _policy(rule: str) -> str:
    """Return the policy that a rule's name leads to, `default/readers`; empty for a name of another form."""
    found = re.search(r"ns\[(.*?)\]-policy\[(.*?)\]", rule)
    return f"{found[1]}/{found[2]}" if found else ""


def _rbacs(config: Json) -> Iterator[tuple[str, Json]]:
    """Yield what an RBAC decides and what it only notes, with a word for each."""
    if not config.get("@type", "").endswith("rbac.v3.RBAC"):
        return
    if "rules" in config:
        action = config["rules"].get("action", "ALLOW")
        yield "AUDIT" if action == "LOG" else action, config["rules"]
    if "shadow_rules" in config and config.get("rules", {}).get("action") != "LOG":
        prefix = config.get("shadow_rules_stat_prefix", "")
        action = config["shadow_rules"].get("action", "ALLOW")
        yield "CUSTOM" if "ext_authz" in prefix else f"{action} (dry run)", config["shadow_rules"]


def _authorization_server(config: Json) -> str:
    service = config.get("grpc_service", {}).get("envoy_grpc", {}).get("cluster_name", "")
    return str(service or config.get("http_service", {}).get("server_uri", {}).get("cluster", ""))


_TABLES: Mapping[str, tuple[Sequence[str], Callable[[Json], Iterator[list[str]]]]] = {
    "listeners": (("NAME", "ADDRESS", "CHAINS", "LEADS TO", "ORIGIN"), _listener_rows),
    "routes": (("ROUTE", "DOMAINS", "MATCH", "GOES TO", "ORIGIN"), _route_rows),
    "clusters": (("HOST", "PORT", "SUBSET", "DIRECTION", "TYPE", "ORIGIN"), _cluster_rows),
    "endpoints": (("CLUSTER", "ADDRESS", "HEALTH", "LOCALITY"), _endpoint_rows),
    "secrets": (("NAME", "HOLDS"), _secret_rows),
    "extensions": (("FILTER", "ACTION", "RULE OR ISSUER", "AUDIENCES", "KEYS", "POLICY"), _extension_rows),
}
