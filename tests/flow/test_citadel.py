"""The certificate authority at work, where a rotation asks who holds what while agents come and go."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from lateen.app.citadel import Citadel, now, open_citadel
from lateen.app.security_operations import SecurityOperations
from lateen.app.settings import Settings
from lateen.ca.rotation import Facts, Phase


@pytest.fixture
def citadel() -> Iterator[Citadel]:
    with ExitStack() as folders:
        yield open_citadel(Settings(), "cluster.local", folders)


async def test_who_holds_what_is_asked_where_it_changes(citadel: Citadel, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the event loop: in a thread, a certificate that is given out meanwhile would end the control plane."""
    asked, facts = list[threading.Thread](), citadel._holders.facts

    def noted(*arguments: object, **named: object) -> Facts:
        asked.append(threading.current_thread())
        return facts(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(citadel._holders, "facts", noted)
    citadel.authority.start_rotation(now())
    await citadel.look()
    assert citadel.authority.rotation.phase is not Phase.STEADY
    await SecurityOperations(citadel).rotate("root", force=True)

    assert len(asked) == 2
    assert set(asked) == {threading.current_thread()}
