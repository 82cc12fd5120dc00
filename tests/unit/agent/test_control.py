"""The socket by which the user of an agent speaks with it."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path

from lateen.agent.control import SOCKET_NAME, ControlServer


async def test_the_socket_is_for_its_owner_and_leaves_the_umask_alone(tmp_path: Path) -> None:
    """The umask is the whole process's: nobody else may run while it is another."""

    async def restart() -> str:
        return ""

    before = os.umask(0o022)
    try:
        seen: list[int] = []
        asyncio.get_running_loop().call_soon(lambda: seen.append(os.umask(0o022)))
        async with ControlServer(status=lambda: {"a": 1}, restart=restart).serve(tmp_path):
            path = tmp_path / SOCKET_NAME
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            reader, writer = await asyncio.open_unix_connection(str(path))
            writer.write(b"GET /status HTTP/1.1\r\nhost: agent\r\n\r\n")
            assert (await reader.read()).endswith(b'{"a": 1}\n')
            writer.close()
        assert seen == [0o022]
    finally:
        os.umask(before)
