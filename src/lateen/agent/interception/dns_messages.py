"""As much of DNS as it takes to answer for names of the mesh, and to see what others answered. Pure.

RFC 1035, section 4; RFC 6891 for the OPT record. Called by `relay` and `names`. Must not know: sockets, or which names
there are.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address

A, AAAA, OPT, SVCB, HTTPS, IN = 1, 28, 41, 64, 65, 1
NO_SUCH_NAME, REFUSED, FAILED = 3, 5, 2
LEAST_PAYLOAD = 512
"""What fits into a datagram of anybody's (RFC 1035, section 4.2.1)."""
MOST_PAYLOAD = 1232
"""What of ours is not split on its way."""
TTL = 10
"""Seconds. Names of the mesh are answered beside the app: asking again is cheap, and changes are seen soon."""
_HEADER = struct.Struct("!HHHHHH")
_RECORD = struct.Struct("!HHIH")
"""Type, class, TTL, length: what follows the name of a record."""
_QR, _OPCODE, _TC, _RD, _RA = 0x8000, 0x7800, 0x0200, 0x0100, 0x0080
_LONGEST_NAME = 253
_SIZES = {A: 4, AAAA: 16}
_POINTER = 0xC0


@dataclass(frozen=True, slots=True)
class Question:
    """What a query asks."""

    id: int
    name: str
    """Lower case, without the last dot."""
    type: int
    raw: bytes
    """The question's own bytes: an answer repeats them, letter case included."""
    recursion: bool
    payload: int = 0
    """The longest datagram that whoever asks says it takes (EDNS0); 0 when it does not say."""

    @property
    def limit(self) -> int:
        """The longest datagram to answer with."""
        return min(max(self.payload, LEAST_PAYLOAD), MOST_PAYLOAD)


def is_query(message: bytes) -> bool:
    """Whether this asks something, if not what we know of; answers and noise are nobody's to pass on."""
    return len(message) >= _HEADER.size and not message[2] & 0x80


def question(message: bytes) -> Question | None:
    """Return the question of a usual query; None for anything else."""
    if len(message) < _HEADER.size:
        return None
    number, flags, count, answers, authorities, additional = _HEADER.unpack_from(message)
    if flags & (_QR | _OPCODE) or count != 1 or answers or authorities:
        return None
    labels: list[str] = []
    at = _HEADER.size
    while at < len(message) and message[at]:
        length = message[at]
        label = message[at + 1 : at + 1 + length]
        if length > 63 or len(label) < length or b"." in label:
            # Compressed, cut off, or a name that text cannot tell from another.
            return None
        labels.append(label.decode("latin-1").lower())
        at += 1 + length
    end = at + 5
    name = ".".join(labels)
    if end > len(message) or not labels or len(name) > _LONGEST_NAME:
        return None
    kind, kind_class = struct.unpack_from("!HH", message, at + 1)
    if kind_class != IN:
        return None
    payload = _payload(message, end) if additional else 0
    return Question(number, name, kind, message[_HEADER.size : end], bool(flags & _RD), payload)


def _payload(message: bytes, at: int) -> int:
    """Return the size that an OPT record says, if that is what stands here: its name is the root."""
    if len(message) < at + 1 + _RECORD.size or message[at]:
        return 0
    kind, size, _, _ = _RECORD.unpack_from(message, at + 1)
    return max(int(size), LEAST_PAYLOAD) if kind == OPT else 0


def query(name: str, kind: int, number: int) -> bytes:
    """Return a query. ValueError for what is no name."""
    labels = [label.encode("latin-1") for label in name.split(".")]
    if len(name) > _LONGEST_NAME or not all(0 < len(label) < 64 for label in labels):
        raise ValueError("not a domain name")
    body = b"".join(bytes((len(label),)) + label for label in labels)
    return _HEADER.pack(number, _RD, 1, 0, 0, 0) + body + b"\0" + struct.pack("!HH", kind, IN)


def code(message: bytes) -> int:
    """Return the result code of an answer."""
    return message[3] & 0x0F if len(message) > 3 else FAILED


def is_answer(message: bytes, asked: bytes) -> bool:
    """Whether a message answers this query: by its number, and where it repeats the question by that too."""
    if len(message) < _HEADER.size or message[:2] != asked[:2] or not message[2] & 0x80:
        return False
    if message[4:6] != b"\0\1":
        # Servers that refuse may leave the question out.
        return message[4:6] == b"\0\0" and code(message) != 0
    found = question(asked)
    if found is None:
        return True
    return message[_HEADER.size :].lower().startswith(found.raw.lower())


def answer(asked: Question, addresses: Sequence[str] = (), *, result: int = 0, limit: int = 0xFFFF) -> bytes:
    """Return an answer with addresses of the asked type, as far as they fit; it says so when some do not."""
    addition = b"\0" + _RECORD.pack(OPT, MOST_PAYLOAD, 0, 0) if asked.payload else b""
    size = _SIZES.get(asked.type, 0)
    room = (limit - _HEADER.size - len(asked.raw) - len(addition)) // (2 + _RECORD.size + size)
    fitting = addresses[: max(room, 0)]
    flags = _QR | _RA | (_RD if asked.recursion else 0) | result | (_TC if len(fitting) < len(addresses) else 0)
    # The name is the one at offset 12, where the question has it.
    start = struct.pack("!H", _POINTER << 8 | _HEADER.size) + _RECORD.pack(asked.type, IN, TTL, size)
    records = b"".join(start + ip_address(address).packed for address in fitting)
    head = _HEADER.pack(asked.id, flags, 1, len(fitting), 0, 1 if addition else 0)
    return head + asked.raw + records + addition


def addresses(message: bytes, kind: int) -> tuple[str, ...]:
    """Return the addresses of a type that an answer holds; what cannot be read ends them."""
    if len(message) < _HEADER.size:
        return ()
    _, _, questions, answers, _, _ = _HEADER.unpack_from(message)
    at: int | None = _HEADER.size
    for _ in range(questions):
        at = _after_name(message, at)
        at = at + 4 if at is not None else None
    found: list[str] = []
    for _ in range(answers):
        at = _after_name(message, at)
        if at is None or at + _RECORD.size > len(message):
            break
        type_, _, _, length = _RECORD.unpack_from(message, at)
        at += _RECORD.size
        data = message[at : at + length]
        if type_ == kind and length == len(data) == _SIZES.get(kind):
            found.append(str(ip_address(data)))
        at += length
    return tuple(found)


def _after_name(message: bytes, at: int | None) -> int | None:
    """Return where a name ends that begins here; None when it does not. Pointers are not followed, so this ends."""
    while at is not None and at < len(message):
        length = message[at]
        if length >= _POINTER:
            return at + 2
        at += 1 + length
        if not length:
            return at
    return None
