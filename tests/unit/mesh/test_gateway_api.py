"""The Gateway API's translation: which statuses objects get, and in which order routes are asked."""

from __future__ import annotations

from typing import Any

import pytest

from key_pairs import Authority, encoded, key_pair
from lateen.config.mesh_config import MeshConfig
from lateen.config.networking import ServerTLSMode
from lateen.config.parsing import parse
from lateen.mesh.build import build_state
from lateen.mesh.gateway_api.statuses import status_list
from lateen.mesh.queries import gateways_for
from lateen.mesh.state import MeshState
from lateen.model.findings import has_errors
from lateen.model.proxies import Proxy, ProxyType

API = "---\napiVersion: gateway.networking.k8s.io/v1\n"
SERVICES = """
apiVersion: v1
kind: Service
metadata: {name: a}
spec: {selector: {app: a}, ports: [{port: 80, name: http}, {port: 90, name: tcp}]}
---
apiVersion: v1
kind: Service
metadata: {name: far, namespace: other}
spec: {ports: [{port: 80, name: http}]}
---
apiVersion: v1
kind: Namespace
metadata: {name: other, labels: {team: blue}}
"""


def gateway(*listeners: str, name: str = "edge", more: str = "", cls: str = "istio") -> str:
    listed = "".join(f"  - {one}\n" for one in listeners)
    head = f"{API}kind: Gateway\nmetadata: {{name: {name}}}\nspec:\n  gatewayClassName: {cls}\n"
    return f"{head}{more}  listeners:\n{listed}"


def route(name: str, spec: str, kind: str = "HTTPRoute", namespace: str = "default", created: str = "") -> str:
    born = f', creationTimestamp: "{created}"' if created else ""
    return f"{API}kind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}{born}}}\nspec: {spec}\n"


def state(text: str, previous: MeshState | None = None) -> MeshState:
    parsed = parse((SERVICES + text).encode(), "f.yaml")
    assert not has_errors(parsed.findings), [str(finding) for finding in parsed.findings]
    return build_state(parsed.objects, (), MeshConfig(), previous)


def status(text: str, kind: str, name: str = "") -> dict[str, Any]:
    found: dict[str, Any]
    (found,) = [
        one["status"] for one in status_list(state(text).statuses) if one["kind"] == kind and name in ("", one["name"])
    ]
    return found


def reasons(conditions: list[dict[str, str]]) -> dict[str, str]:
    """`Accepted: +Accepted`, `ResolvedRefs: -BackendNotFound`."""
    signs = {"True": "+", "False": "-", "Unknown": "?"}
    return {one["type"]: signs[one["status"]] + one["reason"] for one in conditions}


HTTP = "{name: http, port: 80, protocol: HTTP}"
NAMED = "{name: named, port: 80, protocol: HTTP, hostname: '*.example.com'}"
TO_A = "rules: [{backendRefs: [{name: a, port: 80}]}]"
FINE = {"Accepted": "+Accepted", "ResolvedRefs": "+ResolvedRefs"}


def refs(backend: str) -> str:
    return f"{{parentRefs: [{{name: edge}}], rules: [{{backendRefs: [{backend}]}}]}}"


@pytest.mark.parametrize(
    ("listener", "spec", "expected"),
    [
        (HTTP, refs("{name: a, port: 80}"), FINE),
        (HTTP, refs("{name: a, port: 81}"), FINE | {"ResolvedRefs": "-BackendNotFound"}),
        (HTTP, refs("{name: b, port: 80}"), FINE | {"ResolvedRefs": "-BackendNotFound"}),
        (HTTP, refs("{name: b, kind: Bucket, group: x.io}"), FINE | {"ResolvedRefs": "-InvalidKind"}),
        (HTTP, refs("{name: far, namespace: other, port: 80}"), FINE | {"ResolvedRefs": "-RefNotPermitted"}),
        (HTTP, f"{{parentRefs: [{{name: nobody}}], {TO_A}}}", FINE | {"Accepted": "-NoMatchingParent"}),
        (HTTP, f"{{parentRefs: [{{name: edge, sectionName: x}}], {TO_A}}}", FINE | {"Accepted": "-NoMatchingParent"}),
        (HTTP, f"{{parentRefs: [{{name: edge, port: 81}}], {TO_A}}}", FINE | {"Accepted": "-NoMatchingParent"}),
        (
            NAMED,
            f"{{parentRefs: [{{name: edge}}], hostnames: [a.example.org], {TO_A}}}",
            FINE | {"Accepted": "-NoMatchingListenerHostname"},
        ),
        (NAMED, f"{{parentRefs: [{{name: edge}}], hostnames: [a.example.com, x.org], {TO_A}}}", FINE),
        (
            "{name: t, port: 80, protocol: HTTP, allowedRoutes: {kinds: [{kind: GRPCRoute}]}}",
            f"{{parentRefs: [{{name: edge}}], {TO_A}}}",
            FINE | {"Accepted": "-NotAllowedByListeners"},
        ),
        (
            HTTP,
            refs("{name: a, port: 80, filters: [{type: URLRewrite, urlRewrite: {hostname: b.c}}]}"),
            FINE | {"Accepted": "-UnsupportedValue"},
        ),
        (HTTP, f"{{parentRefs: [{{group: '', kind: Service, name: a, port: 80}}], {TO_A}}}", FINE),
        (
            HTTP,
            f"{{parentRefs: [{{group: '', kind: Service, name: a, port: 7}}], {TO_A}}}",
            FINE | {"Accepted": "-NoMatchingParent"},
        ),
    ],
)
def test_a_route_is_told_what_became_of_it(listener: str, spec: str, expected: dict[str, str]) -> None:
    (parent,) = status(gateway(listener) + route("r", spec), "HTTPRoute")["parents"]
    assert reasons(parent["conditions"]) == expected


OTHER_ROUTE = route("r", f"{{parentRefs: [{{name: edge, namespace: default}}], {TO_A}}}", namespace="other")


@pytest.mark.parametrize(
    ("allowed", "attached"),
    [
        ("", 0),
        ("{from: Same}", 0),
        ("{from: All}", 1),
        ("{from: Selector, selector: {matchLabels: {team: blue}}}", 1),
        ("{from: Selector, selector: {matchLabels: {team: red}}}", 0),
        ("{from: Selector, selector: {matchExpressions: [{key: team, operator: In, values: [blue, red]}]}}", 1),
        ("{from: Selector, selector: {matchExpressions: [{key: team, operator: DoesNotExist}]}}", 0),
        ("{from: Selector, selector: {matchLabels: {kubernetes.io/metadata.name: other}}}", 1),
    ],
)
def test_a_listener_says_of_which_namespaces_it_takes_routes(allowed: str, attached: int) -> None:
    namespaces = f", allowedRoutes: {{namespaces: {allowed}}}" if allowed else ""
    listener = f"{{name: http, port: 80, protocol: HTTP{namespaces}}}"
    (found,) = status(gateway(listener) + OTHER_ROUTE, "Gateway")["listeners"]
    assert found["attachedRoutes"] == attached


CERTIFICATE, KEY = map(encoded, key_pair())
SECRET = f"---\napiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\ndata: {{tls.crt: {CERTIFICATE}, tls.key: {KEY}}}\n"
FAR_SECRET = SECRET.replace("{name: s}", "{name: s, namespace: other}")


def grant(kind: str, to: str, to_name: str = "") -> str:
    named = f", name: {to_name}" if to_name else ""
    return (
        f"{API}kind: ReferenceGrant\nmetadata: {{name: g, namespace: other}}\n"
        f"spec: {{from: [{{group: gateway.networking.k8s.io, kind: {kind}, namespace: default}}], "
        f"to: [{{group: '', kind: {to}{named}}}]}}\n"
    )


def https(ref: str) -> str:
    return gateway(f"{{name: https, port: 443, protocol: HTTPS, tls: {{certificateRefs: [{ref}]}}}}")


GOOD = {
    "Accepted": "+Accepted",
    "Conflicted": "-NoConflicts",
    "ResolvedRefs": "+ResolvedRefs",
    "Programmed": "+Programmed",
}
BAD = GOOD | {"Programmed": "-Invalid"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (https("{name: s}") + SECRET, GOOD),
        (https("{name: s}"), BAD | {"ResolvedRefs": "-InvalidCertificateRef"}),
        (https("{name: s, kind: ConfigMap}") + SECRET, BAD | {"ResolvedRefs": "-InvalidCertificateRef"}),
        (https("{name: s, namespace: other}") + FAR_SECRET, BAD | {"ResolvedRefs": "-RefNotPermitted"}),
        (https("{name: s, namespace: other}") + FAR_SECRET + grant("Gateway", "Secret"), GOOD),
        (https("{name: s, namespace: other}") + FAR_SECRET + grant("Gateway", "Secret", "s"), GOOD),
        (
            https("{name: s, namespace: other}") + FAR_SECRET + grant("Gateway", "Secret", "t"),
            BAD | {"ResolvedRefs": "-RefNotPermitted"},
        ),
        (
            https("{name: s, namespace: other}") + FAR_SECRET + grant("HTTPRoute", "Secret"),
            BAD | {"ResolvedRefs": "-RefNotPermitted"},
        ),
        (gateway("{name: u, port: 80, protocol: UDP}"), BAD | {"Accepted": "-UnsupportedProtocol"}),
        (
            gateway("{name: t, port: 80, protocol: HTTP, allowedRoutes: {kinds: [{kind: TCPRoute}]}}"),
            BAD | {"ResolvedRefs": "-InvalidRouteKinds"},
        ),
        (
            gateway(
                "{name: t, port: 80, protocol: HTTP, allowedRoutes: {kinds: [{kind: TCPRoute}, {kind: HTTPRoute}]}}"
            ),
            GOOD | {"ResolvedRefs": "-InvalidRouteKinds"},
        ),
    ],
)
def test_a_listener_is_told_what_became_of_it(text: str, expected: dict[str, str]) -> None:
    (found,) = status(text, "Gateway")["listeners"]
    assert reasons(found["conditions"]) == expected


def test_of_conflicting_listeners_none_is_served_and_the_others_are() -> None:
    found = status(
        gateway(HTTP, "{name: tcp, port: 80, protocol: TCP}", "{name: x, port: 81, protocol: HTTP}"), "Gateway"
    )
    by_name = {one["name"]: reasons(one["conditions"]) for one in found["listeners"]}
    assert by_name["http"]["Conflicted"] == by_name["tcp"]["Conflicted"] == "+ProtocolConflict"
    assert by_name["x"] == GOOD
    assert reasons(found["conditions"]) == {"Accepted": "+ListenersNotValid", "Programmed": "+Programmed"}


def test_gateways_of_other_classes_are_left_alone() -> None:
    """Those of another controller get no status and no routes; those of no class are told so."""
    other = f"{API}kind: GatewayClass\nmetadata: {{name: nginx}}\nspec: {{controllerName: nginx.org/c}}\n"
    ours = (
        f"{API}kind: GatewayClass\nmetadata: {{name: mine}}\nspec: {{controllerName: lateen.io/gateway-controller}}\n"
    )
    text = other + ours + route("r", f"{{parentRefs: [{{name: foreign}}], {TO_A}}}")
    text += gateway(HTTP, name="foreign", cls="nginx") + gateway(HTTP, name="own", cls="mine")
    text += gateway(HTTP, name="lost", cls="nobody")
    found = {(one["kind"], one["name"]): one["status"] for one in status_list(state(text).statuses)}
    assert ("Gateway", "foreign") not in found
    assert ("GatewayClass", "nginx") not in found
    assert found["HTTPRoute", "r"]["parents"] == []
    assert reasons(found["Gateway", "lost"]["conditions"])["Accepted"] == "?Pending"
    assert reasons(found["GatewayClass", "mine"]["conditions"]) == {"Accepted": "+Accepted"}
    assert len(state(text).gateways) == 1


# --- proxies -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("addresses", "labels", "namespace", "serves"),
    [
        ("", {"gateway.networking.k8s.io/gateway-name": "edge"}, "default", True),
        ("", {"gateway.networking.k8s.io/gateway-name": "edge"}, "other", False),
        ("", {"app": "a"}, "default", False),
        ("  addresses: [{type: Hostname, value: a}]\n", {"app": "a"}, "default", True),
        ("  addresses: [{type: Hostname, value: a.default.svc.cluster.local}]\n", {"app": "a"}, "other", False),
    ],
)
def test_which_proxies_serve_a_gateway(addresses: str, labels: dict[str, str], namespace: str, serves: bool) -> None:
    proxy = Proxy(type=ProxyType.GATEWAY, name="p", namespace=namespace, addresses=("10.0.0.1",), labels=labels)
    assert bool(gateways_for(state(gateway(HTTP, more=addresses)), proxy)) is serves


# --- order ---------------------------------------------------------------------------------------------------


def asked(text: str) -> list[str]:
    """The paths of the only VirtualService in the order in which they are asked."""
    (bound,) = state(text).virtual_services
    paths = []
    for rule in bound.object.spec.http:
        (match,) = rule.match
        uri = match.uri
        path = (
            "*"
            if uri is None
            else f"={uri.exact}"
            if uri.exact
            else f"{uri.prefix}*"
            if uri.prefix
            else f"~{uri.regex}"
        )
        paths.append(
            path + (f" {match.method.exact}" if match.method else "") + "".join(f" {h}" for h in match.headers)
        )
    return paths


def test_the_most_specific_match_is_asked_first_over_all_routes_of_a_host() -> None:
    one = """{parentRefs: [{name: edge}], rules: [
      {backendRefs: [{name: a, port: 80}]},
      {matches: [{path: {value: /a}}, {path: {type: Exact, value: /a/b}}, {path: {value: /a}, method: GET}]},
      {matches: [{path: {value: /a}, headers: [{name: X, value: "1"}]}]}]}"""
    two = """{parentRefs: [{name: edge}], rules: [
      {matches: [{path: {value: /a/b/c/}}, {path: {type: RegularExpression, value: /r.*}}]}]}"""
    assert asked(gateway(HTTP) + route("one", one) + route("two", two)) == [
        "=/a/b",
        "~/r.*",
        "=/a/b/c",
        "/a/b/c/*",
        "=/a GET",
        "/a/* GET",
        "=/a x",
        "/a/* x",
        "=/a",
        "/a/*",
        "*",
    ]


def test_of_equal_matches_the_older_route_is_asked_first() -> None:
    spec = "{parentRefs: [{name: edge}], rules: [{name: NAME, matches: [{path: {type: Exact, value: /x}}]}]}"
    text = gateway(HTTP) + route("a", spec.replace("NAME", "new"), created="2026-02-01T00:00:00Z")
    text += route("z", spec.replace("NAME", "old"), created="2026-01-01T00:00:00Z")
    (bound,) = state(text).virtual_services
    assert [rule.name for rule in bound.object.spec.http] == ["old", "new"]
    assert [source.key.name for source in bound.object.made_of] == ["z", "a"]


@pytest.mark.parametrize(
    ("prefix", "replacement", "rewrites"),
    [
        ("/a", "/b", {"=/a": "/b", "/a/": "/b/"}),
        ("/a/", "/b/", {"=/a": "/b", "/a/": "/b/"}),
        ("/a", "/", {"=/a": "/", "/a/": "/"}),
        ("/a", "", {"=/a": "/", "/a/": "/"}),
        ("/", "/b", {"/": "/b/"}),
    ],
)
def test_a_replaced_prefix_has_one_slash(prefix: str, replacement: str, rewrites: dict[str, str]) -> None:
    spec = (
        f"{{parentRefs: [{{name: edge}}], rules: [{{matches: [{{path: {{value: {prefix}}}}}], backendRefs: [{{name: a, "
        f"port: 80}}], filters: [{{type: URLRewrite, urlRewrite: {{path: {{type: ReplacePrefixMatch, "
        f"replacePrefixMatch: '{replacement}'}}}}}}]}}]}}"
    )
    (bound,) = state(gateway(HTTP) + route("r", spec)).virtual_services
    found = {}
    for rule in bound.object.spec.http:
        uri = rule.match[0].uri
        assert rule.rewrite is not None
        found["/" if uri is None else f"={uri.exact}" if uri.exact else str(uri.prefix)] = rule.rewrite.uri
    assert found == rewrites


def test_grpc_methods_are_paths() -> None:
    spec = """{parentRefs: [{name: edge}], rules: [
      {backendRefs: [{name: a, port: 80}]}, {matches: [{method: {method: Get}}]}, {matches: [{method: {service: x.Y}}]},
      {matches: [{method: {service: x.Y, method: Get}}]}]}"""
    assert asked(gateway(HTTP) + route("r", spec, kind="GRPCRoute")) == [
        "=/x.Y/Get",
        "=/x.Y",
        "/x.Y/*",
        "~/[^/]+/(?:Get)",
        "*",
    ]


# --- mesh and policies ---------------------------------------------------------------------------------------


def test_a_route_of_a_service_is_for_all_callers_or_for_those_of_its_namespace() -> None:
    spec = f"{{parentRefs: [{{group: '', kind: Service, name: a, namespace: default}}], {TO_A}}}"
    found = {
        bound.object.key.namespace: (bound.hosts, bound.gateways, bound.export_to)
        for bound in state(route("r", spec) + route("r", spec, namespace="other")).virtual_services
    }
    host = "a.default.svc.cluster.local"
    mesh = frozenset(("mesh",))
    assert found == {"default": ((host,), mesh, ("*",)), "other": ((host,), mesh, (".",))}


@pytest.mark.parametrize(
    ("cluster_ip", "host", "addresses", "programmed"),
    [
        ("10.0.0.7", "ingress", [{"type": "IPAddress", "value": "10.0.0.7"}], "+Programmed"),
        ("None", "ingress", [{"type": "Hostname", "value": "ingress.default.svc.cluster.local"}], "+Programmed"),
        ("10.0.0.7", "gone", None, "-AddressNotUsable"),
    ],
)
def test_a_gateway_has_the_addresses_of_the_service_that_it_names(
    cluster_ip: str, host: str, addresses: Any, programmed: str
) -> None:
    service = f"""---
apiVersion: v1
kind: Service
metadata: {{name: ingress, namespace: default}}
spec: {{clusterIP: {cluster_ip}, selector: {{app: ingress}}, ports: [{{port: 80, name: http}}]}}
"""
    found = status(service + gateway(HTTP, more=f"  addresses: [{{type: Hostname, value: {host}}}]\n"), "Gateway")
    assert found.get("addresses") == addresses
    assert reasons(found["conditions"])["Programmed"] == programmed


PAYMENTS = """---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: payments, namespace: default}
spec:
  hosts: [Api.payments.test, eu.payments.test]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}, {number: 443, name: tls, protocol: TLS}]
"""


def entry_parent(more: str = "") -> str:
    return f"parentRefs: [{{group: networking.istio.io, kind: ServiceEntry, name: payments{more}}}]"


@pytest.mark.parametrize(
    ("more", "accepted"),
    [
        ("", "+Accepted"),
        (", port: 80", "+Accepted"),
        (", sectionName: tls", "+Accepted"),
        (", port: 81", "-NoMatchingParent"),
        (", sectionName: http2", "-NoMatchingParent"),
        (", namespace: other", "-NoMatchingParent"),
    ],
)
def test_a_route_attaches_to_a_service_entry_and_its_ports(more: str, accepted: str) -> None:
    (parent,) = status(PAYMENTS + route("r", f"{{{entry_parent(more)}, {TO_A}}}"), "HTTPRoute")["parents"]
    assert parent["parentRef"]["kind"] == "ServiceEntry"
    assert reasons(parent["conditions"]) == FINE | {"Accepted": accepted}


@pytest.mark.parametrize("kind", ["HTTPRoute", "GRPCRoute", "TCPRoute", "TLSRoute"])
def test_a_route_of_a_service_entry_is_for_calls_of_each_of_its_hosts(kind: str) -> None:
    """Those of everybody from its own namespace, as with a Service; for the port that it names."""
    names = "hostnames: [api.payments.test], " if kind == "TLSRoute" else ""
    spec = f"{{{entry_parent(', namespace: default, port: 443')}, {names}{TO_A}}}"
    text = PAYMENTS + route("r", spec, kind) + route("r", spec, kind, namespace="other")
    found = {
        (bound.object.key.namespace, *bound.hosts): bound
        for bound in state(text).virtual_services
        if bound.gateways == {"mesh"}
    }
    hosts = ("api.payments.test", "eu.payments.test")
    assert {place: bound.export_to for place, bound in found.items()} == {
        **{("default", host): ("*",) for host in hosts},
        **{("other", host): (".",) for host in hosts},
    }
    for bound in found.values():
        rules: list[Any] = [*bound.object.spec.http, *bound.object.spec.tcp, *bound.object.spec.tls]
        assert {match.port for rule in rules for match in rule.match} == {443}


def test_a_service_entry_that_comes_later_takes_the_routes_that_wait_for_it() -> None:
    waiting = route("r", f"{{{entry_parent()}, {TO_A}}}")
    before = state(waiting)
    after = state(waiting + PAYMENTS, before)
    assert (len(before.virtual_services), len(after.virtual_services)) == (0, 2)
    assert after.statuses == state(waiting + PAYMENTS).statuses
    gone = state(waiting, after)
    assert (len(gone.virtual_services), gone.statuses) == (0, before.statuses)


@pytest.mark.parametrize(
    ("target", "authority", "accepted", "resolved"),
    [
        ("{group: '', kind: Service, name: a}", "wellKnownCACertificates: System", "+Accepted", "+ResolvedRefs"),
        ("{group: '', kind: Service, name: b}", "wellKnownCACertificates: System", "-TargetNotFound", "+ResolvedRefs"),
        (
            "{group: '', kind: Service, name: a, sectionName: http}",
            "caCertificateRefs: [{group: '', kind: ConfigMap, name: gone}]",
            "-NoValidCACertificate",
            "-InvalidCACertificateRef",
        ),
    ],
)
def test_a_policy_of_tls_to_backends(target: str, authority: str, accepted: str, resolved: str) -> None:
    spec = f"{{targetRefs: [{target}], validation: {{hostname: a.b, {authority}}}}}"
    text = f"{API}kind: BackendTLSPolicy\nmetadata: {{name: p}}\nspec: {spec}\n"
    (ancestor,) = status(text, "BackendTLSPolicy")["ancestors"]
    assert reasons(ancestor["conditions"]) == {"Accepted": accepted, "ResolvedRefs": resolved}
    rules = state(text).destination_rules
    assert bool(rules) is (accepted != "-TargetNotFound"), (
        "one that cannot be followed is no permission to call in clear"
    )


@pytest.mark.parametrize(
    ("mode", "expected", "told"),
    [
        ("AllowValidOnly", (ServerTLSMode.MUTUAL, None), None),
        ("AllowInsecureFallback", (ServerTLSMode.OPTIONAL_MUTUAL, True), "+ConfigurationChanged"),
    ],
)
def test_whether_clients_without_a_valid_certificate_get_in(
    mode: str, expected: tuple[ServerTLSMode, bool | None], told: str | None
) -> None:
    """What is insecure is done as it is asked for, and said by a condition of the Gateway."""
    authority = "".join(f"    {line}\n" for line in Authority("clients").certificate.decode().splitlines())
    config_map = f"---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: ca}}\ndata:\n  ca.crt: |\n{authority}"
    validation = f"{{mode: {mode}, caCertificateRefs: [{{group: '', kind: ConfigMap, name: ca}}]}}"
    listener = "{name: https, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: s}]}}"
    more = f"  tls: {{frontend: {{default: {{validation: {validation}}}}}}}\n"
    text = gateway(listener, more=more) + SECRET + config_map
    (made,) = state(text).gateways
    settings = made.spec.servers[0].tls
    assert settings is not None
    assert (settings.mode, settings.insecure_skip_verify) == expected
    assert settings.ca_cert_credential_name
    found = status(text, "Gateway")
    assert reasons(found["conditions"]).get("InsecureFrontendValidationMode") == told
    assert reasons(found["listeners"][0]["conditions"]) == GOOD


@pytest.mark.parametrize(
    ("ref", "accepted"),
    [
        ("{group: '', kind: ConfigMap, name: a}", "+Accepted"),
        ("{group: invalid.io, kind: Parameters, name: a}", "-InvalidParameters"),
    ],
)
def test_a_gateway_whose_parameters_nobody_knows_is_not_accepted(ref: str, accepted: str) -> None:
    text = gateway(HTTP, more=f"  infrastructure: {{parametersRef: {ref}}}\n")
    found = status(text, "Gateway")
    assert reasons(found["conditions"])["Accepted"] == accepted
    assert reasons(found["listeners"][0]["conditions"])["Programmed"][0] == accepted[0]
    assert len(state(text).gateways) == (accepted == "+Accepted")
