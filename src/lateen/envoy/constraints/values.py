"""Values that mean the same wherever they stand: durations, expressions, addresses, headers. Part of `loading`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from ipaddress import ip_address
from typing import Any

import re2

from lateen.config.validation.formatters import formatter_problem
from lateen.envoy.constraints.violations import Violation
from lateen.envoy.messages import Message

_LONGEST_PIPE = 107
_MOST_NANOS = 999_999_999
_LONGEST_SECONDS = 315_576_000_000 - 1
_KNOWN_EXPRESSIONS = 4096
"""So many answers are remembered: users write expressions, and a control plane runs for months."""


def duration(message: Message) -> Iterator[Violation]:
    """Envoy counts time from now on, in nanoseconds below one second."""
    if not (0 <= message.seconds <= _LONGEST_SECONDS and 0 <= message.nanos <= _MOST_NANOS):
        yield Violation(path="", rule="must be a duration that is not negative")


@lru_cache(_KNOWN_EXPRESSIONS)
def regex_problem(pattern: str) -> str:
    """Return why RE2 refuses an expression, empty when it does not."""
    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(pattern, options)
    except re2.error as error:
        text = error.args[0] if error.args else error
        return text.decode(errors="replace") if isinstance(text, bytes) else str(text)
    return ""


def regex(message: Message) -> Iterator[Violation]:
    """Expressions are RE2's."""
    if message.regex and (problem := regex_problem(message.regex)):
        yield Violation(path="regex", rule=f"must be an RE2 expression: {problem}")


def cidr(message: Message) -> Iterator[Violation]:
    """A range begins with an address."""
    if message.address_prefix and not is_address(message.address_prefix):
        yield Violation(path="address_prefix", rule=f"must be an IP address, not {message.address_prefix!r}")


def pipe(message: Message) -> Iterator[Violation]:
    """The kernel limits the path of a unix socket; `@` begins an abstract one."""
    if len(message.path.encode()) > _LONGEST_PIPE:
        yield Violation(path="path", rule=f"must be at most {_LONGEST_PIPE} bytes long: it is a socket's path")


def is_address(text: str) -> bool:
    """Whether this is an IPv4 or IPv6 address; Envoy knows no zones in what it is told."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def header_to_add(message: Message) -> Iterator[Violation]:
    """Request lines and Host cannot be added to; a value may ask for more than text."""
    name = message.header.key
    if name.startswith(":") or name.lower() == "host":
        yield Violation(path="header.key", rule="must not begin with `:` or be Host: Envoy lets nobody change these")
    if problem := formatter_problem(message.header.value):
        yield Violation(path="header.value", rule=f"must be a format that Envoy reads: {problem}")


def format_source(message: Message) -> Iterator[Violation]:
    """Of lines in access logs and bodies."""
    for path, text in _formats(message):
        if problem := formatter_problem(text):
            yield Violation(path=path, rule=f"must be a format that Envoy reads: {problem}")


def _formats(message: Message) -> Iterator[tuple[str, str]]:
    match message.WhichOneof("format"):
        case "text_format":
            yield "text_format", message.text_format
        case "text_format_source":
            yield "text_format_source", message.text_format_source.inline_string
        case "json_format":
            yield from _texts("json_format", message.json_format)


def _texts(path: str, struct: Message) -> Iterator[tuple[str, str]]:
    for name, value in struct.fields.items():
        yield from _text(f"{path}.{name}", value)


def _text(path: str, value: Any) -> Iterator[tuple[str, str]]:
    match value.WhichOneof("kind"):
        case "string_value":
            yield path, value.string_value
        case "struct_value":
            yield from _texts(path, value.struct_value)
        case "list_value":
            for index, item in enumerate(value.list_value.values):
                yield from _text(f"{path}[{index}]", item)


VALUE_RULES = {
    "google.protobuf.Duration": (duration,),
    "envoy.type.matcher.v3.RegexMatcher": (regex,),
    "envoy.config.core.v3.CidrRange": (cidr,),
    "envoy.config.core.v3.Pipe": (pipe,),
    "envoy.config.core.v3.HeaderValueOption": (header_to_add,),
    "envoy.config.core.v3.SubstitutionFormatString": (format_source,),
}
