"""Which virtual host a Host header means."""

from __future__ import annotations

import pytest

from lateen.envoy.resources import make_snapshot
from lateen.explain.route_tables import inline_table
from lateen.explain.served import Served
from lateen.explain.virtual_hosts import close_hosts, virtual_host, without_port

NOTHING = Served(make_snapshot([]))
DOMAINS = ("reviews", "reviews:9080", "*.example.com", "*.shop.example.com", "*-x.example.com", "api.*", "*")
ROUTES = {"name": "r", "virtual_hosts": [{"name": name, "domains": [name]} for name in DOMAINS]}


@pytest.mark.parametrize(
    ("host", "chosen"),
    [
        ("reviews", "reviews"),
        ("Reviews:9080", "reviews:9080"),
        ("reviews:1", "*"),
        ("a.example.com", "*.example.com"),
        ("a.shop.example.com", "*.shop.example.com"),
        ("a-x.example.com", "*-x.example.com"),
        (".example.com", "*"),
        ("api.example.com", "*.example.com"),
        ("api.test", "api.*"),
        ("nobody", "*"),
    ],
)
def test_the_most_specific_domain_wins(host: str, chosen: str) -> None:
    found = virtual_host(NOTHING, inline_table(ROUTES), host)

    assert found is not None
    assert found.domain == chosen


def test_the_port_counts_unless_the_routes_ignore_it() -> None:
    hosts = [{"name": "a", "domains": ["a"]}]

    assert virtual_host(NOTHING, inline_table({"virtual_hosts": hosts}), "a:80") is None
    ignoring = inline_table({"virtual_hosts": hosts, "ignore_port_in_host_matching": True})
    assert virtual_host(NOTHING, ignoring, "a:80") is not None


@pytest.mark.parametrize(
    ("authority", "host"), [("a:80", "a"), ("a", "a"), ("[::1]:80", "[::1]"), ("[::1]", "[::1]"), ("::1", "::1")]
)
def test_ports_are_cut(authority: str, host: str) -> None:
    assert without_port(authority) == host


def test_what_was_meant_is_the_same_host_with_another_port_or_a_name_like_it() -> None:
    hosts = [{"name": name, "domains": [name]} for name in ("reviews:9080", "ratings:9080", "unlike:1", "*")]

    assert [domain for _, domain in close_hosts(inline_table({"virtual_hosts": hosts}), "reviews:80")] == [
        "reviews:9080"
    ]
    assert [domain for _, domain in close_hosts(inline_table({"virtual_hosts": hosts}), "revews:9080")] == [
        "reviews:9080"
    ]
