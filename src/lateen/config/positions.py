"""Where things stand in a document: paths of fields, and their lines and columns.

Made by `config.documents`, read by whoever reports a finding. Knows nothing of kinds or schemas.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

Path = tuple[str | int, ...]
"""Way from the document's root to a field: mapping keys and list indexes."""

_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]+")
_CAPITAL = re.compile(r"([A-Z])")
_PART = re.compile(r"\[(\d+)\]|\[([^\]]+)\]|\.?([A-Za-z0-9_-]+)")


def render_path(path: Path) -> str:
    """Return the path as messages write it, `spec.http[0].match[1].headers.end-user`.

    A key with other characters stands in brackets, `metadata.labels[app.kubernetes.io/name]`.
    """
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _PLAIN_KEY.fullmatch(part):
            text += f".{part}" if text else part
        else:
            text += f"[{part}]"
    return text


def read_path(text: str) -> Path:
    """Return the path that `render_path` wrote (a bracketed number is an index)."""
    return tuple(int(match[1]) if match[1] else match[2] or match[3] for match in _PART.finditer(text))


@dataclass(slots=True)
class Place:
    """Place of one node and, under their keys or indexes, of the nodes inside it. Both numbers are 1-based.

    Grows while a document is read; nobody changes it afterwards.
    """

    line: int
    column: int
    children: dict[str | int, Place] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Positions:
    """Lines and columns of all fields of one object."""

    root: Place

    @property
    def start(self) -> tuple[int, int]:
        """Line and column where the object begins."""
        return self.root.line, self.root.column

    def line_of(self, path: Path | str) -> tuple[int, int]:
        """Return line and column of a field, or of the nearest parent that stands in the document.

        The document may have written a field under its snake_case name.
        """
        place = self.root
        for part in read_path(path) if isinstance(path, str) else path:
            child = place.children.get(part)
            if child is None and isinstance(part, str):
                child = place.children.get(_CAPITAL.sub(r"_\1", part).lower())
            if child is None:
                break
            place = child
        return place.line, place.column
