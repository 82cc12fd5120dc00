"""Header changes, level by level. e2e holds the same to real Envoy."""

from __future__ import annotations

from typing import Any

from lateen.explain.header_changes import changed, header_changes, levels_of


def added(name: str, value: str, action: str = "APPEND_IF_EXISTS_OR_ADD") -> dict[str, Any]:
    return {"header": {"key": name, "value": value}, "append_action": action}


SET = "OVERWRITE_IF_EXISTS_OR_ADD"


def test_of_one_level_what_is_removed_comes_first_and_what_is_added_last() -> None:
    route = {
        "request_headers_to_add": [added("X-A", "added"), added("x-a", "set", SET), added("x-b", "new")],
        "request_headers_to_remove": ["x-b"],
    }
    changes = header_changes(levels_of({}, {}, route, None), "request")

    assert [(change.action, change.name) for change in changes] == [
        ("remove", "x-b"),
        ("set", "x-a"),
        ("add", "x-a"),
        ("add", "x-b"),
    ]
    assert changed({"x-a": "old", "x-b": "old"}, changes, {}) == {"x-a": "set,added", "x-b": "new"}


def test_levels_go_from_the_destination_outwards() -> None:
    levels = [{"response_headers_to_add": [added("x", name, SET)]} for name in ("routes", "host", "route", "weighted")]
    changes = header_changes(levels_of(*levels), "response")

    assert [change.level for change in changes] == ["destination", "route", "virtual host", "routes"]
    assert changed({}, changes, {}) == {"x": "routes"}
    assert header_changes(levels_of(*levels), "request") == []


def test_values_may_come_from_the_request() -> None:
    changes = header_changes(
        levels_of(
            {}, {}, {"request_headers_to_add": [added("x", "%REQ(A)%-100%%"), added("y", "%REQ(none)%", SET)]}, None
        ),
        "request",
    )

    assert changed({"y": "kept"}, changes, {"a": "1"}) == {"x": "1-100%", "y": "kept"}, "nothing changes nothing"
