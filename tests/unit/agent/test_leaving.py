"""What an agent waits for when it goes away, and in which order it ends things."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

from lateen.agent.leaving import Leaving
from lateen.agent.shutdown import Stage
from lateen.agent.signals import Signals


class BusyAdmin:
    """Of an Envoy with a request that never ends."""

    asked = 0

    async def in_flight(self, *, everything: bool) -> int:
        assert not everything
        self.asked += 1
        return 1


async def test_what_came_in_last_is_waited_for_though_another_request_never_ends() -> None:
    """The first wait takes all the drain time; the second, after the sockets are closed, still gets some."""
    admin = BusyAdmin()
    member: Any = SimpleNamespace(settings=SimpleNamespace(mode="run", job=False, drain_seconds=0.2))
    app: Any = SimpleNamespace(stop=None)
    nobody: Any = None
    leaving = Leaving(member, admin, app, None, nobody, nobody)  # type: ignore[arg-type]
    wait = leaving.actions()[Stage.IN_FLIGHT]
    for _ in range(2):
        asked, begun = admin.asked, time.monotonic()
        await wait()
        assert admin.asked > asked
        assert time.monotonic() - begun >= 0.2


async def test_interception_ends_after_envoy() -> None:
    """Without its rules the kernel translates no more: callers who wait would not hear that their connection ended."""
    done: list[str] = []

    async def stop(patience: float) -> None:
        done.append("envoy has ended")

    async def be_quiet() -> None:
        done.append("quiet")

    where: Any = SimpleNamespace(release=lambda: done.append("rules are gone"))
    envoy: Any = SimpleNamespace(supervisor=SimpleNamespace(stop=stop))
    admin: Any = SimpleNamespace(be_quiet=be_quiet)
    member: Any = SimpleNamespace(settings=SimpleNamespace(mode="run"))
    app: Any = SimpleNamespace(stop=None)
    leaving = Leaving(member, admin, app, envoy, where, Signals())

    await leaving.actions()[Stage.STOP_ENVOY]()

    assert done == ["quiet", "envoy has ended", "rules are gone"]
