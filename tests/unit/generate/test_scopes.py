"""What tells proxies apart, and what does not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lateen.envoy.resources import CLUSTER, ENDPOINT, LISTENER, ROUTE
from lateen.generate.generator import Generator
from lateen.generate.scopes import scope_of
from lateen.generate.snapshot import generate
from lateen.model.proxies import Interception, Proxy, ProxyType, Upstream
from unit.generate.conftest import state_of

SERVICES = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: a, namespace: default}
spec:
  hosts: [a.default.svc.cluster.local]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  location: MESH_INTERNAL
  endpoints: [{address: 10.1.0.1}, {address: 10.1.0.2}]
"""
SIDECAR = """
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: s, namespace: default}
spec: {workloadSelector: {labels: {app: a}}, egress: [{hosts: ["./*"]}]}
"""
RULE = """
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: r, namespace: default}
spec: {host: a, workloadSelector: {matchLabels: {app: a}}, trafficPolicy: {loadBalancer: {simple: RANDOM}}}
"""
SOURCE = """
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v, namespace: default}
spec:
  hosts: [a]
  http: [{match: [{sourceLabels: {app: a}}], route: [{destination: {host: a}}], timeout: 1s}]
"""
ELSEWHERE = """
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: r, namespace: other}
spec: {host: a.default.svc.cluster.local, workloadSelector: {matchLabels: {app: a}}}
"""


def sidecar(name: str, app: str, address: str, **more: Any) -> Proxy:
    return Proxy(
        type=ProxyType.SIDECAR, name=name, namespace="default", addresses=(address,), labels={"app": app}, **more
    )


@pytest.mark.parametrize("documents", ["", SIDECAR, RULE, SOURCE])
def test_replicas_share_everything(documents: str) -> None:
    state = state_of(SERVICES + documents)
    one, other = sidecar("a-1", "a", "10.1.0.1"), sidecar("a-2", "a", "10.1.0.2")

    assert scope_of(state, one) == scope_of(state, other)
    generator = Generator()
    assert generator.generate(state, one) is generator.generate(state, other)


@pytest.mark.parametrize(
    ("documents", "shared"), [("", True), (ELSEWHERE, True), (SIDECAR, False), (RULE, False), (SOURCE, False)]
)
def test_workloads_share_their_view_unless_something_selects_one_of_them(documents: str, shared: bool) -> None:
    """A Sidecar or DestinationRule for some workloads of their namespace, or source labels, anywhere."""
    state = state_of(SERVICES + documents)
    one, other = sidecar("b-1", "b", "10.1.0.8"), sidecar("a-1", "a", "10.1.0.9")

    assert (scope_of(state, one).outbound == scope_of(state, other).outbound) is shared
    generator = Generator()
    kinds = [generator.generate(state, proxy).resources for proxy in (one, other)]
    assert (kinds[0][ENDPOINT] is kinds[1][ENDPOINT]) is shared
    assert (kinds[0][ROUTE] is kinds[1][ROUTE]) is shared


def test_workloads_that_a_selector_does_not_name_share_their_view() -> None:
    state = state_of(SERVICES + SIDECAR + RULE + SOURCE)

    assert scope_of(state, sidecar("b-1", "b", "10.1.0.8")) == scope_of(state, sidecar("c-1", "c", "10.1.0.9"))


@pytest.mark.parametrize(
    "change",
    [
        {"namespace": "other"},
        {"interception": Interception.NONE},
        {"interception": Interception.TPROXY},
        {"dns_domain": "mesh.example"},
        {"addresses": ("::1",)},
        {"addresses": ("10.1.0.1",)},
        {"type": ProxyType.GATEWAY},
        {"private_keys": False},
    ],
    ids=str,
)
def test_what_else_tells_proxies_apart(change: dict[str, Any]) -> None:
    """The last address is one where a service runs."""
    state = state_of(SERVICES)
    proxy = sidecar("b-1", "b", "10.1.0.8")

    assert scope_of(state, proxy) != scope_of(state, replace(proxy, **change))


@pytest.mark.parametrize("change", [{"name": "x"}, {"service_account": "x"}, {"addresses": ("10.1.0.9",)}], ids=str)
def test_what_does_not(change: dict[str, Any]) -> None:
    state = state_of(SERVICES)
    proxy = sidecar("b-1", "b", "10.1.0.8")

    assert scope_of(state, proxy) == scope_of(state, replace(proxy, **change))


def test_explicit_workloads_differ_in_listeners_and_in_their_own_side_only() -> None:
    """Clusters, endpoints and routes of what they call are the same objects, whatever their addresses."""
    state = state_of(SERVICES)
    explicit = {"interception": Interception.NONE}
    one = sidecar("b-1", "b", "127.0.0.8", **explicit)
    other = sidecar("c-1", "c", "127.0.0.9", upstreams=(Upstream(host="a", port=80, local_port=1),), **explicit)
    generator = Generator()
    first, second = (generator.generate(state, proxy).resources for proxy in (one, other))

    assert scope_of(state, one) != scope_of(state, other)
    assert scope_of(state, one).outbound == scope_of(state, other).outbound
    assert first[CLUSTER] is second[CLUSTER]
    assert first[ENDPOINT] is second[ENDPOINT]
    assert all(second[ROUTE][name] is resource for name, resource in first[ROUTE].items())
    assert first[LISTENER]["http_proxy"].version != second[LISTENER]["http_proxy"].version


def test_what_nobody_asks_for_is_forgotten() -> None:
    """Two states later; one that is asked for stays."""
    generator = Generator()
    stays, goes = sidecar("b-1", "b", "10.1.0.8"), replace(sidecar("c-1", "c", "10.1.0.9"), namespace="other")
    states = [state_of(SERVICES + "---\n" * number) for number in range(5)]
    generator.generate(states[0], goes)
    for state in states:
        generator.generate(state, stays)

    assert generator.scopes == (1, 1)
    assert generator.generate(states[-1], goes).version == generate(states[-1], goes).version


def test_the_owner_may_say_which_scopes_are_used() -> None:
    generator, state = Generator(), state_of(SERVICES)
    one, other = sidecar("b-1", "b", "10.1.0.8"), replace(sidecar("c-1", "c", "10.1.0.9"), namespace="other")
    generator.generate(state, one)
    generator.generate(state, other)
    generator.keep([generator.scope_of(state, one)])

    assert generator.scopes == (1, 1)
