"""Tables of what a proxy was sent: every type of a whole snapshot has one."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from lateen.api.answers import TYPES
from lateen.cli.resources import print_resource_tables

GOLDENS = Path(__file__).parents[2] / "goldens"


@pytest.fixture(autouse=True)
def no_narrow_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker of pytest-xdist says how wide its lines are."""
    monkeypatch.delenv("COLUMNS", raising=False)


def tables(golden: str, capsys: pytest.CaptureFixture[str]) -> str:
    found = yaml.safe_load((GOLDENS / golden / "out.yaml").read_text())
    print_resource_tables({word: list(found.get(kind.rpartition(".")[2], {}).values()) for word, kind in TYPES.items()})
    return capsys.readouterr().out


def test_every_type_has_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    """Of a filter, whose tokens it takes and by which keys; of a route, which claims it asks for."""
    shown = tables("request-authentication", capsys)

    assert "https://accounts.example.com" in shown
    assert "customers" in shown
    assert "claim org.unit" in shown


def test_filters_of_policies_show_their_rules(capsys: pytest.CaptureFixture[str]) -> None:
    """One line for each, with what it does; a filter without policies shows none."""
    lines = [line.split() for line in tables("authorization", capsys).splitlines() if "envoy.filters." in line]
    rules = {(name.rpartition(".")[2], action) for name, action, *_ in lines}
    assert {
        ("audit", "AUDIT"),
        ("custom", "CUSTOM"),
        ("ext_authz", "ASK"),
        ("deny", "DENY"),
        ("allow", "ALLOW"),
    } <= rules
    assert all(found[2].startswith(("ns[", "istio-ext-authz-", "outbound|")) for found in lines if "(dry" not in found)
    assert "envoy.filters.http.rbac.deny" not in tables("request-authentication", capsys)


def test_listeners_routes_and_clusters_say_where_they_are_from(capsys: pytest.CaptureFixture[str]) -> None:
    """File and line of what they are made of; the folder is left to `-o json`."""
    chains = [{"metadata": origin("/etc/mesh/shop.yaml:3")}, {"metadata": origin("/etc/mesh/b.yaml:9")}, {}]
    found = {"listeners": [{"name": "shared", "filter_chains": chains}]}
    print_resource_tables(found)
    shown = capsys.readouterr().out

    assert "shop.yaml:3, b.yaml:9" in shown
    assert "/etc" not in shown


def test_policies_are_named_beside_their_rules(capsys: pytest.CaptureFixture[str]) -> None:
    """Of authorization, and of tokens."""
    assert "default/readers" in tables("authorization", capsys)
    assert "POLICY" in tables("request-authentication", capsys)


def test_a_route_on_a_narrow_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Port and subset are what one looks for; what a match asks not to be is told as that."""
    monkeypatch.setenv("COLUMNS", "80")
    match = {
        "prefix": "/a",
        "headers": [{"name": "x-a", "present_match": True, "invert_match": True}],
        "query_parameters": [{"name": "q", "present_match": True}],
    }
    action = {"cluster": "outbound|9080|v1|reviews.default.svc.cluster.local"}
    host = {"domains": ["reviews:9080"], "routes": [{"match": match, "route": action, "metadata": origin("m.yaml:8")}]}
    print_resource_tables({"routes": [{"name": "http_proxy.vhds", "virtual_hosts": [host]}]})
    shown = capsys.readouterr().out

    assert "prefix /a [not" in shown
    assert "9080|v1|" in shown
    assert max(map(len, shown.splitlines())) <= 80


def origin(place: str) -> dict[str, object]:
    return {"filter_metadata": {"lateen": {"origin": place}}}
