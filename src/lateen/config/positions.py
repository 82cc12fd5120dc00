"""Where things stand in a document: paths of fields, and their lines and columns.

Made by `config.documents`, read by whoever reports a finding. Knows nothing of kinds or schemas.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

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


Placed: TypeAlias = "int | tuple[int, dict[str, Placed] | list[Placed]]"
"""Place of a node (see `pack`) and, for a mapping or list, of the nodes inside it.

Every field of every document has one and few are ever asked for, so they are made of numbers and containers only.
"""

_COLUMN_BITS = 30


def pack(line: int, column: int) -> int:
    """Return the place of a node that has none inside it. Both numbers are 1-based."""
    return line << _COLUMN_BITS | column


def unpack(placed: Placed) -> tuple[int, int]:
    """Return line and column of a node."""
    own = placed if isinstance(placed, int) else placed[0]
    return own >> _COLUMN_BITS, own & (1 << _COLUMN_BITS) - 1


def moved(placed: Placed, own: int) -> Placed:
    """Return the place with another line and column, and the same nodes inside."""
    return own if isinstance(placed, int) else (own, placed[1])


def below(placed: Placed, part: str | int) -> Placed | None:
    """Return the place of a key or index, None when the document has none."""
    inside = () if isinstance(placed, int) else placed[1]
    if isinstance(inside, dict):
        return inside.get(part) if isinstance(part, str) else None
    return inside[part] if isinstance(part, int) and part < len(inside) else None


@dataclass(frozen=True, slots=True)
class Positions:
    """Lines and columns of all fields of one object."""

    root: Placed

    @property
    def start(self) -> tuple[int, int]:
        """Line and column where the object begins."""
        return unpack(self.root)

    def line_of(self, path: Path | str) -> tuple[int, int]:
        """Return line and column of a field, or of the nearest parent that stands in the document.

        The document may have written a field under its snake_case name.
        """
        place = self.root
        for part in read_path(path) if isinstance(path, str) else path:
            child = below(place, part)
            if child is None and isinstance(part, str):
                child = below(place, _CAPITAL.sub(r"_\1", part).lower())
            if child is None:
                break
            place = child
        return unpack(place)
