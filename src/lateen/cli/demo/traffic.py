"""The demo's traffic: a steady stream of requests to the gateway, and what came of each.

One request in four is jason's. Called by the tour. Must not know: checks, terminals.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from lateen.cli.demo.exchange import ExchangeError, exchange
from lateen.cli.demo.steps import JASON
from lateen.cli.demo.tally import SUCCESSES, Outcome, Seen, outcome_of, problem_of

PATH = "/api/v1/products/0"
PATIENCE = 15.0
"""Seconds after which a request counts as failed: longer than any fault of the tour."""


class Traffic:
    """Sends requests and remembers the answers to those that began since `restart`."""

    def __init__(self, url: str, rate: float) -> None:
        self.url = url
        self.seen: list[Seen] = []
        self.total = 0
        """Answers since the beginning, counted or not."""
        self._rate = rate
        self._round = 0
        self._under_way: Counter[int] = Counter()
        """Requests without an answer yet, by the round they began in."""
        self._answered = asyncio.Event()

    def restart(self) -> None:
        """Forget what was seen; answers to requests already under way will not be counted either."""
        self._round += 1
        self.seen = []

    async def settled(self) -> None:
        """Return when no request of an earlier round is under way: whatever is met from now on is counted."""
        await self._until(lambda: all(begun == self._round for begun, number in self._under_way.items() if number))

    async def seen_enough(self, number: int) -> None:
        """Return when so many answers to requests since `restart` have come."""
        await self._until(lambda: len(self.seen) >= number)

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._answered.clear()
            await self._answered.wait()

    def stop_counting(self) -> None:
        """Leave what was seen as it is: answers from now on are not counted."""
        self._round += 1

    def forget_before(self, at: float) -> None:
        """Keep only answers since `at`, on this object's clock."""
        self.seen = [one for one in self.seen if one.at >= at]

    @staticmethod
    def now() -> float:
        """Return the time on the clock of `Seen.at`."""
        return time.monotonic()

    async def flow(self) -> None:
        """Send at a steady rate until cancelled; a slow answer does not hold up the next request."""
        async with asyncio.TaskGroup() as requests:
            number, due = 0, self.now()
            while True:
                requests.create_task(self._request(JASON if number % 4 == 3 else ""))
                number += 1
                # After a stall (a laptop's lid), go on from now instead of catching up in a burst.
                due = max(due + 1 / self._rate, self.now() - 1 / self._rate)
                await asyncio.sleep(due - self.now())

    async def _request(self, user: str) -> None:
        begun, begun_in = self.now(), self._round
        self._under_way[begun_in] += 1
        try:
            outcome, problem = await ask(self.url, user)
        finally:
            self._under_way[begun_in] -= 1
            self._answered.set()
        now = self.now()
        self.total += 1
        if begun_in == self._round:
            self.seen.append(Seen(at=now, user=user, outcome=outcome, latency=now - begun, problem=problem))


async def ask(url: str, user: str, seconds: float = PATIENCE) -> tuple[Outcome, str]:
    """Ask once for the product; return what came of it, and what was wrong with it if anything was."""
    try:
        response = await exchange("GET", url + PATH, headers={"end-user": user} if user else {}, seconds=seconds)
    except ExchangeError as error:
        return Outcome.PAGE_FAILED, str(error)
    product = _object(response.body)
    return outcome_of(response.status, product), problem_of(response.status, product)


async def until_answered(url: str) -> None:
    """Return as soon as the whole chain answers: gateway, product page, reviews, ratings."""
    while (await ask(url, "", seconds=2))[0] not in SUCCESSES:  # noqa: ASYNC110 - another process, nothing to wait on
        await asyncio.sleep(0.05)


async def misbehave(address: str, status: int) -> None:
    """Tell the program behind a sidecar's inbound address to answer `status` from now on; 0 heals it."""
    await exchange("POST", f"http://{address}/misbehave?status={status}")


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
