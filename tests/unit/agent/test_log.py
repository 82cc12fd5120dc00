"""The agent's log: the lines that structlog would write, without it."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from lateen.agent.log import LOGGER, configure, get_log


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Where the log goes; afterwards it goes where it went before."""
    root, ours = logging.getLogger(), logging.getLogger(LOGGER)
    handlers, level = root.handlers[:], ours.level
    yield io.StringIO()
    root.handlers[:] = handlers
    ours.setLevel(level)


def test_lines_for_programs_are_objects_of_the_fields_and_the_event(stream: io.StringIO) -> None:
    configure(stream, for_people=False)
    get_log().bind(control_plane="127.0.0.1:15010").warning("it is 100 % away", age_seconds=3, path=("a",))
    entry = json.loads(stream.getvalue())
    assert list(entry) == ["control_plane", "age_seconds", "path", "event", "level", "timestamp"]
    assert (entry["event"], entry["level"], entry["path"]) == ("it is 100 % away", "warning", ["a"])
    assert entry["timestamp"].endswith("Z")


def test_values_that_json_does_not_know_are_shown(stream: io.StringIO) -> None:
    configure(stream, for_people=False)
    get_log().info("ready", app={1})
    assert json.loads(stream.getvalue())["app"] == "{1}"


def test_lines_for_people_quote_what_has_spaces(stream: io.StringIO) -> None:
    configure(stream, for_people=True)
    get_log().error("it failed", reason="no such file", port=80, kind="tcp", todo="")
    assert stream.getvalue().endswith("reason='no such file' port=80 kind=tcp todo=''\n")
    assert "[error   ] it failed " in stream.getvalue()


@pytest.mark.parametrize("for_people", [False, True])
def test_a_line_stays_one_line_whatever_a_peer_says(stream: io.StringIO, for_people: bool) -> None:
    configure(stream, for_people=for_people)
    get_log().info("said\nby", reason="one\ntwo\x1b[31m", name="\x1b")
    assert stream.getvalue().count("\n") == 1
    assert "\x1b" not in stream.getvalue()


def test_errors_of_libraries_have_their_traceback(stream: io.StringIO) -> None:
    configure(stream, for_people=False)
    try:
        raise ValueError("lost")
    except ValueError:
        logging.getLogger("asyncio").exception("Task exception was never retrieved")
    assert "ValueError: lost" in json.loads(stream.getvalue())["exception"]


def test_what_libraries_only_remark_is_not_said(stream: io.StringIO) -> None:
    configure(stream, for_people=False)
    logging.getLogger("asyncio").info("using selector")
    assert not stream.getvalue()


def test_a_bound_log_leaves_the_other_as_it_was(stream: io.StringIO) -> None:
    configure(stream, for_people=False)
    log = get_log()
    log.bind(a=1)
    log.info("said")
    assert "a" not in json.loads(stream.getvalue())
