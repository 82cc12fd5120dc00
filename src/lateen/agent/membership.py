"""A workload's place in the mesh: its certificate, its registration, what it is told, what it remembers of both.

The order is certificate (where the control plane gives any: it says who the workload is), then registration (it gives
the workload's name and says what Envoy is to be like). A workload that was here before does without both after a while.
Used by `lifecycle`. Must not know: Envoy's process, or the app's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from lateen.agent import workload
from lateen.agent.addresses import OwnAddress, can_bind_privileged, split_control_planes
from lateen.agent.attach import Attachment
from lateen.agent.certificates import Certificates
from lateen.agent.envoy_life import Wanted
from lateen.agent.errors import StartError
from lateen.agent.interception.places import Place
from lateen.agent.joining import shown
from lateen.agent.keeping import Keeper, forget_the_old, state_folder, workload_keeper
from lateen.agent.log import get_log
from lateen.agent.premises import Premises
from lateen.agent.readiness import Readiness
from lateen.agent.settings import GATEWAY, AgentSettings, SettingsError
from lateen.envoy.bootstrap import bootstrap, merged_bootstrap

if TYPE_CHECKING:
    from lateen.agent.attachments import Attachments
    from lateen.model.workloads import WorkloadRegistration

_PATIENCE_SECONDS = 3.0
"""So long a workload that was here before waits for the control plane before it goes on without."""
Spawn: TypeAlias = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]
"""Starts what goes on until the agent goes away."""


def keeper_of(settings: AgentSettings, address: OwnAddress, where: Place) -> Keeper | None:
    """Return where this workload keeps what it needs without a control plane; None when it has no such place."""
    parent = state_folder(settings.state_folder)
    if parent is None:
        get_log().info("keeps nothing: there is no home folder; --state DIR says where to")
        return None
    forget_the_old(parent, now=time.time())
    return workload_keeper(
        parent,
        settings,
        address.ip,
        ports=asdict(address.ports),
        interception=where.interception.value,
        addresses=where.addresses,
    )


class Membership:
    """What the control plane and this workload are to each other. Single use."""

    def __init__(
        self,
        settings: AgentSettings,
        premises: Premises,
        keeper: Keeper | None,
        readiness: Readiness,
    ) -> None:
        self.settings = settings
        """As given, then as the control plane says, or said."""
        self.wanted = Wanted()
        """What Envoy should serve by."""
        self.begun = False
        """Whether Envoy has been started: what is said of a proxy acts when that starts."""
        self.privileged = settings.mode != GATEWAY or can_bind_privileged(premises.address.ip)
        """Whether Envoy may listen on ports below 1024."""
        self.certificates = Certificates(
            settings.control_plane, workload.wish(settings), premises.folder, keeper=keeper
        )
        self._address = premises.address
        self._where = premises.where
        self._ports = premises.ports
        self._keeper = keeper
        self._readiness = readiness
        self._log = get_log()
        self._ports.choose(settings)
        self.attachment = self._attachment_of(self._registration())

    def _registration(self) -> WorkloadRegistration:
        app_ports = self._ports.by_declared if self._where.app_port_known else {}
        return workload.registration(self.settings, self._address.ip, app_ports)

    def _attachment_of(self, registration: WorkloadRegistration) -> Attachment | Attachments:
        several = split_control_planes(self.settings.control_plane)
        if len(several) == 1:
            return Attachment(self.settings.control_plane, registration, read_token=self._read_token)
        # Most have one, and are to stay small.
        from lateen.agent.attachments import Attachments

        return Attachments(several, registration)

    def _read_token(self) -> str:
        path = self.settings.token_file
        return Path(path).read_text().strip() if path else ""

    async def join(self, spawn: Spawn) -> None:
        """Join the mesh; or, when the control plane is away and this workload was here before, go on without."""
        joining = spawn(self._join(spawn))
        if self._keeper and self._keeper.has_configuration():
            await asyncio.wait((joining,), timeout=_PATIENCE_SECONDS)
        kept = self._keeper.configuration() if self._keeper and not joining.done() else None
        if kept is None:
            # A first start has nothing to serve by.
            await asyncio.wait((joining,))
            return
        self.settings = workload.as_remembered(self.settings, kept.settings)
        self._ports.choose(self.settings)
        wanted = self.wanted
        wanted.kept = kept
        wanted.name, wanted.settings, wanted.app_ports = kept.name, kept.settings, dict(self._ports.by_declared)
        expires = self.certificates.restore()
        self._log.warning(
            "the control plane is away: serving by the last good configuration",
            age_seconds=round(kept.age),
            certificate_expires=shown(expires) if expires else "",
        )

    async def _join(self, spawn: Spawn) -> None:
        """Get a certificate, if the control plane gives any, register, and say what Envoy is started with."""
        plain = await self.certificates.first(self._waiting)
        if plain is None:
            spawn(self.certificates.run())
            self.attachment.secure(self.certificates)
        spawn(self.attachment.run())
        self._waiting("the control plane")
        wanted = self.wanted
        wanted.name = await self.attachment.named()
        if not self.begun:
            self._follow_control_plane()
            wanted.settings = self.settings.to_json()
            wanted.app_ports = dict(self._ports.by_declared)
        identity = "" if plain else self.certificates.server
        addresses = (self.attachment.control_plane,) if plain else self.certificates.addresses
        control_plane = workload.ControlPlane(address=addresses[0], identity=identity, others=addresses[1:])
        made = workload.bootstrap_settings(
            self.settings,
            wanted.name,
            self._address,
            control_plane,
            privileged=self.privileged,
            place=self._where,
        )
        wanted.bootstrap = merged_bootstrap(bootstrap(made), self.attachment.bootstrap)

    def _waiting(self, what: str) -> None:
        if not self.begun:
            self._readiness.reason = f"waiting for {what}"

    def _follow_control_plane(self) -> None:
        """Take over what the control plane said of the proxy and of the workload's group."""
        ports, told = self.settings.ports, self.attachment.told
        try:
            self.settings = workload.as_told(self.settings, told)
        except SettingsError as error:
            raise StartError(f"what the control plane says of this workload cannot be: {error}") from error
        if workload.declines_probe(self.settings, told):
            self._log.warning(
                "the control plane names a command as probe: not run here",
                todo="--allow-exec-probe allows it, --probe names another; till then a connection to each port counts",
            )
        if self.settings.ports != ports:
            self._ports.choose(self.settings)
            self.attachment.update(replace(self.attachment.registration, ports=self._registration().ports))

    async def fetch_secrets(self, node: Mapping[str, Any], names: Iterable[str]) -> dict[str, bytes]:
        """Get the secrets of a proxy by their names, as far as they are to be had."""
        # Most never have any.
        from lateen.agent.secret_fetching import fetch_secrets

        return await fetch_secrets(self.attachment.routes, node, names)
