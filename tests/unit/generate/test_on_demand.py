"""Virtual hosts that are made when somebody asks for them, by the host that was called."""

from __future__ import annotations

import pytest

from lateen.config.mesh_config import MeshConfig, MeshOutboundTrafficPolicy, MeshOutboundTrafficPolicyMode
from lateen.config.parsing import parse
from lateen.envoy.messages import message_class
from lateen.envoy.resources import CLUSTER, ENDPOINT, ROUTE, VIRTUAL_HOST, Resource, Snapshot
from lateen.generate.generator import Generator
from lateen.generate.snapshot import generate
from lateen.mesh.build import build_state
from lateen.mesh.state import MeshState
from lateen.model.proxies import Interception, Proxy, ProxyType

SERVICES = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: reviews}
spec:
  hosts: [reviews.default.svc.cluster.local]
  addresses: [10.1.1.1]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}, {number: 9080, name: more, protocol: HTTP}]
  endpoints: [{address: 10.0.0.1, labels: {version: v1}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: wild}
spec:
  hosts: ['*.wild.example.com']
  resolution: NONE
  ports: [{number: 80, name: http, protocol: HTTP}]
"""
RULE = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews.default.svc.cluster.local]
  http: [{route: [{destination: {host: HOST}}], mirror: {host: wild.wild.example.com}}]
"""
BLOCKED = MeshConfig(
    outbound_traffic_policy=MeshOutboundTrafficPolicy(mode=MeshOutboundTrafficPolicyMode.REGISTRY_ONLY)
)


def state_of(text: str = SERVICES, previous: MeshState | None = None) -> MeshState:
    return build_state(parse(text.encode(), "f").objects, (), BLOCKED, previous)


def proxy(interception: Interception = Interception.NONE) -> Proxy:
    return Proxy(
        type=ProxyType.SIDECAR,
        name="a",
        namespace="default",
        addresses=("127.0.0.2",),
        interception=interception,
        asks_on_demand=True,
    )


def asked(snapshot: Snapshot, name: str) -> Resource:
    found = snapshot.on_demand[VIRTUAL_HOST].get(name)
    assert found is not None
    assert (found.kind, found.name) == (VIRTUAL_HOST, name)
    return found


def host(resource: Resource) -> tuple[str, list[str], str]:
    """Name, domains, and where its last route leads."""
    message = message_class(VIRTUAL_HOST).FromString(resource.body)
    last = message.routes[-1]
    return message.name, list(message.domains), last.route.cluster or str(last.direct_response.status)


REVIEWS = "outbound|80||reviews.default.svc.cluster.local"
EXPLICIT = {
    "reviews": REVIEWS,
    "reviews:80": REVIEWS,
    "reviews.default": REVIEWS,
    "reviews.default.svc.cluster.local:80": REVIEWS,
    "10.1.1.1": REVIEWS,
    "reviews:9080": "outbound|9080||reviews.default.svc.cluster.local",
    "a.wild.example.com": "outbound|80||*.wild.example.com",
    "a.b.wild.example.com:80": "outbound|80||*.wild.example.com",
    ".wild.example.com": "502",
    "wild.example.com": "502",
    "reviews:81": "502",
    "nobody.example.com": "502",
    "[::1]:80": "502",
    "anything:15001": "400",
    "": "502",
}


@pytest.mark.parametrize("called", EXPLICIT)
def test_host_of_an_explicit_proxy(called: str) -> None:
    """Every name has an answer: the service's routes, or what the policy says; each for its own spelling alone."""
    snapshot = generate(state_of(), proxy())
    assert host(asked(snapshot, f"http_proxy.vhds/{called}")) == (called, [called], EXPLICIT[called])


def test_tunnel_needs_a_port() -> None:
    """A CONNECT names a port, so a name without one has no route for it."""
    snapshot = generate(state_of(), proxy())
    for called, tunnels in (
        ("reviews", 0),
        ("reviews:80", 1),
        ("nobody.example.com", 0),
        ("nobody.example.com:443", 1),
    ):
        message = message_class(VIRTUAL_HOST).FromString(asked(snapshot, f"http_proxy.vhds/{called}").body)
        assert [route.match.HasField("connect_matcher") for route in message.routes].count(True) == tunnels
        assert len(message.routes) == tunnels + 1


INTERCEPTED = {
    "80.vhds/reviews": "reviews",
    "80.vhds/reviews:80": "reviews",
    "80.vhds/reviews:8123": "reviews",
    "80.vhds/10.1.1.1": "10.1.1.1",
    "80.vhds/[::1]:80": "[::1]",
    "80.vhds/[::1]": "[::1]",
}


@pytest.mark.parametrize("name", INTERCEPTED)
def test_host_of_an_intercepted_port(name: str) -> None:
    """A port in the Host header does not count, and gives the same virtual host: Envoy takes no domain twice."""
    snapshot = generate(state_of(), proxy(Interception.REDIRECT))
    assert host(asked(snapshot, name))[:2] == (INTERCEPTED[name], [INTERCEPTED[name]])


LOOKED_UP = (
    SERVICES
    + """\
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: named}
spec:
  hosts: ['*.named.example.com']
  resolution: DYNAMIC_DNS
  ports: [{number: 80, name: http, protocol: HTTP}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: passed}
spec:
  hosts: [passed.example.com]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 10.0.0.2}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: passed}
spec: {host: passed.example.com, trafficPolicy: {loadBalancer: {simple: PASSTHROUGH}}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: several}
spec:
  hosts: [several.example.com]
  http:
  - match: [{uri: {prefix: /some}}]
    route:
    - {destination: {host: reviews}, weight: 50}
    - {destination: {host: '*.named.example.com'}, weight: 50}
  - route: [{destination: {host: reviews}}]
"""
)


@pytest.mark.parametrize(
    ("name", "explicit", "intercepted"),
    [
        ("reviews", [False], [False]),
        ("a.wild.example.com", [True], [False]),
        ("a.named.example.com", [True], [True]),
        ("passed.example.com", [True], [False]),
        ("several.example.com", [True, False], [True, False]),
        ("nobody.example.com", [True], [True]),
    ],
)
def test_names_are_looked_up_where_a_route_leads_to_a_cluster_without_endpoints(
    name: str, explicit: list[bool], intercepted: list[bool]
) -> None:
    """There the filter that does it is on: for who dialled nothing, or as the service says."""
    state = build_state(parse(LOOKED_UP.encode(), "f").objects, (), MeshConfig())
    for mode, routes, wanted in (
        (Interception.NONE, "http_proxy", explicit),
        (Interception.REDIRECT, "80", intercepted),
    ):
        found = asked(generate(state, proxy(mode)), f"{routes}.vhds/{name}")
        message = message_class(VIRTUAL_HOST).FromString(found.body)
        looked_up = "envoy.filters.http.dynamic_forward_proxy"
        assert [looked_up in route.typed_per_filter_config for route in message.routes] == wanted


def test_route_configuration_that_is_not_served() -> None:
    assert generate(state_of(), proxy()).on_demand[VIRTUAL_HOST].get("8080.vhds/reviews") is None


def test_what_is_told_and_what_is_on_demand() -> None:
    """Nothing of others is told; a virtual host says which clusters go with it, mirrors too."""
    snapshot = generate(state_of(SERVICES + "---\n" + RULE.replace("HOST", "reviews")), proxy())
    assert set(snapshot.resources[CLUSTER]) == {"BlackHoleCluster", "PassthroughCluster"}
    assert ENDPOINT not in snapshot.resources
    assert set(snapshot.resources[ROUTE]) == {"http_proxy.vhds"}
    assert set(snapshot.resources[VIRTUAL_HOST]) == {"http_proxy.vhds/placeholder.invalid"}
    assert asked(snapshot, "http_proxy.vhds/reviews").leads_to == ("outbound|80||wild.wild.example.com", REVIEWS)
    assert snapshot.on_demand[CLUSTER].get(REVIEWS)
    assert snapshot.on_demand[ENDPOINT].get(REVIEWS)


def test_only_what_is_used_and_changed_is_made_again() -> None:
    """A change of rules gives other virtual hosts to those who use the host, and is nothing to the others."""
    generator = Generator()
    before = state_of()
    first = generator.generate(before, proxy())
    used, other = asked(first, "http_proxy.vhds/reviews"), asked(first, "http_proxy.vhds/a.wild.example.com")
    after = state_of(SERVICES + "---\n" + RULE.replace("HOST", "nobody"), before)
    second = generator.generate(after, proxy())
    assert asked(second, "http_proxy.vhds/reviews").version != used.version
    assert asked(second, "http_proxy.vhds/a.wild.example.com") == other
    assert asked(first, "http_proxy.vhds/reviews") is used
    assert asked(first, "http_proxy.vhds/reviews.default").body != asked(second, "http_proxy.vhds/reviews.default").body


def test_change_of_what_nobody_called_changes_nothing() -> None:
    generator = Generator()
    before = state_of()
    first = generator.generate(before, proxy())
    asked(first, "http_proxy.vhds/a.wild.example.com")
    after = state_of(SERVICES + "---\n" + RULE.replace("HOST", "reviews"), before)
    assert generator.generate(after, proxy()) is first


def test_rules_that_come_and_go_leave_nothing() -> None:
    """Also for a host first called while they were there: the mesh is as it was before, what was made is not."""
    generator = Generator()
    before = state_of()
    versions = {generator.generate(before, proxy()).version}
    during = state_of(SERVICES + "---\n" + RULE.replace("HOST", "nobody"), before)
    called = generator.generate(during, proxy())
    assert host(asked(called, "http_proxy.vhds/reviews"))[2] != REVIEWS
    versions.add(called.version)
    after = state_of(SERVICES, during)
    assert after.version == before.version
    found = generator.generate(after, proxy())
    assert host(asked(found, "http_proxy.vhds/reviews"))[2] == REVIEWS
    assert found.version not in versions
