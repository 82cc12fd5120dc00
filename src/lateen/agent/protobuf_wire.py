"""Protobuf's encoding, as much as an agent needs: fields in, fields out, nothing of what they mean.

By hand, because a library would double an agent's memory. Pure. Used by `certificate_messages`, `probes` and
`metric_messages`. Source: protobuf.dev, "Encoding". Must not know: any message.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from struct import Struct
from types import MappingProxyType

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_FIXED_SIZES = {FIXED64: 8, FIXED32: 4}
_ANY: Mapping[int, int] = MappingProxyType({})
_LONGEST_VARINT = 10
_LARGEST_FIELD = (1 << 29) - 1
DOUBLE = Struct("<d")


class WireError(ValueError):
    """It is no message, or one that was cut short; the text goes on where a subject stood."""


def read_varint(message: bytes | bytearray, at: int) -> tuple[int, int]:
    """Return the number that begins at `at`, less than 2**64, and where it ends."""
    value = 0
    if at < len(message) and message[at] < 0x80:
        return message[at], at + 1
    for position in range(_LONGEST_VARINT):
        if at + position >= len(message):
            break
        byte = message[at + position]
        value |= (byte & 0x7F) << (7 * position)
        if byte < 0x80 and not value >> 64:
            return value, at + position + 1
    raise WireError("is no protobuf message")


def read_fields(message: bytes, kinds: Mapping[int, int] = _ANY) -> Iterator[tuple[int, int, int, bytes]]:
    """Yield (number, kind, integer, body): the integer of a VARINT, the body of all others.

    `kinds` says of which kind some fields must be.
    """
    at, end = 0, len(message)
    while at < end:
        # Most tags and sizes are one byte.
        tag, at = (message[at], at + 1) if message[at] < 0x80 else read_varint(message, at)
        number, kind = tag >> 3, tag & 7
        if not 0 < number <= _LARGEST_FIELD:
            raise WireError("is no protobuf message")
        if kinds and kinds.get(number, kind) != kind:
            raise WireError("has a field of another type")
        if kind == VARINT:
            integer, at = read_varint(message, at)
            yield number, kind, integer, b""
            continue
        if kind == BYTES:
            size, at = (message[at], at + 1) if at < end and message[at] < 0x80 else read_varint(message, at)
        elif kind in _FIXED_SIZES:
            size = _FIXED_SIZES[kind]
        else:
            raise WireError("is no protobuf message")
        if size > end - at:
            raise WireError("was cut short")
        yield number, kind, 0, message[at : at + size]
        at += size


def varint(number: int) -> bytes:
    """Return a number that is not negative; of a negative one its two's complement in 64 bits."""
    number &= 0xFFFFFFFFFFFFFFFF
    if number < 0x80:
        return bytes((number,))
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def text_field(number: int, body: str | bytes) -> bytes:
    """Return a string, bytes or a message as a field of this number."""
    content = body.encode() if isinstance(body, str) else body
    size = len(content)
    if number < 0x10 and size < 0x80:
        return bytes((number << 3 | BYTES, size)) + content
    return varint(number << 3 | BYTES) + varint(size) + content


def varint_field(number: int, value: int) -> bytes:
    """Return an integer as a field of this number."""
    return varint(number << 3 | VARINT) + varint(value)


def double_field(number: int, value: float) -> bytes:
    """Return a double as a field of this number."""
    return varint(number << 3 | FIXED64) + DOUBLE.pack(value)


def zigzag(number: int) -> int:
    """Return the signed integer that a `sint32` or `sint64` says with this one."""
    return number >> 1 ^ -(number & 1)


def signed(number: int) -> int:
    """Return the signed integer that an `int64` says with this one."""
    return number - (1 << 64) if number >> 63 else number
