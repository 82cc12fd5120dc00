"""What Envoy refuses, said without it. That the verdicts are Envoy's own is held by tests/e2e/test_constraints.py."""

import pytest

from envoy_messages import BASES, JWT, KINDS, LISTENERS, add, edited, judged, jwt
from lateen.envoy.constraints.checking import Checker
from lateen.envoy.constraints.compiling import has_rules, plan_of
from lateen.envoy.constraints.violations import Violation
from lateen.envoy.messages import serialise


def said(which: str, name: str) -> list[str]:
    return [str(one) for one in judged(which, edited(which, LISTENERS[name]))]


@pytest.mark.parametrize("which", BASES)
def test_what_is_right_breaks_no_rule(which: str) -> None:
    """The base of all cases."""
    assert judged(which, edited(which, {})) == ()


def test_a_violation_says_where_and_what() -> None:
    """Through lists and what stands packed."""
    [delay] = said("listener", "delay of zero")
    filters = "filter_chains[0].filters[0].typed_config.http_filters[0]"
    assert delay == f"{filters}.typed_config.delay.fixed_delay must be greater than 0s"
    [alike] = said("listener", "two chains alike")
    assert alike.startswith("filter_chains[1].filter_chain_match must differ from that of filter_chains[0]")


def test_all_violations_are_said() -> None:
    """Not only the first, as Envoy would."""
    edits = {"HOST.domains": [], "ROUTE.match": {}, "ROUTE.request_headers_to_add": add("x-a", "100%")}
    found = [one.path.rpartition("route_config.")[2] for one in judged("listener", edited("listener", edits))]
    assert sorted(found) == [
        "virtual_hosts[0].domains",
        "virtual_hosts[0].routes[0].match.path_specifier",
        "virtual_hosts[0].routes[0].request_headers_to_add[0].header.value",
    ]


def test_the_innermost_origin_counts() -> None:
    """A route's place, not that of the listener around it."""

    def metadata(place: str, config: str) -> dict[str, object]:
        return {"filter_metadata": {"lateen": {"origin": place, "config": config}}}

    edits = {
        "metadata": metadata("f:1", "Gateway default/g"),
        "ROUTE.metadata": metadata("f:9", "VirtualService default/v"),
        "ROUTE.match": {},
        "HCM.stat_prefix": "",
    }
    found = judged("listener", edited("listener", edits))
    assert {(one.origin, one.config) for one in found} == {
        ("f:1", "Gateway default/g"),
        ("f:9", "VirtualService default/v"),
    }


def test_what_was_right_once_is_not_walked_again() -> None:
    """The packed filters of one listener are those of the next; a wrong one is said each time."""
    checker = Checker()
    wrong = edited("listener", {"HCM.http_filters": jwt("q")})
    body = _body("listener", wrong)
    first = checker.violations(KINDS["listener"], body)
    assert first == checker.violations(KINDS["listener"], body) != ()
    assert "must name a provider that is there, not 'q'" in str(first[0])
    assert JWT.endswith("JwtAuthentication")


def _body(which: str, document: object) -> bytes:
    from google.protobuf import json_format

    from lateen.envoy.messages import message_class, pool

    made = json_format.ParseDict(document, message_class(KINDS[which])(), descriptor_pool=pool())
    return bytes(made.SerializeToString())


def test_an_unknown_packed_type_is_left_to_envoy() -> None:
    """Of an EnvoyFilter, say."""
    filters = [{"name": "x", "typed_config": {"type_url": "type.googleapis.com/x.Unknown", "value": b"\xff"}}]
    body = serialise(KINDS["listener"], {"name": "l", "filter_chains": [{"filters": filters}]})
    assert [one.path for one in Checker().violations(KINDS["listener"], body)] == ["address"]


def test_a_packed_message_that_is_none_is_a_violation() -> None:
    """Bytes that cannot be read."""
    kind = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
    filters = [{"name": "x", "typed_config": {"type_url": kind, "value": b"\xff"}}]
    address = {"socket_address": {"address": "::1", "port_value": 1}}
    body = serialise(KINDS["listener"], {"name": "l", "address": address, "filter_chains": [{"filters": filters}]})
    [found] = Checker().violations(KINDS["listener"], body)
    assert found.path == "filter_chains[0].filters[0].typed_config"


def test_plans_hold_only_what_is_to_be_asked() -> None:
    """Free-form metadata has no rules; a cluster's name must be there."""
    assert not has_rules("google.protobuf.Struct")
    assert 1 in plan_of(KINDS["cluster"]).absent


def test_paths_join() -> None:
    """Of a list in a list, and of nothing."""
    assert Violation(path="", rule="r").under("a").path == "a"
    assert Violation(path="b", rule="r").under("a").path == "a.b"
    assert str(Violation(path="", rule="must be")) == "must be"
