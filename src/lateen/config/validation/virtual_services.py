"""Rules of a VirtualService: hosts, gateways, and its TLS and TCP routes."""

from __future__ import annotations

from collections.abc import Iterator

from lateen.config.metadata import Metadata
from lateen.config.networking import L4MatchAttributes, TLSMatchAttributes, TLSRoute, VirtualService
from lateen.config.positions import Path
from lateen.config.request_claims import claim_path
from lateen.config.validation import fields
from lateen.config.validation.http_routes import destinations, gateway_names, http_route
from lateen.config.validation.overlaps import HostSet, overlapping_hosts
from lateen.config.violations import Violation, warning

_MESH = "mesh"


def virtual_service(spec: VirtualService, metadata: Metadata) -> Iterator[Violation]:
    """The whole object. One without hosts is a delegate: another VirtualService includes its HTTP routes."""
    if not spec.hosts:
        for name in ("gateways", "tls", "tcp"):
            if getattr(spec, name):
                message = f"a VirtualService without hosts is a delegate, which cannot have `{name}`"
                yield Violation((name,), message, "add hosts, or remove it")
    if not (spec.http or spec.tls or spec.tcp):
        yield Violation((), "the VirtualService has no routes", "add http, tls or tcp")
    yield from gateway_names(("gateways",), spec.gateways)
    yield from _hosts(spec)
    if spec.hosts and set(spec.gateways) <= {_MESH}:
        yield from _claims(spec)
    for index, route in enumerate(spec.http):
        yield from http_route(("http", index), route, delegate=not spec.hosts)
    hosts = HostSet.of(spec.hosts)
    for index, tls in enumerate(spec.tls):
        yield from _tls_route(("tls", index), tls, hosts)
    for index, tcp in enumerate(spec.tcp):
        here: Path = ("tcp", index)
        for number, match in enumerate(tcp.match):
            yield from _l4_match((*here, "match", number), match)
        if not tcp.route:
            yield Violation(here, "the rule has no destination", "add route")
        yield from destinations((*here, "route"), tcp.route)
    yield from fields.export_to(("exportTo",), spec.export_to, metadata.namespace)


def bound_to_mesh(spec: VirtualService) -> bool:
    """Whether sidecars use it: no gateways named means `mesh`."""
    return not spec.gateways or _MESH in spec.gateways


def _hosts(spec: VirtualService) -> Iterator[Violation]:
    valid = []
    for index, host in enumerate(spec.hosts):
        here: Path = ("hosts", index)
        if fields.is_ip(host):
            continue
        problem = fields.server_name_problem(host) if spec.tls else fields.host_problem(host, wildcard=True)
        if problem:
            hint = fields.bare_host(host, "write a name such as reviews, example.com or *.example.com")
            yield Violation(here, problem, hint)
        elif host == fields.ANY_HOST and bound_to_mesh(spec):
            yield Violation(here, "the host `*` is for gateways only", "name the hosts, or add `gateways`")
        else:
            valid.append((index, host))
    for position, other in overlapping_hosts([host for _, host in valid]):
        index, host = valid[position]
        yield Violation(("hosts", index), f"the hosts {other} and {host} overlap", "keep the wider one")


def _claims(spec: VirtualService) -> Iterator[Violation]:
    """Routing by JWT claim happens where the token is checked, which is a gateway."""
    for index, route in enumerate(spec.http):
        for number, match in enumerate(route.match):
            for field, headers in (("headers", match.headers), ("withoutHeaders", match.without_headers)):
                for name in headers:
                    if claim_path(name) is not None:
                        path: Path = ("http", index, "match", number, field, name)
                        yield Violation(path, "routing by JWT claim works at gateways only", "add `gateways`")


def _tls_route(path: Path, route: TLSRoute, hosts: HostSet) -> Iterator[Violation]:
    if not route.match:
        yield Violation(path, "the rule has no match", "add `match: [{sniHosts: [...]}]`")
    for index, match in enumerate(route.match):
        yield from _tls_match((*path, "match", index), match, hosts)
    if not route.route:
        yield Violation(path, "the rule has no destination", "add route")
    yield from destinations((*path, "route"), route.route)


def _tls_match(path: Path, match: TLSMatchAttributes, hosts: HostSet) -> Iterator[Violation]:
    if not match.sni_hosts:
        yield Violation(path, "a TLS match needs sniHosts", "add `sniHosts: [example.com]`")
    for index, host in enumerate(match.sni_hosts):
        here = (*path, "sniHosts", index)
        if fields.is_ip(host):
            yield warning(here, f"{host} is an IP address, which clients do not send as SNI", "use a host name")
        elif problem := fields.server_name_problem(host):
            yield Violation(here, problem, "write a name such as example.com or *.example.com")
        elif not hosts.covers(host):
            yield Violation(here, f"{host} is not covered by any host of the VirtualService", "add it to `hosts`")
    yield from _connection(path, match)


def _l4_match(path: Path, match: L4MatchAttributes) -> Iterator[Violation]:
    yield from _connection(path, match)
    if match.source_subnet:
        yield from fields.subnet((*path, "sourceSubnet"), match.source_subnet)


def _connection(path: Path, match: TLSMatchAttributes | L4MatchAttributes) -> Iterator[Violation]:
    for index, subnet in enumerate(match.destination_subnets):
        yield from fields.subnet((*path, "destinationSubnets", index), subnet)
    if match.port:
        yield from fields.port_number((*path, "port"), match.port)
    yield from fields.labels((*path, "sourceLabels"), match.source_labels)
    yield from gateway_names((*path, "gateways"), match.gateways)
    if match.source_namespace:
        yield from fields.dns_label((*path, "sourceNamespace"), match.source_namespace, "namespace")
