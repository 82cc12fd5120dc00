"""Every agent learns the newest trust once, and what agents answer is known while they are there."""

import asyncio

from lateen.registries.sessions import StreamId
from lateen.registries.trust import Trust, TrustBoard, TrustReport

OLD, BOTH = Trust(roots=("old",), issuer="a"), Trust(roots=("old", "new"), issuer="a")


async def test_a_trust_is_told_once_and_the_newest_wins() -> None:
    board = TrustBoard()
    board.publish(OLD)
    first = await board.other_than(None)
    assert first == OLD
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(board.other_than(first))
        board.publish(OLD)
        await asyncio.sleep(0)
        assert not waiting.done(), "the same trust is no news"
        board.publish(BOTH)
    assert waiting.result() == BOTH


async def test_answers_last_as_long_as_their_stream() -> None:
    board = TrustBoard()
    stream = StreamId(1)
    board.report(stream, TrustReport(workload="a.b", trusts=OLD.digest))
    assert [report.trusts for report in board.reports.values()] == [OLD.digest]
    async with asyncio.TaskGroup() as group:
        group.create_task(board.next_report())
        await asyncio.sleep(0)
        board.forget(stream)
    assert not board.reports


def test_the_digest_is_of_the_roots_alone() -> None:
    assert OLD.digest != BOTH.digest
    assert OLD.digest == Trust(roots=("old",), issuer="z").digest
