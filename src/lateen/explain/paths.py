"""Paths as a connection manager normalises them before filters see them.

Called by `walking`. Source: `normalize_path`, `merge_slashes` and `path_with_escaped_slashes_action` of Envoy's
HttpConnectionManager; RFC 3986, 6.
"""

from __future__ import annotations

import re

from lateen.envoy.messages import Fields

_UNRESERVED = re.compile(r"%([0-9A-Fa-f]{2})")


def normalised_path(manager: Fields, whole: str) -> str:
    """Return the path of a request (with its query, which stays) as the filters of this connection manager see it."""
    path, mark, query = whole.partition("?")
    if manager.get("path_with_escaped_slashes_action") in ("UNESCAPE_AND_FORWARD", "UNESCAPE_AND_REDIRECT"):
        path = re.sub(r"%2f", "/", re.sub(r"%5c", r"\\", path, flags=re.IGNORECASE), flags=re.IGNORECASE)
    if manager.get("normalize_path"):
        path = _without_dots(_UNRESERVED.sub(_decoded, path).replace("\\", "/"))
    if manager.get("merge_slashes"):
        path = re.sub(r"/{2,}", "/", path)
    return path + mark + query


def _decoded(match: re.Match[str]) -> str:
    char = chr(int(match[1], 16))
    return char if re.fullmatch(r"[A-Za-z0-9._~-]", char) else match[0]


def _without_dots(path: str) -> str:
    """Remove dot segments (RFC 3986, 5.2.4)."""
    kept: list[str] = []
    segments = path.split("/")[1:]
    for position, segment in enumerate(segments):
        last = position == len(segments) - 1
        if segment == "..":
            if kept:
                kept.pop()
        elif segment != ".":
            kept.append(segment)
            continue
        if last:
            kept.append("")
    return "/" + "/".join(kept)
