"""What an agent does at each stage of going away; the order of the stages is `shutdown`'s.

Used by `lifecycle`. Must not know: why it goes.
"""

from __future__ import annotations

import asyncio

from lateen.agent.app_life import AppLife
from lateen.agent.envoy_admin import EnvoyAdmin
from lateen.agent.envoy_life import EnvoyLife
from lateen.agent.interception.places import Place
from lateen.agent.log import get_log
from lateen.agent.membership import Membership
from lateen.agent.settings import GATEWAY
from lateen.agent.shutdown import Action, Stage
from lateen.agent.signals import Signals

LEAVE_SECONDS = 6.0
ENVOY_STOP_SECONDS = 5.0
_HURRIED_SECONDS = 0.5
_JOB_LEAVE_SECONDS = 0.5
_LATE_SECONDS = 1.0
"""For what came in just before the sockets closed, also when a request that does not end took all the drain time."""
_SPARE_SECONDS = 10.0
"""For all that an end does besides waiting, on a busy machine."""
_POLL_SECONDS = 0.05


class Leaving:
    """The stages as actions. Single use."""

    def __init__(
        self,
        member: Membership,
        admin: EnvoyAdmin,
        app: AppLife,
        envoy: EnvoyLife | None,
        where: Place,
        signals: Signals,
    ) -> None:
        """`envoy`: None when it was not started yet."""
        self._member = member
        self._admin = admin
        self._app = app
        self._envoy = envoy
        self._where = where
        self._signals = signals
        self._everything = member.settings.mode == GATEWAY
        """A gateway drains all its traffic; a sidecar leaves the app's own calls alone."""
        self._deadline = 0.0
        """Of both waits for requests under way; 0 until the first."""

    @property
    def longest(self) -> float:
        """How many seconds all stages take together when each takes as long as it may."""
        settings = self._member.settings
        patience = LEAVE_SECONDS + settings.drain_seconds + settings.app_stop_seconds + ENVOY_STOP_SECONDS
        return patience + _SPARE_SECONDS

    def actions(self) -> dict[Stage, Action]:
        """Return what to do at each stage."""
        return {
            Stage.LEAVE: self._leave,
            Stage.DRAIN: lambda: self._admin.drain(everything=self._everything),
            Stage.IN_FLIGHT: self._in_flight,
            Stage.STOP_LISTENING: lambda: self._admin.stop_listening(everything=self._everything),
            Stage.STOP_APP: self._app.stop,
            Stage.STOP_ENVOY: self._stop_envoy,
        }

    async def _leave(self) -> None:
        if self._envoy is not None:
            await self._envoy.leave()
        # Nobody sends to a job: there is nothing to wait for, nor to say.
        job, attachment = self._member.settings.job, self._member.attachment
        left = await attachment.leave(_JOB_LEAVE_SECONDS if job else LEAVE_SECONDS)
        if not left and not job and attachment.was_registered:
            get_log().warning("not every proxy confirmed that it stopped sending to this workload")

    async def _in_flight(self) -> None:
        clock, seconds = asyncio.get_running_loop().time, self._member.settings.drain_seconds
        begun, late = self._deadline > 0, min(seconds, _LATE_SECONDS)
        self._deadline = max(self._deadline, clock() + late) if begun else clock() + seconds
        quiet = 0
        while quiet < 2 and clock() < self._deadline:
            active = await self._admin.in_flight(everything=self._everything)
            quiet = quiet + 1 if active == 0 or (active < 0 and not self._runs()) else 0
            await asyncio.sleep(_POLL_SECONDS)
        if quiet < 2:
            get_log().warning("requests are still under way after the drain time", seconds=seconds)

    def _runs(self) -> bool:
        return self._envoy is not None and bool(self._envoy.supervisor.children)

    async def _stop_envoy(self) -> None:
        if self._envoy is not None:
            await self._admin.be_quiet()
            hurried = self._signals.hurry.is_set()
            await self._envoy.supervisor.stop(_HURRIED_SECONDS if hurried else ENVOY_STOP_SECONDS)
        # Not before: without rules the kernel translates no more for connections that came by them, so that who still
        # waits for an answer would not hear of their end, and wait for as long as he may.
        self._where.release()
