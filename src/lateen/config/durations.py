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
_SPOKEN = re.compile(r"\s*([0-9]{1,12}(?:\.[0-9]{1,9})?)\s*([A-Za-z]*)\s*")
_UNITS = (
    ("ms", ("ms", "msec", "msecs", "millis", "millisecond", "milliseconds")),
    ("s", ("s", "sec", "secs", "second", "seconds")),
    ("m", ("m", "min", "mins", "minute", "minutes")),
    ("h", ("h", "hr", "hrs", "hour", "hours")),
    ("d", ("d", "day", "days")),
)
"""Units as people also write them."""
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
        raise ValueError(f"{text[:_LONGEST]!r} is not a duration; {_meant(text)}")
    total = 0
    for whole, fraction, unit in _PART.findall(text):
        scale = NANOSECONDS[unit]
        total += int(whole or "0") * scale
        if fraction:
            total += int(fraction) * scale // 10 ** len(fraction)
    if total > _MAX_NANOSECONDS:
        raise ValueError(f"{text!r} is longer than a duration can be (292 years)")
    return -total if text.startswith("-") else total


def _meant(text: str) -> str:
    """Return the hint for a text that is no duration."""
    found = _SPOKEN.fullmatch(text[:_LONGEST])
    unit = next((unit for unit, words in _UNITS if found and found[2].lower() in words), "")
    if not found or not (unit or not found[2]):
        return "write a number and a unit, such as '10s' or '250ms'"
    if unit == "d":
        return f"did you mean '{int(found[1]) * 24}h'?" if found[1].isdigit() else "write hours, such as '24h'"
    return f"did you mean '{found[1]}{unit or 's'}'?"


def seconds(text: str) -> float:
    """Return the duration in seconds; raises ValueError when it is none."""
    return nanoseconds(text) / 1e9


def to_fields(text: str) -> dict[str, int]:
    """Return `{"seconds", "nanos"}` as protobuf's Duration holds them; both have the sign of the duration."""
    total = nanoseconds(text)
    whole, rest = divmod(abs(total), 1_000_000_000)
    return {"seconds": -whole, "nanos": -rest} if total < 0 else {"seconds": whole, "nanos": rest}
