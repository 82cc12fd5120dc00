"""Where an object came from: carried from the document all the way into Envoy's metadata."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Origin:
    """The source of an object: a place in a file, or who put it into a store.

    `str()` gives `bookshop.yaml:12` for a file, `api` or `registry agents` otherwise.
    """

    source: str
    """File path as the user named it, or the name of a store or registry."""
    line: int = 0
    """1-based line of the object's first line; 0 when there is no file."""

    def __str__(self) -> str:
        return f"{self.source}:{self.line}" if self.line else self.source
