"""What the control plane learned about who calls whom, kept over restarts: the edge around `discovery.learned_hosts`.

Made by `app.running`, asked and told by the hub (`discovery.learning.Learning`) and told by agents. One event loop; the
file is written by a thread of its own, a few seconds after something was learned, at most once a minute when known
hosts were merely seen again, and at the end. A file that cannot be read or written costs what was learned, never the
control plane: proxies ask for what they are not told.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import structlog

from lateen.app.state_folder import StateFile, open_state_folder
from lateen.discovery.learned_hosts import LearnedHost, LearnedHosts
from lateen.envoy.names import host_of_outbound
from lateen.model.names import Hostname
from lateen.model.proxies import Proxy, workload_of

_LOG = structlog.get_logger(__name__)

FILE_NAME = "learned-hosts.json"
NEWS_SECONDS = 5.0
"""From a new host to its being written; more of them come together."""
SIGHTINGS_SECONDS = 60.0
"""Between writes when there is no new host."""
AGE_SECONDS = 600.0
"""Between looks for hosts whose time is over."""


class Learned:
    """What workloads were seen calling. Without a file it lasts as long as the process."""

    def __init__(
        self,
        file: StateFile | None = None,
        *,
        clock: Callable[[], float] = time.time,
        news_seconds: float = NEWS_SECONDS,
    ) -> None:
        self._table = LearnedHosts()
        self._file = file
        self._clock = clock
        self._news_seconds = news_seconds
        self._fresh = asyncio.Event()
        """Set when a host is new."""
        self._changed = False
        """Whether the table differs from the file."""
        self._failing = False
        if file is not None:
            self._read(file)

    def __len__(self) -> int:
        """How many hosts are known, of all workloads together."""
        return len(self._table)

    def hosts(self, proxy: Proxy) -> tuple[Hostname, ...]:
        """Return the hosts that the workload of a proxy was seen calling, sorted."""
        return self._table.hosts(_workload(proxy.name, proxy.namespace), self._clock())

    def note(self, proxy: Proxy, clusters: Iterable[str]) -> None:
        """Take note of clusters that a proxy asked for; only of those that fetch what they use."""
        if proxy.asks_on_demand:
            self.note_calls(proxy.name, proxy.namespace, (host_of_outbound(cluster) for cluster in clusters))

    def note_calls(self, name: str, namespace: str, hosts: Iterable[str]) -> None:
        """Take note of hosts that a replica (`reviews-v2-1`) calls."""
        if self._table.note(_workload(name, namespace), hosts, self._clock()):
            self._fresh.set()
        self._changed = True

    def entries(self, workload: str | None = None) -> Iterator[LearnedHost]:
        """Yield what is known, of one workload (`reviews-v2.default`) or all, by workload and host."""
        return self._table.entries(self._clock(), workload)

    async def run(self) -> None:
        """Age and keep the table until cancelled; then write it once more."""
        try:
            with ThreadPoolExecutor(1, "learned-hosts") as writer:
                await self._keep(writer)
        finally:
            self._table.age(self._clock())
            if self._file is not None and (content := self._content()):
                self._note_written(_write(self._file, content))

    async def _keep(self, writer: ThreadPoolExecutor) -> None:
        loop = asyncio.get_running_loop()
        aged = loop.time()
        while True:
            try:
                async with asyncio.timeout(SIGHTINGS_SECONDS):
                    await self._fresh.wait()
                    await asyncio.sleep(self._news_seconds)
            except TimeoutError:
                pass
            self._fresh.clear()
            if loop.time() - aged >= AGE_SECONDS:
                aged = loop.time()
                self._changed = bool(self._table.age(self._clock())) or self._changed
            if self._file is not None and (content := self._content()):
                self._note_written(await loop.run_in_executor(writer, _write, self._file, content))

    def _content(self) -> bytes:
        """Return what is to be written now; empty when there is nothing."""
        if not self._changed:
            return b""
        self._changed = False
        return msgspec.json.encode(self._table.to_json())

    def _note_written(self, failure: str) -> None:
        """Take the result of a write; a failure that lasts is said once."""
        if failure:
            self._changed = True
            if not self._failing and self._file is not None:
                todo = f"make room or mend its folder; it is tried again every {SIGHTINGS_SECONDS:g} s"
                _LOG.warning("learned hosts cannot be kept", path=str(self._file.path), reason=failure, todo=todo)
        self._failing = bool(failure)

    def _read(self, file: StateFile) -> None:
        """Take over what an earlier control plane learned; whatever is wrong is said once."""
        log = _LOG.bind(path=str(file.path))
        try:
            content = file.read()
            if content is None:
                return
            unreadable = self._table.take_json(msgspec.json.decode(content), self._clock())
        except (OSError, ValueError, RecursionError) as error:
            log.warning("learned hosts cannot be read, starting without", reason=str(error), kept=_set_aside(file))
        else:
            log.info("learned hosts read", hosts=len(self._table), unreadable=unreadable)


def open_learned(folder: Path | None) -> Learned:
    """Return what is known in a state folder, or nothing yet. Raises StartError when the folder is unusable."""
    return Learned(StateFile(open_state_folder(folder) / FILE_NAME) if folder is not None else None)


def _workload(name: str, namespace: str) -> str:
    return f"{workload_of(name)}.{namespace}"


def _write(file: StateFile, content: bytes) -> str:
    """Return why it failed; empty when it did not."""
    try:
        file.write(content)
    except OSError as error:
        return str(error)
    return ""


def _set_aside(file: StateFile) -> str:
    try:
        return str(file.set_aside())
    except OSError as error:
        return f"nowhere, it will be replaced: {error}"
