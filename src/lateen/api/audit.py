"""The audit log: records in a bounded memory for `GET /v1/audit`, and as JSON lines for whoever keeps them.

Made by `app`, written by `api/gate.py`. Refusals have a memory of their own: whoever is refused may be anybody, and
must not push out the record of a change.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from heapq import merge
from itertools import islice

import msgspec

from lateen.api.answers import rfc3339
from lateen.api.control_plane import AuditRecord, Outcome

KEPT = 1000
"""Records of each sort in memory."""
MAX_OBJECTS = 1000
"""Keys in one record; of an apply request with more the rest is counted."""


class AuditLog:
    """Keeps the newest records and hands each on."""

    def __init__(self, write: Callable[[bytes], None] | None = None, kept: int = KEPT) -> None:
        """`write` takes each record as a line with its newline; it neither blocks nor raises."""
        self._write = write
        self._changes: deque[AuditRecord] = deque(maxlen=kept)
        self._refusals: deque[AuditRecord] = deque(maxlen=kept)

    def record(self, record: AuditRecord) -> None:
        """Keep a record."""
        (self._refusals if record.outcome is Outcome.REFUSED else self._changes).append(record)
        if self._write is not None:
            self._write(json_line(record))

    def newest(self, limit: int) -> list[AuditRecord]:
        """Return at most so many records, the newest first."""
        both = merge(reversed(self._changes), reversed(self._refusals), key=lambda record: record.time, reverse=True)
        return list(islice(both, limit))


def json_line(record: AuditRecord) -> bytes:
    """Return the record as one line of JSON, its time as RFC 3339 in UTC."""
    return msgspec.json.encode(msgspec.to_builtins(record) | {"time": rfc3339(record.time)}) + b"\n"


def bounded_objects(keys: list[str]) -> tuple[str, ...]:
    """Return the keys, or the first of them and how many more there are."""
    if len(keys) <= MAX_OBJECTS:
        return tuple(keys)
    return (*keys[:MAX_OBJECTS], f"and {len(keys) - MAX_OBJECTS} more")
