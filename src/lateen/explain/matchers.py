"""Envoy's small matchers on values: strings, headers, addresses, metadata, paths. In protobuf's JSON form.

Called by `rbac` and `walking`. Source: `envoy.type.matcher.v3`, `envoy.config.route.v3.HeaderMatcher`, observed in
Envoy 1.40 by tests/e2e/test_explain.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Any

from lateen.envoy.messages import Fields


class UnknownMatcherError(ValueError):
    """A matcher that Lateen does not make and cannot evaluate."""


# --- strings -------------------------------------------------------------------------------------------------


def string_matches(matcher: Fields, text: str) -> bool:
    """Whether a StringMatcher matches. A regular expression is for the whole text."""
    if "safe_regex" in matcher:
        return full_match(matcher["safe_regex"]["regex"], text)
    kind, wanted = _string(matcher)
    if matcher.get("ignore_case"):
        wanted, text = _lower(wanted), _lower(text)
    match kind:
        case "exact":
            return text == wanted
        case "prefix":
            return text.startswith(wanted)
        case "suffix":
            return text.endswith(wanted)
        case _:
            return wanted in text


def string_text(matcher: Fields) -> str:
    """Return a StringMatcher as people write it: `exact`, `prefix*`, `*suffix`, `*part*`, `regex ...`."""
    if "safe_regex" in matcher:
        pattern = matcher["safe_regex"]["regex"]
        return "*" if pattern == ".+" else f"regex {pattern}"
    kind, wanted = _string(matcher)
    before = "*" if kind in ("suffix", "contains") else ""
    after = "*" if kind in ("prefix", "contains") else ""
    return f"{before}{wanted}{after}" or '""'


def _string(matcher: Fields) -> tuple[str, str]:
    for kind in ("exact", "prefix", "suffix", "contains"):
        if kind in matcher:
            return kind, matcher[kind]
    raise UnknownMatcherError(f"a string matcher with {', '.join(matcher) or 'nothing'}")


def _lower(text: str) -> str:
    # ASCII only, as Envoy does.
    return "".join(char.lower() if char.isascii() else char for char in text)


def full_match(pattern: str, text: str) -> bool:
    """Whether the whole text matches a pattern, by the library that Envoy uses."""
    return compiled(pattern).fullmatch(text.encode()) is not None


@lru_cache(maxsize=1024)
def compiled(pattern: str) -> Any:
    """Return a pattern, read by the library that Envoy uses."""
    import re2  # a compiled library that only rules with a regex need

    options = re2.Options()
    options.log_errors = False
    options.encoding = re2.Options.Encoding.LATIN1
    return re2.compile(pattern.encode(), options)


# --- headers -------------------------------------------------------------------------------------------------


def header_matches(matcher: Fields, headers: Mapping[str, str]) -> bool:
    """Whether a HeaderMatcher matches. A header that is missing matches nothing, inverted or not, but its absence."""
    value = headers.get(matcher["name"].lower())
    inverted = bool(matcher.get("invert_match"))
    if "present_match" in matcher or not _specifies(matcher):
        wanted = bool(matcher.get("present_match", True))
        there = value is not None or bool(matcher.get("treat_missing_header_as_empty"))
        return (there == wanted) != inverted
    if value is None:
        if not matcher.get("treat_missing_header_as_empty"):
            return False
        value = ""
    return _value_matches(matcher, value) != inverted


def _value_matches(matcher: Fields, value: str) -> bool:
    if "range_match" in matcher:
        found = re.fullmatch(r"\s*([+-]?\d+)\s*", value)
        limits = matcher["range_match"]
        return found is not None and int(limits.get("start", 0)) <= int(found[1]) < int(limits.get("end", 0))
    return string_matches(_header_string(matcher), value)


_OLD_FORMS = {
    "exact_match": "exact",
    "prefix_match": "prefix",
    "suffix_match": "suffix",
    "contains_match": "contains",
    "safe_regex_match": "safe_regex",
}


def _specifies(matcher: Fields) -> bool:
    return any(key in matcher for key in ("string_match", "range_match", *_OLD_FORMS))


def _header_string(matcher: Fields) -> Fields:
    if "string_match" in matcher:
        string: Fields = matcher["string_match"]
        return string
    return next({new: matcher[old]} for old, new in _OLD_FORMS.items() if old in matcher)


def header_text(matcher: Fields) -> str:
    """Return what a HeaderMatcher asks of the value."""
    if "present_match" in matcher or not _specifies(matcher):
        return "*" if matcher.get("present_match", True) else "absent"
    if "range_match" in matcher:
        limits = matcher["range_match"]
        return f"{limits.get('start', 0)} to below {limits.get('end', 0)}"
    return string_text(_header_string(matcher))


# --- addresses -----------------------------------------------------------------------------------------------


def in_range(matcher: Fields, address: str) -> bool:
    """Whether a CidrRange holds an address; never one of another family."""
    try:
        return ip_address(address) in ip_network(range_text(matcher), strict=False)
    except ValueError:
        return False


def range_text(matcher: Fields) -> str:
    """Return a CidrRange as `10.0.0.0/8`."""
    return f"{matcher['address_prefix']}/{matcher.get('prefix_len', 0)}"


# --- metadata ------------------------------------------------------------------------------------------------

_ABSENT = object()


def metadata_matches(matcher: Fields, metadata: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether a MetadataMatcher matches what filters wrote."""
    value = metadata_value(matcher, metadata)
    return value_matches(matcher["value"], value) != bool(matcher.get("invert"))


def metadata_value(matcher: Fields, metadata: Mapping[str, Mapping[str, Any]]) -> Any:
    """Return the value that a MetadataMatcher is about; `_ABSENT` when there is none."""
    value: Any = metadata.get(matcher["filter"], _ABSENT)
    for step in matcher.get("path", ()):
        value = value.get(step["key"], _ABSENT) if isinstance(value, Mapping) else _ABSENT
    return value


def value_matches(matcher: Fields, value: Any) -> bool:
    """Whether a ValueMatcher matches a JSON value."""
    for kind, wanted in matcher.items():
        match kind:
            case "null_match":
                return value is None
            case "double_match":
                return isinstance(value, int | float) and not isinstance(value, bool) and _number(wanted, float(value))
            case "string_match":
                return isinstance(value, str) and string_matches(wanted, value)
            case "bool_match":
                return isinstance(value, bool) and value == bool(wanted)
            case "present_match":
                return value is not _ABSENT and bool(wanted)
            case "list_match":
                return _is_list(value) and any(value_matches(wanted["one_of"], item) for item in value)
            case "or_match":
                return any(value_matches(item, value) for item in wanted["value_matchers"])
    raise UnknownMatcherError(f"a value matcher with {', '.join(matcher) or 'nothing'}")


def _number(wanted: Fields, value: float) -> bool:
    if "exact" in wanted:
        return float(wanted["exact"]) == value
    limits = wanted["range"]
    return float(limits.get("start", 0)) <= value < float(limits.get("end", 0))


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def value_texts(matcher: Fields) -> list[str]:
    """Return what a ValueMatcher takes, each alternative once."""
    found: list[str] = []
    for kind, wanted in matcher.items():
        match kind:
            case "string_match":
                found.append(string_text(wanted))
            case "list_match":
                found += value_texts(wanted["one_of"])
            case "or_match":
                found += [text for item in wanted["value_matchers"] for text in value_texts(item)]
            case "present_match":
                found.append("*")
            case _:
                found.append(f"{kind.removesuffix('_match')} {wanted}")
    return list(dict.fromkeys(found))


def value_text(value: Any) -> str:
    """Return a JSON value as a condition shows it."""
    if value is _ABSENT:
        return ""
    if _is_list(value):
        return "[" + ", ".join(map(value_text, value)) + "]"
    return value if isinstance(value, str) else str(value)


# --- path templates ------------------------------------------------------------------------------------------

_LITERAL = r"a-zA-Z0-9\-._~%!$&'()+,;:@"
"""What a segment may consist of (RFC 3986 pchar without `*` and `=`, as Envoy has it)."""
_PIECE = re.compile(r"(\{[^}]*\}|\*\*|\*)")


def template_matches(template: str, path: str) -> bool:
    """Whether a path without query matches a URI template: `*` is a segment, `**` any number of them."""
    return re.fullmatch(_template_regex(template), path) is not None


@lru_cache(maxsize=1024)
def _template_regex(template: str) -> str:
    made = []
    for piece in _PIECE.split(template):
        if piece == "*":
            made.append(f"[{_LITERAL}]+")
        elif piece == "**":
            made.append(f"[{_LITERAL}/]*")
        elif piece.startswith("{"):
            inner = piece[1:-1].partition("=")[2]
            made.append(_template_regex(inner or "*"))
        else:
            made.append(re.escape(piece))
    return "".join(made)
