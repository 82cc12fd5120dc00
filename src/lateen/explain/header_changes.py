"""Header changes: what the proxy does to the headers of requests and responses, level by level.

Called by `route_actions`. Source: "Custom request/response headers" in Envoy's HTTP connection manager documentation:
the weighted cluster first, then the route, the virtual host, the route configuration. Of one level first what is
removed, then what is set, then what is added, whatever their order (observed in 1.40).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from lateen.envoy.messages import Fields
from lateen.explain.explanations import HeaderChange


class Level(NamedTuple):
    """Something that changes headers."""

    name: str
    fields: Fields


def levels_of(routes: Fields, host: Fields, route: Fields, weighted: Fields | None) -> list[Level]:
    """Return the levels in the order in which Envoy applies them."""
    levels = [Level("route", route), Level("virtual host", host), Level("routes", routes)]
    if routes.get("most_specific_header_mutations_wins"):
        levels.reverse()
    return [Level("destination", weighted), *levels] if weighted else levels


def header_changes(levels: Sequence[Level], direction: str) -> list[HeaderChange]:
    """Return the changes of one direction, `request` or `response`."""
    return [change for level in levels for change in _changes(level, direction)]


def _changes(level: Level, direction: str) -> Iterator[HeaderChange]:
    for name in level.fields.get(f"{direction}_headers_to_remove", ()):
        yield HeaderChange(level=level.name, action="remove", name=name.lower())
    made = [
        HeaderChange(
            level=level.name,
            action=_ACTIONS[option.get("append_action", "APPEND_IF_EXISTS_OR_ADD")],
            name=option["header"]["key"].lower(),
            value=option["header"].get("value", ""),
        )
        for option in level.fields.get(f"{direction}_headers_to_add", ())
    ]
    yield from sorted(made, key=lambda change: change.action.startswith("add"))


_ACTIONS = {
    "APPEND_IF_EXISTS_OR_ADD": "add",
    "ADD_IF_ABSENT": "add if absent",
    "OVERWRITE_IF_EXISTS_OR_ADD": "set",
    "OVERWRITE_IF_EXISTS": "set if there",
}


def changed(headers: Mapping[str, str], changes: Sequence[HeaderChange], request: Mapping[str, str]) -> dict[str, str]:
    """Return headers after the changes. `request`: what `%REQ(...)%` in a value reads."""
    made = dict(headers)
    for change in changes:
        name, value = change.name, _formatted(change.value, request)
        if change.action == "remove":
            made.pop(name, None)
        elif not value:
            continue  # an empty value changes nothing
        elif change.action == "add" and name in made:
            made[name] = f"{made[name]},{value}"
        elif (change.action == "add if absent" and name in made) or (
            change.action == "set if there" and name not in made
        ):
            continue
        else:
            made[name] = value
    return made


_COMMAND = re.compile(r"%%|%REQ\(([^?)]+)(?:\?([^)]+))?\)%")


def _formatted(value: str, request: Mapping[str, str]) -> str:
    """Return a value with what it takes from the request; other commands stay as they are written."""

    def read(match: re.Match[str]) -> str:
        if match[0] == "%%":
            return "%"
        asked = [name.lower() for name in (match[1], match[2]) if name]
        return next((request[name] for name in asked if name in request), "")

    return _COMMAND.sub(read, value)
