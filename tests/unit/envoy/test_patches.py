"""Values of EnvoyFilters' patches: every mistake has its path, and what Envoy may know is not refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lateen.config.envoy_filter import ApplyTo
from lateen.envoy.patches import MESSAGES, read_value

TYPE = "type.googleapis.com/envoy.extensions.filters.http."


def lua(**fields: Any) -> dict[str, Any]:
    return {"name": "lua", "typed_config": {"@type": TYPE + "lua.v3.Lua", **fields}}


@pytest.mark.parametrize(
    ("apply_to", "value", "path", "words"),
    [
        (ApplyTo.CLUSTER, {"conect_timeout": "1s"}, ("conect_timeout",), "did you mean `connect_timeout`"),
        (ApplyTo.CLUSTER, {"connect_timeout": "soon"}, (), "connect_timeout"),
        (ApplyTo.CLUSTER, {"load_assignment": 3}, ("load_assignment",), "mapping"),
        (ApplyTo.CLUSTER, {"health_checks": {}}, ("health_checks",), "list"),
        (ApplyTo.CLUSTER, {"lb_policy": "NONSENSE"}, (), "NONSENSE"),
        (ApplyTo.HTTP_FILTER, lua(nothing=1), ("typed_config", "nothing"), "no field `nothing`"),
        (
            ApplyTo.HTTP_FILTER,
            lua(default_source_code={"inline_strng": ""}),
            ("typed_config", "default_source_code", "inline_strng"),
            "did you mean `inline_string`",
        ),
        (ApplyTo.HTTP_FILTER, {"typed_config": {"x": 1}}, ("typed_config",), "@type"),
        (
            ApplyTo.HTTP_FILTER,
            {"typed_config": {"@type": "type.googleapis.com/envoy.config.filter.http.lua.v2.Lua"}},
            ("typed_config", "@type"),
            "v3",
        ),
    ],
)
def test_mistakes_are_errors_with_their_path(apply_to: ApplyTo, value: Any, path: tuple[str, ...], words: str) -> None:
    read = read_value(apply_to, value)
    (problem,) = read.problems
    assert read.message is None
    assert problem.error
    assert problem.path == path
    assert words in f"{problem.message} {problem.hint}"


def test_an_unknown_extension_becomes_a_typed_struct() -> None:
    read = read_value(ApplyTo.HTTP_FILTER, {"name": "x", "typed_config": {"@type": TYPE + "lua.v3.Lui", "a": [1]}})
    (problem,) = read.problems
    assert not problem.error
    assert "did you mean envoy.extensions.filters.http.lua.v3.Lua" in problem.hint
    assert read.message is not None
    assert read.message.typed_config.type_url == "type.googleapis.com/xds.type.v3.TypedStruct"


def test_json_names_and_proto_names_are_the_same() -> None:
    both = [{"connect_timeout": "1.5s"}, {"connectTimeout": "1.500s"}]
    first, second = (read_value(ApplyTo.CLUSTER, value).message for value in both)
    assert first == second


def test_a_filter_without_settings_is_a_warning() -> None:
    read = read_value(ApplyTo.LISTENER, {"filter_chains": [{"filters": [{"name": "envoy.filters.network.echo"}]}]})
    (problem,) = read.problems
    assert not problem.error
    assert "typed_config" in problem.message


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(("@type", "name", "typed_config", "filters", "metadata", "x")), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@given(
    st.sampled_from(list(MESSAGES)),
    st.dictionaries(st.sampled_from(("name", "typed_config", "metadata", "filters")), _json),
)
def test_no_json_makes_it_raise(apply_to: ApplyTo, value: dict[str, Any]) -> None:
    read = read_value(apply_to, value)
    assert (read.message is None) == any(problem.error for problem in read.problems)
