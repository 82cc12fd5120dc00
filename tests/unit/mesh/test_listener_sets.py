"""ListenerSets: which Gateways take them, which listener stands where two conflict, and what they are told."""

from __future__ import annotations

import pytest

from lateen.config.mesh_config import MeshConfig
from lateen.mesh.build import build_state
from lateen.mesh.queries import gateways_for
from lateen.model.proxies import Proxy, ProxyType
from unit.mesh.test_gateway_api import (
    API,
    FAR_SECRET,
    FINE,
    HTTP,
    SECRET,
    TO_A,
    gateway,
    grant,
    reasons,
    route,
    state,
    status,
)

ALLOW = "  allowedListeners: {namespaces: {from: All}}\n"
TAKEN = {"Accepted": "+Accepted", "Programmed": "+Programmed"}
NO_LISTENER = {"Accepted": "-ListenersNotValid", "Programmed": "-ListenersNotValid"}


def listener_set(
    name: str, *listeners: str, namespace: str = "default", parent: str = "name: edge, namespace: default", at: int = 0
) -> str:
    born = f', creationTimestamp: "2026-01-01T00:00:0{at}Z"' if at else ""
    listed = "".join(f"  - {one}\n" for one in listeners)
    head = f"{API}kind: ListenerSet\nmetadata: {{name: {name}, namespace: {namespace}{born}}}\n"
    return f"{head}spec:\n  parentRef: {{{parent}}}\n  listeners:\n{listed}"


def http(name: str, host: str = "", port: int = 80, more: str = "") -> str:
    hostname = f", hostname: {host}" if host else ""
    return f"{{name: {name}, port: {port}, protocol: HTTP{hostname}{more}}}"


OWN = listener_set("team", http("own", "team.example.com"), namespace="other")


@pytest.mark.parametrize(
    ("allowed", "expected"),
    [
        ("", {"Accepted": "-NotAllowed", "Programmed": "-NotAllowed"}),
        ("  allowedListeners: {}\n", {"Accepted": "-NotAllowed", "Programmed": "-NotAllowed"}),
        (ALLOW.replace("All}", "None}"), {"Accepted": "-NotAllowed", "Programmed": "-NotAllowed"}),
        (ALLOW.replace("All}", "Same}"), {"Accepted": "-NotAllowed", "Programmed": "-NotAllowed"}),
        (ALLOW, TAKEN),
        (ALLOW.replace("All}", "Selector, selector: {matchLabels: {team: blue}}}"), TAKEN),
        (
            ALLOW.replace("All}", "Selector, selector: {matchLabels: {team: red}}}"),
            {"Accepted": "-NotAllowed", "Programmed": "-NotAllowed"},
        ),
    ],
)
def test_a_gateway_says_of_which_namespaces_it_takes_sets(allowed: str, expected: dict[str, str]) -> None:
    text = gateway(HTTP, more=allowed) + OWN
    assert reasons(status(text, "ListenerSet")["conditions"]) == expected
    assert status(text, "Gateway")["attachedListenerSets"] == (1 if expected is TAKEN else 0)


@pytest.mark.parametrize(
    ("parent", "expected"),
    [
        ("name: gone", {"Accepted": "-ParentNotAccepted", "Programmed": "-ParentNotProgrammed"}),
        ("name: edge, kind: Service, group: ''", {"Accepted": "-Invalid", "Programmed": "-Invalid"}),
        ("name: edge", TAKEN),
        ("name: broken", {"Accepted": "-ParentNotAccepted", "Programmed": "-ParentNotProgrammed"}),
        ("name: lost", {"Accepted": "-ParentNotAccepted", "Programmed": "-ParentNotProgrammed"}),
    ],
)
def test_a_set_is_told_what_its_parent_comes_to(parent: str, expected: dict[str, str]) -> None:
    udp = "{name: udp, port: 53, protocol: UDP}"
    text = gateway(HTTP, more=ALLOW) + gateway(udp, name="broken", more=ALLOW)
    text += gateway(HTTP, name="lost", more=ALLOW, cls="nobody")
    text += listener_set("team", http("own", "team.example.com"), parent=parent)
    assert reasons(status(text, "ListenerSet")["conditions"]) == expected


def test_sets_of_gateways_that_others_serve_are_left_alone() -> None:
    other = f"{API}kind: GatewayClass\nmetadata: {{name: nginx}}\nspec: {{controllerName: nginx.org/c}}\n"
    text = other + gateway(HTTP, more=ALLOW, cls="nginx") + OWN
    text += route("r", f"{{parentRefs: [{{kind: ListenerSet, name: team}}], {TO_A}}}", namespace="other")
    found = {key.kind: one for key, one in state(text).statuses.items()}
    assert "ListenerSet" not in found
    assert found["HTTPRoute"].parents == ()


def test_of_conflicting_listeners_the_first_one_stands() -> None:
    """The Gateway's own goes first, then the older set, then by name; the others of a set are served."""
    text = gateway(http("a", "a.example.com"), more=ALLOW)
    text += listener_set("a-young", http("one", "b.example.com"), http("two", "young.example.com"), at=2)
    text += listener_set("z-old", http("one", "a.example.com"), http("two", "b.example.com"), at=1)
    text += listener_set("z-young", http("one", "young.example.com"), at=2)
    conflicted = {
        name: {one["name"]: reasons(one["conditions"])["Conflicted"] for one in found["listeners"]}
        for name in ("a-young", "z-old", "z-young")
        if (found := status(text, "ListenerSet", name))
    }
    clash, none = "+HostnameConflict", "-NoConflicts"
    assert conflicted == {
        "a-young": {"one": clash, "two": none},
        "z-old": {"one": clash, "two": none},
        "z-young": {"one": clash},
    }
    (own,) = status(text, "Gateway")["listeners"]
    assert reasons(own["conditions"])["Conflicted"] == none
    assert reasons(status(text, "ListenerSet", "z-old")["conditions"])["Accepted"] == "+ListenersNotValid"
    assert reasons(status(text, "ListenerSet", "z-young")["conditions"]) == NO_LISTENER
    assert status(text, "Gateway")["attachedListenerSets"] == 2
    assert sorted(one.spec.servers[0].hosts[0] for one in state(text).gateways) == [
        "*/a.example.com",
        "*/b.example.com",
        "*/young.example.com",
    ]


def test_a_listener_that_does_not_stand_keeps_nobody_out() -> None:
    tls = "{name: tls, port: 80, protocol: TLS, hostname: b.example.com, tls: {mode: Passthrough}}"
    text = gateway(http("a", "a.example.com"), more=ALLOW)
    text += listener_set("one", tls) + listener_set("two", http("b", "b.example.com"))
    (refused,) = status(text, "ListenerSet", "one")["listeners"]
    assert reasons(refused["conditions"]) == {
        "Accepted": "-ProtocolConflict",
        "Conflicted": "+ProtocolConflict",
        "ResolvedRefs": "+ResolvedRefs",
        "Programmed": "-ProtocolConflict",
    }
    assert reasons(status(text, "ListenerSet", "two")["conditions"]) == TAKEN


def test_a_conflict_names_nothing_of_other_namespaces() -> None:
    text = gateway(HTTP, more=ALLOW) + listener_set("secret-plan", http("x", "x.example.com"), namespace="other", at=1)
    text += listener_set("team", http("y", "x.example.com"), at=2)
    assert "secret-plan" not in str(status(text, "ListenerSet", "team"))


@pytest.mark.parametrize(
    ("parents", "attached"),
    [
        ("{kind: ListenerSet, name: team}", (0, 1, 1)),
        ("{kind: ListenerSet, name: team, sectionName: http}", (0, 1, 0)),
        ("{kind: ListenerSet, name: team, port: 81}", (0, 0, 1)),
        ("{name: edge, namespace: default}", (1, 0, 0)),
        ("{name: edge, namespace: default}, {kind: ListenerSet, name: team}", (1, 1, 1)),
    ],
)
def test_a_route_attaches_to_the_listeners_of_the_parent_that_it_names(
    parents: str, attached: tuple[int, int, int]
) -> None:
    """A Gateway's name means its own listeners only, though listeners of its sets may have the same names."""
    text = gateway(http("http", more=", allowedRoutes: {namespaces: {from: All}}"), more=ALLOW)
    text += listener_set("team", http("http", "team.example.com"), http("more", "", 81), namespace="other")
    text += route("r", f"{{parentRefs: [{parents}], {TO_A}}}", namespace="other")
    (own,) = status(text, "Gateway")["listeners"]
    sets = status(text, "ListenerSet")["listeners"]
    assert (own["attachedRoutes"], *(one["attachedRoutes"] for one in sets)) == attached


@pytest.mark.parametrize(
    ("parent", "namespace", "expected"),
    [
        ("{kind: ListenerSet, name: team}", "other", "+Accepted"),
        ("{kind: ListenerSet, name: team, namespace: other}", "default", "-NotAllowedByListeners"),
        ("{kind: ListenerSet, name: team, sectionName: x}", "other", "-NoMatchingParent"),
        ("{kind: ListenerSet, name: gone}", "other", "-NoMatchingParent"),
        ("{name: edge, namespace: default, sectionName: own}", "other", "-NoMatchingParent"),
    ],
)
def test_a_route_is_told_whether_the_set_took_it(parent: str, namespace: str, expected: str) -> None:
    """Unless a listener says otherwise it takes routes of its set's namespace, not of its Gateway's."""
    spec = f"{{parentRefs: [{parent}], rules: [{{backendRefs: []}}]}}"
    text = gateway(HTTP, more=ALLOW) + OWN + route("r", spec, namespace=namespace)
    (found,) = status(text, "HTTPRoute")["parents"]
    assert reasons(found["conditions"]) == FINE | {"Accepted": expected}


TLS = "{{name: tls, port: 443, protocol: HTTPS, tls: {{certificateRefs: [{0}]}}}}"


@pytest.mark.parametrize(
    ("namespace", "ref", "more", "expected"),
    [
        ("other", "{name: s}", FAR_SECRET, "+ResolvedRefs"),
        ("other", "{name: s}", SECRET, "-InvalidCertificateRef"),
        ("default", "{name: s, namespace: other}", FAR_SECRET, "-RefNotPermitted"),
        ("default", "{name: s, namespace: other}", FAR_SECRET + grant("Gateway", "Secret"), "-RefNotPermitted"),
        ("default", "{name: s, namespace: other}", FAR_SECRET + grant("ListenerSet", "Secret"), "+ResolvedRefs"),
    ],
)
def test_grants_of_the_gateway_are_not_those_of_its_sets(namespace: str, ref: str, more: str, expected: str) -> None:
    text = gateway(HTTP, more=ALLOW) + listener_set("team", TLS.format(ref), namespace=namespace) + more
    (found,) = status(text, "ListenerSet")["listeners"]
    assert reasons(found["conditions"])["ResolvedRefs"] == expected


def test_a_grant_for_sets_is_none_for_their_gateway() -> None:
    text = gateway(TLS.format("{name: s, namespace: other}")) + FAR_SECRET + grant("ListenerSet", "Secret")
    (found,) = status(text, "Gateway")["listeners"]
    assert reasons(found["conditions"])["ResolvedRefs"] == "-RefNotPermitted"


def test_the_proxies_of_the_gateway_serve_its_sets() -> None:
    found = state(gateway(HTTP, more=ALLOW) + OWN)
    labels = {"gateway.networking.k8s.io/gateway-name": "edge"}
    proxies = [
        Proxy(type=ProxyType.GATEWAY, name="p", namespace=namespace, addresses=("10.0.0.1",), labels=labels)
        for namespace in ("default", "other")
    ]
    assert [len(gateways_for(found, proxy)) for proxy in proxies] == [2, 0]


def test_a_listener_of_a_set_has_its_hosts_alone() -> None:
    """Listener isolation is over the whole list: the Gateway's wildcard leaves a set's host to it."""
    text = gateway(http("wild", "'*.example.com'"), more=ALLOW) + OWN
    text += route("r", f"{{parentRefs: [{{name: edge}}], {TO_A}}}")
    by_host = {str(bound.hosts[0]): bound.object.spec.http[0] for bound in state(text).virtual_services}
    assert by_host["*.example.com"].direct_response is None
    isolated = by_host["team.example.com"].direct_response
    assert isolated is not None
    assert isolated.status == 404


def test_every_step_is_what_comes_from_scratch() -> None:
    """Sets come, conflict, lose their Gateway's permission and go; a state built on the last one is no other."""
    spec = f"{{parentRefs: [{{kind: ListenerSet, name: team}}], {TO_A}}}"
    routed = OWN + route("r", spec, namespace="other")
    older = listener_set("old", http("x", "team.example.com"), at=1)
    blue = ALLOW.replace("All}", "Selector, selector: {matchLabels: {team: blue}}}")
    last = build_state((), (), MeshConfig())
    for text in (
        gateway(HTTP, more=ALLOW),
        gateway(HTTP, more=ALLOW) + routed,
        gateway(HTTP, more=ALLOW) + routed + older,
        gateway(HTTP, more=ALLOW) + routed,
        gateway(HTTP, more=blue) + routed,
        gateway(HTTP, more=blue).replace("blue", "red") + routed,
        routed,
        gateway(HTTP, more=ALLOW) + routed,
    ):
        fresh = state(text)
        last = state(text, last)
        assert last.statuses == fresh.statuses
        assert last.gateways == fresh.gateways
        assert [one.object for one in last.virtual_services] == [one.object for one in fresh.virtual_services]
