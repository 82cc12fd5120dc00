"""Large writes take turns; whoever is stuck gives way once somebody waits."""

from __future__ import annotations

import asyncio

from lateen.discovery.limits import Limits
from lateen.discovery.writing import Turns


async def test_only_so_many_at_once_and_all_in_the_end() -> None:
    turns, inside, most = Turns(Limits(large_writes=3)), 0, 0

    async def write() -> None:
        nonlocal inside, most
        async with turns.turn(lambda: None):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1

    async with asyncio.TaskGroup() as tasks:
        for _ in range(100):
            tasks.create_task(write())
    assert most == 3


async def test_stuck_writer_gives_way_when_its_time_is_over_and_somebody_waits() -> None:
    turns, ended = Turns(Limits(large_writes=1, large_write_time=0.05)), asyncio.Event()

    async def stuck() -> None:
        async with turns.turn(ended.set):
            await ended.wait()

    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        tasks.create_task(stuck())
        await asyncio.sleep(0)
        async with turns.turn(lambda: None):
            assert ended.is_set()


async def test_slow_writer_is_left_alone_while_nobody_waits() -> None:
    turns, told = Turns(Limits(large_writes=2, large_write_time=0.0)), []
    async with turns.turn(lambda: told.append("slow")):
        async with turns.turn(lambda: None):
            pass
        assert not told
