"""A request as a filter sees it: what its headers, its connection and the filters before have to say.

Made by `walking` per workload, read by `rbac` and `tokens`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request on one connection; a connection alone has no headers."""

    headers: Mapping[str, str] = field(default_factory=dict)
    """By lower-case name, `:method`, `:path` and `:authority` among them; several of one name joined by commas."""
    source_ip: str = ""
    """Where the connection comes from."""
    remote_ip: str = ""
    """The client's address as far as X-Forwarded-For is trusted."""
    destination_ip: str = ""
    destination_port: int = 0
    names: tuple[str, ...] | None = None
    """What the peer's certificate says: URI names, DNS names, then the subject. None without a certificate."""
    server_name: str = ""
    """SNI."""
    metadata: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What earlier filters found out, by the filter's name."""

    @property
    def path(self) -> str | None:
        """The path without query and fragment; None when there is no request, only a connection."""
        whole = self.headers.get(":path")
        return None if whole is None else whole.partition("#")[0].partition("?")[0]

    def with_metadata(self, namespace: str, values: Mapping[str, Any]) -> Request:
        """Return the request after a filter wrote metadata."""
        return replace(self, metadata={**self.metadata, namespace: {**self.metadata.get(namespace, {}), **values}})
