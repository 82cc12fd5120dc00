"""What the agent said, as values: for tests of its rooms."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lateen.agent.log import LOGGER


class _Entries(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        fields: dict[str, Any] = getattr(record, "fields", {})
        self.found.append({**fields, "event": record.getMessage(), "log_level": record.levelname.lower()})


@contextmanager
def capture_logs() -> Iterator[list[dict[str, Any]]]:
    """Everything that the agent says in the block, each with `event` and `log_level`."""
    logger, entries = logging.getLogger(LOGGER), _Entries()
    before = logger.level
    logger.addHandler(entries)
    logger.setLevel(logging.INFO)
    try:
        yield entries.found
    finally:
        logger.removeHandler(entries)
        logger.setLevel(before)
