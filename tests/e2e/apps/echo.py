"""An HTTP application for end-to-end tests: answers every request with JSON of what it received.

Listens on 127.0.0.1:$PORT and every $PORT_<n>. The path steers it: `/status/503` answers with that status,
`/delay/0.5` waits first, and `/delay/0.5?until=/tmp/gate` also until there is such a file.
`FAIL=1` in the environment makes every answer a 500 (for outlier ejection). `/count` tells how many requests came
so far, itself excluded.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

VERSION = os.environ.get("VERSION", "v1")
NAME = os.environ.get("NAME", "echo")
FAIL = os.environ.get("FAIL") == "1"
seen = Counter[str]()


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            request_line, *lines = head.decode("latin-1").split("\r\n")
            method, target, _ = request_line.split(" ", 2)
            headers: dict[str, str] = {}
            for line in lines:
                if line:
                    name, _, value = line.partition(":")
                    key = name.strip().lower()
                    headers[key] = f"{headers[key]},{value.strip()}" if key in headers else value.strip()
            body = b""
            if "content-length" in headers:
                body = await reader.readexactly(int(headers["content-length"]))
            elif headers.get("transfer-encoding") == "chunked":
                while size := int((await reader.readline()).strip() or b"0", 16):
                    body += await reader.readexactly(size)
                    await reader.readline()
                await reader.readline()
            path = urlsplit(target).path
            status = 500 if FAIL else 200
            if path == "/count":
                answer = json.dumps({"count": seen["requests"]}).encode()
                status = 200
            else:
                seen["requests"] += 1
                if path.startswith("/status/"):
                    status = int(path.split("/")[2])
                if path.startswith("/delay/"):
                    await asyncio.sleep(float(path.split("/")[2]))
                    gate = Path(target.partition("?until=")[2])
                    while not gate.exists():  # noqa: ASYNC110  the interval of a poll
                        await asyncio.sleep(0.02)
                answer = json.dumps(
                    {
                        "app": NAME,
                        "version": VERSION,
                        "method": method,
                        "target": target,
                        "host": headers.get("host", ""),
                        "headers": headers,
                        "body": body.decode("latin-1"),
                    }
                ).encode()
            writer.write(
                f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\nx-app-header: from-app\r\n"
                f"content-length: {len(answer)}\r\n\r\n".encode()
                + (b"" if method == "HEAD" else answer)
            )
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def main() -> None:
    ports = {int(value) for name, value in os.environ.items() if name == "PORT" or name.startswith("PORT_")}
    async with asyncio.TaskGroup() as group:
        for port in ports:
            group.create_task((await asyncio.start_server(serve, "127.0.0.1", port)).serve_forever())


asyncio.run(main())
