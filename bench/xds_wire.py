"""What the light xDS client knows of protobuf and HTTP/2: requests to bytes, responses to names, nonces and versions.

Used by `xds_client` only. Written by hand, because a client that simulates a thousand proxies must cost less than the
server it measures: a response that many proxies get is read once, the others' bytes are compared with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count

TYPE_URL = "type.googleapis.com/"
KINDS = {
    "CDS": TYPE_URL + "envoy.config.cluster.v3.Cluster",
    "EDS": TYPE_URL + "envoy.config.endpoint.v3.ClusterLoadAssignment",
    "LDS": TYPE_URL + "envoy.config.listener.v3.Listener",
    "RDS": TYPE_URL + "envoy.config.route.v3.RouteConfiguration",
    "VHDS": TYPE_URL + "envoy.config.route.v3.VirtualHost",
}
_SHORT = {url.encode(): name for name, url in KINDS.items()}
FOLLOWED_BY = {"CDS": "EDS", "LDS": "RDS"}
"""Resources of a kind name those of the next."""
NAMED = ("RDS", "EDS", "VHDS")
"""Kinds that are asked for by name."""
COMMON = 2
"""Services that every simulated application calls."""
CHURNING = "churn-"
"""In the host of a service whose endpoint's subzone is the number of its newest change."""

# --- protobuf ------------------------------------------------------------------------------------------------


def _varint(value: int) -> bytes:
    made = bytearray()
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    made.append(value)
    return bytes(made)


def _field(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def fields(data: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Yield number and value of each field: bytes of a length-delimited one, the number of a varint."""
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        match tag & 7:
            case 2:
                size, at = _read_varint(data, at)
                yield tag >> 3, data[at : at + size]
                at += size
            case 0:
                value, at = _read_varint(data, at)
                yield tag >> 3, value
            case 1:
                at += 8
            case 5:
                at += 4
            case other:
                raise ValueError(f"wire type {other}")


def walk(data: bytes, *path: int) -> Iterator[bytes]:
    """Yield the messages at a path of field numbers."""
    for number, value in fields(data):
        if number == path[0] and isinstance(value, bytes):
            if len(path) == 1:
                yield value
            else:
                yield from walk(value, *path[1:])


# --- responses -----------------------------------------------------------------------------------------------


@dataclass(eq=False, slots=True)
class Body:
    """A delta response but for its nonce."""

    number: int
    kind: str
    versions: Mapping[str, str]
    """By name."""
    removed: frozenset[str]
    answered: frozenset[str]
    """Names present or removed."""
    follows: frozenset[str]
    """Names of the next kind that these resources mention."""
    serials: Mapping[str, int]
    """Number of the newest change, by name of a churning cluster."""
    size: int


class Bodies:
    """Reads responses; one that was seen a moment ago is recognised by its bytes."""

    _KEPT = 128

    def __init__(self) -> None:
        self._known: dict[int, list[tuple[bytes, Body]]] = {}
        """By length without nonce."""
        self._order: list[tuple[int, Body]] = []
        self._numbers = count()

    def expected(self, size: int, start: bytes) -> tuple[bytes, Body] | None:
        """Return what a message of this size that starts so is likely to be."""
        for nonce in range(1, 9):
            for known in self._known.get(size - nonce - 2, ()):
                prefix = known[0]
                if prefix.startswith(start) if len(start) <= len(prefix) else start.startswith(prefix):
                    return known
        return None

    def read(self, message: bytes) -> tuple[Body, bytes]:
        """Return the body and the nonce of a message."""
        versions: dict[str, str] = {}
        removed: list[str] = []
        kind = nonce = b""
        contents: list[tuple[str, bytes]] = []
        for number, value in fields(message):
            if number == 2 and isinstance(value, bytes):
                name, version, content = _resource(value)
                versions[name] = version
                contents.append((name, content))
            elif number == 4 and isinstance(value, bytes):
                kind = value
            elif number == 5 and isinstance(value, bytes):
                nonce = value
            elif number == 6 and isinstance(value, bytes):
                removed.append(value.decode())
        short = _SHORT.get(kind, kind.decode())
        body = Body(
            number=next(self._numbers),
            kind=short,
            versions=versions,
            removed=frozenset(removed),
            answered=frozenset((*versions, *removed)),
            follows=_follows(short, contents),
            serials=_serials(short, contents),
            size=len(message),
        )
        end = _field(5, nonce)
        if nonce and message.endswith(end):
            self._remember(message[: -len(end)], body)
        return body, nonce

    def _remember(self, prefix: bytes, body: Body) -> None:
        self._known.setdefault(len(prefix), []).insert(0, (prefix, body))
        self._order.append((len(prefix), body))
        if len(self._order) > self._KEPT:
            size, oldest = self._order.pop(0)
            left = [known for known in self._known[size] if known[1] is not oldest]
            if left:
                self._known[size] = left
            else:
                del self._known[size]


def _resource(data: bytes) -> tuple[str, str, bytes]:
    name = version = content = b""
    for number, value in fields(data):
        if isinstance(value, bytes):
            if number == 1:
                version = value
            elif number == 2:
                content = next(walk(value, 2), b"")
            elif number == 3:
                name = value
    return name.decode(), version.decode(), content


def _follows(kind: str, contents: Iterable[tuple[str, bytes]]) -> frozenset[str]:
    """Return names of the clusters found by EDS, of the route configurations of listeners, or of those with VHDS."""
    if kind == "CDS":
        return frozenset(name for name, cluster in contents if (2, 3) in fields(cluster))
    if kind == "RDS":
        return frozenset(name for name, routes in contents if any(number == 9 for number, _ in fields(routes)))
    if kind != "LDS":
        return frozenset()
    found: set[str] = set()
    for _, listener in contents:
        for chain in (*walk(listener, 3), *walk(listener, 25)):
            for filter_config in walk(chain, 3, 4, 2):
                try:
                    found.update(name.decode() for name in walk(filter_config, 3, 2))
                except (ValueError, IndexError):
                    continue  # another filter, whose fields of these numbers are something else
    return frozenset(name for name in found if name)


def _serials(kind: str, contents: Iterable[tuple[str, bytes]]) -> dict[str, int]:
    found = {}
    for name, assignment in contents:
        if kind == "EDS" and CHURNING in name:
            for zone in walk(assignment, 2, 1, 3):
                if zone.isdigit():
                    found[name] = int(zone)
    return found


# --- requests ------------------------------------------------------------------------------------------------


def services_called(number: int, services: int, calls: int) -> list[int]:
    """Return which services a simulated application calls: the first two, as all others do, and a few of its own."""
    rest = calls - COMMON
    return [*range(COMMON), *(COMMON + (number * rest + k) % (services - COMMON) for k in range(rest))][:calls]


def node(number: int, *, labels: Mapping[str, str], interception: str, version: str = "") -> bytes:
    """Return a Node: a sidecar of its own workload; with a version of Envoy it can ask on demand."""
    address = f"10.{100 + number // 65025}.{number // 255 % 255}.{number % 255}"

    def text(value: str) -> bytes:
        return _field(3, value.encode())

    metadata = {
        "NAMESPACE": text("default"),
        "INTERCEPTION_MODE": text(interception),
        "LABELS": _field(5, b"".join(_entry(key, text(value)) for key, value in labels.items())),
    }
    struct = b"".join(_entry(key, value) for key, value in metadata.items())
    identity = f"sidecar~{address}~client-{number}.default~default.svc.cluster.local"
    made = _field(1, identity.encode()) + _field(2, b"client") + _field(3, struct) + _field(6, b"envoy")
    return made + _field(7, version.encode()) if version else made


def _entry(key: str, value: bytes) -> bytes:
    return _field(1, _field(1, key.encode()) + _field(2, value))


def request(
    kind: str,
    *,
    node: bytes = b"",
    subscribe: Iterable[str] = (),
    unsubscribe: Iterable[str] = (),
    held: Mapping[str, str] | None = None,
    nonce: bytes = b"",
) -> bytes:
    """Return a DeltaDiscoveryRequest as gRPC frames it."""
    made = bytearray()
    if node:
        made += _field(1, node)
    made += _field(2, KINDS[kind].encode())
    for name in subscribe:
        made += _field(3, name.encode())
    for name in unsubscribe:
        made += _field(4, name.encode())
    for name, version in (held or {}).items():
        made += _field(5, _field(1, name.encode()) + _field(2, version.encode()))
    if nonce:
        made += _field(6, nonce)
    return b"\0" + len(made).to_bytes(4, "big") + made


# --- HTTP/2 --------------------------------------------------------------------------------------------------

DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
WINDOW = 256 << 20
"""Envoy's own default of both windows."""
FRAME = 16384
"""Largest payload that every peer takes."""


def frame(kind: int, payload: bytes, *, flags: int = 0, stream: int = 0) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def opening(headers: bytes) -> bytes:
    """Return all that a client says before its first message, on stream 1."""
    settings = {2: 0, 4: WINDOW}  # no push; the window of streams
    wide = (WINDOW - 65535).to_bytes(4, "big")
    return (
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        + frame(SETTINGS, b"".join(k.to_bytes(2, "big") + value.to_bytes(4, "big") for k, value in settings.items()))
        + frame(WINDOW_UPDATE, wide)
        + frame(HEADERS, headers, flags=4, stream=1)
    )
