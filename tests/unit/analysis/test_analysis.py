"""Findings across objects, with Istio's codes and the line and path of the field that is wrong."""

from key_pairs import encoded, key_pair
from lateen.analysis.references import analyse
from lateen.config.mesh_config import MeshConfig
from lateen.config.parsing import parse
from lateen.mesh.build import build_state
from lateen.model.catalogues import Catalogue
from lateen.model.findings import Finding, has_errors
from lateen.model.workloads import WorkloadRegistration

SERVICES = """\
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: default}
spec: {selector: {app: reviews}, ports: [{name: http, port: 9080}]}
---
apiVersion: v1
kind: Service
metadata: {name: two, namespace: default}
spec: {ports: [{name: http, port: 80}, {name: grpc, port: 81}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec: {host: reviews, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: wild}
spec: {hosts: ['*.example.com'], ports: [{number: 443, name: tls, protocol: TLS}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: private, namespace: other}
spec: {hosts: [hidden.test], exportTo: [.], ports: [{number: 443, name: tls, protocol: TLS}]}
"""


def analysed(text: str, *, services: str = SERVICES, catalogues: tuple[Catalogue, ...] = ()) -> tuple[Finding, ...]:
    """Analyse objects in a mesh of a few services; only findings of file `f`, and not that nobody uses something."""
    base, own = parse(services.encode(), "services"), parse(text.encode(), "f")
    assert not has_errors(own.findings), own.findings
    objects = (*base.objects, *own.objects)
    findings = analyse(build_state(objects, catalogues, MeshConfig()), objects, {**base.positions, **own.positions})
    return tuple(finding for finding in findings if finding.file == "f" and finding.code != "LAT0052")


def shape(findings: tuple[Finding, ...]) -> list[tuple[str, int, str]]:
    return [(finding.code, finding.line, finding.path) for finding in findings]


def virtual_service(rules: str, *, name: str = "a", head: str = "hosts: [reviews]") -> str:
    """A VirtualService whose rules begin in line 7."""
    return (
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\n"
        f"metadata: {{name: {name}}}\nspec:\n  {head}\n  http:\n{rules}"
    )


def gateway(hosts: str, *, name: str = "g", tls: str = "") -> str:
    port = "{number: 443, name: https, protocol: HTTPS}" if tls else "{number: 80, name: http, protocol: HTTP}"
    return (
        f"apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: {name}}}\nspec:\n"
        f"  selector: {{istio: ingressgateway}}\n  servers:\n  - port: {port}\n    hosts: [{hosts}]\n"
        + (f"    tls: {{mode: SIMPLE, {tls}}}\n" if tls else "")
    )


def sidecar(name: str, selector: str = "") -> str:
    chosen = f"  workloadSelector: {{labels: {{{selector}}}}}\n" if selector else ""
    return (
        f"apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{name: {name}}}\nspec:\n{chosen}"
        "  egress: [{hosts: ['*/*']}]\n"
    )


def test_a_sound_configuration_has_no_findings() -> None:
    text = virtual_service("  - route: [{destination: {host: reviews, subset: v2, port: {number: 9080}}}]\n")
    assert analysed(text) == ()


def test_a_dangling_host_is_found_with_its_place_and_a_hint() -> None:
    (finding,) = analysed(virtual_service("  - route:\n    - destination:\n        host: review\n"))
    assert shape((finding,)) == [("IST0101", 9, "spec.http[0].route[0].destination.host")]
    assert "review.default.svc.cluster.local" in finding.message
    assert "did you mean reviews.default.svc.cluster.local?" in finding.message
    assert (finding.kind, finding.namespace, finding.name) == ("VirtualService", "default", "a")


def test_mirrors_tcp_and_tls_are_looked_at_too() -> None:
    text = virtual_service(
        "  - route: [{destination: {host: reviews}}]\n    mirror: {host: x}\n"
        "  - match: [{port: 1}]\n    route: [{destination: {host: reviews}}]\n    mirrors: [{destination: {host: y}}]\n"
        "  tcp: [{route: [{destination: {host: z}}]}]\n"
        "  tls: [{match: [{sniHosts: [reviews]}], route: [{destination: {host: w}}]}]\n"
    )
    paths = [finding.path for finding in analysed(text) if finding.code == "IST0101"]
    assert paths == [
        "spec.http[0].mirror.host",
        "spec.http[1].mirrors[0].destination.host",
        "spec.tcp[0].route[0].destination.host",
        "spec.tls[0].route[0].destination.host",
    ]


def test_a_dangling_subset_is_found() -> None:
    (finding,) = analysed(virtual_service("  - route:\n    - destination: {host: reviews, subset: v3}\n"))
    assert shape((finding,)) == [("IST0101", 8, "spec.http[0].route[0].destination.subset")]
    assert "v1" in finding.message
    assert "v2" in finding.message


def test_wildcard_services_cover_their_hosts() -> None:
    text = virtual_service("  - route: [{destination: {host: api.example.com, port: {number: 443}}}]\n")
    assert analysed(text) == ()


def test_a_host_that_is_not_exported_is_found_and_said() -> None:
    (finding,) = analysed(virtual_service("  - route: [{destination: {host: hidden.test}}]\n"))
    assert finding.code == "IST0101"
    assert "not exported to this namespace" in finding.message


def test_ports_of_destinations() -> None:
    text = virtual_service(
        "  - match: [{port: 1}]\n    route: [{destination: {host: two}}]\n"
        "  - match: [{port: 2}]\n    route: [{destination: {host: two, port: {number: 82}}}]\n"
        "  - route: [{destination: {host: two, port: {number: 81}}}]\n"
    )
    assert shape(analysed(text)) == [
        ("IST0112", 8, "spec.http[0].route[0].destination"),
        ("IST0101", 10, "spec.http[1].route[0].destination.port.number"),
    ]


def test_a_missing_gateway_is_found_wherever_it_is_named() -> None:
    rules = "  - match: [{gateways: [other/g]}]\n    route: [{destination: {host: reviews}}]\n"
    text = virtual_service(rules, head="hosts: [reviews]\n  gateways: [g, mesh]")
    assert shape(analysed(text)) == [
        ("IST0101", 6, "spec.gateways[0]"),
        ("IST0101", 8, "spec.http[0].match[0].gateways[0]"),
    ]


def test_a_gateway_that_does_not_serve_the_host_is_a_warning() -> None:
    rules = "  - route: [{destination: {host: reviews}}]\n"
    text = (
        virtual_service(rules, head="hosts: [shop.test]\n  gateways: [g]")
        + "---\n"
        + gateway("other.test, '*.shop.test'")
    )
    assert shape(analysed(text)) == [("IST0132", 6, "spec.gateways[0]")]
    assert analysed(text.replace("other.test", "'*.test'")) == ()
    assert analysed(text.replace("other.test", "./shop.test")) == ()


def test_a_missing_delegate_is_found() -> None:
    text = virtual_service("  - delegate: {name: b}\n")
    assert shape(analysed(text)) == [("IST0101", 7, "spec.http[0].delegate.name")]
    delegate = virtual_service("  - route: [{destination: {host: reviews}}]\n", name="b", head="exportTo: ['*']")
    assert analysed(f"{text}---\n{delegate}") == ()


SECRET = f"""\
apiVersion: v1
kind: Secret
metadata: {{name: cert, namespace: istio-system}}
data: {{tls.crt: {encoded(key_pair()[0])}, tls.key: {encoded(key_pair()[1])}}}
"""


def test_the_secret_of_a_gateway_must_exist_and_be_a_key_pair() -> None:
    text = gateway("'*'", tls="credentialName: cert")
    assert shape(analysed(text)) == [("IST0101", 9, "spec.servers[0].tls.credentialName")]
    assert analysed(f"{text}---\n{SECRET}") == ()
    assert shape(analysed(f"{text}---\n{SECRET.replace('tls.key', 'key')}")) == [
        ("IST0161", 9, "spec.servers[0].tls.credentialName")
    ]


def test_the_ca_and_the_staple_of_a_gateway_are_looked_into() -> None:
    text = gateway("'*'", tls="credentialName: cert").replace("mode: SIMPLE", "mode: MUTUAL")
    path = ("IST0161", 9, "spec.servers[0].tls.credentialName")
    assert shape(analysed(text)) == [("IST0101", *path[1:])]
    assert shape(analysed(f"{text}---\n{SECRET}")) == [path]
    with_ca = SECRET.replace("\ndata: {", f"\ndata: {{ca.crt: {encoded(key_pair()[0])}, ")
    assert analysed(f"{text}---\n{with_ca}") == ()
    (finding,) = analysed(f"{text}---\n{with_ca.replace('{ca.crt', '{tls.ocsp-staple: AAAA, ca.crt')}")
    assert "is served without its staple" in finding.message
    own = text.replace("credentialName: cert", "credentialName: cert, caCertCredentialName: clients")
    assert shape(analysed(f"{own}---\n{SECRET}")) == [("IST0101", 9, "spec.servers[0].tls.caCertCredentialName")]


def test_the_secret_of_a_destination_rule_is_where_the_selected_workloads_are() -> None:
    rule = (
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: a}\nspec:\n  host: reviews\n"
        "  workloadSelector: {matchLabels: {app: a}}\n"
        "  trafficPolicy: {portLevelSettings: [{port: {number: 9080}, tls: {mode: MUTUAL, credentialName: cert}}]}\n"
    )
    path = "spec.trafficPolicy.portLevelSettings[0].tls.credentialName"
    assert shape(analysed(f"{rule}---\n{SECRET}")) == [("IST0101", 7, path)]
    here = SECRET.replace("istio-system", "default")
    assert shape(analysed(f"{rule}---\n{here}")) == [("IST0161", 7, path)]
    # Without a CA only what is said of that is left.
    unverified = path.replace("credentialName", "insecureSkipVerify")
    assert shape(analysed(f"{rule.replace('MUTUAL', 'MUTUAL, insecureSkipVerify: true')}---\n{here}")) == [
        ("IST0129", 7, unverified)
    ]
    everybody = rule.replace("  workloadSelector: {matchLabels: {app: a}}\n", "")
    assert shape(analysed(everybody)) == [("LAT0058", 6, path)], "sidecars follow it without its TLS"


def test_a_running_gateway_reads_secrets_of_its_own_namespace() -> None:
    workload = WorkloadRegistration(
        service="", namespace="edge", address="127.0.0.1", name="gw", labels={"istio": "ingressgateway"}
    )
    text = gateway("'*'", tls="credentialName: cert")
    catalogue = Catalogue(name="agents", workloads=(workload,))
    (finding,) = analysed(f"{text}---\n{SECRET}", catalogues=(catalogue,))
    assert "namespace edge" in finding.message
    moved = SECRET.replace("istio-system", "edge")
    assert analysed(f"{text}---\n{moved}", catalogues=(catalogue,)) == ()


def test_the_host_and_the_labels_of_a_destination_rule() -> None:
    rule = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: a}\nspec:\n  host: {}\n"
    assert shape(analysed(rule.replace("{}", "rating"))) == [("IST0174", 5, "spec.host")]
    assert shape(analysed(rule.replace("{}", "'*.nowhere'"))) == [("IST0174", 5, "spec.host")]
    assert analysed(rule.replace("{}", "'*.svc.cluster.local'")) == ()


def test_a_subset_without_workloads_is_found_once_there_are_workloads() -> None:
    entry = (
        "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: w}\n"
        "spec: {address: 10.0.0.1, labels: {app: reviews, version: v1}}\n"
    )
    rule = (
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: b}\n"
        "spec:\n  host: reviews\n  subsets:\n"
        "  - {name: x1, labels: {version: v1}}\n  - {name: x3, labels: {version: v3}}\n"
    )
    assert analysed(rule) == ()
    with_workload = f"{SERVICES}---\n{entry}"
    assert shape(analysed(rule, services=with_workload)) == [("IST0173", 8, "spec.subsets[1].labels")]


def test_two_virtual_services_for_one_host_of_the_mesh_conflict() -> None:
    rules = "  - route: [{destination: {host: reviews}}]\n"
    text = (
        virtual_service(rules)
        + "---\n"
        + virtual_service(rules, name="b", head="hosts: [reviews.default.svc.cluster.local]")
    )
    findings = analysed(text)
    assert shape(findings) == [("IST0109", 5, "spec.hosts[0]"), ("IST0109", 13, "spec.hosts[0]")]
    assert "VirtualService default/b" in findings[0].message


def test_virtual_services_that_no_namespace_sees_together_do_not_conflict() -> None:
    rules = "  - route: [{destination: {host: reviews.default.svc.cluster.local}}]\n"
    heads = [f"hosts: [reviews.default.svc.cluster.local]\n  exportTo: [{name}]" for name in ("one", "two")]
    text = virtual_service(rules, head=heads[0]) + "---\n" + virtual_service(rules, name="b", head=heads[1])
    assert analysed(text) == ()


def test_sidecars_that_share_workloads_conflict() -> None:
    assert [code for code, *_ in shape(analysed(f"{sidecar('a')}---\n{sidecar('b')}"))] == ["IST0111", "IST0111"]
    assert [code for code, *_ in shape(analysed(f"{sidecar('a', 'app: x')}---\n{sidecar('b', 'app: x')}"))] == [
        "IST0110"
    ] * 2
    assert analysed(f"{sidecar('a')}---\n{sidecar('b', 'app: x')}---\n{sidecar('c', 'app: y')}") == ()


def test_gateways_that_share_port_and_host_conflict() -> None:
    text = gateway("a.test, b.test", name="a") + "---\n" + gateway("b.test", name="b")
    assert [code for code, *_ in shape(analysed(text))] == ["IST0145", "IST0145"]
    assert analysed(text.replace("hosts: [b.test]", "hosts: [c.test]")) == ()


def test_rules_after_one_without_conditions_are_never_used() -> None:
    route = "route: [{destination: {host: reviews}}]"
    text = virtual_service(f"  - {{name: all, {route}}}\n  - {{match: [{{uri: {{exact: /a}}}}], {route}}}\n")
    (finding,) = analysed(text)
    assert shape((finding,)) == [("IST0130", 8, "spec.http[1]")]
    assert "'all'" in finding.message
    prefix = virtual_service(f"  - {{match: [{{uri: {{prefix: /}}}}], {route}}}\n  - {{{route}}}\n")
    assert shape(analysed(prefix)) == [("IST0130", 8, "spec.http[1]")]


def test_a_match_that_stands_twice_is_said() -> None:
    route = "route: [{destination: {host: reviews}}]"
    same, other = "{uri: {exact: /a}}", "{uri: {exact: /b}}"
    text = virtual_service(
        f"  - {{match: [{same}], {route}}}\n  - {{match: [{other}, {same}], {route}}}\n  - {{{route}}}\n"
    )
    assert shape(analysed(text)) == [("IST0131", 8, "spec.http[1].match[1]")]


def test_without_positions_a_finding_has_its_object_s_line() -> None:
    objects = parse(virtual_service("  - route: [{destination: {host: x}}]\n").encode(), "f").objects
    (finding,) = analyse(build_state(objects, (), MeshConfig()), objects)
    assert (finding.file, finding.line, finding.path) == ("f", 1, "spec.http[0].route[0].destination.host")


def test_the_order_of_objects_does_not_matter() -> None:
    rules = "  - route: [{destination: {host: x, subset: y}}]\n"
    objects = parse((virtual_service(rules) + "---\n" + virtual_service(rules, name="b")).encode(), "f").objects
    state = build_state(objects, (), MeshConfig())
    assert analyse(state, objects) == analyse(state, objects[::-1])


def test_discovery_scope_that_means_nothing() -> None:
    """A value that is none, or the annotation where nobody reads it: Istio's codes for annotations."""
    sidecar = (
        "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata:\n  name: a\n"
        "  annotations: {lateen.io/discovery-scope: SCOPE}\nspec: {egress: [{hosts: ['*/*']}]}\n"
    )
    path = "metadata.annotations[lateen.io/discovery-scope]"
    assert analysed(sidecar.replace("SCOPE", "full")) == ()
    (wrong,) = analysed(sidecar.replace("SCOPE", "ful"))
    assert (wrong.code, wrong.line) == ("IST0125", 5)
    assert "lazy or full" in wrong.message
    misplaced = virtual_service("  - route: [{destination: {host: reviews}}]").replace(
        "{name: a}", "{name: a, annotations: {lateen.io/discovery-scope: full}}"
    )
    (elsewhere,) = analysed(misplaced)
    assert (elsewhere.code, elsewhere.line, elsewhere.path) == ("IST0107", 3, wrong.path), path
