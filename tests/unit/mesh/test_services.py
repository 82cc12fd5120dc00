"""Services and endpoints of a state: Kubernetes documents, ServiceEntries, registered workloads, and all together."""

from __future__ import annotations

from typing import Any

from lateen.mesh.queries import endpoints_of, instances_of
from lateen.mesh.state import MeshState
from lateen.model.names import Hostname
from lateen.model.protocols import Protocol
from lateen.model.services import Resolution
from lateen.model.workloads import WorkloadPort

REVIEWS = Hostname("reviews.default.svc.cluster.local")

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: default}
spec:
  clusterIP: 10.0.0.5
  selector: {app: reviews}
  ports: [{port: 80, name: http, targetPort: 9080}, {port: 7070, name: tcp-raw, targetPort: raw}]
---
"""


def addresses(state: MeshState, host: str, port: int) -> list[str]:
    return [f"{found.address}:{found.port}" for found in endpoints_of(state, Hostname(host), port)]


def test_a_kubernetes_service_has_the_endpoints_of_its_slices_by_port_name(build: Any) -> None:
    state = build(
        SERVICE
        + """
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: reviews-x, namespace: default, labels: {kubernetes.io/service-name: reviews, version: v1}}
addressType: IPv4
ports: [{name: http, port: 9080}, {name: tcp-raw, port: 9999}, {name: other, port: 1}]
endpoints:
- {addresses: [10.1.0.1], conditions: {ready: true}, zone: z1, targetRef: {kind: Pod, name: reviews-1}}
- {addresses: [10.1.0.2], conditions: {ready: false}}
- {addresses: [10.1.0.3]}
"""
    )
    assert state.services[REVIEWS].addresses == ("10.0.0.5",)
    assert [port.protocol for port in state.services[REVIEWS].ports] == [Protocol.HTTP, Protocol.TCP]
    assert addresses(state, REVIEWS, 80) == ["10.1.0.1:9080", "10.1.0.3:9080"]
    assert addresses(state, REVIEWS, 7070) == ["10.1.0.1:9999", "10.1.0.3:9999"]
    first = state.endpoints[REVIEWS][0]
    assert (first.workload, first.locality.zone, first.labels) == ("reviews-1", "z1", {"version": "v1"})


def test_endpoints_objects_serve_services_without_slices(build: Any) -> None:
    state = build(
        SERVICE
        + """
apiVersion: v1
kind: Endpoints
metadata: {name: reviews, namespace: default}
subsets:
- addresses: [{ip: 10.1.0.1}]
  notReadyAddresses: [{ip: 10.1.0.2}]
  ports: [{name: http, port: 9080}]
"""
    )
    assert addresses(state, REVIEWS, 80) == ["10.1.0.1:9080"]
    assert [found.healthy for found in state.endpoints[REVIEWS]] == [True, False]


def test_external_name_is_a_dns_service(build: Any) -> None:
    state = build("""
apiVersion: v1
kind: Service
metadata: {name: db, namespace: default}
spec: {type: ExternalName, externalName: db.example.com, ports: [{port: 5432, name: tcp}]}
""")
    service = state.services[Hostname("db.default.svc.cluster.local")]
    assert (service.resolution, service.external) == (Resolution.DNS, True)
    assert addresses(state, service.host, 5432) == ["db.example.com:5432"]


def test_workload_entries_join_by_selector_and_map_ports(build: Any) -> None:
    """By name of the service port, else the target port, else the same number; metadata labels win."""
    state = build(
        SERVICE
        + """
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: a, namespace: default, labels: {app: reviews}}
spec: {address: 10.2.0.1, ports: {raw: 7777}, labels: {app: other, version: v1}, locality: eu/a/1, weight: 3}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: b, namespace: default}
spec: {address: 10.2.0.2, ports: {http: 8888}, labels: {app: reviews}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: elsewhere, namespace: other}
spec: {address: 10.2.0.3, labels: {app: reviews}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: alias, namespace: default}
spec:
  hosts: [reviews.example.com]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 81, name: http, protocol: HTTP}, {number: 82, name: raw, protocol: TCP, targetPort: 6}]
  workloadSelector: {labels: {app: reviews}}
"""
    )
    assert addresses(state, REVIEWS, 80) == ["10.2.0.1:9080", "10.2.0.2:8888"]
    assert addresses(state, REVIEWS, 7070) == ["10.2.0.1:7777"], "a target port by name needs the name"
    assert addresses(state, "reviews.example.com", 81) == ["10.2.0.1:81", "10.2.0.2:8888"]
    assert addresses(state, "reviews.example.com", 82) == ["10.2.0.1:7777", "10.2.0.2:6"]
    first = state.endpoints[REVIEWS][0]
    assert (first.labels, str(first.locality), first.weight) == ({"app": "reviews", "version": "v1"}, "eu/a/1", 3)


def test_service_entry_kinds(build: Any) -> None:
    state = build("""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ext, namespace: default}
spec:
  hosts: [API.example.com, two.example.com]
  addresses: [240.1.1.1]
  ports: [{number: 443, name: tls, protocol: TLS}]
  resolution: DNS
  exportTo: ["."]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: wild, namespace: default}
spec: {hosts: ["*.wild.com"], ports: [{number: 80, name: http, protocol: HTTP}], resolution: NONE}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: inline, namespace: default}
spec:
  hosts: [inline.example.com]
  addresses: [240.1.1.2/32, 10.9.0.0/16]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  location: MESH_INTERNAL
  endpoints: [{address: 1.1.1.1, ports: {http: 8080}, serviceAccount: sa}, {address: "unix:///run/x"}]
""")
    api = state.services[Hostname("api.example.com")]
    assert (api.addresses, api.external, api.export_to) == (("240.1.1.1",), True, (".",))
    assert addresses(state, "api.example.com", 443) == ["api.example.com:443"]
    assert addresses(state, "two.example.com", 443) == ["two.example.com:443"]
    assert state.services[Hostname("*.wild.com")].resolution is Resolution.NONE
    assert Hostname("*.wild.com") not in state.endpoints
    assert addresses(state, "inline.example.com", 80) == ["1.1.1.1:8080", "unix:///run/x:0"]
    assert state.services[Hostname("inline.example.com")].addresses == ("240.1.1.2", "10.9.0.0/16")
    assert [found.tls_mode for found in state.endpoints[Hostname("inline.example.com")]] == ["istio", ""]


def test_registered_workloads_imply_a_service(build: Any, register: Any) -> None:
    state = build(
        "",
        register("reviews-v1-1", "127.0.0.5", 9080, version="v1"),
        register("reviews-v2-1", "127.0.0.6", 9080, version="v2", ports=(WorkloadPort(port=7070, protocol="tcp"),)),
        register("reviews-v3-1", "127.0.0.7", 9080, version="v3", ready=False),
        register("gateway-1", "127.0.0.9", service=""),
    )
    assert list(state.services) == [REVIEWS]
    assert [(port.number, port.protocol) for port in state.services[REVIEWS].ports] == [
        (7070, Protocol.TCP),
        (9080, Protocol.HTTP),
    ]
    assert addresses(state, REVIEWS, 9080) == ["127.0.0.5:9080"], "an unready workload gets no traffic"
    assert [found.address for found in state.endpoints[REVIEWS]] == ["127.0.0.5", "127.0.0.6", "127.0.0.7"]
    first = state.endpoints[REVIEWS][0]
    assert (first.labels, first.app_port) == ({"app": "reviews", "version": "v1"}, 19080)
    assert len(state.workloads) == 4


def test_registered_workloads_join_a_declared_service_by_name_and_by_selector(build: Any, register: Any) -> None:
    """A port matches by target port or number; a port nobody serves has no endpoint."""
    state = build(
        SERVICE
        + """
apiVersion: v1
kind: Service
metadata: {name: everything, namespace: default}
spec: {selector: {version: v9}, ports: [{port: 9080, name: http}]}
""",
        register("reviews-v9-1", "127.0.0.5", 9080, version="v9"),
    )
    assert addresses(state, REVIEWS, 80) == ["127.0.0.5:9080"]
    assert addresses(state, REVIEWS, 7070) == []
    assert addresses(state, "everything.default.svc.cluster.local", 9080) == ["127.0.0.5:9080"]


def test_one_host_claimed_twice_has_one_owner_and_all_inner_endpoints(build: Any, register: Any) -> None:
    """The Kubernetes Service owns the ports; a ServiceEntry inside the mesh adds endpoints of known ports."""
    state = build(
        SERVICE
        + """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: more, namespace: default}
spec:
  hosts: [reviews.default.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}, {number: 81, name: http-b, protocol: HTTP}]
  endpoints: [{address: 1.1.1.1}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: outside, namespace: default}
spec:
  hosts: [reviews.default.svc.cluster.local]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 2.2.2.2}]
""",
        register("reviews-1", "127.0.0.5", 9080),
    )
    assert [port.number for port in state.services[REVIEWS].ports] == [80, 7070]
    assert addresses(state, REVIEWS, 80) == ["127.0.0.5:9080", "1.1.1.1:80"]


def test_instances_are_the_inbound_side(build: Any, register: Any, proxy: Any) -> None:
    """Every service port with an endpoint at the proxy's address, ready or not; external services have none."""
    state = build(
        SERVICE
        + """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: own, namespace: default}
spec:
  hosts: [own.example.com]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 9080, name: http, protocol: HTTP}]
  workloadSelector: {labels: {app: reviews}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ext, namespace: default}
spec:
  hosts: [ext.example.com]
  resolution: STATIC
  ports: [{number: 9080, name: http, protocol: HTTP}]
  endpoints: [{address: 127.0.0.5}]
""",
        register("reviews-1", "127.0.0.5", 9080, ready=False),
    )
    found = instances_of(state, proxy("127.0.0.5"))
    assert [(item.service.host, item.port.number, item.endpoint.app_port) for item in found] == [
        ("own.example.com", 9080, 19080),
        (REVIEWS, 80, 19080),
    ]
    assert instances_of(state, proxy("127.0.0.6")) == ()


def test_a_selector_makes_an_instance_where_endpoints_are_not_known(build: Any, register: Any, proxy: Any) -> None:
    """Offline, and for proxies that nobody registered; a registered workload serves what it said."""

    def served(state: MeshState, **labels: str) -> list[tuple[str, int, int]]:
        found = instances_of(state, proxy("10.3.0.1", **labels))
        return [(item.endpoint.address, item.port.number, item.endpoint.port) for item in found]

    state = build(SERVICE)
    assert served(state, app="reviews", x="y") == [("10.3.0.1", 80, 9080), ("10.3.0.1", 7070, 7070)]
    assert served(state, app="ratings") == []
    registered = build(SERVICE, register("reviews-1", "10.3.0.1", 9080))
    assert served(registered, app="reviews") == [("10.3.0.1", 80, 9080)]


def test_subsets_filter_by_labels(build: Any, register: Any) -> None:
    state = build(
        "",
        register("reviews-v1-1", "127.0.0.5", 9080, version="v1"),
        register("reviews-v2-1", "127.0.0.6", 9080, version="v2"),
    )
    assert [item.address for item in endpoints_of(state, REVIEWS, 9080, {"version": "v2"})] == ["127.0.0.6"]
    assert endpoints_of(state, REVIEWS, 1) == ()
    assert endpoints_of(state, Hostname("nobody"), 9080) == ()


def test_services_over_the_same_workloads_share_their_endpoints(build: Any) -> None:
    """What keeps a mesh of many services over the same workloads small."""
    entry = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: s{0}, namespace: default}}
spec:
  hosts: [s{0}.example.com]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  workloadSelector: {{labels: {{app: a}}}}
---
"""
    workload = """
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: w, namespace: default}
spec: {address: 1.1.1.1, labels: {app: a}}
"""
    state = build("".join(entry.format(number) for number in range(3)) + workload)
    first, *others = state.endpoints.values()
    assert first
    assert all(other is first for other in others)
