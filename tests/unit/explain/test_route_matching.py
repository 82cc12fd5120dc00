"""Routes and requests: what matches, and what is said of a condition that fails. e2e holds the same to real Envoy."""

from __future__ import annotations

from typing import Any

import pytest

from lateen.explain.explanations import Condition
from lateen.explain.near_misses import needed
from lateen.explain.requests import Request
from lateen.explain.route_matching import match_route, query_parameters


def request(path: str = "/a/b?q=1", method: str = "GET", **headers: str) -> Request:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    pseudo = {":method": method, ":path": path, ":authority": "reviews", ":scheme": "http"}
    claims = {"envoy.filters.http.jwt_authn": {"payload": {"groups": ["dev"]}}}
    return Request(headers={**pseudo, **given}, metadata=claims)


@pytest.mark.parametrize(
    ("match", "path", "matched"),
    [
        ({"prefix": "/"}, "/anything", True),
        ({"prefix": "/a"}, "/ab", True),
        ({"prefix": "/a/"}, "/a", False),
        ({"prefix": "/A", "case_sensitive": False}, "/ab", True),
        ({"path": "/a"}, "/a?x=1", True),
        ({"path": "/a"}, "/a/", False),
        ({"path_separated_prefix": "/a"}, "/a/b", True),
        ({"path_separated_prefix": "/a"}, "/ab", False),
        ({"path_separated_prefix": "/a"}, "/a?b", True),
        ({"safe_regex": {"regex": "/a"}}, "/ab", False),
        ({"safe_regex": {"regex": "/a.*"}}, "/ab?c=/", True),
        ({"connect_matcher": {}}, "/", False),
    ],
)
def test_paths(match: dict[str, Any], path: str, matched: bool) -> None:
    """A query never counts, a regular expression is for the whole path."""
    assert match_route(match, request(path)).matched is matched


def test_only_a_connect_matcher_takes_connect() -> None:
    asked = request("", "CONNECT")

    assert match_route({"connect_matcher": {}}, asked).matched
    assert not match_route({"prefix": "/"}, asked).matched


@pytest.mark.parametrize(
    ("matcher", "matched"),
    [
        ({"name": "end-user", "string_match": {"exact": "jason"}}, True),
        ({"name": "End-User", "string_match": {"prefix": "ja"}}, True),
        ({"name": "end-user", "string_match": {"exact": "x"}, "invert_match": True}, True),
        ({"name": "other", "string_match": {"exact": "x"}, "invert_match": True}, False),
        (
            {
                "name": "other",
                "string_match": {"exact": "x"},
                "invert_match": True,
                "treat_missing_header_as_empty": True,
            },
            True,
        ),
        ({"name": "other", "present_match": True, "invert_match": True}, True),
        ({"name": "end-user", "present_match": True}, True),
        ({"name": ":method", "string_match": {"exact": "GET"}}, True),
        ({"name": "host", "string_match": {"exact": "reviews"}}, True),
        ({"name": ":scheme", "string_match": {"exact": "https"}}, False),
    ],
)
def test_headers(matcher: dict[str, Any], matched: bool) -> None:
    assert match_route({"prefix": "/", "headers": [matcher]}, request(end_user="jason")).matched is matched


@pytest.mark.parametrize(
    ("path", "matcher", "matched"),
    [
        ("/?q=1", {"name": "q", "string_match": {"exact": "1"}}, True),
        ("/?q=1&q=2", {"name": "q", "string_match": {"exact": "2"}}, False),
        ("/?q", {"name": "q", "present_match": True}, True),
        ("/?q=", {"name": "q", "string_match": {"exact": ""}}, True),
        ("/", {"name": "q", "present_match": True}, False),
        ("/?q=%31", {"name": "q", "string_match": {"exact": "1"}}, False),
    ],
)
def test_query_parameters(path: str, matcher: dict[str, Any], matched: bool) -> None:
    """The first value counts, and nothing is decoded."""
    assert match_route({"prefix": "/", "query_parameters": [matcher]}, request(path)).matched is matched


def test_a_query_is_read_as_it_stands() -> None:
    assert query_parameters("/?a=1&b&a=2&=x#c=1") == {"a": "1", "b": "", "": "x"}


def test_claims_are_compared() -> None:
    def wanting(group: str) -> dict[str, Any]:
        value = {"list_match": {"one_of": {"string_match": {"exact": group}}}}
        path = [{"key": "payload"}, {"key": "groups"}]
        return {
            "prefix": "/",
            "dynamic_metadata": [{"filter": "envoy.filters.http.jwt_authn", "path": path, "value": value}],
        }

    [failed] = match_route(wanting("ops"), request()).failed

    assert match_route(wanting("dev"), request()).matched
    assert str(failed) == "claim groups: wanted ops, is [dev]"


def test_a_runtime_fraction_is_a_chance() -> None:
    match = match_route({"prefix": "/", "runtime_fraction": {"default_value": {"numerator": 25}}}, request())

    assert (match.matched, match.share) == (True, 0.25)


def test_every_condition_that_fails_is_told() -> None:
    match = {
        "prefix": "/x",
        "headers": [{"name": "end-user", "string_match": {"exact": "jason"}}],
        "query_parameters": [{"name": "v", "present_match": True}],
    }
    failed = match_route(match, request("/a")).failed

    assert [condition.attribute for condition in failed] == ["path", "header end-user", "query parameter v"]
    assert needed(failed[1:2]) == "needs header end-user jason; the request has none"
    assert needed(failed[:2]) == "needs path /x* (has /a) and needs header end-user jason (has none)"


def test_what_must_be_absent_reads_so() -> None:
    present = Condition(attribute="header x", wanted=["absent"], actual="1")

    assert needed([present]) == "must not have header x; the request has 1"
