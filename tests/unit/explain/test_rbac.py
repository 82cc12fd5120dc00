"""Laws of the evaluator, for any matchers and any request; and what it says of conditions that fail."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from explain_questions import permission, principal, random_rbac, random_request
from lateen.envoy.messages import serialise, to_json
from lateen.explain.matchers import UnknownMatcherError
from lateen.explain.rbac import decide, evaluate, evaluate_policy
from lateen.explain.requests import Request

RBAC = "envoy.config.rbac.v3.RBAC"
CLAIMS = {"iss": "https://issuer.example", "sub": "me", "groups": ["dev"], "nested": {"level": "high"}}
SEEDS = st.integers(min_value=0, max_value=2**32)


def canonical(rules: dict[str, Any]) -> dict[str, Any]:
    return to_json(RBAC, serialise(RBAC, rules))


def matchers(seed: int, count: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Permissions and principals in protobuf's JSON form."""
    chance = Random(seed)
    policy = {
        "permissions": [permission(chance) for _ in range(count)],
        "principals": [principal(chance) for _ in range(count)],
    }
    made = canonical({"policies": {"p": policy}})["policies"]["p"]
    return made["permissions"], made["principals"]


def any_request(seed: int) -> Request:
    chance = Random(seed)
    method, path, headers = random_request(chance)
    pseudo = {":method": method, ":path": path, ":authority": headers.pop("host")}
    return Request(
        headers={**pseudo, **headers},
        source_ip=chance.choice(("127.0.0.2", "10.1.1.1", "::1")),
        remote_ip="10.0.0.7",
        destination_ip="127.0.0.1",
        destination_port=chance.choice((80, 9080)),
        names=chance.choice((None, ("spiffe://cluster.local/ns/default/sa/a", ""))),
        server_name=chance.choice(("", "reviews.default")),
        metadata={"envoy.filters.http.jwt_authn": {"payload": CLAIMS}},
    )


@given(SEEDS, SEEDS)
def test_de_morgan(seed: int, asked: int) -> None:
    """not (a and b) is (not a) or (not b), on both sides; and the other way round."""
    request = any_request(asked)
    for (a, b), one, many in zip(matchers(seed, 2), ("rule", "id"), ("rules", "ids"), strict=True):
        both, either = {f"and_{many}": {many: [a, b]}}, {f"or_{many}": {many: [a, b]}}
        neither = [{f"not_{one}": a}, {f"not_{one}": b}]

        assert (
            evaluate({f"not_{one}": both}, request).matched
            == evaluate({f"or_{many}": {many: neither}}, request).matched
        )
        assert (
            evaluate({f"not_{one}": either}, request).matched
            == evaluate({f"and_{many}": {many: neither}}, request).matched
        )


@given(SEEDS, SEEDS)
def test_two_negations_are_none(seed: int, asked: int) -> None:
    request = any_request(asked)
    for [matcher], one in zip(matchers(seed, 1), ("rule", "id"), strict=True):
        assert evaluate({f"not_{one}": {f"not_{one}": matcher}}, request).matched == evaluate(matcher, request).matched


@given(SEEDS, SEEDS)
def test_what_does_not_match_says_why(seed: int, asked: int) -> None:
    """And what matches has nothing to say; every condition can be shown."""
    request = any_request(asked)
    for side in matchers(seed, 1):
        evaluation = evaluate(side[0], request)

        assert bool(evaluation.failed) == (not evaluation.matched)
        assert all(str(condition) for condition in evaluation.failed)


@given(SEEDS, SEEDS)
def test_allow_and_deny_of_the_same_policies_are_opposites(seed: int, asked: int) -> None:
    rules = canonical(random_rbac(Random(seed)))
    request = any_request(asked)
    allow, deny, log = (decide({**rules, "action": action}, request) for action in ("ALLOW", "DENY", "LOG"))

    assert allow.allowed != deny.allowed
    assert log.allowed
    assert allow.effective == deny.effective == log.effective
    assert bool(allow.effective) == any(found.matched for found in allow.policies.values())


@given(SEEDS, SEEDS)
def test_another_alternative_never_takes_a_match_away(seed: int, asked: int) -> None:
    request = any_request(asked)
    permissions, principals = matchers(seed, 2)
    fewer = {"permissions": permissions[:1], "principals": principals[:1]}
    more = {"permissions": permissions, "principals": principals}

    assert evaluate_policy(more, request).matched or not evaluate_policy(fewer, request).matched


def test_an_empty_and_matches_and_an_empty_or_does_not() -> None:
    assert evaluate({"and_rules": {}}, Request()).matched
    assert not evaluate({"or_rules": {}}, Request()).matched
    assert decide({}, Request()).allowed is False
    assert decide({"action": "DENY"}, Request()).allowed is True


def test_alternatives_of_one_attribute_are_told_together() -> None:
    methods = [{"header": {"name": ":method", "string_match": {"exact": name}}} for name in ("GET", "HEAD")]

    [condition] = evaluate({"or_rules": {"rules": methods}}, Request(headers={":method": "PUT"})).failed

    assert str(condition) == "method: wanted GET or HEAD, is PUT"


def test_of_alternatives_the_nearest_is_told() -> None:
    path = {"url_path": {"path": {"exact": "/a"}}}
    get, put = ({"header": {"name": ":method", "string_match": {"exact": name}}} for name in ("GET", "PUT"))
    far, near = {"and_rules": {"rules": [path, put]}}, {"and_rules": {"rules": [path, get]}}

    [condition] = evaluate(
        {"or_rules": {"rules": [far, near]}}, Request(headers={":method": "GET", ":path": "/b?x"})
    ).failed

    assert str(condition) == "path: wanted /a, is /b"


def test_what_must_not_match_is_told_with_what_it_is() -> None:
    names = [{"authenticated": {"principal_name": {"exact": f"spiffe://td/ns/n/sa/{sa}"}}} for sa in "ab"]
    request = Request(names=("spiffe://td/ns/n/sa/b", ""))

    [condition] = evaluate({"not_id": {"or_ids": {"ids": names}}}, request).failed

    assert str(condition) == "principal: must not be td/ns/n/sa/b, is td/ns/n/sa/b"


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ({"safe_regex": {"regex": "spiffe://[^/]+/ns/web/.*"}}, "namespace: wanted web, is default"),
        ({"safe_regex": {"regex": "spiffe://[^/]+/ns/web-[^/]*/.*"}}, "namespace: wanted web-*, is default"),
        (
            {"safe_regex": {"regex": "spiffe://[^/]+/ns/web/(.+/)?sa/f\\.e(/.+)?"}},
            "service account: wanted web/f.e, is default/a",
        ),
        ({"prefix": "spiffe://other/"}, "trust domain: wanted other, is td"),
        ({"safe_regex": {"regex": "spiffe://.*/sa/b"}}, "principal: wanted */sa/b, is td/ns/default/sa/a"),
        ({"prefix": "spiffe://td/ns/web/"}, "principal: wanted td/ns/web/*, is td/ns/default/sa/a"),
    ],
)
def test_identities_are_told_in_the_words_of_policies(pattern: dict[str, Any], said: str) -> None:
    request = Request(names=("spiffe://td/ns/default/sa/a", ""))

    [condition] = evaluate({"authenticated": {"principal_name": pattern}}, request).failed

    assert str(condition) == said


def test_who_has_no_certificate_is_absent() -> None:
    [condition] = evaluate({"authenticated": {"principal_name": {"exact": "spiffe://td/ns/n/sa/a"}}}, Request()).failed

    assert str(condition) == "principal: wanted td/ns/n/sa/a, is absent"


@pytest.mark.parametrize("matcher", [{"filter_state": {"key": "x"}}, {"matcher": {"name": "x"}}])
def test_a_matcher_that_is_not_known_is_no_silent_answer(matcher: dict[str, Any]) -> None:
    with pytest.raises(UnknownMatcherError):
        evaluate(matcher, Request())
