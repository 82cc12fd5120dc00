"""What to write instead of an unknown name. Called by the rules about references.

Comparing a name with all others is slow (some milliseconds for a thousand), so only the first unknown names of an
analysis are compared: whoever has hundreds of them has another problem than a slip of the pen.
"""

from __future__ import annotations

from collections.abc import Collection

from lateen.config.decoding import closest

_MOST_SEARCHES = 20
_FEW = 50
"""A list so short is always searched."""


class Hints:
    """The searches of one analysis."""

    def __init__(self) -> None:
        self._left = _MOST_SEARCHES

    def closest(self, word: str, known: Collection[str]) -> str:
        """Return the known name most like `word`, empty when none is, or when enough were searched for."""
        if len(known) > _FEW:
            if self._left <= 0:
                return ""
            self._left -= 1
        return closest(word, known)


MOST_NAMES = 5
"""Of the other objects that a message names."""


def some_names(names: Collection[str]) -> str:
    """Return the first names in order, and that there are others."""
    ordered = sorted(names)
    more = " and others" if len(ordered) > MOST_NAMES else ""
    return ", ".join(ordered[:MOST_NAMES]) + more
