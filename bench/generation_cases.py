"""The meshes of the generation benchmark: shapes that Istio's own benchmark of config generation uses.

Each case is a proxy and the documents of its mesh, made by a function of its size. The same work can so be measured on
both; kb and resources beside each time show that the output is comparable. Used by `generation`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lateen.config.mesh_config import MeshConfig
from lateen.config.objects import ConfigObject
from lateen.config.parsing import parse
from lateen.envoy.resources import CLUSTER, ENDPOINT, EXTENSION, LISTENER, ROUTE
from lateen.mesh.build import build_state
from lateen.mesh.state import MeshState
from lateen.model.proxies import Proxy, ProxyType

Document = Mapping[str, Any]

LABELS = {"istio.io/benchmark": "true"}
MUTUAL = {"security.istio.io/tlsMode": "istio"}
SIDECAR = Proxy(
    type=ProxyType.SIDECAR,
    name="v0",
    namespace="default",
    addresses=("1.1.1.1",),
    labels=LABELS,
    dns_domain="default.example.org",
)
GATEWAY = replace(SIDECAR, type=ProxyType.GATEWAY)
FOUR_PORTS = ((80, "HTTP"), (7070, "TCP"), (443, "HTTPS"), (9090, ""))


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One mesh and the proxy in it."""

    name: str
    proxy: Proxy
    documents: Callable[[], Iterator[Document]]
    one_change: Callable[[], Document] | None = None
    """A document that replaces one of them, for the time after one change."""
    kinds: tuple[str, ...] = (CLUSTER, ENDPOINT, LISTENER, ROUTE)
    """Types whose time is shown."""


def objects_of(documents: Sequence[Document]) -> tuple[ConfigObject[Any], ...]:
    """Return the objects; kinds that this version does not read yield none."""
    content = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(documents)})
    return parse(content.encode(), "bench.json").objects


_MESH_CONFIG = MeshConfig()


def state_of(objects: Sequence[ConfigObject[Any]], previous: MeshState | None = None) -> MeshState:
    return build_state(objects, (), _MESH_CONFIG, previous=previous)


# --- documents -----------------------------------------------------------------------------------------------


def document(kind: str, name: str, spec: Mapping[str, Any], namespace: str = "default") -> Document:
    group = {
        "Telemetry": "telemetry.istio.io/v1",
        "AuthorizationPolicy": "security.istio.io/v1",
        "PeerAuthentication": "security.istio.io/v1",
        "Service": "v1",
    }
    return {
        "apiVersion": group.get(kind, "networking.istio.io/v1"),
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def ports(*wanted: tuple[int, str]) -> list[Document]:
    """Ports by number and protocol; without a protocol it is sniffed."""
    found: list[Document] = []
    for number, protocol in wanted:
        declared = {"protocol": protocol} if protocol else {}
        found.append({"number": number, "name": f"{protocol.lower() or 'auto'}-{number}", **declared})
    return found


def service_entry(
    name: str,
    host: str,
    wanted: Sequence[tuple[int, str]],
    *,
    endpoints: Sequence[Document] = ({"address": "1.2.3.4"},),
    **spec: Any,
) -> Document:
    fields: dict[str, Any] = {"hosts": [host], "ports": ports(*wanted), "resolution": "STATIC", **spec}
    if endpoints:
        fields["endpoints"] = list(endpoints)
    return document("ServiceEntry", name, fields)


def own_service(*wanted: tuple[int, str]) -> Document:
    """The service of the proxy under test."""
    here = {"address": "1.1.1.1", "labels": {**LABELS, **MUTUAL}}
    return service_entry("own", "example.com", wanted or ((80, "HTTP"),), endpoints=[here])


def address(number: int, network: str = "240.240") -> str:
    return f"{network}.{number // 255}.{number % 255 + 1}"


def outside_service(number: int, protocol: str, port: int) -> Document:
    """A service with a virtual address and one endpoint of the mesh."""
    return service_entry(
        f"service-{number}",
        f"random-{number}.host.example",
        ((port, protocol),),
        addresses=[address(number)],
        endpoints=[{"address": "1.2.3.4", "labels": MUTUAL}],
    )


# --- cases ---------------------------------------------------------------------------------------------------


def gateway_servers(hosts: Sequence[str]) -> list[Document]:
    return [
        {"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": hosts},
        {
            "port": {"number": 443, "name": "https", "protocol": "HTTPS"},
            "hosts": hosts,
            "tls": {"mode": "ISTIO_MUTUAL"},
        },
    ]


def gateway_rule(number: int, prefix: str = "") -> Document:
    return document(
        "VirtualService",
        f"rule-{number}",
        {
            "hosts": [f"random-{letter}-{number}.host.example" for letter in "abc"],
            "gateways": [f"gateway/gateway-{number}"],
            "http": [
                {
                    "match": [{"uri": {"prefix": prefix or f"/route-{number}"}}],
                    "route": [{"destination": {"host": f"random-{number}.host.example"}}],
                }
            ],
        },
        "gateway",
    )


def gateways(count: int) -> Iterator[Document]:
    """As many Gateways as VirtualServices."""
    yield own_service((80, "HTTP"), (443, "HTTPS"))
    for number in range(count):
        rule = gateway_rule(number)
        yield rule
        servers = gateway_servers(rule["spec"]["hosts"])
        yield document("Gateway", f"gateway-{number}", {"selector": LABELS, "servers": servers}, "gateway")
        yield service_entry(f"service-{number}", f"random-{number}.host.example", ((80, "HTTP"),))


def shared_gateway_rule(number: int, last: str = "f") -> Document:
    return document(
        "VirtualService",
        f"rule-{number}",
        {
            "hosts": [f"random-{which}.host.example" for which in (1, 2, 3)],
            "gateways": ["gateway/gateway"],
            "http": [
                {
                    "match": [{"uri": {"prefix": f"/route-{letter}-{number}"}} for letter in "abcde" + last],
                    "route": [{"destination": {"host": f"random-{number}.host.example"}}],
                }
            ],
        },
        "gateway",
    )


def gateways_shared(count: int) -> Iterator[Document]:
    """One Gateway whose hosts are in all VirtualServices."""
    yield own_service((80, "HTTP"), (443, "HTTPS"))
    servers = gateway_servers([f"random-{which}.host.example" for which in (1, 2, 3)])
    yield document("Gateway", "gateway", {"selector": LABELS, "servers": servers}, "gateway")
    for number in range(count):
        yield shared_gateway_rule(number)
        yield service_entry(f"service-{number}", f"random-{number}.host.example", ((80, "HTTP"),))


def knative_rule(authority: str, gateway: str, target: str, *, override: bool) -> Document:
    match: dict[str, Any] = {"authority": {"prefix": authority}, "gateways": [f"knative-serving/{gateway}"]}
    rule: dict[str, Any] = {
        "match": [match],
        "route": [
            {
                "destination": {"host": f"{target}.default.svc.cluster.local", "port": {"number": 80}},
                "headers": {
                    "request": {"set": {"Knative-Serving-Namespace": "default", "Knative-Serving-Revision": target}}
                },
                "weight": 100,
            }
        ],
    }
    if override:
        match["headers"] = {"K-Network-Hash": {"exact": "override"}}
        rule["headers"] = {"request": {"set": {"K-Network-Hash": "0123456789abcdef" * 4}}}
    return rule


def knative_gateway(count: int) -> Iterator[Document]:
    """Two Gateways for all hosts; destinations that do not exist."""
    inner, outer = "knative-local-gateway", "knative-ingress-gateway"
    for gateway, port in (outer, 80), (inner, 8081):
        servers = [{"hosts": ["*"], "port": {"number": port, "name": "http", "protocol": "HTTP"}}]
        yield document("Gateway", gateway, {"selector": LABELS, "servers": servers}, "knative-serving")
        here = [{"address": "1.1.1.1", "labels": LABELS}]
        yield service_entry(gateway, f"{gateway}.istio-system.svc.cluster.local", ((80, "HTTP"),), endpoints=here)
    for number in range(count):
        hosts = ["hello.default", "hello.default.external.domain", "hello.default.svc"]
        rules = [
            knative_rule(authority, gateway, f"hello-{number}", override=override)
            for authority, gateway in (("hello.default", inner), ("hello.default.external.domain", outer))
            for override in (True, False)
        ]
        both = [f"knative-serving/{outer}", f"knative-serving/{inner}"]
        spec = {"gateways": both, "hosts": [*hosts, "hello.default.svc.cluster.local"], "http": rules}
        yield document("VirtualService", f"hello-{number}", spec)
        private = "hello-private.default"
        rules = [knative_rule(private, inner, f"hello-private-{number}", override=each) for each in (True, False)]
        hosts = [private, f"{private}.svc", f"{private}.svc.cluster.local"]
        yield document("VirtualService", f"private-{number}", {"gateways": both[1:], "hosts": hosts, "http": rules})


def services_of(protocol: str, port: int) -> Callable[[int], Iterator[Document]]:
    """One port of one protocol for each service."""

    def documents(count: int) -> Iterator[Document]:
        yield own_service((port, protocol))
        for number in range(count):
            yield outside_service(number, protocol, port)

    return documents


def inbound(mode: str) -> Callable[[int], Iterator[Document]]:
    """The proxy's own service only, with a mutual TLS mode."""

    def documents(_count: int) -> Iterator[Document]:
        yield own_service(*FOUR_PORTS)
        yield document("PeerAuthentication", "default", {"mtls": {"mode": mode}}, "istio-system")

    return documents


def external_names(count: int) -> Iterator[Document]:
    yield own_service()
    for number in range(count):
        spec = {
            "type": "ExternalName",
            "externalName": f"random-{number}.host.example",
            "ports": [{"port": 80, "name": "http"}],
        }
        yield document("Service", f"service-{number}", spec)


def telemetry(count: int) -> Iterator[Document]:
    yield own_service(*FOUR_PORTS)
    spec = {
        "accessLogging": [{"providers": [{"name": "envoy"}]}],
        "metrics": [
            {
                "providers": [{"name": "prometheus"}],
                "overrides": [{"tagOverrides": {"source_app": {"operation": "REMOVE"}}}],
            }
        ],
    }
    yield document("Telemetry", "default", spec, "istio-system")
    for number in range(count):
        yield service_entry(f"service-{number}", f"random-{number}.host.example", FOUR_PORTS)


def rewriting_rule(number: int, rewrite: str = "/new-url") -> Document:
    path = {"prefix": f"/prefix-{number}"} if number % 2 else {"regex": f"/regex-{number}/.*"}
    uri = {"uri": rewrite} if number % 2 else {"uriRegexRewrite": {"match": f"/regex-{number}/(.*)", "rewrite": r"/\1"}}
    if not number % 2 and rewrite != "/new-url":
        uri = {"uriRegexRewrite": {"match": f"/regex-{number}/(.*)", "rewrite": rewrite + r"\1"}}
    host = f"random-{number}.host.example"
    rules = [
        {"name": "rewritten", "match": [{"uri": path}], "rewrite": uri, "route": [{"destination": {"host": host}}]},
        {"name": "default", "route": [{"destination": {"host": host}}]},
    ]
    return document("VirtualService", f"rule-{number}", {"hosts": [host], "http": rules})


def virtual_services(count: int) -> Iterator[Document]:
    yield own_service()
    for number in range(count):
        yield rewriting_rule(number)
        yield outside_service(number, "HTTP", 80)


def served_ports(*ports: tuple[int, str]) -> Iterator[Document]:
    """The service of the proxy under test as a Kubernetes Service: its sidecar has a chain for each port, or three."""
    named = [{"name": f"{protocol.lower() or 'auto'}-{port}", "port": port} for port, protocol in ports]
    yield document("Service", "own", {"ports": named})
    yield {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "own", "namespace": "default", "labels": {"kubernetes.io/service-name": "own"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["1.1.1.1"]}],
        "ports": named,
    }


def authorized_workload(count: int) -> Iterator[Document]:
    """The same policies in front of a workload that serves HTTP, gRPC, bytes and whatever comes."""
    yield from served_ports((80, "HTTP"), (81, "GRPC"), (7070, "TCP"), (9090, ""))
    for number in range(count):
        yield authorization_policy(number)


def authorization_policy(number: int, *methods: str) -> Document:
    rule = {
        "from": [{"source": {"namespaces": [f"namespace-{number}"]}}],
        "to": [{"operation": {"methods": list(methods or ("GET", "POST"))}}],
    }
    return document("AuthorizationPolicy", f"policy-{number}", {"action": "DENY", "rules": [rule]})


def authorization_policies(count: int) -> Iterator[Document]:
    yield own_service(*FOUR_PORTS)
    for number in range(count):
        yield authorization_policy(number)


def workload_entries(count: int, workloads: int = 1000) -> Iterator[Document]:
    yield own_service()
    for number in range(count):
        yield service_entry(
            f"service-{number}",
            f"random-{number}.host.example",
            FOUR_PORTS,
            endpoints=(),
            workloadSelector={"labels": {"app": "shared"}},
        )
    for number in range(workloads):
        spec = {"address": address(number, "10.1"), "labels": {"app": "shared", **MUTUAL}}
        yield document("WorkloadEntry", f"workload-{number}", spec)


def endpoints_entry(service: int, count: int, first: str = "") -> Document:
    places = [
        {
            "address": address(number, "10.2"),
            "network": f"network-{number % 4}",
            "labels": MUTUAL if number % 2 else {},
            "weight": 1 + number % 3,
        }
        for number in range(count)
    ]
    if first:
        places[0]["address"] = first
    host = f"random-{service}.host.example"
    return service_entry(f"service-{service}", host, ((80, "HTTP"),), endpoints=places)


def many_endpoints(count: int, services: int) -> Iterator[Document]:
    """Endpoints in four networks."""
    yield own_service()
    for service in range(services):
        yield endpoints_entry(service, count)


def cases() -> Iterator[Case]:
    """Every case in its published size."""
    yield Case(
        name="gateways",
        proxy=GATEWAY,
        documents=lambda: gateways(1000),
        one_change=lambda: gateway_rule(0, "/changed"),
    )
    yield Case(
        name="gateways-shared",
        proxy=GATEWAY,
        documents=lambda: gateways_shared(1000),
        one_change=lambda: shared_gateway_rule(0, "z"),
    )
    yield Case(name="knative-gateway", proxy=GATEWAY, documents=lambda: knative_gateway(100))
    for name, protocol, port in (
        ("http", "HTTP", 80),
        ("tcp", "TCP", 7070),
        ("tls", "TLS", 7070),
        ("auto", "", 7070),
    ):
        yield Case(
            name=name,
            proxy=SIDECAR,
            documents=lambda protocol=protocol, port=port: services_of(protocol, port)(100),  # type: ignore[misc]
            one_change=lambda protocol=protocol, port=port: outside_service(0, protocol, port + 1),  # type: ignore[misc]
        )
    yield Case(name="strict", proxy=SIDECAR, documents=lambda: inbound("STRICT")(0), kinds=(LISTENER,))
    yield Case(name="disabled", proxy=SIDECAR, documents=lambda: inbound("DISABLE")(0), kinds=(LISTENER,))
    yield Case(name="externalname", proxy=SIDECAR, documents=lambda: external_names(100))
    yield Case(name="telemetry-api", proxy=SIDECAR, documents=lambda: telemetry(100))
    yield Case(
        name="virtualservice",
        proxy=SIDECAR,
        documents=lambda: virtual_services(100),
        one_change=lambda: rewriting_rule(0, "/changed"),
    )
    yield Case(
        name="authorizationpolicy",
        proxy=SIDECAR,
        documents=lambda: authorization_policies(100),
        kinds=(LISTENER, EXTENSION),
    )
    yield Case(
        name="authorizationpolicy-1000",
        proxy=SIDECAR,
        documents=lambda: authorized_workload(1000),
        one_change=lambda: authorization_policy(0, "PUT"),
        kinds=(LISTENER, EXTENSION),
    )
    yield Case(name="serviceentry-workloadentry", proxy=SIDECAR, documents=lambda: workload_entries(100))
    for count, services in (1, 100), (10, 10), (100, 10), (1000, 1):
        yield Case(
            name=f"endpoints {count}x{services}",
            proxy=SIDECAR,
            documents=lambda count=count, services=services: many_endpoints(count, services),  # type: ignore[misc]
            one_change=lambda count=count: endpoints_entry(0, count, "10.9.9.9"),  # type: ignore[misc]
            kinds=(ENDPOINT,),
        )
