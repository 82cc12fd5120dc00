"""Matches whose requests an earlier rule takes; what is only alike is left alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis_cases import codes, document, found, service
from lateen.analysis.shadowing import Earlier, covers
from lateen.config.networking import HTTPMatchRequest, StringMatch
from lateen.envoy.jwt_authn import JWT_FILTER, PAYLOAD
from lateen.envoy.routes import route_match
from lateen.explain.requests import Request
from lateen.explain.route_matching import match_route


def rules(*matches: str) -> str:
    listed = ", ".join(f"{{match: [{one}], directResponse: {{status: 200}}}}" for one in matches)
    return document("VirtualService", "v", f"{{hosts: [reviews], http: [{listed}]}}")


NEVER = ["IST0130 VirtualService/v spec.http[1]", "IST0131 VirtualService/v spec.http[1].match[0]"]


@pytest.mark.parametrize(
    ("wide", "narrow", "covered"),
    [
        ("{uri: {prefix: /a}}", "{uri: {exact: /a/b}}", True),
        ("{uri: {prefix: /a}}", "{uri: {prefix: /a/b}, method: {exact: GET}}", True),
        ("{uri: {prefix: /a/b}}", "{uri: {prefix: /a}}", False),
        ("{uri: {prefix: /a}, headers: {x: {exact: b}}}", "{uri: {prefix: /a/b}}", False),
        ("{headers: {x: {}}}", "{headers: {X: {exact: b}}, uri: {prefix: /a}}", True),
        ("{headers: {x: {prefix: b}}}", "{headers: {x: {exact: bc}, y: {exact: d}}}", True),
        ("{headers: {x: {regex: 'b.*'}}}", "{headers: {x: {exact: bc}}}", False),
        ("{headers: {x: {regex: 'b.*'}}}", "{headers: {x: {regex: 'b.*'}}, method: {exact: GET}}", True),
        ("{uri: {prefix: /A}}", "{uri: {exact: /a/b}}", False),
        ("{uri: {prefix: /A}, ignoreUriCase: true}", "{uri: {exact: /a/b}}", True),
        ("{uri: {prefix: /a}}", "{uri: {exact: /a/b}, ignoreUriCase: true}", False),
        ("{uri: {regex: '/a.*'}}", "{uri: {exact: /a/b}}", False),
        ("{uri: {regex: '/a.*'}}", "{uri: {regex: '/a.*'}, method: {exact: GET}}", True),
        ("{queryParams: {q: {}}}", "{queryParams: {q: {exact: '1'}}, uri: {exact: /a}}", True),
        ("{queryParams: {Q: {}}}", "{queryParams: {q: {exact: '1'}}, uri: {exact: /a}}", False),
        ("{withoutHeaders: {x: {exact: a}}}", "{withoutHeaders: {x: {}}, uri: {exact: /a}}", True),
        ("{withoutHeaders: {x: {}}}", "{withoutHeaders: {x: {exact: a}}, uri: {exact: /a}}", False),
        ("{withoutHeaders: {x: {exact: ''}}}", "{withoutHeaders: {x: {}}, uri: {exact: /a}}", False),
        ("{withoutHeaders: {x: {regex: 'a*'}}}", "{withoutHeaders: {x: {}}, uri: {exact: /a}}", False),
        ("{headers: {X-A: {exact: a}, x-a: {prefix: a}}}", "{headers: {x-a: {exact: ab}}}", False),
        ("{port: 80, uri: {prefix: /a}}", "{uri: {prefix: /a/b}}", False),
        ("{uri: {prefix: /a}}", "{port: 80, uri: {prefix: /a/b}}", True),
        ("{sourceLabels: {app: a}, uri: {prefix: /a}}", "{uri: {prefix: /a/b}}", False),
        ("{sourceLabels: {app: a}, uri: {prefix: /a}}", "{sourceLabels: {app: a, v: b}, uri: {prefix: /a/b}}", True),
        ("{sourceLabels: {app: a}, uri: {prefix: /a}}", "{gateways: [mesh], uri: {prefix: /a/b}}", False),
        ("{gateways: [mesh], uri: {prefix: /a}}", "{uri: {prefix: /a/b}}", False),
        ("{uri: {prefix: /a}}", "{gateways: [mesh], uri: {prefix: /a/b}}", True),
    ],
)
def test_a_rule_whose_requests_an_earlier_one_takes(wide: str, narrow: str, *, covered: bool) -> None:
    """The other way round it is the usual order, from the narrow to the wide."""
    assert sorted(codes(service(), rules(wide, narrow))) == (NEVER if covered else [])
    if covered:
        assert codes(service(), rules(narrow, wide)) == []


def test_claims_have_case() -> None:
    """Headers have none."""
    for name, folds in (("X-Group", True), ("@request.auth.claims.Group", False)):
        wide, narrow = (HTTPMatchRequest(headers={each: StringMatch()}) for each in (name, name.lower()))
        assert covers(wide, narrow) is folds


def test_it_is_said_which_rule_takes_them() -> None:
    (match,) = (
        one for one in found(service(), rules("{uri: {prefix: /a}}", "{uri: {exact: /a/b}}")) if "0131" in one.code
    )
    assert "rule [0] before it" in match.message


def test_one_match_that_is_left_keeps_the_rule() -> None:
    text = rules("{uri: {prefix: /a}}", "{uri: {exact: /a/b}}, {uri: {exact: /c}}")
    assert codes(service(), text) == ["IST0131 VirtualService/v spec.http[1].match[0]"]


def test_a_path_that_everything_fulfils_is_no_condition() -> None:
    """As generation ends the list of routes there."""
    text = rules("{uri: {regex: '.*'}}", "{uri: {exact: /a}}")
    assert codes(service(), text) == ["IST0130 VirtualService/v spec.http[1]"]


API, BELOW = "{uri: {prefix: /api}}", "{uri: {prefix: /api/v2}}"


def delegating(match: str) -> str:
    return f"{{match: [{match}], delegate: {{name: d}}}}"


def answering(match: str) -> str:
    return f"{{match: [{match}], directResponse: {{status: 200}}}}"


@pytest.mark.parametrize(
    ("listed", "unused"),
    [
        ([delegating(API), answering(BELOW)], False),
        ([delegating(API), answering(API)], False),
        ([delegating("{}"), answering(API)], False),
        ([answering(API), delegating(BELOW)], True),
        ([answering("{withoutHeaders: {x: {prefix: a}}}"), delegating("{withoutHeaders: {x: {prefix: a}}}")], False),
        ([answering("{sourceLabels: {app: a}}"), delegating("{sourceLabels: {app: a}}")], False),
    ],
)
def test_what_a_rule_with_a_delegate_takes_is_the_delegates_to_say(listed: list[str], *, unused: bool) -> None:
    """It may take less, so it hides nothing; and it may take more where it excludes less or asks other gateways."""
    delegate = document("VirtualService", "d", f"{{http: [{answering('{uri: {prefix: /api/v1}}')}]}}")
    root = document("VirtualService", "v", f"{{hosts: [reviews], http: [{', '.join(listed)}]}}")
    assert sorted(codes(service(), delegate, root)) == (NEVER if unused else [])


def test_a_rule_of_a_delegate_that_the_root_contradicts_hides_none() -> None:
    """Under `/api/v2` the first of these two rules falls away, and the second is used."""
    delegate = document("VirtualService", "d", f"{{http: [{answering(API)}, {answering(BELOW)}]}}")
    root = document("VirtualService", "v", f"{{hosts: [reviews], http: [{delegating(BELOW)}]}}")
    assert codes(service(), delegate, root) == []


TEXTS = st.text("/aB", max_size=3)
STRINGS = st.one_of(
    st.builds(StringMatch, exact=TEXTS),
    st.builds(StringMatch, prefix=TEXTS),
    st.sampled_from((StringMatch(), StringMatch(regex=".*"), StringMatch(regex="a"))),
)
MATCHES = st.builds(
    HTTPMatchRequest,
    uri=st.none() | STRINGS,
    method=st.none() | STRINGS,
    headers=st.dictionaries(st.sampled_from("xy"), STRINGS, max_size=2),
    without_headers=st.dictionaries(st.sampled_from("xy"), STRINGS, max_size=1),
    ignore_uri_case=st.booleans(),
    port=st.sampled_from((0, 0, 80)),
)


@given(MATCHES, MATCHES)
def test_what_covers_is_found_by_its_path(wide: HTTPMatchRequest, narrow: HTTPMatchRequest) -> None:
    """The index by path leaves none out."""
    earlier = Earlier()
    earlier.add(wide, "it")
    assert earlier.covering(narrow) == ("it" if covers(wide, narrow) else "")


@given(MATCHES, MATCHES, MATCHES)
def test_covering_is_an_order(one: HTTPMatchRequest, two: HTTPMatchRequest, three: HTTPMatchRequest) -> None:
    assert covers(one, one)
    assert not (covers(one, two) and covers(two, three)) or covers(one, three)


CONDITIONS = (
    StringMatch(),
    *(StringMatch(exact=text) for text in ("", "a", "ab")),
    *(StringMatch(prefix=text) for text in ("", "a", "ab")),
    *(StringMatch(regex=text) for text in (".*", ".+", "a*", "*")),
)
VALUES = ("", "a", "ab", "A", "b")
CLAIM = "@request.auth.claims.a"


def matched(match: HTTPMatchRequest, request: Request) -> bool:
    """As a proxy does; what generation decides (ports, gateways, callers) left out."""
    fields = route_match(match)
    if "case_sensitive" in fields:
        fields["case_sensitive"] = fields["case_sensitive"]["value"]
    return match_route(fields, request).matched


def with_header(name: str, value: str | None) -> Request:
    headers = {":path": "/", ":method": "GET", ":scheme": "http", ":authority": "a"}
    return Request(headers=headers if value is None else {**headers, name: value})


def with_claim(value: object) -> Request:
    claims = {} if value is None else {"a": value}
    return Request(headers={":path": "/", ":method": "GET"}, metadata={JWT_FILTER: {PAYLOAD: claims}})


@pytest.mark.parametrize(
    ("place", "requests"),
    [
        (lambda condition: {"headers": {"x": condition}}, [with_header("x", one) for one in (None, *VALUES)]),
        (lambda condition: {"without_headers": {"X": condition}}, [with_header("x", one) for one in (None, *VALUES)]),
        (lambda condition: {"method": condition}, [with_header(":method", one) for one in VALUES]),
        (
            lambda condition: {"query_params": {"q": condition}},
            [with_header(":path", f"/{one}") for one in ("", "?q", *(f"?q={value}" for value in VALUES))],
        ),
        (
            lambda condition: {"headers": {CLAIM: condition}},
            [with_claim(one) for one in (None, *VALUES, 1, [], ["a", "b"], [1])],
        ),
        (
            lambda condition: {"without_headers": {CLAIM: condition}},
            [with_claim(one) for one in (None, *VALUES, 1, [], ["a", "b"], [1])],
        ),
    ],
)
def test_no_request_is_of_the_narrow_match_alone(
    place: Callable[[StringMatch], dict[str, Any]], requests: Sequence[Request]
) -> None:
    """Of each two conditions of which one is said to cover the other, in each place."""
    pairs = [
        (HTTPMatchRequest(**place(one)), HTTPMatchRequest(**place(two))) for one, two in product(CONDITIONS, CONDITIONS)
    ]
    covering = [(wide, narrow) for wide, narrow in pairs if covers(wide, narrow)]
    assert len(covering) > 2 * len(CONDITIONS)
    for wide, narrow in covering:
        assert [one for one in requests if matched(narrow, one) and not matched(wide, one)] == []


@given(
    MATCHES,
    MATCHES,
    st.sets(st.sampled_from(("uri", "method", "headers", "without_headers", "ignore_uri_case"))),
    st.text("/aAbB", max_size=4),
    st.dictionaries(st.sampled_from("xy"), TEXTS),
)
def test_no_request_is_of_the_narrow_match_alone_by_all_conditions(
    wide: HTTPMatchRequest, other: HTTPMatchRequest, changes: set[str], path: str, headers: dict[str, str]
) -> None:
    """The narrow match is the wide one with some conditions of another, so that the one often covers the other."""
    narrow = msgspec.structs.replace(wide, **{name: getattr(other, name) for name in changes})
    request = Request(headers={":path": f"/{path}", ":method": "a", **headers})
    if covers(wide, narrow) and matched(narrow, request):
        assert matched(wide, request)
