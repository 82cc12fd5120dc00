"""Delegate VirtualServices become rules of their root."""

from __future__ import annotations

from typing import Any

from lateen.config.networking import HTTPRoute

ROOT = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: root, namespace: default}
spec:
  hosts: [shop.example.com]
  gateways: [gw]
  http:
  - name: reviews
    match: [{uri: {prefix: /reviews}, gateways: [gw]}]
    timeout: 3s
    delegate: {name: reviews, namespace: shop}
  - route: [{destination: {host: home}}]
---
"""
DELEGATE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: shop}
spec:
  http:
  - name: old
    match: [{uri: {prefix: /reviews/old}, headers: {x: {exact: y}}}]
    route: [{destination: {host: old}}]
    timeout: 1s
  - match: [{uri: {prefix: /other}}]
    route: [{destination: {host: never}}]
  - route: [{destination: {host: new}}]
    mirror: {host: copy}
"""


def routes(state: Any) -> list[HTTPRoute]:
    (bound,) = state.virtual_services
    return list(bound.object.spec.http)


def test_rules_are_narrowed_named_and_resolved_in_their_own_namespace(build: Any) -> None:
    """A rule that contradicts the root's match is left out; what the delegate does not set comes from the root."""
    old, new, home = routes(build(ROOT + DELEGATE))
    assert old.name == "reviews-old"
    assert old.match[0].uri is not None
    assert (old.match[0].uri.prefix, old.match[0].gateways, old.timeout) == ("/reviews/old", ["default/gw"], "1s")
    assert old.route[0].destination.host == "old.shop.svc.cluster.local"
    assert new.match[0].uri is not None
    assert (new.name, new.match[0].uri.prefix, new.timeout) == ("reviews", "/reviews", "3s")
    assert new.mirror is not None
    assert new.mirror.host == "copy.shop.svc.cluster.local"
    assert new.delegate is None
    assert home.route[0].destination.host == "home"


def test_a_missing_delegate_leaves_the_other_rules(build: Any) -> None:
    (home,) = routes(build(ROOT))
    assert home.route[0].destination.host == "home"


def test_a_delegate_must_be_exported_to_the_root(build: Any) -> None:
    assert len(routes(build(ROOT + DELEGATE.replace("spec:\n", "spec:\n  exportTo: ['.']\n")))) == 1
    assert len(routes(build(ROOT + DELEGATE.replace("spec:\n", "spec:\n  exportTo: [default]\n")))) == 3


def test_the_version_of_the_root_follows_its_delegates(build: Any) -> None:
    one = build(ROOT + DELEGATE).virtual_services[0].object
    other = build(ROOT + DELEGATE.replace("1s", "2s")).virtual_services[0].object
    assert one.key == other.key
    assert one.digest != other.digest
