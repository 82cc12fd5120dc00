"""Which VirtualService, DestinationRule, Gateway and Sidecar a proxy gets."""

from __future__ import annotations

from typing import Any

from lateen.mesh.queries import (
    destination_rule_for,
    gateways_for,
    services_for,
    sidecar_for,
    virtual_service_for_host,
    virtual_services_for,
    visible_services,
)
from lateen.model.names import Hostname


def virtual_service(name: str, hosts: str, *, namespace: str = "default", more: str = "", created: str = "") -> str:
    stamp = f", creationTimestamp: '{created}'" if created else ""
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: {namespace}{stamp}}}
spec:
  hosts: [{hosts}]
  http: [{{route: [{{destination: {{host: reviews}}}}]}}]
  {more}
---
"""


def service(host: str, *, namespace: str = "default", more: str = "") -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: "{host.replace("*", "any").replace(".", "-")}", namespace: {namespace}}}
spec:
  hosts: ["{host}"]
  ports: [{{number: 80, name: http, protocol: HTTP}}, {{number: 81, name: http-b, protocol: HTTP}}]
  resolution: DNS
  {more}
---
"""


def rule(name: str, host: str, *, namespace: str = "default", more: str = "", subset: str = "") -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  host: "{host}"
  subsets: [{f"{{name: {subset}, labels: {{version: {name}}}}}" if subset else ""}]
  {more}
---
"""


def name_for(state: Any, host: str, namespace: str = "default") -> str | None:
    found = virtual_service_for_host(state, namespace, Hostname(host))
    return found.object.key.name if found else None


def test_names_of_a_virtual_service_are_resolved(build: Any) -> None:
    state = build(virtual_service("a", 'reviews, "*.X.com"', namespace="ns", more="gateways: [mesh, gw, other/gw]"))
    (bound,) = state.virtual_services
    assert bound.hosts == ("reviews.ns.svc.cluster.local", "*.x.com")
    assert bound.gateways == {"mesh", "ns/gw", "other/gw"}


def test_the_most_specific_host_wins_then_the_oldest(build: Any) -> None:
    state = build(
        virtual_service("any", '"*"', more="gateways: [gw]")
        + virtual_service("suffix", '"*.example.com"')
        + virtual_service("longer", '"*.a.example.com"')
        + virtual_service("younger", "x.a.example.com", created="2026-02-01T00:00:00Z")
        + virtual_service("z-older", "x.a.example.com", created="2026-01-01T00:00:00Z")
    )
    assert name_for(state, "x.a.example.com") == "z-older"
    assert name_for(state, "y.a.example.com") == "longer"
    assert name_for(state, "a.example.com") == "suffix"
    assert name_for(state, "*.b.example.com") == "suffix"
    assert name_for(state, "example.com") is None
    anything = virtual_service_for_host(state, "default", Hostname("example.com"), "default/gw")
    assert anything is not None
    assert anything.object.key.name == "any"


def test_a_wildcard_inside_the_first_label_matches_too(build: Any) -> None:
    state = build(virtual_service("partial", '"*-eu.example.com"') + virtual_service("all", '"*.example.com"'))
    assert name_for(state, "shop-eu.example.com") == "partial"
    assert name_for(state, "shop-us.example.com") == "all"


def test_export_decides_who_sees_a_virtual_service_and_private_comes_first(build: Any) -> None:
    state = build(
        virtual_service("a-public", "x.com", namespace="shop")
        + virtual_service("b-named", "x.com", namespace="shop", more="exportTo: [default]")
        + virtual_service("c-private", "x.com", more='exportTo: ["."]')
        + virtual_service("d-hidden", "x.com", namespace="shop", more='exportTo: ["."]')
    )
    names = [bound.object.key.name for bound in virtual_services_for(state, "default", "mesh")]
    assert names == ["c-private", "b-named", "a-public"]
    assert name_for(state, "x.com") == "c-private"
    assert name_for(state, "x.com", "elsewhere") == "a-public"


def test_mesh_config_gives_the_default_export(build: Any) -> None:
    text = virtual_service("a", "x.com", namespace="shop") + service("x.com", namespace="shop")
    text += rule("r", "x.com", namespace="shop")
    state = build(
        text,
        default_virtual_service_export_to=["."],
        default_service_export_to=["."],
        default_destination_rule_export_to=["."],
    )
    assert name_for(state, "x.com") is None
    assert name_for(state, "x.com", "shop") == "a"
    assert visible_services(state, "default") == ()
    assert state.destination_rules[Hostname("x.com")][0].export_to == (".",)


def test_gateway_routes_are_apart_from_mesh_routes(build: Any) -> None:
    state = build(virtual_service("g", "x.com", more="gateways: [gw]") + virtual_service("m", "x.com"))
    assert [item.object.key.name for item in virtual_services_for(state, "default", "default/gw")] == ["g"]
    assert [item.object.key.name for item in virtual_services_for(state, "default", "mesh")] == ["m"]
    assert virtual_services_for(state, "default", "default/none") == ()


def test_destination_rules_are_searched_in_client_then_service_then_root_namespace(build: Any, proxy: Any) -> None:
    text = service("x.com", namespace="shop") + rule("root", "*", namespace="istio-system")
    host = Hostname("x.com")

    def found(text: str, namespace: str = "default") -> str:
        result = destination_rule_for(build(text), proxy(namespace=namespace), host)
        return result.key.name if result else ""

    assert found(text) == "root"
    text += rule("owner", "x.com", namespace="shop")
    assert found(text) == "owner"
    assert found(text, "istio-system") == "owner", "a mesh-wide rule does not shadow the service's own at gateways"
    text += rule("client-any", "*.com")
    assert found(text) == "client-any"
    text += rule("client", "x.com", more='exportTo: ["."]')
    assert found(text) == "client"
    assert found(text, "third") == "owner"


def test_a_private_rule_of_the_service_namespace_does_not_reach_others(build: Any, proxy: Any) -> None:
    text = service("x.com", namespace="shop") + rule("owner", "x.com", namespace="shop", more='exportTo: ["."]')
    assert destination_rule_for(build(text), proxy(), Hostname("x.com")) is None


def test_rules_of_one_host_are_merged(build: Any, proxy: Any) -> None:
    """Subsets are appended, the first of a name and the first traffic policy win."""
    state = build(
        service("x.com")
        + rule("a", "x.com", subset="one")
        + rule("b", "x.com", subset="one", more="trafficPolicy: {loadBalancer: {simple: RANDOM}}")
        + rule("c", "x.com", subset="two", more="trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}")
    )
    merged = destination_rule_for(state, proxy(), Hostname("x.com"))
    assert merged is not None
    assert [(subset.name, subset.labels["version"]) for subset in merged.spec.subsets] == [("one", "a"), ("two", "c")]
    assert merged.spec.traffic_policy is not None
    assert merged.spec.traffic_policy.load_balancer is not None
    assert merged.spec.traffic_policy.load_balancer.simple is not None
    assert merged.spec.traffic_policy.load_balancer.simple.value == "RANDOM"
    assert merged.digest not in {item.object.digest for item in state.destination_rules[Hostname("x.com")]}


def test_a_rule_with_a_matching_workload_selector_goes_first(build: Any, proxy: Any) -> None:
    state = build(
        service("x.com")
        + rule("a", "x.com", subset="one")
        + rule("b", "x.com", subset="two", more="workloadSelector: {matchLabels: {app: ratings}}")
    )
    selected = destination_rule_for(state, proxy(app="ratings"), Hostname("x.com"))
    other = destination_rule_for(state, proxy(app="else"), Hostname("x.com"))
    assert selected is not None
    assert other is not None
    assert ([item.name for item in selected.spec.subsets], selected.key.name) == (["two", "one"], "b")
    assert [item.name for item in other.spec.subsets] == ["one"]


def test_gateways_are_selected_by_labels_in_any_namespace(build: Any, proxy: Any) -> None:
    server = "servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]"
    state = build(f"""
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: a, namespace: shop}}
spec: {{selector: {{istio: ingress}}, {server}}}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: b, namespace: default}}
spec: {{selector: {{istio: egress}}, {server}}}
""")
    assert [item.key.name for item in gateways_for(state, proxy(gateway=True, istio="ingress", x="y"))] == ["a"]
    assert gateways_for(state, proxy(gateway=True)) == ()


SIDECARS = """
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: mesh-wide, namespace: istio-system}
spec: {egress: [{hosts: ["./*"]}]}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: a-wide, namespace: shop}
spec: {egress: [{hosts: ["*/*"]}]}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: selected, namespace: shop}
spec: {workloadSelector: {labels: {app: a}}, egress: [{hosts: ["*/*"]}]}
---
"""


def test_the_closest_sidecar_applies(build: Any, proxy: Any) -> None:
    state = build(SIDECARS)

    def name(**given: Any) -> str | None:
        found = sidecar_for(state, proxy(**given))
        return found.key.name if found else None

    assert name(namespace="shop", app="a") == "selected"
    assert name(namespace="shop", app="b") == "a-wide"
    assert name(namespace="default") == "mesh-wide"
    assert name(namespace="shop", app="a", gateway=True) is None


def egress(hosts: str, more: str = "") -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: default, namespace: default}}
spec: {{egress: [{{hosts: [{hosts}]{more}}}]}}
---
"""


def test_a_sidecar_limits_services(build: Any, proxy: Any) -> None:
    text = service("a.com") + service("b.com", namespace="shop") + service("c.shop.com", namespace="shop")
    text += service("hidden.com", namespace="shop", more='exportTo: ["."]')

    def hosts(entries: str) -> list[str]:
        return [item.host for item in services_for(build(text + egress(entries)), proxy())]

    assert hosts('"*/*"') == ["a.com", "b.com", "c.shop.com"]
    assert hosts('"./*"') == ["a.com"]
    assert hosts('"shop/*.shop.com"') == ["c.shop.com"]
    assert hosts('"./*", "shop/b.com"') == ["a.com", "b.com"]
    assert hosts('"~/*"') == []
    assert [item.host for item in services_for(build(text), proxy())] == ["a.com", "b.com", "c.shop.com"]


def test_an_egress_listener_with_a_port_imports_that_port(build: Any, proxy: Any) -> None:
    text = service("a.com") + egress('"./*"', ", port: {number: 81, protocol: HTTP, name: http}")
    (found,) = services_for(build(text), proxy())
    assert [port.number for port in found.ports] == [81]


def test_destinations_of_an_imported_virtual_service_come_with_it(build: Any, proxy: Any) -> None:
    text = service("a.com") + service("canary.com", namespace="shop") + egress('"./*"')
    text += """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a, namespace: default}
spec:
  hosts: [a.com]
  http: [{route: [{destination: {host: canary.com, port: {number: 80}}}]}]
"""
    found = services_for(build(text), proxy())
    assert [(item.host, [port.number for port in item.ports]) for item in found] == [
        ("a.com", [80, 81]),
        ("canary.com", [80]),
    ]
