"""The fetcher on a clock of its own: an hour of refreshing and failing takes no time."""

from __future__ import annotations

import asyncio
import heapq
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count

import pytest

from lateen.config.key_sets import read_key_set
from lateen.keysets.downloads import DownloadError
from lateen.keysets.fetcher import MAX_RETRY_SECONDS, REFRESH_SECONDS, KeySetFetcher, pause
from tokens import key_set, signing_key

URI = "https://issuer.example.com/keys"
OTHER = "https://other.example.com/keys"
OLD, NEW = key_set(signing_key("rsa")), key_set(signing_key("ec", "ES256"))


def kept(text: str) -> str:
    return read_key_set(text.encode())


@dataclass
class Issuers:
    """What is on the network, and the time: `sleep` returns when the test has moved the clock there."""

    documents: dict[str, str] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    limits: dict[str, float] = field(default_factory=dict)
    now: float = 0.0
    waiting: list[tuple[float, int, asyncio.Event]] = field(default_factory=list)
    numbers: count[int] = field(default_factory=count)

    async def get(self, uri: str, seconds: float) -> bytes:
        self.asked[uri] += 1
        self.limits[uri] = seconds
        if uri not in self.documents:
            raise DownloadError("answered with status 404")
        return self.documents[uri].encode()

    async def sleep(self, seconds: float) -> None:
        due = asyncio.Event()
        heapq.heappush(self.waiting, (self.now + seconds, next(self.numbers), due))
        await due.wait()

    async def rest(self) -> None:
        """Let everything run that does not wait for the clock."""
        for _ in range(20):
            await asyncio.sleep(0)

    async def advance(self, seconds: float) -> None:
        end = self.now + seconds
        await self.rest()
        while self.waiting and self.waiting[0][0] <= end:
            self.now, _, due = heapq.heappop(self.waiting)
            due.set()
            await self.rest()
        self.now = end


@asynccontextmanager
async def running(issuers: Issuers) -> AsyncIterator[KeySetFetcher]:
    fetcher = KeySetFetcher(issuers.get, sleep=issuers.sleep, chance=lambda: 0.0)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(fetcher.run())
        yield fetcher
        task.cancel()


async def test_keys_are_refreshed() -> None:
    """Every 20 minutes; what changed is seen, and only then."""
    issuers = Issuers({URI: OLD})
    async with running(issuers) as fetcher:
        fetcher.want({URI: 5.0})
        await fetcher.answered()
        first = fetcher.key_sets
        assert first == {URI: kept(OLD)}
        await issuers.advance(REFRESH_SECONDS)
        assert issuers.asked[URI] == 2
        assert fetcher.key_sets is first
        issuers.documents[URI] = NEW
        await issuers.advance(REFRESH_SECONDS)
        assert fetcher.key_sets == {URI: kept(NEW)}
        assert first == {URI: kept(OLD)}


async def test_last_good_keys_stay() -> None:
    """While the issuer answers with errors or nonsense; it is asked more often until it is well again."""
    issuers = Issuers({URI: OLD})
    async with running(issuers) as fetcher:
        fetcher.want({URI: 5.0})
        await fetcher.answered()
        del issuers.documents[URI]
        await issuers.advance(REFRESH_SECONDS)
        assert fetcher.problems == {URI: "answered with status 404"}
        issuers.documents[URI] = '{"keys": []}'
        await issuers.advance(10)
        assert "no public" in fetcher.problems[URI]
        assert fetcher.key_sets == {URI: kept(OLD)}
        issuers.documents[URI] = NEW
        await issuers.advance(MAX_RETRY_SECONDS)
        assert fetcher.problems == {}
        assert fetcher.key_sets == {URI: kept(NEW)}


async def test_missing_keys_are_asked_for_sooner_and_with_patience() -> None:
    """After 1, 2, 4 … 60 s."""
    issuers = Issuers()
    async with running(issuers) as fetcher:
        fetcher.want({URI: 5.0})
        await fetcher.answered()
        assert fetcher.key_sets == {}
        await issuers.advance(63)
        assert issuers.asked[URI] == 7
        await issuers.advance(600)
        assert issuers.asked[URI] == 17


async def test_one_fetch_per_source() -> None:
    """Wanting the same again, or with more time, asks for nothing; the new limit counts from the next fetch."""
    issuers = Issuers({URI: OLD, OTHER: NEW})
    async with running(issuers) as fetcher:
        fetcher.want({URI: 5.0})
        await fetcher.answered()
        fetcher.want({URI: 9.0, OTHER: 5.0})
        await fetcher.answered()
        assert issuers.asked == {URI: 1, OTHER: 1}
        assert fetcher.key_sets == {URI: kept(OLD), OTHER: kept(NEW)}
        await issuers.advance(REFRESH_SECONDS)
        assert issuers.limits == {URI: 9.0, OTHER: 5.0}


async def test_sources_that_nobody_wants_are_dropped() -> None:
    """With their keys and problems; wanted again, they are fetched anew at once."""
    issuers = Issuers({URI: OLD})
    async with running(issuers) as fetcher:
        fetcher.want({URI: 5.0, OTHER: 5.0})
        await fetcher.answered()
        assert OTHER in fetcher.problems
        fetcher.want({})
        assert fetcher.key_sets == fetcher.problems == {}
        await issuers.advance(10 * REFRESH_SECONDS)
        assert issuers.asked == {URI: 1, OTHER: 1}
        fetcher.want({URI: 5.0})
        fetcher.want({})
        fetcher.want({URI: 5.0})
        async with asyncio.timeout(5):
            await fetcher.answered()
        assert fetcher.key_sets == {URI: kept(OLD)}


async def test_keys_from_earlier_stand_in() -> None:
    """Until the first fetch succeeds; of sources that nobody wants they are not told."""
    issuers = Issuers()
    fetcher = KeySetFetcher(issuers.get, sleep=issuers.sleep, known={URI: kept(OLD), OTHER: kept(OLD)})
    async with asyncio.TaskGroup() as group:
        task = group.create_task(fetcher.run())
        assert fetcher.key_sets == {}
        fetcher.want({URI: 5.0})
        await fetcher.answered()
        assert fetcher.key_sets == {URI: kept(OLD)}
        issuers.documents[URI] = NEW
        await issuers.advance(MAX_RETRY_SECONDS)
        assert fetcher.key_sets == {URI: kept(NEW)}
        task.cancel()


async def test_slow_source_holds_back_no_other() -> None:
    """Every source has a task of its own; nobody waits for one that is not wanted any more."""
    issuers = Issuers({URI: OLD})
    hanging = asyncio.Event()

    async def get(uri: str, seconds: float) -> bytes:
        if uri == OTHER:
            await hanging.wait()
        return await issuers.get(uri, seconds)

    fetcher = KeySetFetcher(get, sleep=issuers.sleep)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(fetcher.run())
        fetcher.want({OTHER: 5.0, URI: 5.0})
        await issuers.rest()
        assert fetcher.key_sets == {URI: kept(OLD)}
        waiter = group.create_task(fetcher.answered())
        await issuers.rest()
        assert not waiter.done()
        fetcher.want({URI: 5.0})
        async with asyncio.timeout(5):
            await waiter
        task.cancel()


async def test_bug_in_one_source_stops_no_other() -> None:
    """Something that is no DownloadError is logged and said, and tried again."""
    issuers = Issuers({URI: OLD})

    async def get(uri: str, seconds: float) -> bytes:
        if uri == OTHER:
            raise ZeroDivisionError
        return await issuers.get(uri, seconds)

    fetcher = KeySetFetcher(get, sleep=issuers.sleep)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(fetcher.run())
        fetcher.want({OTHER: 5.0, URI: 5.0})
        await fetcher.answered()
        assert fetcher.key_sets == {URI: kept(OLD)}
        assert "error of the control plane" in fetcher.problems[OTHER]
        task.cancel()


async def test_discovery() -> None:
    """The document names the keys, and is read again each time: an issuer may move them."""
    source = "https://issuer.example.com/.well-known/openid-configuration"
    issuers = Issuers({source: f'{{"jwks_uri": "{URI}"}}', URI: OLD, OTHER: NEW})
    async with running(issuers) as fetcher:
        fetcher.want({source: 5.0})
        await fetcher.answered()
        assert fetcher.key_sets == {source: kept(OLD)}
        issuers.documents[source] = f'{{"jwks_uri": "{OTHER}"}}'
        await issuers.advance(REFRESH_SECONDS)
        assert fetcher.key_sets == {source: kept(NEW)}
        issuers.documents[source] = '{"jwks_uri": "http://127.0.0.1/keys"}'
        await issuers.advance(REFRESH_SECONDS)
        assert "https" in fetcher.problems[source]
        assert "http://127.0.0.1/keys" not in issuers.asked


async def test_watchers_see_the_newest() -> None:
    """At once, and after each change that is one."""
    issuers = Issuers({URI: OLD})
    async with running(issuers) as fetcher:
        seen = fetcher.watch()
        assert await anext(seen) == {}
        fetcher.want({URI: 5.0})
        assert await anext(seen) == {URI: kept(OLD)}
        issuers.documents[URI] = NEW
        await issuers.advance(REFRESH_SECONDS)
        assert await anext(seen) == {URI: kept(NEW)}
        fetcher.want({})
        assert await anext(seen) == {}


@pytest.mark.parametrize("chance", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("failures", [0, 1, 2, 7, 10_000])
def test_pauses_are_bounded(failures: int, chance: float) -> None:
    longest = REFRESH_SECONDS if failures == 0 else MAX_RETRY_SECONDS
    assert 0.5 <= pause(failures, chance) <= longest
    assert pause(failures, chance, 1.0) <= 1.0
