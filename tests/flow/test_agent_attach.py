"""The agent's attach stream against a real gRPC server: names, changes, breaks, leaving."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from agent_logs import capture_logs
from flow.fake_control_plane import FakeControlPlane, running
from lateen.agent.attach import MAX_HOSTS, Attachment, AttachTimes
from lateen.model.workloads import WorkloadRegistration

WORKLOAD = WorkloadRegistration(service="reviews", version="v2", namespace="default", address="127.64.0.1")
QUICK = AttachTimes(connect=20, ping=60, first_pause=0.02, longest_pause=0.1, remind=60)
PINGING = replace(QUICK, ping=0.5)
"""For tests of pings: an answer that comes later than the next ping is due breaks the connection."""


@asynccontextmanager
async def attached(
    port: int, workload: WorkloadRegistration = WORKLOAD, times: AttachTimes = QUICK, **extra: Any
) -> AsyncIterator[Attachment]:
    attachment = Attachment(f"127.0.0.1:{port}", workload, times=times, **extra)
    async with asyncio.TaskGroup() as group, asyncio.timeout(60):
        running_task = group.create_task(attachment.run())
        yield attachment
        running_task.cancel()


async def _until(condition: Callable[[], bool]) -> None:
    """Wait for a condition of the attachment, which announces nothing."""
    async with asyncio.timeout(30):
        while True:
            if condition():
                return
            await asyncio.sleep(0.005)


def registrations(plane: FakeControlPlane) -> list[dict[str, Any]]:
    return [message["register"] for _, message in plane.said if "register" in message]


async def test_control_plane_gives_the_name() -> None:
    plane = FakeControlPlane()
    async with running(plane) as port, attached(port) as attachment:
        assert await attachment.named() == "reviews-v2-1"
        assert attachment.connected


async def test_changes_are_registered_under_the_name_and_equal_ones_are_not_repeated() -> None:
    plane = FakeControlPlane()
    async with running(plane) as port, attached(port) as attachment:
        await attachment.named()
        attachment.update(replace(WORKLOAD, ready=True))
        await plane.until(lambda: plane.workloads["reviews-v2-1"]["ready"])
        attachment.update(replace(WORKLOAD, ready=True))
        attachment.update(replace(WORKLOAD, ready=False))
        await plane.until(lambda: not plane.workloads["reviews-v2-1"]["ready"])
        assert [(r["name"], r["ready"]) for r in registrations(plane)] == [
            ("", False),
            ("reviews-v2-1", True),
            ("reviews-v2-1", False),
        ]


async def test_calls_are_told_to_a_control_plane_that_takes_them() -> None:
    """Whether it is there yet or not, once, and without registering again."""
    plane = FakeControlPlane(registered_more={"takes": ["calls"]})
    async with running(plane) as port, attached(port) as attachment:
        attachment.report_calls(["ratings"])
        await plane.until(lambda: len(plane.said) == 2)
        attachment.report_calls(["details", "ratings"])
        await plane.until(lambda: len(plane.said) == 3)
    assert [message.get("calls") for _, message in plane.said] == [None, ["ratings"], ["details", "ratings"]]


async def test_calls_wait_for_a_control_plane_that_takes_them() -> None:
    """An older one would end the stream. What waits is bounded."""
    before, after = FakeControlPlane(), FakeControlPlane(registered_more={"takes": ["calls"]})
    async with contextlib.AsyncExitStack() as stack:
        async with running(before) as port:
            attachment = await stack.enter_async_context(attached(port, times=PINGING))
            await attachment.named()
            attachment.report_calls(f"host-{number}" for number in range(MAX_HOSTS + 1))
            await _until(lambda: attachment.pings_answered > 0)
            assert len(before.said) == 1
        async with running(after, port):
            await after.until(lambda: sum(len(said.get("calls", ())) for _, said in after.said) == MAX_HOSTS)


async def test_broken_stream_comes_back_under_the_same_name_with_the_newest_state() -> None:
    plane = FakeControlPlane()
    async with running(plane) as port, attached(port) as attachment:
        await attachment.named()
        attachment.update(replace(WORKLOAD, ready=True))
        await plane.until(lambda: plane.workloads["reviews-v2-1"]["ready"])
        before = len(plane.said)
        await plane.break_streams()
        await plane.until(lambda: len(plane.said) > before)
        assert registrations(plane)[-1] == replace(WORKLOAD, name="reviews-v2-1", ready=True).to_json()
        assert attachment.reconnects == 1


async def test_restarted_control_plane_is_told_what_it_missed() -> None:
    """The state of the moment counts, not the messages that could not be sent."""
    before, after = FakeControlPlane(), FakeControlPlane()
    async with contextlib.AsyncExitStack() as stack:
        async with running(before) as port:
            attachment = await stack.enter_async_context(attached(port))
            await attachment.named()
        await _until(lambda: not attachment.connected)
        attachment.update(replace(WORKLOAD, ready=True))
        async with running(after, port):
            await after.until(lambda: after.workloads)
            assert registrations(after) == [replace(WORKLOAD, name="reviews-v2-1", ready=True).to_json()]


async def test_control_plane_that_comes_late_is_waited_for_with_one_line() -> None:
    """Any number of refused connections make one log line that says what to do."""
    plane = FakeControlPlane()
    async with running(plane) as port:
        pass
    with capture_logs() as logs:
        async with attached(port) as attachment:
            await _until(lambda: attachment.reconnects >= 3)
            async with running(plane, port):
                assert await attachment.named() == "reviews-v2-1"
    warnings = [entry for entry in logs if "cannot reach the control plane" in entry["event"]]
    assert len(warnings) == 1
    assert "lateen serve" in warnings[0]["todo"]


async def test_leaving_waits_until_everyone_stopped_sending() -> None:
    everyone_knows = asyncio.Event()

    async def on_leave(name: str) -> bool:
        await everyone_knows.wait()
        return True

    plane = FakeControlPlane(on_leave=on_leave)
    async with running(plane) as port, attached(port) as attachment:
        await attachment.named()
        async with asyncio.TaskGroup() as group:
            leaving = group.create_task(attachment.leave(10))
            await plane.until(lambda: not plane.workloads)
            assert not leaving.done()
            everyone_knows.set()
        assert leaving.result()


async def test_leaving_is_bounded() -> None:
    async def on_leave(name: str) -> bool:
        await asyncio.Event().wait()
        return True

    plane = FakeControlPlane(on_leave=on_leave)
    async with running(plane) as port, attached(port) as attachment:
        await attachment.named()
        assert not await attachment.leave(0.1)


async def test_leaving_without_a_connection_does_not_wait() -> None:
    plane = FakeControlPlane()
    async with running(plane) as port:
        pass
    async with attached(port) as attachment:
        assert not await attachment.leave(1000)


async def test_leaving_ends_when_the_stream_breaks() -> None:
    plane = FakeControlPlane()

    async def on_leave(name: str) -> bool:
        await plane.break_streams()
        await asyncio.Event().wait()
        return True

    plane.on_leave = on_leave
    async with running(plane) as port, attached(port) as attachment:
        await attachment.named()
        assert not await attachment.leave(1000)


async def test_refused_workload_keeps_trying_and_says_why() -> None:
    plane = FakeControlPlane(refuse="namespace is closed")
    with capture_logs() as logs:
        async with running(plane) as port, attached(port) as attachment:
            await _until(lambda: attachment.reconnects >= 2)
            plane.refuse = ""
            await attachment.named()
    warnings = [entry["event"] for entry in logs if entry["log_level"] == "warning"]
    assert warnings == ["the control plane refused this workload: namespace is closed"]


async def test_failures_that_take_turns_are_each_said_once() -> None:
    plane = FakeControlPlane(refuse="first")
    with capture_logs() as logs:
        async with running(plane) as port, attached(port) as attachment:
            for message in ("second", "first", "second"):
                tries = attachment.reconnects + 2
                await _until(partial(_tried, attachment, tries))
                plane.refuse = message
            plane.refuse = ""
            await attachment.named()
    warnings = [entry["event"] for entry in logs if entry["log_level"] == "warning"]
    assert warnings == [f"the control plane refused this workload: {message}" for message in ("first", "second")]


def _tried(attachment: Attachment, tries: int) -> bool:
    return attachment.reconnects >= tries


async def test_token_is_read_at_each_connection() -> None:
    """A rotated token file counts from the next connection on."""
    tokens = iter(["first", "second"])
    plane = FakeControlPlane()
    async with running(plane) as port, attached(port, read_token=lambda: next(tokens)) as attachment:
        await attachment.named()
        await plane.break_streams()
        await plane.until(lambda: len(plane.tokens) == 2)
        assert plane.tokens == ["Bearer first", "Bearer second"]


async def test_missing_token_file_is_named(tmp_path: Path) -> None:
    with capture_logs() as logs:
        async with attached(1, read_token=(tmp_path / "token").read_text) as attachment:
            await _until(lambda: attachment.reconnects >= 2)
    assert [entry["event"] for entry in logs] == [
        f"cannot read the token file {tmp_path / 'token'}: No such file or directory"
    ]


async def test_idle_stream_is_kept_alive_by_pings() -> None:
    plane = FakeControlPlane()
    async with running(plane) as port, attached(port, times=PINGING) as attachment:
        await attachment.named()
        await _until(lambda: attachment.pings_answered >= 3)
        assert attachment.connected
        assert attachment.reconnects == 0


async def test_silent_peer_is_given_up() -> None:
    """A connection whose peer went away without a word is noticed and made again."""
    connections = 0

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.read(-1)
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    async with attached(server.sockets[0].getsockname()[1], times=PINGING) as attachment:
        await _until(lambda: attachment.reconnects >= 2)
    server.close()
    assert connections >= 2


@asynccontextmanager
async def http_server(answer: bytes) -> AsyncIterator[int]:
    """A server that answers every connection with these bytes, as HTTP/1 servers answer what they do not know."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if (await reader.read(4096)).startswith(b"PRI * HTTP/2.0"):
            writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
        else:
            writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def test_http_port_of_the_control_plane_leads_to_its_grpc_port() -> None:
    plane = FakeControlPlane()
    async with running(plane) as port:
        body = b'{"grpc": "0.0.0.0:%d"}' % port
        answer = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
        async with http_server(answer) as http_port, attached(http_port) as attachment:
            assert await attachment.named() == "reviews-v2-1"
            assert attachment.control_plane == ("127.0.0.1", port)


async def test_foreign_http_server_is_named_as_such() -> None:
    with capture_logs() as logs:
        async with (
            http_server(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]") as http_port,
            attached(http_port) as attachment,
        ):
            await _until(lambda: attachment.reconnects >= 1)
    assert "is a plain HTTP server, not a control plane's gRPC port" in logs[0]["event"]
