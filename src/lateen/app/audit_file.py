"""The audit log on disk: one line of JSON per change and per refusal.

Made by `app.running`, written by `api.audit`. A file of bounded size: when it is full it becomes `audit.jsonl.1` and a
new one begins, so at most twice the size is kept.
"""

from __future__ import annotations

import os
from pathlib import Path

import structlog

_LOG = structlog.get_logger(__name__)

NAME = "audit.jsonl"
MAX_BYTES = 16 * 1024 * 1024


class AuditFile:
    """Appends lines; several control planes may append to one file."""

    def __init__(self, path: Path, *, max_bytes: int = MAX_BYTES) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._failing = False

    def write(self, line: bytes) -> None:
        """Append a line. Never raises: that the log cannot be written is logged, once until it can again."""
        try:
            self._turn_over()
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            try:
                os.write(descriptor, line)
            finally:
                os.close(descriptor)
        except OSError as error:
            if not self._failing:
                _LOG.error("the audit log cannot be written", file=str(self._path), problem=error.strerror)
            self._failing = True
        else:
            self._failing = False

    def _turn_over(self) -> None:
        try:
            full = self._path.stat().st_size >= self._max_bytes
        except FileNotFoundError:
            return
        if full:
            self._path.replace(self._path.with_name(f"{self._path.name}.1"))
