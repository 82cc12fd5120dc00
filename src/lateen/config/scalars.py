"""Plain YAML scalars to JSON values, as YAML 1.2 and Kubernetes read them.

Called by `config.documents`. YAML 1.1's surprises are left out on purpose: `no` and `on` are text, `010` is text
(was it octal?), `12:30` and dates are text, `.inf` and `.nan` are text because JSON has no such numbers.
"""

from __future__ import annotations

import math
import re

Scalar = str | int | float | bool | None

_NULLS = frozenset(("", "~", "null", "Null", "NULL"))
_BOOLS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_RADIX = re.compile(r"0x[0-9a-fA-F]{1,16}|0o[0-7]{1,21}")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]{1,4})?")
_MAX_DIGITS = 400
"""More than that is not a number but an attack on `int()`."""
_MAY_BE_OTHER = frozenset(("", *"~nNtTfF+-.0123456789"))
"""First characters of what is not text, so that text is known by one look."""
_TAG = "tag:yaml.org,2002:"


def resolve_plain(text: str) -> Scalar:
    """Return the value of an unquoted scalar."""
    if text[:1] not in _MAY_BE_OTHER:
        return text
    if text in _NULLS:
        return None
    if text in _BOOLS:
        return _BOOLS[text]
    if text[0] not in "+-.0123456789" or len(text) > _MAX_DIGITS:
        return text
    if _INT.fullmatch(text):
        number = int(text)
        return number if -(2**63) <= number < 2**64 else _finite(text)
    if _RADIX.fullmatch(text):
        number = int(text, 0)
        return number if number < 2**64 else text
    if _FLOAT.fullmatch(text):
        return _finite(text)
    return text


def resolve_tagged(tag: str, text: str) -> Scalar:
    """Return the value of a scalar with an explicit tag (`!!str 1`); raises ValueError for one that cannot be."""
    if tag in ("!", f"{_TAG}str"):
        return text
    value = resolve_plain(text)
    kind = tag.removeprefix(_TAG)
    fits = {
        "null": value is None,
        "bool": isinstance(value, bool),
        "int": isinstance(value, int) and not isinstance(value, bool),
        "float": isinstance(value, int | float) and not isinstance(value, bool),
    }
    if kind not in fits:
        raise ValueError(f"the tag {tag!r} has no meaning here; write the value without it")
    if not fits[kind]:
        raise ValueError(f"the value is not of the type that its tag {tag!r} says")
    return value


def _finite(text: str) -> float | str:
    number = float(text)
    return number if math.isfinite(number) else text
