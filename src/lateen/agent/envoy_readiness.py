"""Waiting until Envoy serves: it is live, listens where it must, and has routes for the app's calls.

Used by `lifecycle`. Says once why it waits long. Must not know: how Envoy is started, or the app.
"""

from __future__ import annotations

import asyncio

from lateen.agent import workload
from lateen.agent.addresses import OwnAddress
from lateen.agent.envoy_admin import EnvoyAdmin, RoutesState
from lateen.agent.envoy_life import EnvoyLife
from lateen.agent.interception.places import Place
from lateen.agent.log import get_log
from lateen.agent.readiness import Readiness
from lateen.agent.settings import AgentSettings

POLL_SECONDS = 0.02
"""The app waits meanwhile; each question costs Envoy and us a millisecond."""
_LISTENERS_SECONDS = 10.0


async def listening(
    life: EnvoyLife, admin: EnvoyAdmin, settings: AgentSettings, address: OwnAddress, where: Place
) -> None:
    """Wait until Envoy is live and listens where it must.

    Envoy lives only after the control plane's first answer. A listener may still be missing then (the answer was
    made before our registration counted), so it is waited for; but not for ever, since configuration may leave it
    out on purpose.
    """
    clock = asyncio.get_running_loop().time
    began = clock()
    warned = False
    while not (await admin.is_live() and (life.stands_alone or await admin.has_listener_config())):
        if not warned and clock() - began > _LISTENERS_SECONDS:
            warned = True
            get_log().warning("envoy still waits for its configuration from the control plane")
        await asyncio.sleep(POLL_SECONDS)
    missing = workload.expected_listeners(settings, address, where)
    deadline = clock() + _LISTENERS_SECONDS
    while missing := missing - {(at.address, at.port) for at in await admin.listeners()}:
        if clock() > deadline:
            get_log().warning("the control plane configured no listener here", missing=sorted(missing))
            return
        await asyncio.sleep(POLL_SECONDS)


async def routes_accepted(admin: EnvoyAdmin, proxy: str, readiness: Readiness) -> None:
    """Wait until Envoy has routes for the app's calls, or each of them would get 404. `proxy`: its name for people."""
    clock = asyncio.get_running_loop().time
    began = clock()
    told = RoutesState.USABLE
    while (state := await admin.routes_state(workload.OUTBOUND_ROUTES)) is not RoutesState.USABLE:
        if state is RoutesState.REJECTED and told is not state:
            told = state
            readiness.reason = "envoy rejected its first routes"
            todo = f"correct the object that Envoy's line above and `lateen proxy-status {proxy}` complain about"
            get_log().warning("envoy rejected its first routes: waiting for better ones", todo=todo)
        elif told is RoutesState.USABLE and clock() - began > _LISTENERS_SECONDS:
            told = state
            get_log().warning("envoy still waits for its routes from the control plane")
        await asyncio.sleep(POLL_SECONDS)
    readiness.reason = "waiting for envoy"
