"""As much of DNS as it takes to answer for names of the mesh, and to see what others answered. Pure.

RFC 1035, section 4. Called by `relay`. Must not know: sockets, or which names there are.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from hashlib import blake2b
from ipaddress import IPv4Address, IPv4Network

A, AAAA, IN = 1, 28, 1
NO_SUCH_NAME, REFUSED, FAILED = 3, 5, 2
MESH_ADDRESSES = IPv4Network("240.240.0.0/16")
"""Istio's range for services without an address of their own; reserved, so nobody has them."""
_TTL = 10
_HEADER = struct.Struct("!HHHHHH")
_QR, _OPCODE, _RD, _RA = 0x8000, 0x7800, 0x0100, 0x0080
_MOST_LABELS = 127


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


def question(message: bytes) -> Question | None:
    """Return the question of a usual query; None for anything else."""
    if len(message) < _HEADER.size:
        return None
    number, flags, count, _, _, _ = _HEADER.unpack_from(message)
    if flags & (_QR | _OPCODE) or count != 1:
        return None
    labels: list[str] = []
    at = _HEADER.size
    while at < len(message) and len(labels) <= _MOST_LABELS:
        length = message[at]
        if not length:
            break
        if length > 63 or at + 1 + length >= len(message):
            # Compressed, or cut off.
            return None
        labels.append(message[at + 1 : at + 1 + length].decode("latin-1").lower())
        at += 1 + length
    end = at + 5
    if end > len(message) or not labels:
        return None
    kind, kind_class = struct.unpack_from("!HH", message, at + 1)
    if kind_class != IN:
        return None
    return Question(number, ".".join(labels), kind, message[_HEADER.size : end], bool(flags & _RD))


def code(message: bytes) -> int:
    """Return the result code of an answer."""
    return message[3] & 0x0F if len(message) > 3 else FAILED


def answer(asked: Question, address: str = "", *, result: int = 0) -> bytes:
    """Return an answer with one IPv4 address, or with none."""
    flags = _QR | _RA | (_RD if asked.recursion else 0) | result
    head = _HEADER.pack(asked.id, flags, 1, 1 if address else 0, 0, 0)
    # The name is the one at offset 12, where the question has it.
    record = (
        struct.pack("!HHHIH", 0xC000 | _HEADER.size, A, IN, _TTL, 4) + IPv4Address(address).packed if address else b""
    )
    return head + asked.raw + record


def may_be_of_the_mesh(name: str) -> bool:
    """Whether a name that nobody else knows may be a service's: `reviews`, `reviews.shop`, `reviews.shop.svc...`."""
    labels = name.split(".")
    return len(labels) <= 2 or labels[2] == "svc"


def mesh_address(name: str) -> str:
    """Return the address given for a name of the mesh: always the same, and different from most others'."""
    number = int.from_bytes(blake2b(name.encode("latin-1"), digest_size=4).digest(), "big")
    return str(MESH_ADDRESSES[1 + number % (MESH_ADDRESSES.num_addresses - 2)])
