"""Python's garbage collector, set for a process that keeps one large immutable state.

Called by `app/running.py`, and by `cli/main.py`: commands on files make such a state, and end.

States and snapshots are trees without cycles: reference counting frees them. Yet each collection walks all of them,
and by default one comes every 700 new containers, so that pushing one change to a thousand proxies spent a third of
its time in collections that found nothing.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_THRESHOLDS = (50_000, 20, 50)
"""New containers until the youngest are looked at; then how many such until the older ones are."""


@contextmanager
def rare_collections() -> Iterator[None]:
    """Collect garbage rarely within the context."""
    before = gc.get_threshold()
    gc.set_threshold(*_THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*before)
