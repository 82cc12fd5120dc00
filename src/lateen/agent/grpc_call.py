"""One gRPC call as a sans-IO machine: bytes in, events out; messages in, bytes out.

gRPC without grpc: an HTTP/2 request whose body is a sequence of length-prefixed messages (gRPC over HTTP/2, "Length-
Prefixed-Message": one byte compressed flag, four bytes length, then the message). The `h2` library does HTTP/2; this
module does the rest: framing, flow control in both directions, trailers. Used by `attach_protocol`, whose call lasts
as long as its workload, and by `unary_call`. Must not know: sockets, or what the messages say.

Everything the peer says is bounded: messages by `limit`, header lists by 8 KiB. A peer that breaks the rules yields
`Ended`; a wrong call of ours raises.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias
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

CLOSED = "the connection was closed"
_MAX_HEADER_LIST = 8 * 1024
_MAX_REASON = 1000
_PREFIX = 5


@dataclass(frozen=True, slots=True)
class Message:
    """A whole message of the peer."""

    body: bytes


@dataclass(frozen=True, slots=True)
class GrpcStatus:
    """How the server says that a call went."""

    name: str
    """`OK`, `UNIMPLEMENTED` ..."""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Ended:
    """The call is over; nothing more will come."""

    reason: str
    status: GrpcStatus | None = None
    """The server's verdict; None when the call broke before it gave one."""


@dataclass(frozen=True, slots=True)
class SpeaksHttp1:
    """The peer answered HTTP/1: this is another server, perhaps the control plane's HTTP port."""


@dataclass(frozen=True, slots=True)
class Alive:
    """The peer answered a ping."""


CallEvent: TypeAlias = Message | Ended | SpeaksHttp1 | Alive


@dataclass(frozen=True, slots=True, kw_only=True)
class CallHead:
    """What a call begins with."""

    method: str
    """`/package.Service/Method`."""
    authority: str
    scheme: str = "http"
    content_type: str = "application/grpc+json"
    token: str = ""
    """Bearer token, sent as `authorization`."""

    def __repr__(self) -> str:
        # Without the token.
        return f"CallHead({self.method})"

    def headers(self) -> list[tuple[str, str]]:
        """Return the request's headers in the order that HTTP/2 and gRPC ask for."""
        headers = [
            (":method", "POST"),
            (":scheme", self.scheme),
            (":path", self.method),
            (":authority", self.authority),
            ("te", "trailers"),
            ("content-type", self.content_type),
            ("user-agent", "lateen-agent"),
        ]
        return [*headers, ("authorization", f"Bearer {self.token}")] if self.token else headers


class GrpcCall:
    """One connection with one call on it. Send what `data_to_send` returns after each call of a method."""

    def __init__(self, head: CallHead, limit: int) -> None:
        self._limit = limit
        self._h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self._h2.local_settings = Settings(
            client=True,
            initial_values={SettingCodes.ENABLE_PUSH: 0, SettingCodes.MAX_HEADER_LIST_SIZE: _MAX_HEADER_LIST},
        )
        # What we announce counts for the peer after a round trip only; the decoder's own bound counts at once.
        self._h2.decoder.max_header_list_size = _MAX_HEADER_LIST
        self._h2.initiate_connection()
        self._stream = self._h2.get_next_available_stream_id()
        self._h2.send_headers(self._stream, head.headers())
        self._outgoing = bytearray()
        self._finishing = False
        self._incoming = bytearray()
        self._heard = False
        self._ended = False

    def __repr__(self) -> str:
        # The headers hold a token.
        return f"GrpcCall(ended={self._ended})"

    @property
    def blocked(self) -> bool:
        """Whether what was sent before still waits for the peer's windows."""
        return bool(self._outgoing)

    def data_to_send(self) -> bytes:
        """Return (once) the bytes that must go to the peer now."""
        self._flush()
        sent: bytes = self._h2.data_to_send()
        return sent

    def send(self, body: bytes, *, last: bool = False) -> None:
        """Send a message; after the `last` one the request is whole."""
        self._outgoing += b"\0" + len(body).to_bytes(4, "big") + body
        self._finishing = last
        self._flush()

    def ping(self) -> None:
        """Ask for a sign of life; `Alive` follows."""
        if not self._ended:
            self._h2.ping(b"attached")

    def end(self, reason: str, status: GrpcStatus | None = None) -> Ended:
        """End the call: what is received from now on counts no more."""
        self._ended = True
        return Ended(reason, status)

    def receive(self, data: bytes) -> list[CallEvent]:
        """Take bytes from the peer; empty bytes mean that it closed the connection."""
        if self._ended:
            return []
        if not data:
            return [self.end(CLOSED)]
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
                return [self.end("the control plane is going away, or broke HTTP/2")]
            return [self.end(f"the peer does not speak HTTP/2 correctly: {error}")]
        events: list[CallEvent] = []
        for event in happened:
            if not self._ended:
                events.extend(self._on(event))
        return events

    def _on(self, event: Event) -> list[CallEvent]:
        match event:
            case ResponseReceived(headers=headers):
                return self._on_response({str(name): str(value) for name, value in headers})
            case DataReceived(data=data, flow_controlled_length=length):
                if length:
                    self._h2.acknowledge_received_data(length, self._stream)
                return self._on_body(bytes(data))
            case TrailersReceived(headers=headers):
                return [self._end_with({str(name): str(value) for name, value in headers})]
            case StreamEnded():
                return [self.end("the control plane ended the stream")]
            case StreamReset(error_code=code):
                return [self.end(f"the control plane reset the stream (HTTP/2 error {code})")]
            case ConnectionTerminated(error_code=code):
                return [self.end(f"the control plane is going away (HTTP/2 error {code})")]
            case PingAckReceived():
                return [Alive()]
            case WindowUpdated():
                self._flush()
        return []

    def _on_response(self, headers: dict[str, str]) -> list[CallEvent]:
        if headers.get(":status") != "200":
            return [self.end(f"the server answered HTTP {headers.get(':status', '?')}, it is no control plane")]
        if not headers.get("content-type", "").startswith("application/grpc"):
            return [self.end("the server does not speak gRPC, it is no control plane")]
        if "grpc-status" in headers:
            # "Trailers-Only": an error before any message comes as a single header block.
            return [self._end_with(headers)]
        return []

    def _on_body(self, data: bytes) -> list[CallEvent]:
        self._incoming += data
        events: list[CallEvent] = []
        while len(self._incoming) >= _PREFIX and not self._ended:
            length = int.from_bytes(self._incoming[1:_PREFIX], "big")
            if self._incoming[0] != 0:
                events.append(self.end("the control plane sent a compressed message"))
            elif length > self._limit:
                events.append(self.end(f"the control plane sent a message of {length} bytes"))
            elif len(self._incoming) < _PREFIX + length:
                break
            else:
                events.append(Message(bytes(self._incoming[_PREFIX : _PREFIX + length])))
                del self._incoming[: _PREFIX + length]
        return events

    def _flush(self) -> None:
        """Hand to h2 what the peer's windows allow; the rest waits for WINDOW_UPDATE."""
        while self._outgoing and not self._ended:
            room = min(self._h2.local_flow_control_window(self._stream), self._h2.max_outbound_frame_size)
            if room <= 0:
                return
            last = self._finishing and len(self._outgoing) <= room
            self._h2.send_data(self._stream, bytes(self._outgoing[:room]), end_stream=last)
            del self._outgoing[:room]

    def _end_with(self, headers: dict[str, str]) -> Ended:
        """End with grpc-status and grpc-message (percent-encoded, gRPC over HTTP/2 "Status-Message")."""
        code = headers.get("grpc-status", "2")
        number = int(code) if code.isascii() and code.isdigit() and len(code) < 3 else 2
        name = GRPC_STATUSES[number] if number < len(GRPC_STATUSES) else code
        message = unquote(headers.get("grpc-message", ""))[:_MAX_REASON]
        reason = f"the control plane ended the stream: {name}{': ' if message else ''}{message}"
        return self.end(reason, GrpcStatus(name, message))
