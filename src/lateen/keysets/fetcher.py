"""Keep the key sets of all sources current: fetch, refresh, try again, keep the last good one.

Made and run by `app`. One task for each source, however many rules name it. Knows nothing of rules, proxies or HTTP:
the download is a function, as the clock is, so that a day of refreshing takes a test no time.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias
from urllib.parse import urlsplit

import structlog

from lateen.config.key_sets import KeySetError, is_discovery, read_discovery, read_key_set
from lateen.keysets.downloads import DownloadError

_LOG = structlog.get_logger(__name__)

REFRESH_SECONDS = 20 * 60.0
"""How often keys are fetched again (Istio's default, PILOT_JWT_PUB_KEY_REFRESH_INTERVAL)."""
FIRST_RETRY_SECONDS = 1.0
MAX_RETRY_SECONDS = 60.0

Get: TypeAlias = Callable[[str, float], Awaitable[bytes]]
"""Download a URI within so many seconds; raises DownloadError."""
Sleep: TypeAlias = Callable[[float], Awaitable[None]]


def pause(failures: int, chance: float, refresh: float = REFRESH_SECONDS) -> float:
    """Return the seconds until the next fetch after so many failures in a row. `chance`: from 0 to 1, spreads them."""
    if failures == 0:
        return refresh * (1 - chance / 10)
    longest = min(refresh, MAX_RETRY_SECONDS, FIRST_RETRY_SECONDS * float(1 << min(failures - 1, 16)))
    return longest * (1 - chance / 2)


class KeySetFetcher:
    """Fetches what is wanted, while `run` runs (see `KeySets`). Everything happens on one event loop."""

    def __init__(
        self,
        get: Get,
        *,
        refresh: float = REFRESH_SECONDS,
        sleep: Sleep = asyncio.sleep,
        chance: Callable[[], float] = random.random,
        known: Mapping[str, str] | None = None,
    ) -> None:
        """`known`: last good key sets from earlier, which stand in until the first fetch succeeds."""
        self._get = get
        self._refresh = refresh
        self._sleep = sleep
        self._chance = chance
        self._known = dict(known or {})
        self._wanted: Mapping[str, float] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._untried: set[str] = set()
        self._problems: dict[str, str] = {}
        self._key_sets: Mapping[str, str] = MappingProxyType({})
        self._wished = asyncio.Event()
        self._changed = asyncio.Event()

    @property
    def key_sets(self) -> Mapping[str, str]:
        """The last good key sets, by source."""
        return self._key_sets

    @property
    def problems(self) -> Mapping[str, str]:
        """Why the last fetch failed, by source."""
        return MappingProxyType(self._problems)

    def want(self, sources: Mapping[str, float]) -> None:
        """Say which sources are needed, with the seconds of a fetch."""
        if sources == self._wanted:
            return
        gone = self._wanted.keys() - sources.keys()
        for source in gone & self._tasks.keys():
            self._tasks.pop(source).cancel()
        self._untried.update(sources.keys() - self._wanted.keys())
        self._untried -= gone
        self._wanted = dict(sources)
        self._problems = {source: why for source, why in self._problems.items() if source in sources}
        kept = {**self._known, **self._key_sets}
        self._publish({source: text for source, text in kept.items() if source in sources})
        self._wished.set()

    async def answered(self) -> None:
        """Wait until every wanted source was tried once."""
        while self._untried:
            await self._changed.wait()

    async def watch(self) -> AsyncIterator[Mapping[str, str]]:
        """Yield the key sets at once and after each change."""
        seen: Mapping[str, str] | None = None
        while True:
            newest, changed = self._key_sets, self._changed
            if newest is not seen:
                seen = newest
                yield newest
            else:
                await changed.wait()

    async def run(self) -> None:
        """Fetch until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._wished.clear()
                for source in self._wanted.keys() - self._tasks.keys():
                    self._tasks[source] = group.create_task(self._keep(source))
                await self._wished.wait()

    async def _keep(self, source: str) -> None:
        failures = 0
        while True:
            try:
                text = await self._fetch(source)
            except (DownloadError, KeySetError) as error:
                failures += 1
                self._failed(source, str(error))
            except Exception:  # noqa: BLE001  a task's edge, and logged
                # One source that trips a bug of ours must not stop the others, nor the control plane.
                _LOG.exception("fetching keys failed", source=_shown(source))
                failures += 1
                self._failed(source, "an error of the control plane, see its log")
            else:
                failures = 0
                self._succeeded(source, text)
            await self._sleep(pause(failures, self._chance(), self._refresh))

    async def _fetch(self, source: str) -> str:
        seconds = self._wanted[source]
        content = await self._get(source, seconds)
        if is_discovery(source):
            uri = read_discovery(content)
            if urlsplit(source).scheme == "https" and not uri.startswith("https://"):
                raise KeySetError("the discovery document names keys that do not come over https")
            content = await self._get(uri, seconds)
        return read_key_set(content)

    def _succeeded(self, source: str, text: str) -> None:
        if self._problems.pop(source, None) is not None:
            _LOG.info("keys are there again", source=_shown(source))
        self._untried.discard(source)
        self._known.pop(source, None)
        self._publish({**self._key_sets, source: text})

    def _failed(self, source: str, why: str) -> None:
        if self._problems.get(source) != why:
            kept = "the last ones stay in use" if source in self._key_sets else "tokens of this issuer are refused"
            _LOG.warning("keys cannot be fetched", source=_shown(source), why=why, effect=kept)
        self._problems[source] = why
        self._untried.discard(source)
        self._wake()

    def _publish(self, key_sets: dict[str, str]) -> None:
        if key_sets != self._key_sets:
            self._key_sets = MappingProxyType(key_sets)
        self._wake()

    def _wake(self) -> None:
        # Every waiter holds the event that it saw: setting it wakes them all, and the next wait is on a new one.
        self._changed.set()
        self._changed = asyncio.Event()


def _shown(source: str) -> str:
    """Return a source for the log: a query may hold a key of an account."""
    return source.partition("?")[0]
