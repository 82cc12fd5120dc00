"""One attach stream as a sans-IO machine: bytes in, events out; messages in, bytes out.

gRPC without grpc: an HTTP/2 request whose body is a sequence of length-prefixed messages (gRPC over HTTP/2, "Length-
Prefixed-Message": one byte compressed flag, four bytes length, then the message). The `h2` library does HTTP/2; this
module does the rest: framing, flow control in both directions, trailers. `attach.py` owns the socket.

Everything the peer says is bounded: messages by MAX_MESSAGE_BYTES, header lists by 8 KiB. A peer that breaks the
rules yields `Ended`; a wrong call of ours raises.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import unquote

from h2.config import H2Configuration
from h2.connection import ConnectionState, H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    PingAckReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
    WindowUpdated,
)
from h2.exceptions import H2Error
from h2.settings import SettingCodes, Settings

from lateen.model.protocols import GRPC_STATUSES
from lateen.model.workloads import ATTACH_METHOD, CALLS, MAX_CALLS, MAX_MESSAGE_BYTES, WorkloadRegistration

_MAX_HEADER_LIST = 8 * 1024
_PREFIX = 5


@dataclass(frozen=True, slots=True)
class Registered:
    """The control plane knows the workload under this name."""

    name: str
    takes_calls: bool = False
    """Whether it wants to be told whom the workload calls; an older one would end the stream."""


@dataclass(frozen=True, slots=True)
class Left:
    """The workload is gone from every proxy (`acknowledged`), or the wait for them timed out."""

    acknowledged: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """The control plane does not take this workload, and says why."""

    message: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The stream is over; nothing more will come."""

    reason: str


@dataclass(frozen=True, slots=True)
class SpeaksHttp1:
    """The peer answered HTTP/1: this is another server, perhaps the control plane's HTTP port."""


@dataclass(frozen=True, slots=True)
class Alive:
    """The peer answered a ping."""


AttachEvent: TypeAlias = Registered | Left | Refused | Ended | SpeaksHttp1 | Alive


class AttachStream:
    """One connection with one stream on it. Send what `data_to_send` returns after each call."""

    def __init__(self, authority: str, token: str = "") -> None:
        self._h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self._h2.local_settings = Settings(
            client=True,
            initial_values={SettingCodes.ENABLE_PUSH: 0, SettingCodes.MAX_HEADER_LIST_SIZE: _MAX_HEADER_LIST},
        )
        # What we announce counts for the peer after a round trip only; the decoder's own bound counts at once.
        self._h2.decoder.max_header_list_size = _MAX_HEADER_LIST
        self._h2.initiate_connection()
        self._stream = self._h2.get_next_available_stream_id()
        headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", ATTACH_METHOD),
            (":authority", authority),
            ("te", "trailers"),
            ("content-type", "application/grpc+json"),
            ("user-agent", "lateen-agent"),
        ]
        if token:
            headers.append(("authorization", f"Bearer {token}"))
        self._h2.send_headers(self._stream, headers)
        self._outgoing = bytearray()
        self._incoming = bytearray()
        self._heard = False
        self._ended = False

    def __repr__(self) -> str:
        # The headers hold a token.
        return f"AttachStream(ended={self._ended})"

    def data_to_send(self) -> bytes:
        """Return (once) the bytes that must go to the peer now."""
        self._flush()
        sent: bytes = self._h2.data_to_send()
        return sent

    def register(self, registration: WorkloadRegistration) -> None:
        """Say, or say anew, what the workload is."""
        self._send({"register": registration.to_json()})

    def calls(self, hosts: Sequence[str]) -> None:
        """Say which hosts the workload calls, in messages of MAX_CALLS. Only to one that takes them."""
        for first in range(0, len(hosts), MAX_CALLS):
            self._send({CALLS: hosts[first : first + MAX_CALLS]})

    @property
    def blocked(self) -> bool:
        """Whether what was said before still waits for the peer's windows."""
        return bool(self._outgoing)

    def leave(self) -> None:
        """Say that the workload wants to go."""
        self._send({"leave": True})

    def ping(self) -> None:
        """Ask for a sign of life; `Alive` follows."""
        if not self._ended:
            self._h2.ping(b"attached")

    def receive(self, data: bytes) -> list[AttachEvent]:
        """Take bytes from the peer; empty bytes mean that it closed the connection."""
        if self._ended:
            return []
        if not data:
            return [self._end("the connection was closed")]
        if not self._heard and data[:6] == b"HTTP/1":
            self._ended = True
            return [SpeaksHttp1()]
        self._heard = True
        try:
            happened = self._h2.receive_data(data)
        except (H2Error, ValueError) as error:
            # Hpack and h2 raise ValueError subclasses for some malformed input.
            if self._h2.state_machine.state is ConnectionState.CLOSED:
                # After GOAWAY h2 refuses whatever else came with it.
                return [self._end("the control plane is going away, or broke HTTP/2")]
            return [self._end(f"the peer does not speak HTTP/2 correctly: {error}")]
        events: list[AttachEvent] = []
        for event in happened:
            if not self._ended:
                events.extend(self._on(event))
        return events

    def _on(self, event: Event) -> list[AttachEvent]:
        match event:
            case ResponseReceived(headers=headers):
                return self._on_response({str(name): str(value) for name, value in headers})
            case DataReceived(data=data, flow_controlled_length=length):
                if length:
                    self._h2.acknowledge_received_data(length, self._stream)
                return self._on_body(bytes(data))
            case TrailersReceived(headers=headers):
                return [self._end(_grpc_status({str(name): str(value) for name, value in headers}))]
            case StreamEnded():
                return [self._end("the control plane ended the stream")]
            case StreamReset(error_code=code):
                return [self._end(f"the control plane reset the stream (HTTP/2 error {code})")]
            case ConnectionTerminated(error_code=code):
                return [self._end(f"the control plane is going away (HTTP/2 error {code})")]
            case PingAckReceived():
                return [Alive()]
            case WindowUpdated():
                self._flush()
        return []

    def _on_response(self, headers: dict[str, str]) -> list[AttachEvent]:
        if headers.get(":status") != "200":
            return [self._end(f"the server answered HTTP {headers.get(':status', '?')}, it is no control plane")]
        if not headers.get("content-type", "").startswith("application/grpc"):
            return [self._end("the server does not speak gRPC, it is no control plane")]
        if "grpc-status" in headers:
            # "Trailers-Only": an error before any message comes as a single header block.
            return [self._end(_grpc_status(headers))]
        return []

    def _on_body(self, data: bytes) -> list[AttachEvent]:
        self._incoming += data
        events: list[AttachEvent] = []
        while len(self._incoming) >= _PREFIX and not self._ended:
            length = int.from_bytes(self._incoming[1:_PREFIX], "big")
            if self._incoming[0] != 0:
                events.append(self._end("the control plane sent a compressed message"))
            elif length > MAX_MESSAGE_BYTES:
                events.append(self._end(f"the control plane sent a message of {length} bytes"))
            elif len(self._incoming) < _PREFIX + length:
                break
            else:
                message = bytes(self._incoming[_PREFIX : _PREFIX + length])
                del self._incoming[: _PREFIX + length]
                events.append(self._understood(message))
        return events

    def _understood(self, message: bytes) -> AttachEvent:
        try:
            match json.loads(message):
                case {"registered": {"name": str(name), **more}} if name:
                    takes = more.get("takes")
                    return Registered(name, takes_calls=isinstance(takes, list) and CALLS in takes)
                case {"left": {"acknowledged": bool(acknowledged)}}:
                    return Left(acknowledged)
                case {"refused": {"message": str(text)}}:
                    return Refused(text[:1000])
        except (ValueError, RecursionError):
            pass
        return self._end("the control plane sent a message that this agent does not understand")

    def _end(self, reason: str) -> Ended:
        self._ended = True
        return Ended(reason)

    def _send(self, message: dict[str, Any]) -> None:
        body = json.dumps(message, separators=(",", ":")).encode()
        if len(body) > MAX_MESSAGE_BYTES:
            raise ValueError(f"a registration of {len(body)} bytes is larger than {MAX_MESSAGE_BYTES}: fewer labels?")
        self._outgoing += b"\0" + len(body).to_bytes(4, "big") + body
        self._flush()

    def _flush(self) -> None:
        """Hand to h2 what the peer's windows allow; the rest waits for WINDOW_UPDATE."""
        while self._outgoing and not self._ended:
            room = min(self._h2.local_flow_control_window(self._stream), self._h2.max_outbound_frame_size)
            if room <= 0:
                return
            self._h2.send_data(self._stream, bytes(self._outgoing[:room]))
            del self._outgoing[:room]


def _grpc_status(headers: dict[str, str]) -> str:
    """Return a reason from grpc-status and grpc-message (percent-encoded, gRPC over HTTP/2 "Status-Message")."""
    code = headers.get("grpc-status", "2")
    number = int(code) if code.isdigit() and len(code) < 3 else 2
    name = GRPC_STATUSES[number] if number < len(GRPC_STATUSES) else code
    message = unquote(headers.get("grpc-message", ""))[:1000]
    return f"the control plane ended the stream: {name}{': ' if message else ''}{message}"
