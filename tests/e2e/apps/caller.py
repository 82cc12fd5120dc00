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
from pathlib import Path


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
