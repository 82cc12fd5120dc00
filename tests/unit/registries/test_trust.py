"""Every agent learns the newest trust once."""

import asyncio

from lateen.registries.sessions import StreamId
from lateen.registries.trust import Trust, TrustBoard

OLD, BOTH = Trust(roots=("old",)), Trust(roots=("old", "new"))


class Nobody:
    def attached(self, stream: StreamId, workload: str, certificate: object) -> None: ...

    def confirmed(self, stream: StreamId, digest: str) -> None: ...

    def detached(self, stream: StreamId, *, for_good: bool) -> None: ...


async def test_a_trust_is_told_once_and_the_newest_wins() -> None:
    board = TrustBoard(Nobody())
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
