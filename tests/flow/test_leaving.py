"""What an agent does when it goes away, in which order."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from lateen.agent.leaving import Leaving
from lateen.agent.shutdown import Stage
from lateen.agent.signals import Signals


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
