"""Envoy's own page of metrics with Istio's names put right, as text or messages. Pure.

The stats access logger's `istio_requests_total` comes out of Envoy as `envoy_istio_requests_total`, which no dashboard
knows. The page is as large as what the workload talks to, so it is not taken apart: of text the beginnings of lines
change, of messages the beginnings, and one block stands in memory. Called by `metrics_page`. Must not know: sockets.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from lateen.agent.metric_names import Kind, MetricsError, Names
from lateen.agent.protobuf_wire import WireError, read_varint, text_field, varint

_MISNAMED = re.compile(rb"^(# (?:TYPE|HELP) )?envoy_istio_", re.MULTILINE)
_PREFIX, _WRONG = b"envoy_", b"envoy_istio_"
_LONGEST_LINE = 1 << 20
_LONGEST_NAME = 4096
_LARGEST_FAMILY = 1 << 30
_LONGEST_VARINT = 10
_NAME_TAG, _HELP_TAG, _TYPE_TAG = b"\x0a", b"\x12", b"\x18"


@dataclass(slots=True)
class EnvoyText:
    """Envoy's page in text, in whole lines."""

    names: Names | None
    """Where its names are noted; None when nobody wants to know."""
    _rest: bytes = b""

    def feed(self, block: bytes) -> bytes:
        """Return the lines that are complete with this block."""
        text = self._rest + block
        cut = text.rfind(b"\n") + 1
        text, self._rest = text[:cut], text[cut:]
        if len(self._rest) > _LONGEST_LINE:
            raise MetricsError("a line of the metrics page is too long")
        if _WRONG in text:
            text = _MISNAMED.sub(rb"\1istio_", text)
        if self.names is not None:
            self.names.note(text)
        return text

    def end(self) -> bytes:
        """Return the last line, if it has no end."""
        return self.feed(b"\n") if self._rest else b""


@dataclass(slots=True)
class EnvoyMessages:
    """Envoy's page in delimited messages, which say a name, perhaps a help, and a type before anything else."""

    names: Names | None
    _rest: bytearray = field(default_factory=bytearray)
    _passing: int = 0
    """Bytes of the message that has begun."""

    def feed(self, block: bytes) -> bytes:
        """Return what is to be served of this block."""
        self._rest += block
        served = bytearray()
        at = 0
        try:
            while at < len(self._rest):
                if self._passing:
                    end = min(at + self._passing, len(self._rest))
                    served += self._rest[at:end]
                    self._passing -= end - at
                    at = end
                    continue
                head = bytes(self._rest[at : at + 3 * _LONGEST_NAME])
                if (begun := self._begin(head)) is None:
                    break
                written, length = begun
                served += written
                at += length
        except WireError as error:
            raise MetricsError(f"a message of the metrics page {error}") from error
        del self._rest[:at]
        return bytes(served)

    def end(self) -> bytes:
        """Say that the page is over."""
        if self._rest or self._passing:
            raise MetricsError("the metrics page ends within a message")
        return b""

    def _begin(self, head: bytes) -> tuple[bytes, int] | None:
        """Return the first bytes of a message put right, and how many they were; None while they are not all there."""
        if len(head) < _LONGEST_VARINT and not any(byte < 0x80 for byte in head):
            return None
        size, begin = read_varint(head, 0)
        if size > _LARGEST_FAMILY:
            raise MetricsError("a message of the metrics page is too large")
        if len(head) < begin + min(size, 2 * _LONGEST_NAME):
            return None
        name_size, name_at = read_varint(head, begin + 1)
        end = name_at + name_size
        if head[begin : begin + 1] != _NAME_TAG or name_size > _LONGEST_NAME or end > begin + size:
            raise MetricsError("a message of the metrics page has no name")
        name = head[name_at:end]
        if name.startswith(_WRONG):
            name = name.removeprefix(_PREFIX)
        if self.names is not None:
            self.names.take(name.decode("utf-8", "replace"), _kind(head[end : begin + size]))
        self._passing = size - (end - begin)
        field_of_name = text_field(1, name)
        return varint(len(field_of_name) + self._passing) + field_of_name, end


def _kind(fields: bytes) -> Kind:
    """Return the type that follows a name, over a help if there is one; a counter's is not always said."""
    at = 0
    if fields[:1] == _HELP_TAG:
        size, at = read_varint(fields, 1)
        at += size
    if fields[at : at + 1] != _TYPE_TAG:
        return Kind.COUNTER
    said, _ = read_varint(fields, at + 1)
    return Kind(said) if said <= Kind.GAUGE_HISTOGRAM else Kind.UNTYPED
