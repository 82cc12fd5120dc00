"""JSON values to structs, with every error at once.

Called by `config.parsing` and `config.mesh_config`. msgspec stops at a document's first error; users deserve all
of them, each with its path and what to write instead. So a walk over the struct's type tree checks and normalizes the
value first (the rules of protobuf's JSON mapping, which Istio follows: camelCase or snake_case names, 64-bit numbers
in quotes, null means unset), and msgspec converts what passed.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from lateen.config.codes import INVALID_VALUE, MISSING_FIELD, UNKNOWN_FIELD, WRONG_TYPE
from lateen.config.networking import Spec
from lateen.config.positions import Path
from lateen.config.violations import Violation

SpecT = TypeVar("SpecT", bound=Spec)

_NUMBER = re.compile(r"-?[0-9]{1,19}")
_REAL = re.compile(r"-?[0-9]{1,19}(?:\.[0-9]{1,19})?(?:[eE][-+]?[0-9]{1,3})?")
_WIDE = frozenset(("minimumRingSize", "tableSize", "maxNumberOfAttributes", "maxNumberOfAnnotations"))
"""Fields of 64 bits; every other whole number of the schema has 32."""
_OF_DURATIONS = re.compile(r"(?i)time|delay|interval|age$|ttl|duration|^request$|^backendRequest$")
"""Names of fields that hold durations, as text."""
_SPOKEN_BOOLS = {"yes": "true", "on": "true", "true": "true", "no": "false", "off": "false", "false": "false"}
"""Other YAML readers take these for true and false; here they are text, as in YAML 1.2."""
_OLD_NAMES = {"mesh_mTLS": "meshMTLS"}
"""Protobuf names that are not simply the Python field's name."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """What became of a value."""

    violations: tuple[Violation, ...]
    normal: dict[str, Any]
    """The value with its fields under their camelCase names and nulls left out. Complete only without violations."""


@dataclass(slots=True)
class _Walk:
    """State of one walk: the rules, and what was found so far."""

    protobuf: bool
    secret: bool
    found: list[Violation] = field(default_factory=list)

    def wrong_type(self, path: Path, wanted: str, value: object, hint: str = "") -> None:
        if self.secret:
            self.found.append(Violation(path, f"must be {wanted}", "", WRONG_TYPE))
            return
        self.found.append(Violation(path, f"must be {wanted}, not {_described(value)}", hint, WRONG_TYPE))


def check(value: Mapping[str, Any], struct: type[Spec], *, protobuf: bool, secret: bool = False) -> Decoded:
    """Check and normalize a JSON object against a struct.

    `protobuf` admits snake_case names and numbers in quotes, as Istio does for its own kinds and Kubernetes does not.
    `secret` keeps values out of messages.
    """
    walk = _Walk(protobuf=protobuf, secret=secret)
    normal = _struct(walk, value, struct, ())
    return Decoded(tuple(walk.found), normal if isinstance(normal, dict) else {})


def decode(decoded: Decoded, struct: type[SpecT]) -> SpecT:
    """Convert what `check` normalized without violations."""
    return msgspec.convert(decoded.normal, struct)


def salvage(decoded: Decoded, struct: type[SpecT]) -> SpecT | None:
    """Return what is left of a value with violations, so that its other fields can still be looked at.

    Broken fields are unset in it, a list with a broken item is unset whole (so that indexes stay true). None when too
    little is left.
    """
    try:
        return msgspec.convert(_pruned(decoded.normal), struct)
    except msgspec.ValidationError:
        return None


def _pruned(value: Any) -> Any:
    """Leave out what `check` could not read, which it marks with None."""
    if isinstance(value, dict):
        below = {key: _pruned(item) for key, item in value.items()}
        return {key: item for key, item in below.items() if item is not None}
    if isinstance(value, list):
        items = [_pruned(item) for item in value]
        return None if any(item is None for item in items) else items
    return value


_LONGEST_WORD = 200
"""What is longer is no misspelling; to compare megabytes takes seconds."""


def closest(word: str, known: Iterable[str]) -> str:
    """Return the known word that looks most like `word` (case aside), empty when none does."""
    if len(word) > _LONGEST_WORD:
        return ""
    by_lower = {name.lower(): name for name in known}
    matches = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.65)
    return by_lower[matches[0]] if matches else ""


@dataclass(frozen=True, slots=True)
class Fields:
    """Fields of a struct under every name they may have."""

    types: Mapping[str, inspect.Type]
    required: tuple[str, ...]
    snake: Mapping[str, str]
    as_is: Mapping[str, type]
    """For text and booleans the type of a value that needs no further look: most values of most documents."""
    nested: frozenset[str]
    """Names of fields with structs below them."""


@cache  # a pure function of the class: its fields never change
def fields_of(struct: type[msgspec.Struct]) -> Fields:
    """Return the fields of a struct by their names in documents."""
    described = inspect.type_info(struct)
    assert isinstance(described, inspect.StructType)
    types = {one.encode_name: one.type for one in described.fields}
    snake = {one.name.rstrip("_"): one.encode_name for one in described.fields}
    snake |= {old: new for old, new in _OLD_NAMES.items() if new in types}
    return Fields(
        types=types,
        required=tuple(one.encode_name for one in described.fields if one.required),
        snake={old: new for old, new in snake.items() if old not in types},
        as_is={name: plain for name, one in types.items() if (plain := _AS_IS.get(type(_sole(one))))},
        nested=frozenset(name for name, one in types.items() if _holds_structs(one)),
    )


_AS_IS: Mapping[type[inspect.Type], type] = {inspect.StrType: str, inspect.BoolType: bool}


def _sole(expected: inspect.Type) -> inspect.Type:
    """Return the type of a field that may be unset otherwise."""
    options = _options(expected)
    return options[0] if len(options) == 1 else expected


def _options(expected: inspect.Type) -> list[inspect.Type]:
    if not isinstance(expected, inspect.UnionType):
        return [expected]
    return [option for option in expected.types if not isinstance(option, inspect.NoneType)]


def _holds_structs(expected: inspect.Type) -> bool:
    held = [
        option.item_type
        if isinstance(option, inspect.ListType)
        else option.value_type
        if isinstance(option, inspect.DictType)
        else option
        for option in _options(expected)
    ]
    return any(isinstance(one, inspect.StructType) for one in held)


def _struct(walk: _Walk, value: object, struct: type[msgspec.Struct], path: Path) -> Any:
    if not isinstance(value, Mapping):
        walk.wrong_type(path, "a mapping", value, _mapping_hint(struct))
        return None
    fields = fields_of(struct)
    normal: dict[str, Any] = {}
    for key, item in value.items():
        name = key
        if key not in fields.types and walk.protobuf:
            name = fields.snake.get(key, key)
        expected = fields.types.get(name)
        if expected is None:
            walk.found.append(_unknown(struct, key, path))
        elif name in normal:
            message = f"is set twice, as `{name}` and under its other name"
            walk.found.append(Violation((*path, key), message, "keep one of them", INVALID_VALUE))
        elif type(item) is fields.as_is.get(name):
            normal[name] = item
        elif item is not None:
            normal[name] = _value(walk, item, expected, (*path, key))
    missing = [name for name in fields.required if name not in normal]
    for name in missing:
        hint = f"add `{name}: …`"
        walk.found.append(Violation(path, f"the field `{name}` is required", hint, MISSING_FIELD))
    return None if missing else normal


def _unknown(struct: type[msgspec.Struct], key: str, path: Path) -> Violation:
    fields = fields_of(struct)
    if near := closest(key, fields.types):
        hint = f"did you mean `{near}`?"
    elif inside := _field_inside(struct, key, 3):
        hint = f"did you mean `{inside}.{key}`?"
    elif len(fields.types) == 1 and isinstance(next(iter(fields.types.values())), inspect.DictType):
        hint = f"write it below `{next(iter(fields.types))}`"
    elif not fields.types:
        hint = "nothing can be set here"
    else:
        hint = f"known fields are {', '.join(sorted(fields.types))}"
    return Violation((*path, key), f"unknown field `{key}`", hint, UNKNOWN_FIELD)


def _field_inside(struct: type[msgspec.Struct], key: str, depth: int) -> str:
    """Return the way to the nearest field below that has `key`, for one that stands some levels too high."""
    below = list(_structs_below(struct))
    for way, inner in below:
        if key in fields_of(inner).types:
            return way
    for way, inner in below if depth > 1 else ():
        if further := _field_inside(inner, key, depth - 1):
            return f"{way}.{further}"
    return ""


def _structs_below(struct: type[msgspec.Struct]) -> Iterator[tuple[str, type[msgspec.Struct]]]:
    """Yield the fields of a struct that are structs (`route`) or lists of them (`route[]`)."""
    for name, expected in fields_of(struct).types.items():
        for option in expected.types if isinstance(expected, inspect.UnionType) else (expected,):
            if isinstance(option, inspect.StructType):
                yield name, option.cls
            elif isinstance(option, inspect.ListType) and isinstance(option.item_type, inspect.StructType):
                yield f"{name}[]", option.item_type.cls


def _mapping_hint(struct: type[msgspec.Struct]) -> str:
    names = list(fields_of(struct).types)
    return f"write its fields below it, such as `{names[0]}: …`" if names else ""


def _value(walk: _Walk, value: object, expected: inspect.Type, path: Path) -> Any:
    read = _READERS.get(type(expected))
    return read(walk, value, expected, path) if read else value


def _union(walk: _Walk, value: object, expected: inspect.UnionType, path: Path) -> Any:
    if (sole := _sole(expected)) is not expected:
        return _value(walk, value, sole, path)
    # The only other union of the schema is Kubernetes' int-or-string.
    if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    walk.wrong_type(path, "a number or text", value)
    return None


def _list(walk: _Walk, value: object, expected: inspect.ListType, path: Path) -> Any:
    if not isinstance(value, list):
        hint = "begin each item with `- `"
        if isinstance(value, str | int | float) and not walk.secret and len(str(value)) <= 80:
            hint = f"write `[{_yaml(value)}]`"
        walk.wrong_type(path, "a list", value, hint)
        return None
    if (plain := _AS_IS.get(type(expected.item_type))) and all(type(item) is plain for item in value):
        return list(value)
    return [_value(walk, item, expected.item_type, (*path, index)) for index, item in enumerate(value)]


def _dict(walk: _Walk, value: object, expected: inspect.DictType, path: Path) -> Any:
    if not isinstance(value, Mapping):
        walk.wrong_type(path, "a mapping", value)
        return None
    if (plain := _AS_IS.get(type(expected.value_type))) and all(type(item) is plain for item in value.values()):
        return dict(value)
    return {key: _value(walk, item, expected.value_type, (*path, key)) for key, item in value.items()}


def _enum(walk: _Walk, value: object, expected: inspect.EnumType, path: Path) -> Any:
    words = [member.value for member in expected.cls]
    if value in words:
        return value
    if isinstance(value, str):
        near = closest(value, words)
        hint = f"did you mean {near}?" if near else f"write one of {', '.join(words)}"
        walk.found.append(Violation(path, f"{value!r} is not a value of this field", hint, INVALID_VALUE))
    else:
        walk.wrong_type(path, f"one of {', '.join(words)}", value)
    return None


def _text(walk: _Walk, value: object, path: Path) -> Any:
    if isinstance(value, str):
        return value
    hint = ""
    if isinstance(value, bool):
        hint = f'quote it: "{str(value).lower()}"'
    elif isinstance(value, int | float):
        is_duration = isinstance(path[-1], str) and bool(_OF_DURATIONS.search(path[-1]))
        # A float is not shown: 1.20 was read as 1.2.
        quoted = f'quote it: "{value}"' if isinstance(value, int) else "put it in quotes, as it is written"
        hint = f"write a number and a unit: {value}s" if is_duration else quoted
    elif isinstance(value, list) and path[-1] == "retryOn":
        hint = "write one text with commas: 5xx,reset"
    walk.wrong_type(path, "text", value, hint)
    return None


def _bool(walk: _Walk, value: object, path: Path) -> Any:
    if isinstance(value, bool):
        return value
    meant = _SPOKEN_BOOLS.get(value.lower()) if isinstance(value, str) else None
    hint = f"write {meant}, without quotes" if meant else "write true or false without quotes"
    walk.wrong_type(path, "true or false", value, hint)
    return None


def _int(walk: _Walk, value: object, expected: inspect.IntType, path: Path) -> Any:
    number = _whole(walk, value)
    if number is None:
        in_quotes = isinstance(value, str) and _NUMBER.fullmatch(value)
        walk.wrong_type(path, "a whole number", value, f"write {value} without quotes" if in_quotes else "")
        return None
    is_wide = path[-1] in _WIDE
    lowest = expected.ge if expected.ge is not None else 0 if is_wide else -(2**31)
    highest = expected.le if expected.le is not None else 2**64 - 1 if is_wide else 2**31 - 1
    if not lowest <= number <= highest:
        message = f"{number} is out of range"
        walk.found.append(Violation(path, message, f"write a number from {lowest} to {highest}", INVALID_VALUE))
        return None
    return number


def _whole(walk: _Walk, value: object) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and walk.protobuf and _NUMBER.fullmatch(value):
        return int(value)
    return None


def _float(walk: _Walk, value: object, path: Path) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str) and walk.protobuf and _REAL.fullmatch(value) and math.isfinite(float(value)):
        return float(value)
    bare = value.removesuffix("%").strip() if isinstance(value, str) else ""
    walk.wrong_type(path, "a number", value, f"write {bare}" if _REAL.fullmatch(bare) else "")
    return None


_READERS: Mapping[type[inspect.Type], Callable[[_Walk, object, Any, Path], Any]] = {
    inspect.UnionType: _union,
    inspect.StructType: lambda walk, value, expected, path: _struct(walk, value, expected.cls, path),
    inspect.ListType: _list,
    inspect.DictType: _dict,
    inspect.EnumType: _enum,
    inspect.StrType: lambda walk, value, _, path: _text(walk, value, path),
    inspect.BoolType: lambda walk, value, _, path: _bool(walk, value, path),
    inspect.IntType: _int,
    inspect.FloatType: lambda walk, value, _, path: _float(walk, value, path),
}


def _yaml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _described(value: object) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case int() | float():
            return f"the number {value}"
        case str():
            return f"the text {value[:40]!r}"
        case list():
            return "a list"
        case _:
            return "a mapping"
