"""Mutual TLS, selectors and access: each rule with a case that it finds and a near one that it leaves alone."""

import pytest

from analysis_cases import codes, document, entry, found, running, service, workload
from lateen.config.mesh_config import MeshConfig


def peer(mode: str, *, name: str = "p", selector: str = "", namespace: str = "default", more: str = "") -> str:
    chosen = f"selector: {{matchLabels: {{{selector}}}}}, " if selector else ""
    return document("PeerAuthentication", name, f"{{{chosen}mtls: {{mode: {mode}}}{more}}}", namespace=namespace)


def rule(tls: str, *, host: str = "reviews", more: str = "") -> str:
    return document("DestinationRule", "r", f"{{host: '{host}', trafficPolicy: {{tls: {{{tls}}}{more}}}}}")


def access(spec: str, *, name: str = "a", namespace: str = "default") -> str:
    return document("AuthorizationPolicy", name, spec, namespace=namespace)


CONFLICT = "IST0113 DestinationRule/r spec.trafficPolicy.tls"
PORT = ", portLevelSettings: [{port: {number: 9080}, loadBalancer: {simple: RANDOM}}]"


@pytest.mark.parametrize(
    ("documents", "expected"),
    [
        ([service(), peer("STRICT"), rule("mode: DISABLE")], [CONFLICT]),
        ([service(), peer("STRICT"), rule("mode: SIMPLE")], [CONFLICT]),
        ([service(), peer("STRICT"), rule("mode: ISTIO_MUTUAL")], []),
        ([service(), peer("PERMISSIVE"), rule("mode: DISABLE")], []),
        ([service(), peer("DISABLE"), rule("mode: ISTIO_MUTUAL")], [CONFLICT]),
        ([service(), peer("DISABLE"), rule("mode: DISABLE")], []),
        # The settings of a port stand for the rule's, so nothing is left of these.
        ([service(), peer("STRICT"), rule("mode: DISABLE", more=PORT)], []),
        # A mesh that is STRICT as a whole has workloads without proxy, for which such rules are made.
        ([service(), peer("STRICT", namespace="istio-system"), rule("mode: DISABLE")], []),
        # The policy of one port of one workload.
        (
            [
                service(),
                peer("PERMISSIVE", selector="app: reviews", more=", portLevelMtls: {9080: {mode: STRICT}}"),
                rule("mode: DISABLE"),
            ],
            [CONFLICT],
        ),
        # Which workloads have the version is not known, so neither is the mode.
        (
            [service(), peer("STRICT"), peer("DISABLE", name="q", selector="version: v1"), rule("mode: DISABLE")],
            [],
        ),
        ([service(), peer("STRICT"), rule("mode: DISABLE", host="*.default.svc.cluster.local")], [CONFLICT]),
        (
            [service(), peer("STRICT"), rule("mode: DISABLE", host="*.other.svc.cluster.local")],
            ["IST0174 DestinationRule/r spec.host"],
        ),
    ],
)
def test_rules_and_policies_about_tls(documents: list[str], expected: list[str]) -> None:
    """A DestinationRule that sends what the workloads do not take is found."""
    assert codes(*documents) == expected


def test_workloads_without_certificate_take_no_mutual_tls() -> None:
    """ISTIO_MUTUAL to workloads that are registered without a certificate is found; with one it is right."""
    documents = [service(), rule("mode: ISTIO_MUTUAL")]
    assert codes(*documents, running=running(workload("reviews", identity=False))) == [CONFLICT]
    assert codes(*documents, running=running(workload("reviews"))) == []


def test_a_strict_mesh_counts_for_workloads_with_a_proxy() -> None:
    """Where a workload has shown a certificate of the mesh, the policy of the whole mesh is sure to be its own."""
    documents = [service(), peer("STRICT", namespace="istio-system"), rule("mode: DISABLE")]
    (finding,) = found(*documents, running=running(workload("reviews")))
    assert "port 9080 of reviews.default.svc.cluster.local: DISABLE sends plain text" in finding.message
    assert "PeerAuthentication istio-system/p" in finding.message


def test_strict_without_automatic_mutual_tls() -> None:
    """With enableAutoMtls: false somebody has to say ISTIO_MUTUAL for each service."""
    off = MeshConfig(enable_auto_mtls=False)
    expected = ["LAT0040 PeerAuthentication/p spec.mtls.mode"]
    assert codes(service(), peer("STRICT"), mesh_config=off) == expected
    assert codes(service(), service("two"), peer("STRICT"), rule("mode: ISTIO_MUTUAL"), mesh_config=off) == expected
    assert codes(service(), peer("STRICT"), rule("mode: ISTIO_MUTUAL"), mesh_config=off) == []
    assert codes(service(), peer("STRICT"), rule("mode: ISTIO_MUTUAL", host="*.local"), mesh_config=off) == []
    assert codes(service(), peer("STRICT")) == []


V1, V2 = entry("w1", "app: reviews, version: v1"), entry("w2", "app: reviews, version: v2")


@pytest.mark.parametrize(
    ("documents", "expected"),
    [
        ([peer("STRICT", selector="app: a", namespace="istio-system")], ["IST0167 PeerAuthentication/p spec.selector"]),
        ([peer("STRICT", namespace="istio-system")], []),
        ([peer("STRICT"), peer("DISABLE", name="q")], ["IST0167 PeerAuthentication/q metadata.name"]),
        ([peer("STRICT"), peer("DISABLE", name="q", namespace="other")], []),
        (
            [V1, peer("STRICT", selector="app: reviews"), peer("DISABLE", name="q", selector="version: v1")],
            ["IST0167 PeerAuthentication/q spec.selector"],
        ),
        # The younger one still counts for v2.
        ([V1, V2, peer("STRICT", selector="version: v1"), peer("DISABLE", name="q", selector="app: reviews")], []),
        (
            [
                service(),
                peer("STRICT", selector="app: reviews", more=", portLevelMtls: {9081: {mode: DISABLE}}"),
            ],
            ["IST0167 PeerAuthentication/p spec.portLevelMtls.9081"],
        ),
        (
            [
                service(ports="{name: http, port: 80, targetPort: 9080}"),
                peer("STRICT", selector="app: reviews", more=", portLevelMtls: {9080: {mode: DISABLE}}"),
            ],
            [],
        ),
        (
            [
                service(ports="{name: http, port: 80, targetPort: web}"),
                peer("STRICT", selector="app: reviews", more=", portLevelMtls: {9080: {mode: DISABLE}}"),
            ],
            [],
        ),
    ],
)
def test_peer_authentications_without_effect(documents: list[str], expected: list[str]) -> None:
    """Policies that do not count, and ports that nobody has."""
    assert codes(*documents) == expected


SELECTORS = {
    "PeerAuthentication": ("{selector: {matchLabels: {%s}}, mtls: {mode: STRICT}}", "spec.selector"),
    "RequestAuthentication": ("{selector: {matchLabels: {%s}}}", "spec.selector"),
    "AuthorizationPolicy": ("{selector: {matchLabels: {%s}}, rules: [{}]}", "spec.selector"),
    "Sidecar": ("{workloadSelector: {labels: {%s}}, egress: [{hosts: ['*/*']}]}", "spec.workloadSelector"),
    "DestinationRule": ("{host: reviews, workloadSelector: {matchLabels: {%s}}}", "spec.workloadSelector"),
}


@pytest.mark.parametrize("kind", SELECTORS)
def test_selectors_that_nobody_has(kind: str) -> None:
    """Said only where workloads are known, and not of those that a service is to have."""
    spec, path = SELECTORS[kind]
    missing = document(kind, "x", spec % "app: nobody")
    assert codes(service(), V1, missing) == [f"IST0127 {kind}/x {path}"]
    assert codes(service(), V1, document(kind, "x", spec % "app: reviews")) == []
    assert codes(service(), missing) == []
    assert codes(service(), service("two"), V1, document(kind, "x", spec % "app: two, version: v1")) == []


def test_a_gateway_without_proxy_is_found_in_a_mesh_that_runs() -> None:
    """Files know no gateways; a control plane knows all of them."""
    spec = "{selector: {istio: edge}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}"
    routes = "{hosts: [a.test], gateways: [g], http: [{directResponse: {status: 200}}]}"
    documents = [document("Gateway", "g", spec), document("VirtualService", "v", routes)]
    assert codes(*documents) == []
    assert codes(*documents, running=running(workload("reviews"))) == ["IST0127 Gateway/g spec.selector"]
    assert codes(*documents, running=running(workload("", labels={"istio": "edge"}))) == []


def test_a_gateway_of_the_gateway_api_without_proxy_is_found_too() -> None:
    """By the label that a provisioned one would have, in its own namespace."""
    text = document("Gateway", "g", "{gatewayClassName: lateen, listeners: [{name: http, port: 80, protocol: HTTP}]}")
    text = text.replace("networking.istio.io", "gateway.networking.k8s.io")
    assert codes(text) == []
    assert codes(text, running=running(workload("reviews"))) == ["IST0127 Gateway/g metadata.name"]
    serving = workload("", labels={"gateway.networking.k8s.io/gateway-name": "g"})
    assert codes(text, running=running(serving)) == []


FROM = "{rules: [{from: [{source: {%s}}]}]}"
SPACES = document("Namespace", "default", "") + "---\n" + document("Namespace", "bar", "")


@pytest.mark.parametrize(
    ("source", "path"),
    [
        ("namespaces: [bar, foo]", "namespaces[1]"),
        ("namespaces: [ba*, '*ar', '*', default]", ""),
        ("notNamespaces: [foo]", "notNamespaces[0]"),
        ("principals: [cluster.local/ns/foo/sa/x]", "principals[0]"),
        ("principals: [cluster.local/ns/bar/sa/x, '*/sa/x', '*']", ""),
        ("serviceAccounts: [foo/x]", "serviceAccounts[0]"),
        ("serviceAccounts: [x, bar/x]", ""),
    ],
)
def test_namespaces_of_sources(source: str, path: str) -> None:
    """Where Namespaces are written down, the others do not exist."""
    expected = [f"IST0101 AuthorizationPolicy/a spec.rules[0].from[0].source.{path}"] if path else []
    assert codes(SPACES, access(FROM % source)) == expected
    assert codes(access(FROM % source)) == []


ALLOW_GET = "{rules: [{to: [{operation: {methods: [GET]}}]}]}"


@pytest.mark.parametrize(
    ("documents", "expected"),
    [
        ([access("{}")], ["LAT0042 AuthorizationPolicy/a spec"]),
        ([access("{}"), access(ALLOW_GET, name="b")], []),
        ([access("{}"), access(ALLOW_GET, name="b", namespace="other")], ["LAT0042 AuthorizationPolicy/a spec"]),
        ([access("{selector: {matchLabels: {app: reviews}}}"), V1], []),
        ([access("{selector: {matchLabels: {app: reviews}}}"), V1, V2], ["LAT0042 AuthorizationPolicy/a spec"]),
        ([access("{action: DENY, rules: [{}]}")], ["LAT0042 AuthorizationPolicy/a spec.rules[0]"]),
        ([access("{action: DENY, rules: [{from: [{source: {namespaces: [a]}}]}]}")], []),
        ([access("{rules: [{}]}")], []),
    ],
)
def test_policies_that_deny_everything(documents: list[str], expected: list[str]) -> None:
    """Deny by default beside policies that allow something is no mistake."""
    assert codes(*documents) == expected


TCP = "{name: tcp-db, port: 5432}"


@pytest.mark.parametrize(
    ("ports", "rules", "matches"),
    [
        (TCP, "[{to: [{operation: {methods: [GET]}}]}]", False),
        (TCP, "[{to: [{operation: {ports: ['5432']}}]}]", True),
        (TCP, "[{from: [{source: {requestPrincipals: ['*']}}]}]", False),
        (TCP, "[{when: [{key: 'request.headers[x]', values: [y]}]}]", False),
        (TCP, "[{when: [{key: source.namespace, values: [y]}]}]", True),
        (TCP + ", {name: http, port: 80}", "[{to: [{operation: {methods: [GET]}}]}]", True),
        (TCP + ", {name: http, port: 80}", "[{to: [{operation: {methods: [GET], ports: ['5432']}}]}]", False),
        (TCP, "[{to: [{operation: {methods: [GET], ports: ['5432', '8080']}}]}]", True),
        ("{name: db, port: 5432}", "[{to: [{operation: {methods: [GET]}}]}]", True),
    ],
)
def test_attributes_of_http_on_tcp_ports(ports: str, rules: str, *, matches: bool) -> None:
    """A rule is found only when all ports that it can be about are declared to carry TCP."""
    findings = codes(service(ports=ports), access(f"{{selector: {{matchLabels: {{app: reviews}}}}, rules: {rules}}}"))
    never = [one for one in findings if not one.startswith("IST0118")]
    assert never == ([] if matches else ["LAT0041 AuthorizationPolicy/a spec.rules[0]"])


@pytest.mark.parametrize(
    ("ports", "mode", "waits"),
    [
        ("{name: mysql, port: 3307}", "PERMISSIVE", True),
        ("{name: tcp-mail, port: 25}", "PERMISSIVE", True),
        ("{name: mysql, port: 3306}", "STRICT", False),
        ("{name: redis, port: 6379}", "PERMISSIVE", False),
    ],
)
def test_servers_that_speak_first(ports: str, mode: str, *, waits: bool) -> None:
    """Redis and MongoDB are not among them: there the client begins."""
    expected = ["LAT0043 Service/reviews spec.ports[0]"] if waits else []
    assert codes(service(ports=ports), peer(mode)) == expected
    assert codes(service(ports=ports)) == []
