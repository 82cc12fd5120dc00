"""Growing pauses between tries, as pure arithmetic.

Called by whatever tries again: the attach stream and the Envoy supervisor. Must not know: clocks or sleeping.
"""

from __future__ import annotations

from collections.abc import Iterator


def pauses(first: float, longest: float) -> Iterator[float]:
    """Yield seconds to wait: `first`, doubled each time, never above `longest`, without end."""
    pause = first
    while True:
        yield pause
        pause = min(pause * 2, longest)
