"""An application that calls, knowing nothing of a mesh: reads Python expressions line by line, writes their values.

Each line of the file CALLS_FROM is `name expression`, evaluated with the functions below; one line of JSON for each is
written to the file ANSWERS_TO. Standard library alone, gRPC when it is asked for.
"""

from __future__ import annotations

import json
import os
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from pathlib import Path
from queue import Queue
from typing import Any


def http(url: str, host: str = "") -> object:
    asked = urllib.request.Request(url, headers={"host": host} if host else {})
    with urllib.request.urlopen(asked, timeout=15) as answer:
        return json.load(answer)


def http_status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=15) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def lines(address: str, port: int, *sent: str) -> object:
    with socket.create_connection((address, port), 15) as made, made.makefile("rwb") as stream:
        answers = []
        for line in sent:
            stream.write(line.encode() + b"\n")
            stream.flush()
            answers.append(json.loads(stream.readline()))
        return answers


def websocket(address: str, port: int, host: str, data: str) -> object:
    with socket.create_connection((address, port), 15) as made:
        made.sendall(
            f"GET /chat HTTP/1.1\r\nhost: {host}\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
            "sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
        )
        with made.makefile("rb") as stream:
            status = stream.readline().decode().strip()
            while stream.readline().strip():
                pass
            made.sendall(data.encode())
            return [status, stream.read(len(data)).decode()]


def grpc_say(target: str, text: str) -> object:
    import grpc

    with grpc.insecure_channel(target) as channel:
        return channel.unary_unary("/test.Echo/Say")(text.encode(), timeout=15, wait_for_ready=True).decode()


def http2(address: str, port: int, authority: str) -> object:
    """GET / over HTTP/2 without TLS, with no upgrade before (RFC 9113 section 3.3); its body."""
    from h2.config import H2Configuration
    from h2.connection import H2Connection
    from h2.events import DataReceived, StreamEnded

    speech = H2Connection(H2Configuration(client_side=True))
    speech.initiate_connection()
    asked = {":method": "GET", ":path": "/", ":scheme": "http", ":authority": authority}
    speech.send_headers(1, list(asked.items()), end_stream=True)
    body = b""
    with socket.create_connection((address, port), 15) as made:
        while True:
            made.sendall(speech.data_to_send())
            events = speech.receive_data(made.recv(1 << 16))
            body += b"".join(event.data for event in events if isinstance(event, DataReceived))
            if any(isinstance(event, StreamEnded) for event in events):
                return body.decode()


def headers_of(url: str) -> object:
    """Names of the headers of the answer."""
    with urllib.request.urlopen(url, timeout=15) as answer:
        return sorted(name.lower() for name in answer.headers)


# --- connections that are held -----------------------------------------------------------------------------------

HELD: dict[str, Any] = {}


def hold_lines(name: str, address: str, port: int) -> object:
    HELD[name] = _lines_speech(socket.create_connection((address, port), 15))
    return next(HELD[name])


def _lines_speech(made: socket.socket) -> Generator[object, str, None]:
    stream, answer = made.makefile("rwb"), None
    while True:
        stream.write((yield answer).encode() + b"\n")
        stream.flush()
        answer = json.loads(stream.readline())["line"]


def hold_websocket(name: str, address: str, port: int) -> object:
    HELD[name] = _websocket_speech(address, port)
    return next(HELD[name])


def _websocket_speech(address: str, port: int) -> Generator[object, str, None]:
    made = socket.create_connection((address, port), 15)
    made.sendall(
        f"GET /chat HTTP/1.1\r\nhost: {address}\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
        "sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
    )
    stream = made.makefile("rb")
    answer = stream.readline().decode().strip()
    while stream.readline().strip():
        pass
    while True:
        word = (yield answer).encode()
        made.sendall(word)
        answer = stream.read(len(word)).decode()


def hold_grpc(name: str, target: str) -> object:
    HELD[name] = _grpc_speech(target)
    return next(HELD[name])


def _grpc_speech(target: str) -> Generator[object, str, None]:
    import grpc

    words: Queue[bytes] = Queue()
    # Kept alive by the generator.
    channel = grpc.insecure_channel(target)
    answers = channel.stream_stream("/test.Echo/Chat")(iter(words.get, None), wait_for_ready=True)
    answer = ""
    while True:
        words.put((yield answer).encode())
        answer = next(answers).decode()


def say(name: str, word: str) -> object:
    """Say something over a connection that is held; return the answer."""
    return HELD[name].send(word)


def resolve(name: str) -> object:
    return sorted({str(found[4][0]) for found in socket.getaddrinfo(name, 80, type=socket.SOCK_STREAM)})


def main() -> None:
    with Path(os.environ["ANSWERS_TO"]).open("w") as answers, Path(os.environ["CALLS_FROM"]).open() as calls:
        while True:
            line = calls.readline()
            if not line:
                time.sleep(0.02)  # the interval of a poll of the file
                continue
            name, _, expression = line.strip().partition(" ")
            try:
                answer = eval(expression)
            except Exception as error:  # noqa: BLE001  whatever it is, it is the answer
                answer = f"{type(error).__name__}: {error}"
            print(json.dumps({name: answer}), file=answers, flush=True)


main()
