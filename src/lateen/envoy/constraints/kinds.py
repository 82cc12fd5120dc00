"""When a single value breaks a rule of protoc-gen-validate, kind of rule by kind of rule.

Called by `compiling`. A test is a function of a value that returns what the value must be, or None when it is so.
Source: protoc-gen-validate's README, "Constraint Rules"; the two expressions of headers are in its `WellKnownRegex`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import re2

from lateen.envoy.messages import Message

Test: TypeAlias = Callable[[Any], str | None]

_HEADERS = {
    (1, True): (r"^:?[0-9a-zA-Z!#$%&'*+-.^_|~\x60]+$", "the name of a header"),
    (1, False): ("^[^\x00\n\r]*$", "the name of a header, without NUL and line breaks"),
    (2, True): ("^[^\x00-\x08\n-\x1f\x7f]*$", "the value of a header, without control characters"),
    (2, False): ("^[^\x00\n\r]*$", "the value of a header, without NUL and line breaks"),
}
"""By `well_known_regex` (1: name, 2: value) and `strict`."""

_COMPARISONS: dict[str, tuple[Callable[[Any, Any], bool], str]] = {
    "const": (lambda value, limit: value == limit, "must be"),
    "gt": (lambda value, limit: value > limit, "must be greater than"),
    "gte": (lambda value, limit: value >= limit, "must be at least"),
    "lt": (lambda value, limit: value < limit, "must be less than"),
    "lte": (lambda value, limit: value <= limit, "must be at most"),
}
_LENGTHS: dict[str, tuple[Callable[[Any], int], Callable[[int, int], bool], str]] = {
    "min_len": (len, lambda size, limit: size >= limit, "at least {} long"),
    "max_len": (len, lambda size, limit: size <= limit, "at most {} long"),
    "len": (len, lambda size, limit: size == limit, "{} long"),
    "min_bytes": (lambda text: len(text.encode()), lambda size, limit: size >= limit, "at least {} bytes long"),
    "max_bytes": (lambda text: len(text.encode()), lambda size, limit: size <= limit, "at most {} bytes long"),
    "min_items": (len, lambda size, limit: size >= limit, "at least {} items"),
    "max_items": (len, lambda size, limit: size <= limit, "at most {} items"),
    "min_pairs": (len, lambda size, limit: size >= limit, "at least {} entries"),
    "max_pairs": (len, lambda size, limit: size <= limit, "at most {} entries"),
}
_TEXTS: dict[str, tuple[Callable[[Any, Any], bool], str]] = {
    "prefix": (lambda value, part: value.startswith(part), "begin with"),
    "suffix": (lambda value, part: value.endswith(part), "end with"),
    "contains": (lambda value, part: part in value, "contain"),
    "not_contains": (lambda value, part: part not in value, "not contain"),
}


def tests_of(rules: Message, enum: Any) -> tuple[Test, ...]:
    """Return the tests of one kind of rules (`StringRules`, `DurationRules` ...); `enum` is the enum's descriptor."""
    return tuple(_tests(rules, enum))


def _tests(rules: Message, enum: Any) -> Iterator[Test]:
    for field, limit in rules.ListFields():
        name = field.name
        if name in _COMPARISONS:
            yield _comparison(name, limit)
        elif name in _LENGTHS:
            yield _length(name, limit)
        elif name in _TEXTS:
            yield _text(name, limit)
        elif name in ("in", "not_in"):
            yield _membership(frozenset(limit), wanted=name == "in")
        elif name == "pattern":
            yield _pattern(limit, f"match {limit}")
        elif name == "well_known_regex":
            expression, words = _HEADERS[limit, rules.strict]
            yield _pattern(expression, f"be {words}")
        elif name == "defined_only" and limit:
            yield _membership(frozenset(enum.values_by_number), wanted=True)
        elif name == "unique" and limit:
            yield _unique


def _comparison(name: str, limit: Any) -> Test:
    holds, words = _COMPARISONS[name]
    if hasattr(limit, "nanos"):
        bound = nanoseconds(limit)
        told = f"{words} {bound / 1e9:g}s"
        return lambda value: None if holds(nanoseconds(value), bound) else told
    told = f"{words} {limit}"
    return lambda value: None if holds(value, limit) else told


def nanoseconds(duration: Message) -> int:
    """Return a Duration message as a number."""
    return int(duration.seconds) * 1_000_000_000 + int(duration.nanos)


def _length(name: str, limit: int) -> Test:
    size, holds, words = _LENGTHS[name]
    told = "must not be empty" if limit == 1 and name.startswith("min") else f"must be {words.format(limit)}"
    return lambda value: None if holds(size(value), limit) else told


def _text(name: str, part: str) -> Test:
    holds, words = _TEXTS[name]
    return lambda value: None if holds(value, part) else f"must {words} {part!r}"


def _membership(values: frozenset[Any], *, wanted: bool) -> Test:
    listed = ", ".join(sorted(str(value) for value in values)[:12])
    told = f"must be one of {listed}" if wanted else f"must not be {listed}"
    return lambda value: None if (value in values) is wanted else told


def _pattern(expression: str, words: str) -> Test:
    compiled = re2.compile(expression)
    return lambda value: None if compiled.search(value) else f"must {words}"


def _unique(values: Any) -> str | None:
    seen = list(values)
    return None if all(value not in seen[:index] for index, value in enumerate(seen)) else "must not hold a value twice"
