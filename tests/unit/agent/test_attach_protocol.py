"""The attach stream as a machine: played against h2's server side, no sockets."""

from __future__ import annotations

import json
from typing import Any

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, PingReceived, RequestReceived
from h2.settings import SettingCodes, Settings
from hypothesis import given
from hypothesis import strategies as st

from lateen.agent.attach_protocol import AttachEvent, AttachStream, Left, Refused, Registered, Trust
from lateen.agent.grpc_call import Alive, Ended, GrpcStatus, SpeaksHttp1
from lateen.model.workloads import ATTACH_METHOD, MAX_CALLS, MAX_MESSAGE_BYTES, WorkloadRegistration

WORKLOAD = WorkloadRegistration(service="reviews", namespace="default", address="127.64.0.1")


class Server:
    """The other end: what it read, and what it answers."""

    def __init__(self, window: int = 65535) -> None:
        self.h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self.h2.local_settings = Settings(client=False, initial_values={SettingCodes.INITIAL_WINDOW_SIZE: window})
        self.h2.initiate_connection()
        self.headers: dict[str, str] = {}
        self.body = b""
        self.pings = 0
        self.unread = 0

    def read(self, data: bytes) -> None:
        for event in self.h2.receive_data(data):
            match event:
                case RequestReceived(headers=headers):
                    self.headers = {str(name): str(value) for name, value in headers}
                case DataReceived(data=data, flow_controlled_length=length):
                    self.body += data
                    self.unread += length
                case PingReceived():
                    self.pings += 1

    def messages(self) -> list[Any]:
        found, rest = [], self.body
        while len(rest) >= 5 and len(rest) >= 5 + int.from_bytes(rest[1:5], "big"):
            length = int.from_bytes(rest[1:5], "big")
            found.append(json.loads(rest[5 : 5 + length]))
            rest = rest[5 + length :]
        return found

    def accept(self, **headers: str) -> None:
        self.h2.send_headers(1, [(":status", "200"), ("content-type", "application/grpc"), *headers.items()])

    def say(self, message: Any) -> None:
        self.say_raw(json.dumps(message).encode())

    def say_raw(self, body: bytes, flag: int = 0, length: int | None = None) -> None:
        self.h2.send_data(1, bytes([flag]) + (len(body) if length is None else length).to_bytes(4, "big") + body)

    def output(self) -> bytes:
        return self.h2.data_to_send()


def connected(server: Server, token: str = "") -> AttachStream:
    client = AttachStream("127.0.0.1:15010", token)
    client.receive(server.output())
    client.register(WORKLOAD)
    server.read(client.data_to_send())
    return client


def answer(client: AttachStream, server: Server) -> list[AttachEvent]:
    return client.receive(server.output())


def test_request_is_a_grpc_call_with_the_registration_as_its_first_message() -> None:
    server = Server()
    connected(server, token="s3cret")
    assert server.headers[":path"] == ATTACH_METHOD
    assert server.headers["te"] == "trailers"
    assert server.headers["authorization"] == "Bearer s3cret"
    assert server.messages() == [{"register": WORKLOAD.to_json()}]


def test_token_is_not_in_the_repr() -> None:
    assert "s3cret" not in repr(connected(Server(), token="s3cret"))


def test_answers_become_events() -> None:
    server = Server()
    client = connected(server)
    server.accept()
    server.say({"registered": {"name": "reviews-1"}})
    server.say({"trust": {"roots": ["a", "b"]}})
    server.say({"trust": {"roots": ["b"], "issuer": "c"}})
    server.say({"left": {"acknowledged": False}})
    server.say({"refused": {"message": "no"}})
    assert answer(client, server) == [
        Registered("reviews-1"),
        Trust(("a", "b")),
        Trust(("b",), issuer="c"),
        Left(acknowledged=False),
        Refused("no"),
    ]


@pytest.mark.parametrize(
    ("more", "takes"),
    [
        ({}, set()),
        ({"takes": ["calls", "later"]}, {"calls"}),
        ({"takes": ["later", "trusts", 1, []]}, {"trusts"}),
        ({"takes": 1}, set()),
    ],
)
def test_control_plane_says_what_it_takes(more: dict[str, Any], takes: set[str]) -> None:
    """One that says nothing is older: it would end the stream."""
    server = Server()
    client = connected(server)
    server.accept()
    server.say({"registered": {"name": "reviews-1", **more}})
    assert answer(client, server) == [Registered("reviews-1", frozenset(takes))]


@pytest.mark.parametrize(
    ("said", "patch"), [({"stats_flush_interval": "7s"}, {"stats_flush_interval": "7s"}), ([1], {})]
)
def test_a_registration_may_bring_a_patch_of_the_bootstrap(said: Any, patch: dict[str, Any]) -> None:
    """What is no mapping is none."""
    server = Server()
    client = connected(server)
    server.accept()
    server.say({"registered": {"name": "reviews-1", "bootstrap": said}})
    assert answer(client, server) == [Registered("reviews-1", bootstrap=patch)]


def test_many_calls_are_several_messages() -> None:
    server = Server(window=1 << 20)
    client = connected(server)
    hosts = [f"{number:03}".ljust(253, "x") for number in range(2 * MAX_CALLS + 1)]
    client.calls(hosts)
    while not server.messages() or client.blocked:
        server.read(client.data_to_send())
        server.h2.acknowledge_received_data(server.unread, 1)
        server.unread = 0
        client.receive(server.output())
    server.read(client.data_to_send())
    said = [message["calls"] for message in server.messages() if "calls" in message]
    assert [len(part) for part in said] == [MAX_CALLS, MAX_CALLS, 1]
    assert [host for part in said for host in part] == hosts


@given(st.lists(st.integers(1, 40), max_size=30))
def test_events_do_not_depend_on_how_bytes_arrive(cuts: list[int]) -> None:
    """TCP has no message boundaries."""
    server = Server()
    client = connected(server)
    server.accept()
    server.say({"registered": {"name": "reviews-1"}})
    server.say({"left": {"acknowledged": True}})
    data, events = server.output(), []
    for cut in cuts:
        piece, data = data[:cut], data[cut:]
        if piece:
            events += client.receive(piece)
    if data:
        events += client.receive(data)
    assert events == [Registered("reviews-1"), Left(acknowledged=True)]


@given(st.binary(min_size=1, max_size=300))
def test_garbage_ends_the_stream_and_never_raises(data: bytes) -> None:
    client = AttachStream("x")
    assert all(isinstance(event, Ended | SpeaksHttp1) for event in client.receive(data))


@given(st.binary(max_size=100))
def test_garbage_in_a_message_ends_the_stream(body: bytes) -> None:
    server = Server()
    client = connected(server)
    server.accept()
    server.say_raw(body)
    assert all(isinstance(event, Ended) for event in answer(client, server))


def test_registration_larger_than_the_window_waits_for_room() -> None:
    """Flow control: what does not fit is sent when the peer opens its window, in order, nothing lost."""
    server = Server(window=100)
    client = connected(server)
    assert server.messages() == []
    for _ in range(100):
        if server.messages():
            break
        server.h2.acknowledge_received_data(server.unread, 1)
        server.unread = 0
        client.receive(server.output())
        server.read(client.data_to_send())
    assert server.messages() == [{"register": WORKLOAD.to_json()}]


def test_many_answers_do_not_exhaust_our_window() -> None:
    """What is read is acknowledged: a stream that lives for months must not stall after 64 KiB."""
    server = Server()
    client = connected(server)
    server.accept()
    padding = "x" * 900
    for number in range(200):
        server.say({"refused": {"message": f"{number}{padding}"}})
        assert len(answer(client, server)) == 1
        server.read(client.data_to_send())


def test_http1_peer_is_recognised() -> None:
    assert AttachStream("x").receive(b"HTTP/1.1 400 Bad Request\r\n\r\n") == [SpeaksHttp1()]


def test_ping_is_answered() -> None:
    server = Server()
    client = connected(server)
    client.ping()
    server.read(client.data_to_send())
    assert (server.pings, answer(client, server)) == (1, [Alive()])


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({":status": "200", "content-type": "application/grpc", "grpc-status": "12"}, "UNIMPLEMENTED"),
        (
            {":status": "200", "content-type": "application/grpc", "grpc-status": "16", "grpc-message": "no%20token"},
            "UNAUTHENTICATED: no token",
        ),
        ({":status": "200", "content-type": "application/grpc", "grpc-status": "999"}, "UNKNOWN"),
        ({":status": "404"}, "HTTP 404"),
        ({":status": "200", "content-type": "text/html"}, "does not speak gRPC"),
    ],
)
def test_refusing_response_says_why(headers: dict[str, str], reason: str) -> None:
    server = Server()
    client = connected(server)
    server.h2.send_headers(1, list(headers.items()), end_stream=True)
    (event,) = answer(client, server)
    assert isinstance(event, Ended)
    assert reason in event.reason


def test_trailers_after_messages_end_the_stream_with_the_status() -> None:
    server = Server()
    client = connected(server)
    server.accept()
    server.say({"registered": {"name": "a"}})
    server.h2.send_headers(1, [("grpc-status", "14"), ("grpc-message", "going")], end_stream=True)
    reason = "the control plane ended the stream: UNAVAILABLE: going"
    assert answer(client, server) == [Registered("a"), Ended(reason, GrpcStatus("UNAVAILABLE", "going"))]


@pytest.mark.parametrize(
    ("flag", "length", "reason"),
    [(1, None, "compressed"), (0, MAX_MESSAGE_BYTES + 1, f"{MAX_MESSAGE_BYTES + 1} bytes")],
)
def test_bad_prefix_ends_the_stream(flag: int, length: int | None, reason: str) -> None:
    server = Server()
    client = connected(server)
    server.accept()
    server.say_raw(b"{}", flag, length)
    (event,) = answer(client, server)
    assert isinstance(event, Ended)
    assert reason in event.reason


@pytest.mark.parametrize(
    "message",
    [
        [],
        1,
        {},
        {"registered": {}},
        {"registered": {"name": ""}},
        {"left": {"acknowledged": "yes"}},
        {"trust": {"roots": []}},
        {"trust": {"roots": "a"}},
        {"trust": {"roots": [1]}},
        {"trust": {"roots": ["a"] * 33}},
    ],
)
def test_message_of_another_shape_ends_the_stream(message: object) -> None:
    server = Server()
    client = connected(server)
    server.accept()
    server.say(message)
    assert answer(client, server) == [Ended("the control plane sent a message that this agent does not understand")]


def test_nothing_happens_after_the_end() -> None:
    server = Server()
    client = connected(server)
    assert client.receive(b"") == [Ended("the connection was closed")]
    client.ping()
    assert client.receive(b"more") == []


def test_registration_that_the_control_plane_would_refuse_is_our_error() -> None:
    client = AttachStream("x")
    with pytest.raises(ValueError, match="fewer labels"):
        client.register(
            WorkloadRegistration(service="a", namespace="b", address="c", labels={"x": "y" * MAX_MESSAGE_BYTES})
        )
