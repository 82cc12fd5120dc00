"""Matches whose requests an earlier rule takes; what is only alike is left alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis_cases import codes, document, found, service
from lateen.analysis.shadowing import Earlier, covers
from lateen.config.networking import HTTPMatchRequest, StringMatch


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
