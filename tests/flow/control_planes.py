"""A whole control plane in the test's own process, on free ports, and a way to ask its API beside its event loop."""

from __future__ import annotations

import asyncio
import http.client
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from lateen.app.running import run_control_plane
from lateen.app.settings import Listening, Settings
from local_tokens import proof

DEADLINE = 30.0


@dataclass(frozen=True)
class Answer:
    status: int
    body: Any


@dataclass(frozen=True)
class InProcess:
    """A running control plane."""

    listening: Listening
    threads: ThreadPoolExecutor
    """For the asking: in the loop's own executor it would wait for work of the control plane that comes behind it."""

    async def ask(self, method: str, target: str, body: str | None = None) -> Answer:
        """Send one request to the HTTP API."""
        return await self._threaded(self.listening.http, method, target, body)

    async def metrics(self) -> str:
        """Return the monitoring port's metrics."""
        answer = await self._threaded(self.listening.monitoring, "GET", "/metrics", None)
        return str(answer.body)

    async def _threaded(self, *arguments: Any) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(self.threads, self._ask, *arguments)

    def _ask(self, address: str, method: str, target: str, body: str | None) -> Answer:
        connection = http.client.HTTPConnection(address, timeout=DEADLINE)
        try:
            connection.request(method, target, body=body)
            response = connection.getresponse()
            content = response.read()
            if response.status == 401:
                connection.request(method, target, body=body, headers=proof(response.headers.get("Lateen-Token-File")))
                response = connection.getresponse()
                content = response.read()
            json = response.headers.get_content_type() == "application/json"
            return Answer(response.status, msgspec.json.decode(content) if json else content.decode())
        finally:
            connection.close()

    async def until(self, target: str, holds: Callable[[Any], object]) -> Any:
        """Ask until the answer's body holds; AssertionError with the last one after the deadline."""
        last: Any = None
        try:
            async with asyncio.timeout(DEADLINE):
                while not holds(last := (await self.ask("GET", target)).body):
                    pass
        except TimeoutError:
            raise AssertionError(f"{target} still answers {last}") from None
        return last


@asynccontextmanager
async def control_plane(*folders: Path, debounce: float = 0.1, state: Path | None = None) -> AsyncIterator[InProcess]:
    """Run a control plane over watched folders; yield when it is ready, stop it gracefully."""
    any_port = "127.0.0.1:0"
    settings = Settings(
        config_dirs=folders,
        state=state,
        grpc=any_port,
        http=any_port,
        monitoring=any_port,
        debounce_quiet=debounce,
        debounce_max=max(10.0, debounce),
    )
    ready: asyncio.Future[Listening] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(run_control_plane(settings, on_ready=ready.set_result, stop=stop))
        async with asyncio.timeout(DEADLINE):
            listening = await ready
        try:
            with ThreadPoolExecutor() as threads:
                yield InProcess(listening, threads)
        finally:
            stop.set()
