"""Printing: tables that fit the terminal, JSON and YAML on stdout, messages on stderr.

Called by every command. A table fits the terminal: the widest columns give way, cut with an ellipsis. In a pipe
nothing is cut, unless COLUMNS says how wide a line may be.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Sequence
from typing import Any

WIDTH = 80
MIN_COLUMN = 8
_GAP = "  "


def print_json(value: Any) -> None:
    """Print indented JSON to stdout."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def print_yaml(documents: Sequence[Any]) -> None:
    """Print documents to stdout, separated by `---`."""
    import yaml

    sys.stdout.write(yaml.safe_dump_all(documents, sort_keys=False, allow_unicode=True, default_flow_style=False))


def print_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table to stdout, no wider than the terminal or COLUMNS; whole when there is neither."""
    width = line_width()
    ellipsis = "…" if sys.stdout.isatty() and "utf" in (sys.stdout.encoding or "").lower() else "..."
    for line in table_lines(headers, rows, width=width, ellipsis=ellipsis):
        sys.stdout.write(line + "\n")


def line_width() -> int | None:
    """Return how wide a line may be on stdout; None in a pipe, where nothing is cut or folded."""
    columns = shutil.get_terminal_size((WIDTH, 24)).columns  # COLUMNS goes before the terminal
    return columns if sys.stdout.isatty() or os.environ.get("COLUMNS") else None


def print_rows(headers: Sequence[str], rows: Sequence[Sequence[str]], empty: str) -> None:
    """Print a table to stdout, or the message to stderr when there is nothing to show."""
    if rows:
        print_table(headers, rows)
    else:
        note(empty)


def note(message: str) -> None:
    """Print a message to stderr."""
    sys.stderr.write(message + "\n")


def table_lines(
    headers: Sequence[str], rows: Sequence[Sequence[str]], *, width: int | None = WIDTH, ellipsis: str = "..."
) -> list[str]:
    """Return the lines of a table no wider than `width`; cells are one line each, control characters dropped."""
    cells = [[_one_line(cell) for cell in row] for row in (headers, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    if width is not None:
        widths = fitted(widths, width - len(_GAP) * (len(headers) - 1))
    return [
        _GAP.join(_cut(cell, size, ellipsis).ljust(size) for cell, size in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]


def fitted(wanted: Sequence[int], width: int) -> list[int]:
    """Return column widths whose sum is at most `width`, taken from the widest; never below `MIN_COLUMN`."""
    widths = list(wanted)
    while sum(widths) > width:
        widest = max(range(len(widths)), key=lambda column: (widths[column], column))
        if widths[widest] <= MIN_COLUMN:
            break
        widths[widest] -= 1
    return widths


def _cut(cell: str, size: int, ellipsis: str) -> str:
    return cell if len(cell) <= size else cell[: max(size - len(ellipsis), 0)] + ellipsis


def _one_line(cell: str) -> str:
    # A message of a peer must neither break the table nor speak to the terminal.
    return "".join(char if char.isprintable() else " " for char in cell)


def silence_broken_pipe() -> None:
    """Point stdout to nowhere after `| head` closed it, so that the interpreter's last flush does not complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
