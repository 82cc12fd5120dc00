"""What the agent says: a constant message and key-values, as JSON lines or as text for people.

It goes through the standard library's `logging`, which asyncio has loaded anyway. structlog, which the control plane
logs with, would be 1.4 MB in each of a host's many agents; what is here writes the same lines. Used by all of the
agent; `configure` is called by `lateen.agent.__main__` only, and what imports parts of the agent logs by its own rules.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from typing import Any, TextIO

LOGGER = "lateen.agent"


class Log:
    """Says something, with what is `known` each time. Made by `get_log`."""

    __slots__ = ("_known", "_logger")

    def __init__(self, logger: logging.Logger, known: Mapping[str, Any]) -> None:
        self._logger = logger
        self._known = known

    def bind(self, **known: Any) -> Log:
        """Return a log that says this too."""
        return Log(self._logger, {**self._known, **known})

    def info(self, event: str, **fields: Any) -> None:
        """Say what happened."""
        self._say(logging.INFO, event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        """Say what somebody should look at."""
        self._say(logging.WARNING, event, fields)

    def error(self, event: str, **fields: Any) -> None:
        """Say what went wrong."""
        self._say(logging.ERROR, event, fields)

    def exception(self, event: str, **fields: Any) -> None:
        """Say what went wrong with the traceback of the exception at hand."""
        self._say(logging.ERROR, event, fields, traceback=True)

    def _say(self, level: int, event: str, fields: Mapping[str, Any], *, traceback: bool = False) -> None:
        # As an argument for no place in the text: what peers say may hold per cent signs.
        self._logger.log(level, "%s", event, extra={"fields": {**self._known, **fields}}, exc_info=traceback)


def get_log() -> Log:
    """Return the agent's log."""
    return Log(logging.getLogger(LOGGER), {})


def configure(stream: TextIO, *, for_people: bool) -> None:
    """Log to this stream, from level info on; of libraries, warnings and errors."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(ForPeople() if for_people else JsonLines())
    logging.getLogger().addHandler(handler)
    logging.getLogger(LOGGER).setLevel(logging.INFO)


class JsonLines(logging.Formatter):
    """One object a line: the fields, then event, level and timestamp."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        said = {"event": record.getMessage(), "level": record.levelname.lower(), "timestamp": _timestamp(record)}
        if record.exc_info:
            said["exception"] = self.formatException(record.exc_info)
        return json.dumps({**getattr(record, "fields", {}), **said}, default=repr)


class ForPeople(logging.Formatter):
    """Time, level and message in columns, then the fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; a traceback follows on its own."""
        fields = " ".join(f"{name}={_shown(value)}" for name, value in getattr(record, "fields", {}).items())
        event = _printable(record.getMessage())
        line = f"{_timestamp(record)} [{record.levelname.lower():<8}] {event:<30} {fields}".rstrip()
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _timestamp(record: logging.LogRecord) -> str:
    """ISO 8601, to the microsecond."""
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{seconds}.{int(record.created % 1 * 1_000_000):06}Z"


def _printable(text: str) -> str:
    """Without line ends and escapes, which peers may have put into it."""
    return text if text.isprintable() else repr(text)[1:-1]


def _shown(value: object) -> str:
    """Quoted where it has spaces, as it is otherwise."""
    plain = isinstance(value, str) and value and value.isprintable() and " " not in value
    return str(value) if plain else repr(value)
