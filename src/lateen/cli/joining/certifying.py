"""The first certificate, got by `lateen join` and kept where the agent looks for one of an earlier life.

It is got in a folder of its own and returned as the file's content: nothing is on the machine until the control plane
gave it. Called by `cli/join.py`. Must not know: what else is written.
"""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from lateen.agent.addresses import OwnPorts, split_control_planes
from lateen.agent.certificate_times import read_validity
from lateen.agent.certificates import Certificates
from lateen.agent.joining import Wish
from lateen.agent.keeping import Keeper, KeptIdentity, state_folder, workload_keeper
from lateen.agent.settings import HOST, AgentSettings
from lateen.model.proxies import Interception


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class FirstIdentity:
    """A file for the agent's state folder."""

    folder: PurePosixPath
    name: str
    content: bytes
    uri: str
    expires: float


def keeper(settings: AgentSettings, below: Path, own: str, owner: int | None = None) -> Keeper:
    """Return the keeper that the agent will use, in a state folder that is here, for now, at `below`."""
    parent = state_folder(str(below))
    assert parent is not None
    intercepts = settings.interception == HOST
    return workload_keeper(
        parent,
        settings,
        own,
        ports=asdict(OwnPorts()),
        interception=(Interception.REDIRECT if intercepts else Interception.NONE).value,
        addresses=addresses(settings) if intercepts else (),
        owner=owner,
    )


def addresses(settings: AgentSettings) -> tuple[str, ...]:
    """Return what the agent's place will say of this machine."""
    if settings.address:
        return (settings.address,)
    from lateen.agent.interception.transparent import own_addresses

    return tuple(own_addresses())


def still_good(kept: KeptIdentity | None, settings: AgentSettings, now: float) -> float:
    """Return until when a kept identity may be used for these settings; 0 when it may not."""
    if kept is None or not kept.uri.endswith(f"/ns/{settings.namespace}/sa/{settings.service_account}"):
        return 0.0
    try:
        ends = read_validity(kept.chain).ends
    except ValueError:
        return 0.0
    return ends if ends > now else 0.0


def earlier_identity(
    settings: AgentSettings, state: PurePosixPath, here: Path, own: str, owner: int | None, now: float
) -> FirstIdentity | None:
    """Return an identity that an earlier join of other settings got from the same control plane, for these settings.

    `here` is where `state` is for this process.
    """
    for folder in sorted(here.glob("agents/*")):
        kept = Keeper(folder, "", owner).identity(for_any=True)
        expires = still_good(kept, settings, now)
        if kept and expires and kept.secure in split_control_planes(settings.control_plane):
            with tempfile.TemporaryDirectory(prefix="lateen-join-") as made:
                kept_in = keeper(settings, Path(made), own)
                kept_in.keep_identity(kept)
                return _file(kept_in, Path(made), state, kept.uri, expires)
    return None


def first_identity(settings: AgentSettings, given: Wish, state: PurePosixPath, own: str) -> FirstIdentity | None:
    """Get a certificate by the token of `given`; None when the control plane gives none. JoinError, ConnectError."""
    with tempfile.TemporaryDirectory(prefix="lateen-join-") as made:
        kept_in = keeper(settings, Path(made) / "state", own)
        certificates = Certificates(settings.control_plane, given, Path(made), keeper=kept_in)
        if asyncio.run(certificates.attempt()) is not None:
            return None
        kept = kept_in.identity()
        assert kept is not None
        return _file(kept_in, Path(made) / "state", state, kept.uri, certificates.expires)


def _file(kept_in: Keeper, below: Path, state: PurePosixPath, uri: str, expires: float) -> FirstIdentity:
    (written,) = kept_in.folder.glob("*.json")
    folder = state / kept_in.folder.relative_to(below)
    return FirstIdentity(folder=folder, name=written.name, content=written.read_bytes(), uri=uri, expires=expires)
