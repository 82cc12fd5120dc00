"""Listeners of a Gateway that share a port: each host is that of the most specific one, whoever names it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from key_pairs import encoded, key_pair
from lateen.api.answers import resource_view
from lateen.config.mesh_config import MeshConfig
from lateen.config.parsing import parse
from lateen.envoy.resources import LISTENER, ROUTE
from lateen.generate.snapshot import generate
from lateen.mesh.build import build_state
from lateen.model.findings import has_errors
from lateen.model.names import host_matches
from lateen.model.proxies import Proxy, ProxyType

LABEL = "gateway.networking.k8s.io/gateway-name"
EDGE = Proxy(
    type=ProxyType.GATEWAY,
    name="edge",
    namespace="default",
    addresses=("127.0.0.9",),
    labels={LABEL: "edge"},
    certificates=True,
)
CHAIN, KEY = map(encoded, key_pair())
BASE = f"""
apiVersion: v1
kind: Secret
metadata: {{name: s}}
data: {{tls.crt: {CHAIN}, tls.key: {KEY}}}
---
apiVersion: v1
kind: Service
metadata: {{name: a}}
spec: {{ports: [{{port: 80, name: http}}]}}
"""
ENDS = "tls: {certificateRefs: [{name: s}]}"
MODES = {
    "https": f"protocol: HTTPS, {ENDS}",
    "ends": f"protocol: TLS, {ENDS}",
    "passes": "protocol: TLS, tls: {mode: Passthrough}",
    "http": "protocol: HTTP",
}
Served = dict[str, dict[str, Any]]


def listeners(modes: dict[str, str], port: int = 443) -> str:
    """A Gateway, from host names to modes; its listeners are named after both, in no order that means something."""
    listed = ""
    for host, mode in modes.items():
        name = named(host, mode)
        listed += f"  - {{name: {name}, port: {port}, {MODES[mode]}{f', hostname: {host!r}' if host else ''}}}\n"
    head = "---\napiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: edge}\n"
    return f"{head}spec:\n  gatewayClassName: lateen\n  listeners:\n{listed}"


def named(host: str, mode: str) -> str:
    return f"{mode}-{host.replace('*', 'any').replace('.', '-') or 'all'}"


def route(name: str, kind: str, *hosts: str, section: str = "") -> str:
    hostnames = f"hostnames: {list(hosts)}, " if hosts else ""
    parent = f"{{name: edge{f', sectionName: {section}' if section else ''}}}"
    spec = f"{{parentRefs: [{parent}], {hostnames}rules: [{{backendRefs: [{{name: a, port: 80}}]}}]}}"
    return f"---\napiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n"


def served(text: str, kind: str = LISTENER) -> Served:
    parsed = parse((BASE + text).encode(), "f.yaml")
    assert not has_errors(parsed.findings), [str(finding) for finding in parsed.findings]
    made = generate(build_state(parsed.objects, (), MeshConfig()), EDGE).resources.get(kind, {})
    return {name: dict(resource_view(one).resource) for name, one in made.items()}


def by_name(found: Served) -> dict[str, str]:
    """Who has the connections of a server name (`*`: any): a name stands once, or Envoy refuses the listener."""
    owners: dict[str, str] = {}
    for chain in found["0.0.0.0_443"]["filter_chains"] if found else ():
        last = chain["filters"][-1]["typed_config"]
        owner = last["rds"]["route_config_name"] if "rds" in last else last["stat_prefix"]
        for name in chain["filter_chain_match"].get("server_names", ["*"]):
            assert name not in owners, name
            owners[name] = owner
    return owners


def chosen(owners: dict[str, str], host: str) -> str:
    """What Envoy takes: the chain of the longest name that covers the host."""
    names = [name for name in owners if host_matches(name, host)]
    return owners[max(names, key=lambda name: (not name.startswith("*"), len(name)))] if names else ""


@pytest.mark.parametrize("wide", ["ends", "passes"])
@pytest.mark.parametrize("narrow", ["https", "ends", "passes"])
@pytest.mark.parametrize("wildcard", ["", "*.example.com", "*.z.example.com"])
def test_a_tls_route_takes_no_host_of_a_more_specific_listener(wide: str, narrow: str, wildcard: str) -> None:
    """Its name, and those of the listeners, sort first or last."""
    host, other = "w.z.example.com", "x.z.example.com"
    gateway = listeners({wildcard: wide, host: narrow})
    for name in ("a-route", "z-route"):
        found = by_name(served(gateway + route(name, "TLSRoute", host, other) + route("m", "HTTPRoute")))
        assert set(found) == {host, other}
        assert named(wildcard, wide) in found[other]
        assert named(host, narrow) in found[host]


@pytest.mark.parametrize("wide", ["https", "ends"])
@pytest.mark.parametrize("narrow", ["ends", "passes"])
def test_a_tls_listener_without_routes_closes_what_comes_for_it(wide: str, narrow: str) -> None:
    """Else the wildcard's certificate would open what nobody but the backend was to open."""
    wildcard, host = "*.example.com", "p.example.com"
    only = route("r", "HTTPRoute" if wide == "https" else "TLSRoute", wildcard, host, section=named(wildcard, wide))
    found = by_name(served(listeners({wildcard: wide, host: narrow}) + only))
    assert set(found) == {wildcard, host}
    assert named(host, narrow) in found[host]


@pytest.mark.parametrize("narrow", ["w.example.com", "*.w.example.com"])
def test_a_plain_listener_of_a_short_name_has_its_hosts_alone(narrow: str) -> None:
    """A name is more specific than the wildcard that covers it, though it be no longer."""
    host = narrow.replace("*", "v")
    gateway = listeners({"*.example.com": "http", narrow: "http"}, port=80)
    only = route("r", "HTTPRoute", host, section=named("*.example.com", "http"))
    (table,) = served(gateway + only, ROUTE).values()
    answers = {
        domain: rule.get("direct_response", {}).get("status")
        for one in table["virtual_hosts"]
        for domain in one["domains"]
        for rule in one["routes"]
    }
    assert answers[narrow] == 404
    assert host == narrow or host not in answers


HOSTS = ("", "*.example.com", "w.example.com", "*.a.example.com", "w.a.example.com", "*.org")
NAMES = (*HOSTS[1:], "x.example.com", "x.a.example.com")
PROBES = ("w.example.com", "x.example.com", "w.a.example.com", "x.a.example.com", "y.b.example.com", "x.org", "x.net")
TLS_MODES = st.sampled_from(("https", "ends", "passes"))
ROUTES = st.lists(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True), max_size=3)


@settings(max_examples=60, deadline=None)
@given(modes=st.dictionaries(st.sampled_from(HOSTS), TLS_MODES, min_size=1), tls=ROUTES, tcp=st.booleans())
def test_connections_are_those_of_the_most_specific_listener(
    modes: dict[str, str], tls: list[list[str]], tcp: bool
) -> None:
    """Or nobody's, when no route of that listener names them; those of HTTPS are always served."""
    routes = "".join(route(f"r{index}", "TLSRoute", *hosts) for index, hosts in enumerate(tls))
    found = by_name(served(listeners(modes) + routes + (route("t", "TCPRoute") if tcp else "")))
    for probe in PROBES:
        covering = [host for host in modes if host_matches(host or "*", probe)]
        owner = chosen(found, probe)
        if not covering:
            assert not owner
            continue
        host = max(covering, key=lambda host: (bool(host), not host.startswith("*"), len(host)))
        assert (modes[host] != "https" and not owner) or named(host, modes[host]) in owner.replace("~", ".").split(".")


SERVER = st.tuples(
    st.sampled_from(("HTTPS SIMPLE", "TLS SIMPLE", "TLS PASSTHROUGH", "TLS AUTO_PASSTHROUGH")),
    st.lists(st.sampled_from(("*", *NAMES, "W.example.com")), min_size=1, max_size=3, unique=True),
)


@settings(max_examples=60, deadline=None)
@given(
    modes=st.dictionaries(st.sampled_from(HOSTS), TLS_MODES, max_size=3),
    servers=st.lists(SERVER, max_size=3),
    tls=ROUTES,
    rules=ROUTES,
)
def test_no_two_chains_have_one_match(
    modes: dict[str, str], servers: list[tuple[str, list[str]]], tls: list[list[str]], rules: list[list[str]]
) -> None:
    """Whatever Gateways of both APIs share a port and its proxies: Envoy would refuse the whole listener."""
    text = listeners(modes) if modes else ""
    text += "".join(route(f"r{index}", "TLSRoute", *hosts) for index, hosts in enumerate(tls))
    text += "".join(istio_gateway(f"g{index}", *server) for index, server in enumerate(servers))
    by_name(served(text + "".join(tls_rule(f"v{index}", hosts) for index, hosts in enumerate(rules))))


def istio_gateway(name: str, kind: str, hosts: list[str]) -> str:
    protocol, mode = kind.split()
    tls = f"{{mode: {mode}{', credentialName: s' if mode == 'SIMPLE' else ''}}}"
    server = f"{{port: {{number: 443, name: p, protocol: {protocol}}}, hosts: {hosts}, tls: {tls}}}"
    head = f"---\napiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: {name}}}\n"
    return f"{head}spec:\n  selector: {{{LABEL}: edge}}\n  servers: [{server}]\n"


def tls_rule(name: str, hosts: list[str]) -> str:
    way = "route: [{destination: {host: a, port: {number: 80}}}]"
    head = f"---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}}}\n"
    rules = f"  tls: [{{match: [{{sniHosts: {hosts}}}], {way}}}]\n  tcp: [{{{way}}}]\n"
    return f"{head}spec:\n  hosts: ['*']\n  gateways: [g0, g1, g2]\n{rules}"
