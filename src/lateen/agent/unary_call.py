"""One question, one answer: a unary gRPC call over a connection that its caller opened.

`UnaryCall` is the sans-IO machine, `ask` plays it on a connection. Called by `locating` and `certificates`. Must not
know: what is asked, or whether the connection is encrypted.
"""

from __future__ import annotations

from asyncio import StreamReader, StreamWriter

from lateen.agent.grpc_call import CallHead, Ended, GrpcCall, GrpcStatus, Message, SpeaksHttp1

MAX_ANSWER_BYTES = 256 * 1024
_BLOCK = 16 * 1024
_FRAME_HEAD = 9


class CallError(Exception):
    """There is no answer. The message says why."""

    def __init__(self, reason: str, status: GrpcStatus | None = None) -> None:
        super().__init__(reason)
        self.status = status
        """The server's verdict; None when the call broke before it gave one."""


class SpeaksHttp1Error(CallError):
    """The peer is an HTTP/1 server."""


class SpeaksNoHttp2Error(CallError):
    """The peer closed the connection, or answered with something else, before it said one word of HTTP/2."""


class UnaryCall:
    """The machine: its request is in the first `data_to_send`, `receive` returns the answer once it is whole."""

    def __init__(self, head: CallHead, request: bytes) -> None:
        self._call = GrpcCall(head, MAX_ANSWER_BYTES)
        self._call.send(request, last=True)
        self._answer: bytes | None = None
        self._first = b""

    def data_to_send(self) -> bytes:
        """Return (once) the bytes that must go to the peer now."""
        return self._call.data_to_send()

    def receive(self, data: bytes) -> bytes | None:
        """Take bytes from the peer (none: it closed). Return the answer, None while it is not whole.

        Raises CallError: a message counts only when the status after it is OK.
        """
        self._first = (self._first + data)[:_FRAME_HEAD]
        for event in self._call.receive(data):
            match event:
                case Message(body=body) if self._answer is None:
                    self._answer = body
                case Message():
                    raise CallError("the control plane answered twice")
                case SpeaksHttp1():
                    raise SpeaksHttp1Error("the peer is an HTTP/1 server")
                case Ended(status=GrpcStatus(name="OK")) if self._answer is not None:
                    return self._answer
                case Ended(reason=reason, status=status):
                    if status is None and not _is_settings(self._first):
                        raise SpeaksNoHttp2Error(reason)
                    raise CallError(reason, status)
        if len(self._first) == _FRAME_HEAD and not _is_settings(self._first):
            # It need not close the connection, and HTTP/2 would wait for the rest of its first frame.
            raise SpeaksNoHttp2Error("the peer does not speak HTTP/2")
        return None


def _is_settings(first: bytes) -> bool:
    """Whether these are the first bytes of an HTTP/2 server: a SETTINGS frame (RFC 9113 section 3.4)."""
    return len(first) == _FRAME_HEAD and first[3] == 4


async def ask(reader: StreamReader, writer: StreamWriter, head: CallHead, request: bytes) -> bytes:
    """Return the answer. CallError as `UnaryCall` raises it, OSError when the connection breaks.

    The caller bounds the time and closes the connection.
    """
    call = UnaryCall(head, request)
    while True:
        writer.write(call.data_to_send())
        await writer.drain()
        answer = call.receive(await reader.read(_BLOCK))
        if answer is not None:
            return answer
