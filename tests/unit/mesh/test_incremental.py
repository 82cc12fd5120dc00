"""A state built from a previous one is the state built from scratch, and shares with the previous one what is equal."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lateen.config.mesh_config import MeshConfig
from lateen.config.objects import ConfigObject
from lateen.config.parsing import parse
from lateen.mesh import queries
from lateen.mesh.build import build_state
from lateen.mesh.changes import changes
from lateen.mesh.sharing import Ordered, Parted, changed_keys
from lateen.mesh.state import MeshState
from lateen.model.catalogues import Catalogue
from lateen.model.findings import has_errors
from lateen.model.names import Hostname
from lateen.model.origins import Origin
from lateen.model.protocols import Protocol
from lateen.model.proxies import Proxy, ProxyType
from lateen.model.services import Endpoint, Service, ServicePort
from lateen.model.workloads import WorkloadPort, WorkloadRegistration

TEMPLATES = (
    """
apiVersion: v1
kind: Service
metadata: {name: NAME, namespace: NS, labels: {x: "vX"}}
spec: {selector: {app: APP}, ports: [{port: PORT, name: http}]}
""",
    """
apiVersion: v1
kind: Service
metadata: {name: NAME, namespace: NS, annotations: {networking.istio.io/exportTo: "EXPORT"}}
spec: {ports: [{port: PORT, name: http}]}
""",
    """
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: NAME-X, namespace: NS, labels: {kubernetes.io/service-name: NAME}}
addressType: IPv4
endpoints: [{addresses: [10.0.0.X]}]
ports: [{name: http, port: PORT}]
""",
    """
apiVersion: v1
kind: Endpoints
metadata: {name: NAME, namespace: NS}
subsets: [{addresses: [{ip: 10.0.1.X}], ports: [{name: http, port: PORT}]}]
""",
    """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: NAME, namespace: NS, creationTimestamp: "2026-01-0XT00:00:00Z"}
spec:
  hosts: [NAME.NS.svc.cluster.local, x.example.com, APP.example.com]
  location: MESH_INTERNAL
  resolution: STATIC
  exportTo: ["EXPORT"]
  ports: [{number: PORT, name: http, protocol: HTTP}]
  workloadSelector: {labels: {app: APP}}
""",
    """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: NAME, namespace: NS}
spec: {hosts: [x.example.com], resolution: STATIC, ports: [{number: PORT, name: http, protocol: HTTP}],
  endpoints: [{address: 10.0.2.X, labels: {app: APP}}]}
""",
    """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: all, namespace: NS}
spec: {hosts: [all.example.com], location: MESH_INTERNAL, resolution: STATIC,
  ports: [{number: PORT, name: http, protocol: HTTP}], workloadSelector: {labels: {}}}
""",
    """
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: NAME, namespace: NS, creationTimestamp: "2026-01-0XT00:00:00Z"}
spec: {address: 127.0.0.X, labels: {app: APP}}
""",
    """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: NAME, namespace: NS, creationTimestamp: "2026-01-0XT00:00:00Z"}
spec: {hosts: [APP, "*.example.com"], exportTo: ["EXPORT"], gateways: [mesh, gw],
  http: [{timeout: Xs, route: [{destination: {host: APP}}]}]}
""",
    """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: root, namespace: NS}
spec: {hosts: [x.example.com], http: [{match: [{uri: {prefix: /x}}], delegate: {name: NAME, namespace: n}}]}
""",
    """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: NAME, namespace: NS}
spec: {http: [{timeout: Xs, route: [{destination: {host: APP}}]}]}
""",
    """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: NAME, namespace: NS, creationTimestamp: "2026-01-0XT00:00:00Z"}
spec: {host: APP, exportTo: ["EXPORT"], subsets: [{name: vX, labels: {version: vX}}]}
""",
    """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: NAME, namespace: NS}
spec: {host: "*.example.com", workloadSelector: {matchLabels: {app: APP}},
  trafficPolicy: {connectionPool: {tcp: {maxConnections: X}}}}
""",
    """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: NAME, namespace: NS}
spec: {selector: {app: APP}, servers: [{port: {number: PORT, name: http, protocol: HTTP}, hosts: ["*"]}]}
""",
    """
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: NAME, namespace: NS}
spec: {workloadSelector: {labels: {app: APP}}, egress: [{hosts: ["NS/*", "*/x.example.com", "~n/all.example.com"]}]}
""",
    """
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: NAME, namespace: NS}
spec: {egress: [{port: {number: 80, protocol: HTTP, name: http}, hosts: ["./*", "m/APP.example.com"]}]}
""",
    """
apiVersion: v1
kind: Secret
metadata: {name: NAME, namespace: NS}
stringData: {key: vX}
""",
    """
apiVersion: v1
kind: Service
metadata: {name: NAME, namespace: NS}
spec: {selector: {app: APP, tier: x}, ports: [{port: PORT, name: http}]}
""",
    """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: NAME, namespace: NS}
spec:
  gatewayClassName: istio
  listeners:
  - {name: http, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: All}}}
  - {name: named, port: PORT, protocol: HTTP, hostname: "*.example.com"}
""",
    """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: NAME, namespace: NS, creationTimestamp: "2026-01-0XT00:00:00Z"}
spec:
  parentRefs: [{name: NAME, namespace: NS}, {group: "", kind: Service, name: NAME, namespace: NS}]
  hostnames: [APP.example.com]
  rules: [{matches: [{path: {value: /X}}], backendRefs: [{name: NAME, port: PORT}, {name: APP, port: PORT}]}]
""",
    """
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {name: NAME, namespace: NS}
spec:
  targetRefs: [{group: "", kind: Service, name: NAME}]
  validation: {hostname: vX.example.com, wellKnownCACertificates: System}
""",
)


@cache  # parsing is what takes the time here
def object_of(template: str, name: str, namespace: str, app: str, export: str, number: int) -> ConfigObject[Any]:
    words = {
        "NAME": name,
        "NS": namespace,
        "APP": app,
        "EXPORT": export,
        "PORT": str(79 + number),
        "X": str(number),
    }
    text = template
    for word, value in words.items():
        text = text.replace(word, value)
    parsed = parse(text.encode(), "mesh.yaml")
    assert not has_errors(parsed.findings), [str(finding) for finding in parsed.findings]
    (found,) = parsed.objects
    return found


_objects = st.builds(
    object_of,
    st.sampled_from(TEMPLATES),
    st.sampled_from("ab"),
    st.sampled_from("nm"),
    st.sampled_from("ab"),
    st.sampled_from("*.m"),
    st.integers(1, 3),
)
_registrations = st.builds(
    WorkloadRegistration,
    service=st.sampled_from(["", "a", "b"]),
    namespace=st.sampled_from("nm"),
    name=st.sampled_from(["w1", "w2", "w3"]),
    address=st.sampled_from(["127.0.0.1", "127.0.0.2", "127.0.0.9"]),
    labels=st.sampled_from([{}, {"app": "a"}, {"app": "b", "tier": "x"}]),
    ports=st.lists(st.sampled_from([80, 81]), unique=True).map(
        lambda numbers: tuple(WorkloadPort(port=number, protocol="http") for number in numbers)
    ),
    ready=st.booleans(),
)


def catalogue_of(hosts: list[str], port: int) -> Catalogue:
    services = tuple(
        Service(host=Hostname(host), namespace="n", ports=(ServicePort(number=port, protocol=Protocol.HTTP),))
        for host in hosts
    )
    endpoints = {service.host: (Endpoint(address="10.9.9.9", port=1, service_port=port),) for service in services}
    return Catalogue(name="other", services=services, endpoints=endpoints)


_catalogues = st.builds(
    catalogue_of, st.lists(st.sampled_from(["x.example.com", "c.example.com"]), unique=True), st.integers(80, 81)
)
_configs = st.sampled_from([MeshConfig(), MeshConfig(trust_domain="td"), MeshConfig(default_service_export_to=["."])])


@dataclass(frozen=True)
class World:
    """The inputs at one moment; the lists may name one key twice."""

    objects: Collection[ConfigObject[Any]] = ()
    registrations: Sequence[WorkloadRegistration] = ()
    other: Catalogue = field(default_factory=lambda: Catalogue(name="other"))
    mesh_config: MeshConfig = field(default_factory=MeshConfig)

    def build(self, previous: MeshState | None = None) -> MeshState:
        catalogues = [self.other, Catalogue(name="agents", workloads=self.registrations)]
        return build_state(self.objects, catalogues, self.mesh_config, previous)


class Sources:
    """Hold the inputs of one world after the other as newer versions of collections in parts."""

    def __init__(self) -> None:
        self._objects: Parted[Any, ConfigObject[Any]] = Parted.of({})
        self._registrations: Ordered[WorkloadRegistration] = Ordered()
        self._names: set[Any] = set()

    def hold(self, world: World) -> World:
        objects = numbered(world.objects, lambda item: (item.key.kind, item.key.namespace, item.key.name))
        self._objects = self._objects.patched({key: objects.get(key) for key in self._objects.keys() | objects.keys()})
        found = numbered(world.registrations, lambda item: (item.namespace, item.name))
        self._registrations = self._registrations.patched({key: found.get(key) for key in self._names | found.keys()})
        self._names |= found.keys()
        return replace(world, objects=self._objects.values(), registrations=self._registrations)


def numbered(items: Iterable[Any], key: Callable[[Any], tuple[str, ...]]) -> dict[Any, Any]:
    """By key, and by number among those of one key."""
    found: dict[Any, Any] = {}
    for item in items:
        found[(*key(item), sum(known[:-1] == key(item) for known in found))] = item
    return found


def moved(item: ConfigObject[Any]) -> ConfigObject[Any]:
    return replace(item, origin=Origin("mesh.yaml", item.origin.line + 1))


@st.composite
def worlds(draw: st.DrawFn) -> list[World]:
    """A mesh, and what becomes of it change by change."""
    world = World(tuple(draw(st.lists(_objects, max_size=12))), tuple(draw(st.lists(_registrations, max_size=4))))
    found = [world]
    for _ in range(draw(st.integers(1, 6))):
        objects, registrations = list(world.objects), list(world.registrations)
        match draw(st.integers(0, 9)):
            case 0 | 1 | 2:
                objects.insert(draw(st.integers(0, len(objects))), draw(_objects))
            case 3 if objects:
                del objects[draw(st.integers(0, len(objects) - 1))]
            case 4 if objects:  # read again: moved, and equal but not identical
                place = draw(st.integers(0, len(objects) - 1))
                objects[place:] = [moved(item) if draw(st.booleans()) else replace(item) for item in objects[place:]]
            case 5 | 6:
                registrations.append(draw(_registrations))
            case 7 if registrations:
                place = draw(st.integers(0, len(registrations) - 1))
                registrations[place : place + 1] = draw(
                    st.sampled_from([[], [replace(registrations[place], ready=not registrations[place].ready)]])
                )
            case 8:
                world = replace(world, other=draw(_catalogues))
            case _:
                world = replace(world, mesh_config=draw(_configs))
        world = replace(world, objects=tuple(objects), registrations=tuple(registrations))
        found.append(world)
    return found


PROXIES = [
    Proxy(type=kind, name="p", namespace=namespace, addresses=(address,), labels=labels)
    for kind in (ProxyType.SIDECAR, ProxyType.GATEWAY)
    for namespace in ("n", "m", "istio-system")
    for address, labels in (("127.0.0.1", {"app": "a"}), ("127.0.0.7", {"app": "b"}), ("10.0.0.1", {}))
]
HOSTS = [
    Hostname(host) for host in ("x.example.com", "a.n.svc.cluster.local", "b.m.svc.cluster.local", "*.example.com")
]


def answers(state: MeshState) -> list[Any]:
    """What every query says."""
    found: list[Any] = []
    for proxy in PROXIES:
        found += [
            queries.visible_services(state, proxy.namespace),
            queries.sidecar_for(state, proxy),
            queries.services_for(state, proxy),
            queries.gateways_for(state, proxy),
            queries.instances_of(state, proxy),
        ]
        found += [queries.destination_rule_for(state, proxy, host) for host in HOSTS]
        for gateway in ("mesh", "n/gw"):
            found.append(queries.virtual_services_for(state, proxy.namespace, gateway))
            found += [queries.virtual_service_for_host(state, proxy.namespace, host, gateway) for host in HOSTS]
    return found


def orders(state: MeshState) -> list[Any]:
    return [list(found) for found in (state.services, state.endpoints, state.destination_rules, state.selectors)]


PARTS = (
    "mesh_config",
    "services",
    "endpoints",
    "selectors",
    "doubles",
    "virtual_services",
    "destination_rules",
    "gateways",
    "sidecars",
    "secrets",
    "workloads",
)


def assert_shared(old: MeshState, new: MeshState) -> None:
    """Whatever is equal is the same object; `changes` names the rest."""
    for name in PARTS:
        before, after = getattr(old, name), getattr(new, name)
        if before == after:
            assert before is after, name
        if isinstance(before, Mapping):
            differing = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
            assert {key for key in before.keys() | after.keys() if before.get(key) is not after.get(key)} == differing
            assert getattr(changes(old, new), name) == differing
        elif isinstance(before, Ordered):
            for item in after:
                assert all(item is other for other in before if item == other), name


@given(worlds())
@pytest.mark.parametrize("parted", [False, True])
def test_building_on_a_previous_state_is_building_from_scratch(parted: bool, steps: list[World]) -> None:
    """For every mesh, also one whose inputs, mappings and orders are kept in parts."""
    with ExitStack() as small:
        if parted:
            small.enter_context(mock.patch("lateen.mesh.sharing.LARGE", 0))
            small.enter_context(mock.patch("lateen.mesh.sharing.RUN", 2))
        hold = Sources().hold if parted else lambda world: world
        state = hold(steps[0]).build()
        for world in steps[1:]:
            before, state, scratch = state, hold(world).build(state), world.build()
            assert state == scratch
            assert orders(state) == orders(scratch)
            assert answers(state) == answers(scratch)
            assert_shared(before, state)


def test_one_workload_among_many_of_a_service_changes_one_address_and_one_endpoint() -> None:
    workloads = [
        WorkloadRegistration(
            service="a",
            namespace="n",
            name=f"w{number}",
            address=f"127.0.1.{number}",
            ports=(WorkloadPort(port=80, protocol="http", app_port=number),),
        )
        for number in range(200)
    ]
    world = World(registrations=tuple(workloads))
    old = world.build()
    changed = replace(workloads[77], ready=True, ports=(replace(workloads[77].ports[0], app_port=9),))
    new = replace(world, registrations=(*workloads[:77], changed, *workloads[78:])).build(old)
    host = Hostname("a.n.svc.cluster.local")
    pairs = zip(old.endpoints[host], new.endpoints[host], strict=True)
    assert [one.address for one, other in pairs if one is not other] == [changed.address]
    assert changed_keys(old.index.endpoints.addresses, new.index.endpoints.addresses) == {changed.address}
    assert new.services is old.services


def test_what_was_merged_for_an_answer_stays_the_same_object_while_its_parts_do() -> None:
    """Several DestinationRules of a host, and a service with some of its ports."""
    rules = tuple(object_of(TEMPLATES[11], name, "n", "a", "*", 1) for name in "ab")
    two_ports = """
apiVersion: v1
kind: Service
metadata: {name: a, namespace: n}
spec: {ports: [{port: 80, name: http}, {port: 81, name: tcp}]}
"""
    world = World((*rules, object_of(two_ports, "", "", "", "", 0), object_of(TEMPLATES[15], "s", "n", "a", "*", 1)))
    old = world.build()
    host = Hostname("a.n.svc.cluster.local")
    merged = queries.destination_rule_for(old, PROXIES[0], host)
    (trimmed,) = queries.services_for(old, PROXIES[0])
    assert [port.number for port in trimmed.ports] == [80]
    other = object_of(TEMPLATES[11], "a", "n", "b", "*", 1)
    new = replace(world, objects=(*world.objects, object_of(TEMPLATES[5], "e", "m", "a", "*", 1))).build(old)
    assert queries.destination_rule_for(new, PROXIES[0], host) is merged
    assert queries.services_for(new, PROXIES[0])[0] is trimmed
    changed = replace(world, objects=(rules[0], other, *tuple(world.objects)[2:])).build(new)
    assert queries.destination_rule_for(changed, PROXIES[0], host) is not merged
    assert queries.destination_rule_for(new, PROXIES[0], host) is merged
