"""A unary call as a machine: played against h2's server side, no sockets."""

from __future__ import annotations

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded
from hypothesis import given
from hypothesis import strategies as st

from lateen.agent.grpc_call import CallHead, GrpcStatus
from lateen.agent.unary_call import (
    MAX_ANSWER_BYTES,
    CallError,
    SpeaksHttp1Error,
    SpeaksNoHttp2Error,
    UnaryCall,
)

HEAD = CallHead(method="/a.B/C", authority="x:1", scheme="https", content_type="application/grpc", token="s3cret")


class Server:
    """The other end."""

    def __init__(self, request: bytes = b"question") -> None:
        self.h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.call = UnaryCall(HEAD, request)
        self.headers: dict[str, str] = {}
        self.body, self.whole = b"", False
        for event in self.h2.receive_data(self.call.data_to_send()):
            match event:
                case RequestReceived(headers=headers):
                    self.headers = {str(name): str(value) for name, value in headers}
                case DataReceived(data=data):
                    self.body += data
                case StreamEnded():
                    self.whole = True

    def answer(self, *messages: bytes, status: str = "0", said: str = "") -> bytes:
        self.h2.send_headers(1, [(":status", "200"), ("content-type", "application/grpc")])
        for message in messages:
            self.h2.send_data(1, b"\0" + len(message).to_bytes(4, "big") + message)
        self.h2.send_headers(1, [("grpc-status", status), ("grpc-message", said)], end_stream=True)
        return self.h2.data_to_send()


def test_request_is_one_whole_grpc_message() -> None:
    server = Server()
    assert server.headers[":path"] == "/a.B/C"
    assert server.headers[":scheme"] == "https"
    assert server.headers["authorization"] == "Bearer s3cret"
    assert (server.body, server.whole) == (b"\0\0\0\0\x08question", True)


def test_token_is_in_no_repr() -> None:
    assert "s3cret" not in repr(HEAD) + repr(UnaryCall(HEAD, b""))


@given(st.lists(st.integers(1, 30), max_size=30))
def test_answer_does_not_depend_on_how_bytes_arrive(cuts: list[int]) -> None:
    server = Server()
    data, answers = server.answer(b"answer"), []
    for cut in [*cuts, len(data)]:
        piece, data = data[:cut], data[cut:]
        if piece:
            answers.append(server.call.receive(piece))
    assert [answer for answer in answers if answer is not None] == [b"answer"]


@pytest.mark.parametrize(
    ("messages", "status", "reason"),
    [
        ((), "0", "OK"),
        ((b"a",), "16", "UNAUTHENTICATED: no"),
        ((b"a", b"b"), "0", "answered twice"),
        ((), "12", "UNIMPLEMENTED: no"),
    ],
)
def test_message_counts_only_alone_and_with_its_status(messages: tuple[bytes, ...], status: str, reason: str) -> None:
    server = Server()
    with pytest.raises(CallError, match=reason):
        server.call.receive(server.answer(*messages, status=status, said="no"))


def test_status_is_kept() -> None:
    server = Server()
    with pytest.raises(CallError) as raised:
        server.call.receive(server.answer(status="7", said="not%20you"))
    assert raised.value.status == GrpcStatus("PERMISSION_DENIED", "not you")


def test_oversized_answer_is_refused_by_its_announced_length() -> None:
    server = Server()
    server.h2.send_headers(1, [(":status", "200"), ("content-type", "application/grpc")])
    server.h2.send_data(1, b"\0" + (MAX_ANSWER_BYTES + 1).to_bytes(4, "big"))
    with pytest.raises(CallError, match=f"a message of {MAX_ANSWER_BYTES + 1} bytes"):
        server.call.receive(server.h2.data_to_send())


def test_other_servers_are_told_apart() -> None:
    """By what they say first: nothing, a TLS alert, HTTP/1, or HTTP/2 and then nothing."""
    with pytest.raises(SpeaksNoHttp2Error):
        UnaryCall(HEAD, b"").receive(b"")
    with pytest.raises(SpeaksNoHttp2Error):
        UnaryCall(HEAD, b"").receive(b"\x15\x03\x03\x00\x02\x02\x46" * 8)
    alerted = UnaryCall(HEAD, b"")
    assert alerted.receive(b"\x15\x03\x03\x00\x02\x02\x46") is None
    with pytest.raises(SpeaksNoHttp2Error):
        alerted.receive(b"")
    with pytest.raises(SpeaksHttp1Error):
        UnaryCall(HEAD, b"").receive(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    server = Server()
    assert server.call.receive(server.h2.data_to_send()) is None
    with pytest.raises(CallError) as raised:
        server.call.receive(b"")
    assert not isinstance(raised.value, SpeaksNoHttp2Error)
