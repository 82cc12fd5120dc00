"""Where an Envoy object comes from, as its metadata says. The one reader of `envoy.metadata` in this room.

Called by everything here that names a decision.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from lateen.envoy.messages import Fields


class Source(NamedTuple):
    """A document and its place; both empty when nothing that was written is behind an object."""

    origin: str = ""
    """`bookinfo.yaml:14`."""
    config: str = ""
    """`VirtualService default/reviews`."""

    def __str__(self) -> str:
        """`VirtualService default/reviews (bookinfo.yaml:14)`, as much of it as there is."""
        if self.origin and self.config:
            return f"{self.config} ({self.origin})"
        return self.config or self.origin


def source_of(fields: Fields) -> Source:
    """Return the source of a resource or a part of one, in protobuf's JSON form."""
    found: Mapping[str, Any] = fields.get("metadata", {}).get("filter_metadata", {}).get("lateen", {})
    return Source(_text(found.get("origin")), _text(found.get("config")))


def _text(value: Any) -> str:
    """Return a value as text, of several all."""
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return value if isinstance(value, str) else ""
