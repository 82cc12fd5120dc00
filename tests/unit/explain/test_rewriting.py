"""Rewrites and redirects. e2e holds the same to real Envoy."""

from __future__ import annotations

from typing import Any

import pytest

from lateen.explain.rewriting import location, redirect_status, replaced, rewritten_host, rewritten_path


@pytest.mark.parametrize(
    ("match", "action", "path", "after"),
    [
        ({"prefix": "/api"}, {"prefix_rewrite": "/"}, "/api/v1?x=1", "//v1?x=1"),
        ({"prefix": "/api/"}, {"prefix_rewrite": "/"}, "/api/v1?x=1", "/v1?x=1"),
        ({"path": "/api"}, {"prefix_rewrite": "/new"}, "/api?x=1", "/new?x=1"),
        ({"safe_regex": {"regex": ".*"}}, {"prefix_rewrite": "/new"}, "/api/v1?x=1", "/new?x=1"),
        (
            {"prefix": "/"},
            {"regex_rewrite": {"pattern": {"regex": "/a/(.*)"}, "substitution": "/\\1"}},
            "/a/b?/a/c",
            "/b?/a/c",
        ),
        ({"prefix": "/"}, {}, "/a", "/a"),
    ],
)
def test_paths(match: dict[str, Any], action: dict[str, Any], path: str, after: str) -> None:
    """The query stays as it is."""
    assert rewritten_path(match, action, path) == after


@pytest.mark.parametrize(
    ("pattern", "substitution", "text", "after"),
    [
        ("a", "b", "aXa", "bXb"),
        ("(a)(b)?", "<\\2\\1\\0>", "ab-a", "<baab>-<aa>"),
        ("x*", "-", "axb", "-a-b-"),
        ("b$", "\\\\", "ab", "a\\"),
    ],
)
def test_every_match_is_replaced(pattern: str, substitution: str, text: str, after: str) -> None:
    assert replaced(pattern, substitution, text) == after


def test_hosts() -> None:
    headers = {":authority": "a", "x-host": "b"}

    assert rewritten_host({"host_rewrite_literal": "c"}, headers) == "c"
    assert rewritten_host({"host_rewrite_header": "X-Host"}, headers) == "b"
    assert rewritten_host({}, headers) == "a"


REQUEST = {":scheme": "http", ":authority": "shop:80", ":path": "/a?x=1", "x-forwarded-proto": "http"}


@pytest.mark.parametrize(
    ("redirect", "target"),
    [
        ({"host_redirect": "b"}, "http://b/a?x=1"),
        ({"path_redirect": "/n"}, "http://shop:80/n?x=1"),
        ({"path_redirect": "/n?y=2"}, "http://shop:80/n?y=2"),
        ({"path_redirect": "/n", "strip_query": True}, "http://shop:80/n"),
        ({"scheme_redirect": "https"}, "https://shop/a?x=1"),
        ({"https_redirect": True, "port_redirect": 8443}, "https://shop:8443/a?x=1"),
        ({"prefix_rewrite": "/n"}, "http://shop:80/n?x=1"),
    ],
)
def test_locations(redirect: dict[str, Any], target: str) -> None:
    assert location({"prefix": "/a"}, redirect, REQUEST) == target


def test_an_address_keeps_its_brackets() -> None:
    assert location({}, {"port_redirect": 81}, {**REQUEST, ":authority": "[::1]:80"}) == "http://[::1]:81/a?x=1"


def test_redirects_are_permanent_unless_they_say_otherwise() -> None:
    assert (redirect_status({}), redirect_status({"response_code": "SEE_OTHER"})) == (301, 303)
