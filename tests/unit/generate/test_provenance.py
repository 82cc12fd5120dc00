"""Everything that Envoy holds leads back to a document: over all goldens, with the exceptions and their reasons."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

CASES = sorted((Path(__file__).parents[2] / "goldens").glob("*/out.yaml"))
SHARED = "shared by many services; its virtual hosts and their routes name them"
NOBODYS = "no object asks for it: it is what the proxy does by itself"
EXCEPTIONS = {
    r"Listener (\[::\]|0\.0\.0\.0)_\d+": SHARED,
    r"Listener http_proxy": SHARED,
    r"Listener virtual(Inbound|Outbound)": NOBODYS,
    r"Chain \S+ ": "the only chain of its listener for what it matches; the listener or its routes name the objects",
    r"Chain \S+ PassthroughFilterChain": NOBODYS,
    r"Chain virtual(In|Out)bound virtual(In|Out)bound(-blackhole|-catchall-tcp|-tls|-mtls)?": NOBODYS,
    r"Chain virtualInbound \S+_\d+(-tls|-mtls)?": "a port that a PeerAuthentication names and no service has",
    r"Cluster (BlackHole|Passthrough|InboundPassthrough|AllowAnyDynamicDNS)Cluster.*": NOBODYS,
    r"Chain virtualOutbound virtualOutbound_allow_any_dynamic_dns": NOBODYS,
    r"Listener (127\.0\.0\.\d+_\d+|unix://\S+)": "of a Sidecar's egress: " + SHARED,
    r"Cluster default\|\S+": "a default endpoint, which several Gateways may name",
    r"Route \S+ \S+ default": "leads to the default endpoint, in the name of its cluster",
    r"Route http_proxy http_proxy block_all": "the refusal to call itself",
}
"""What has no origin of its own, by a pattern of its name, and why."""
GRPC = "proxyless-grpc"
"""gRPC reads no metadata, so its clusters and listeners have none; its routes do."""
PATCHED = "envoy-filters"
"""What an EnvoyFilter adds is the user's own message, to the last field."""
POLICY = re.compile(r"(.*-)?ns\[[^]]+\]-policy\[[^]]+\]-rule\[\d+\].*")


@cache
def resources(path: Path) -> dict[str, dict[str, Any]]:
    loaded: dict[str, dict[str, Any]] = yaml.load(
        path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    )
    return loaded


def origin(found: dict[str, Any]) -> str:
    lateen = found.get("metadata", {}).get("filter_metadata", {}).get("lateen", {})
    return str(lateen.get("origin") or lateen.get("config") or "")


def things(loaded: dict[str, dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every listener, chain, cluster and route, with a name for the table above."""
    for listener in loaded.get("Listener", {}).values():
        yield f"Listener {listener['name']}", listener
        for chain in (*listener.get("filter_chains", ()), *filter(None, [listener.get("default_filter_chain")])):
            yield f"Chain {listener['name']} {chain.get('name', '')}", chain
            for inline in inline_routes(chain):
                yield from routes(inline)
    for cluster in loaded.get("Cluster", {}).values():
        yield f"Cluster {cluster['name']}", cluster
    for configuration in loaded.get("RouteConfiguration", {}).values():
        yield from routes(configuration)


def inline_routes(chain: dict[str, Any]) -> Iterator[dict[str, Any]]:
    configs = (found.get("typed_config", {}) for found in chain.get("filters", ()))
    yield from (config["route_config"] for config in configs if "route_config" in config)


def routes(configuration: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Routes only: a virtual host has none of its own, because each of its routes says where it is from."""
    for host in configuration.get("virtual_hosts", ()):
        for route in host.get("routes", ()):
            yield f"Route {configuration['name']} {host['name']} {route.get('name', '')}", route


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.parent.name)
def test_everything_names_its_origin(path: Path) -> None:
    """Listeners, filter chains, routes and clusters: in their metadata, or the table says why not."""
    nameless = [name for name, found in things(resources(path)) if not origin(found)]
    if path.parent.name.startswith(PATCHED):
        return
    if path.parent.name == GRPC:
        nameless = [name for name in nameless if name.startswith("Route ")]

    assert not [name for name in nameless if not any(re.fullmatch(each, name) for each in EXCEPTIONS)]


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.parent.name)
def test_every_policy_names_its_object(path: Path) -> None:
    """An RBAC rule and a provider of tokens by its name: these messages have no metadata."""
    for name, extension in resources(path).get("TypedExtensionConfig", {}).items():
        config = extension["typed_config"]
        rules = [*config.get("rules", {}).get("policies", {})] if "rbac" in name else []
        rules += [*config.get("shadow_rules", {}).get("policies", {})]
        rules += [*config.get("providers", {})]

        assert [rule for rule in rules if not POLICY.fullmatch(rule)] == []


def test_no_exception_is_too_many() -> None:
    """Each line of the table is about something."""
    nameless = {name for path in CASES for name, found in things(resources(path)) if not origin(found)}

    assert [each for each in EXCEPTIONS if not any(re.fullmatch(each, name) for name in nameless)] == []
