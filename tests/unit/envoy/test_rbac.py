"""RBAC filters put together from bytes are those that would be made in one piece; texts stand for themselves."""

from __future__ import annotations

from typing import Any

import pytest
import re2
from hypothesis import given
from hypothesis import strategies as st

from lateen.envoy import rbac
from lateen.envoy.messages import Fields, message_class, to_json

ANY: list[Fields] = [{"any": True}]


@given(st.text(st.characters(codec="ascii", exclude_categories=["Cc"])), st.text(max_size=5))
def test_a_quoted_text_is_matched_by_itself_only(text: str, other: str) -> None:
    pattern = re2.compile(rbac.quoted(text))
    assert pattern.fullmatch(text)
    assert bool(pattern.fullmatch(other)) == (other == text)


@pytest.mark.parametrize(
    ("value", "matcher"),
    [
        ("*", {"safe_regex": {"regex": ".+"}}),
        ("*.a", {"suffix": ".a"}),
        ("a.*", {"prefix": "a."}),
        ("a", {"exact": "a"}),
        ("", {"exact": ""}),
    ],
)
def test_a_wildcard_is_at_an_end(value: str, matcher: Fields) -> None:
    assert rbac.wildcard(value) == matcher


def test_one_matcher_needs_no_set_and_none_is_everything() -> None:
    one, two = rbac.destination_port(1), rbac.destination_port(2)
    assert rbac.any_of("permissions", [one]) == rbac.all_of("permissions", [one]) == one
    assert rbac.all_of("principals", []) == {"any": True}
    assert rbac.any_of("permissions", [one, two]) == {"or_rules": {"rules": [one, two]}}
    assert rbac.all_of("principals", [one, two]) == {"and_ids": {"ids": [one, two]}}
    assert rbac.none_of("permissions", [one, two]) == {"not_rule": {"or_rules": {"rules": [one, two]}}}


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (rbac.http_config, "envoy.extensions.filters.http.rbac.v3.RBAC"),
        (rbac.network_config, "envoy.extensions.filters.network.rbac.v3.RBAC"),
    ],
)
def test_a_filter_of_bytes_is_the_filter_of_its_fields(make: Any, name: str) -> None:
    policies = {f"p{number}": {"permissions": ANY, "principals": ANY} for number in range(3)}
    entries = [rbac.policy_entry(each, ANY, ANY) for each in policies]
    made = make(rbac.rules("DENY", entries), rbac.rules("ALLOW", entries[:1]), shadow_prefix="x_")
    fields = {
        "rules": {"action": "DENY", "policies": policies},
        "shadow_rules": {"action": "ALLOW", "policies": {"p0": policies["p0"]}},
        "shadow_rules_stat_prefix": "x_",
        **({"stat_prefix": "tcp."} if "network" in name else {}),
    }
    whole = message_class(name)(**fields).SerializeToString(deterministic=True)
    assert to_json(name, made["value"]) == to_json(name, whole)


def test_no_rules_are_not_empty_rules() -> None:
    """Envoy lets everything through without rules, and nothing with ALLOW rules of which there are none."""
    name = "envoy.extensions.filters.http.rbac.v3.RBAC"
    assert "rules" not in to_json(name, rbac.http_config(None)["value"])
    assert to_json(name, rbac.http_config(rbac.rules("ALLOW", ()))["value"])["rules"] == {}
