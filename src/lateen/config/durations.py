"""Durations as users write them, in Go's syntax: `1.5s`, `100ms`, `1h30m`.

Called by validation and by whoever turns a spec into Envoy's. Source: Go `time.ParseDuration`; protobuf's JSON
form (`1.5s`) is a part of it.
"""

from __future__ import annotations

import re

NANOSECONDS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
"""Both spellings of micro: the sign U+00B5 and the Greek letter U+03BC."""

_WHOLE = re.compile(r"[+-]?(?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:ns|us|µs|μs|ms|s|m|h))+")
_PART = re.compile(r"([0-9]*)(?:\.([0-9]*))?(ns|us|µs|μs|ms|s|m|h)")
_LONGEST = 64
"""Characters: more digits than that is an attack, not a duration."""
_MAX_NANOSECONDS = 2**63 - 1
"""Go's limit, 292 years."""


def nanoseconds(text: str) -> int:
    """Return the duration in nanoseconds; raises ValueError with a sentence for the user.

    A bare `0` is zero, as in Go; any other number needs its unit.
    """
    if text in ("0", "+0", "-0"):
        return 0
    if len(text) > _LONGEST or not _WHOLE.fullmatch(text):
        raise ValueError(f"{text[:_LONGEST]!r} is not a duration; write a number and a unit, such as '10s' or '250ms'")
    total = 0
    for whole, fraction, unit in _PART.findall(text):
        scale = NANOSECONDS[unit]
        total += int(whole or "0") * scale
        if fraction:
            total += int(fraction) * scale // 10 ** len(fraction)
    if total > _MAX_NANOSECONDS:
        raise ValueError(f"{text!r} is longer than a duration can be (292 years)")
    return -total if text.startswith("-") else total


def seconds(text: str) -> float:
    """Return the duration in seconds; raises ValueError when it is none."""
    return nanoseconds(text) / 1e9


def to_fields(text: str) -> dict[str, int]:
    """Return `{"seconds", "nanos"}` as protobuf's Duration holds them; both have the sign of the duration."""
    total = nanoseconds(text)
    whole, rest = divmod(abs(total), 1_000_000_000)
    return {"seconds": -whole, "nanos": -rest} if total < 0 else {"seconds": whole, "nanos": rest}
