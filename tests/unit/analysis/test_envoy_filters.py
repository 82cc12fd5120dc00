"""EnvoyFilters: values that are no messages, and operations that do nothing or depend on others."""

from __future__ import annotations

import json
from typing import Any

import pytest

from analysis_cases import codes

LUA = {"name": "lua", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua"}}


def envoy_filter(*patches: dict[str, Any], name: str = "x", priority: int = 0) -> str:
    document = {
        "apiVersion": "networking.istio.io/v1alpha3",
        "kind": "EnvoyFilter",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"configPatches": list(patches), "priority": priority},
    }
    return json.dumps(document) + "\n"


def patch(apply_to: str, operation: str, value: Any = None, **match: Any) -> dict[str, Any]:
    body = {"operation": operation} | ({"value": value} if value is not None else {})
    return {"applyTo": apply_to, "match": match, "patch": body}


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (patch("ROUTE_CONFIGURATION", "ADD", {}), "IST0153"),
        (patch("ROUTE_CONFIGURATION", "REMOVE"), "IST0154"),
        (patch("CLUSTER", "REPLACE", {}), "IST0152"),
        (patch("HTTP_FILTER", "REPLACE", LUA), "IST0151"),
        (patch("HTTP_FILTER", "INSERT_BEFORE", LUA), "IST0151"),
        (patch("CLUSTER", "REMOVE"), "IST0151"),
    ],
)
def test_operations(item: dict[str, Any], expected: str) -> None:
    assert codes(envoy_filter(item)) == [f"{expected} EnvoyFilter/x spec.configPatches[0].patch.operation"]
    with_priority = codes(envoy_filter(item, priority=1))
    assert bool(with_priority) == (expected != "IST0151")


@pytest.mark.parametrize("operation", ["INSERT_FIRST", "ADD", "MERGE"])
def test_absolute_operations_are_fine(operation: str) -> None:
    assert codes(envoy_filter(patch("HTTP_FILTER", operation, LUA))) == []


def test_a_relative_operation_beside_one_for_some_versions() -> None:
    first = envoy_filter(patch("HTTP_FILTER", "ADD", LUA, proxy={"proxyVersion": "^1.*"}), name="a")
    second = envoy_filter(patch("HTTP_FILTER", "INSERT_BEFORE", LUA), name="b")
    assert codes(first, second) == ["IST0155 EnvoyFilter/b spec.configPatches[0].patch.operation"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"name": 1}, "IST0106 EnvoyFilter/x spec.configPatches[0].patch.value"),
        ({"nam": "x"}, "IST0106 EnvoyFilter/x spec.configPatches[0].patch.value.nam"),
        (
            {"typed_config": {"@type": "type.googleapis.com/envoy.Nothing"}},
            "LAT0082 EnvoyFilter/x spec.configPatches[0].patch.value.typed_config[@type]",
        ),
    ],
)
def test_values(value: Any, expected: str) -> None:
    assert codes(envoy_filter(patch("HTTP_FILTER", "ADD", value))) == [expected]


def test_beside_a_transport_socket_nothing_else_is_merged() -> None:
    value = {"transport_socket": {"name": "x", "typed_config": {"@type": "type.googleapis.com/google.protobuf.Empty"}}}
    assert codes(envoy_filter(patch("CLUSTER", "MERGE", value))) == []
    assert codes(envoy_filter(patch("CLUSTER", "MERGE", {**value, "connect_timeout": "1s"}))) == [
        "IST0133 EnvoyFilter/x spec.configPatches[0].patch.value"
    ]
