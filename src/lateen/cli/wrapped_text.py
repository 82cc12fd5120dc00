"""Text for a terminal of 80 columns: labels with what belongs to them, wrapped.

Called by the modules that print explanations.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from lateen.cli.output import WIDTH

_LABEL = 13


def labelled(label: str, text: str) -> Iterator[str]:
    """Yield a label, and a text in the column after it."""
    yield from filled(f"{label:{_LABEL}} ", text, 0, after=" " * (_LABEL + 1))


def filled(before: str, text: str, indent: int, *, after: str | None = None) -> Iterator[str]:
    """Yield a text in lines of 80 columns; a word that is longer stays whole, so that it can be copied."""
    following = before + " " * indent if after is None else after
    yield from textwrap.wrap(
        text,
        WIDTH,
        initial_indent=before,
        subsequent_indent=following,
        break_long_words=False,
        break_on_hyphens=False,
    ) or [before.rstrip()]
