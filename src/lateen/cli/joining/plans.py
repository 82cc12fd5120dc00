"""What `lateen join` puts on a machine, as values: files, folders, one link. Pure.

A plan is the same for the same wish, so that joining twice changes nothing; what is random or dated (certificate and
key) is not in it, but below its `state` folder. Paths are those that the machine will see, whatever root they are
written below. Called by `cli/join.py`. Must not know: what is there already.
"""

from __future__ import annotations

import json
from dataclasses import MISSING, Field, asdict, dataclass, fields, replace
from pathlib import PurePosixPath
from typing import Any

from lateen.agent.settings import GATEWAY, HOST, AgentSettings
from lateen.systemd_units import UNIT_MODE, UNITS_FOLDER, WANTED_BY, AgentUnit, Rights, agent_unit

SETTINGS_FOLDER = PurePosixPath("/etc/lateen")
STATE_FOLDER = PurePosixPath("/var/lib/lateen")
RECORDS_FOLDER = STATE_FOLDER / "joined"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the user asked for."""

    name: str
    """Of the unit and the files; not of the workload."""
    settings: AgentSettings
    """The agent's, with the token and the roots where the user has them."""
    python: str
    user: str = ""
    """Who the agent runs as; empty is root."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class PlannedFile:
    """One file. Shows nothing of its content."""

    path: PurePosixPath
    content: bytes
    mode: int
    secret: bool = False
    of_user: bool = False
    """Whether it belongs to the agent's user, else to root."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedFolder:
    """One folder, made when it is not there."""

    path: PurePosixPath
    mode: int
    of_user: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedLink:
    """One symbolic link."""

    path: PurePosixPath
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HostPlan:
    """Everything that one join puts on a machine."""

    name: str
    unit: str
    user: str
    settings: AgentSettings
    """As the agent reads them: token and roots are where the plan puts them."""
    state: PurePosixPath
    """Whose content is the agent's; its first identity is put there."""
    folders: tuple[PlannedFolder, ...]
    """Outer ones first."""
    files: tuple[PlannedFile, ...]
    links: tuple[PlannedLink, ...]

    @property
    def record(self) -> PurePosixPath:
        """Where it is remembered what was made."""
        return record_path(self.name)

    @property
    def start_commands(self) -> tuple[tuple[str, ...], ...]:
        """How the service is started, or started again with what is new. Not waited for: it may wait for others."""
        return ("systemctl", "daemon-reload"), ("systemctl", "restart", "--no-block", self.unit)


def record_path(name: str) -> PurePosixPath:
    """Return where it is remembered what a join of this name made."""
    return RECORDS_FOLDER / f"{name}.json"


def host_plan(wish: Wish, token: bytes, roots: bytes) -> HostPlan:
    """Return the plan. `token` and `roots` are the content of the user's files; empty ones are not written."""
    state = STATE_FOLDER / "workloads" / wish.name
    given = {
        "token_file": (SETTINGS_FOLDER / f"{wish.name}.token", token),
        "ca_file": (SETTINGS_FOLDER / f"{wish.name}.roots.pem", roots),
    }
    settings = replace(
        wish.settings,
        state_folder=str(state),
        token_file=str(given["token_file"][0]) if token else "",
        ca_file=str(given["ca_file"][0]) if roots else "",
    )
    settings_file = SETTINGS_FOLDER / f"{wish.name}.json"
    unit = f"lateen-{wish.name}.service"
    return HostPlan(
        name=wish.name,
        unit=unit,
        user=wish.user,
        settings=settings,
        state=state,
        folders=(
            PlannedFolder(path=SETTINGS_FOLDER, mode=0o755),
            PlannedFolder(path=STATE_FOLDER, mode=0o755),
            PlannedFolder(path=RECORDS_FOLDER, mode=0o700),
            PlannedFolder(path=state.parent, mode=0o755),
            PlannedFolder(path=state, mode=0o700, of_user=True),
            PlannedFolder(path=UNITS_FOLDER, mode=0o755),
            PlannedFolder(path=UNITS_FOLDER / f"{WANTED_BY}.wants", mode=0o755),
        ),
        files=(
            *(
                PlannedFile(path=path, content=content, mode=0o600, secret=kind == "token_file", of_user=True)
                for kind, (path, content) in given.items()
                if content
            ),
            PlannedFile(path=settings_file, content=settings_document(settings).encode(), mode=0o600, of_user=True),
            PlannedFile(
                path=UNITS_FOLDER / unit,
                content=agent_unit(_unit(wish, settings_file, state)).encode(),
                mode=UNIT_MODE,
            ),
        ),
        links=(PlannedLink(path=UNITS_FOLDER / f"{WANTED_BY}.wants" / unit, target=f"../{unit}"),),
    )


def settings_document(settings: AgentSettings) -> str:
    """Return the settings as JSON for people, which `AgentSettings.from_json` reads: only what is not the default."""
    written = asdict(settings)
    document = {
        each.name: written[each.name]
        for each in fields(settings)
        if each.name == "mode" or getattr(settings, each.name) != _default(each)
    }
    return json.dumps(document, indent=2) + "\n"


def _default(setting: Field[Any]) -> Any:
    return setting.default if setting.default_factory is MISSING else setting.default_factory()


def _unit(wish: Wish, settings_file: PurePosixPath, state: PurePosixPath) -> AgentUnit:
    settings, intercepts = wish.settings, wish.settings.interception == HOST
    kind = "gateway" if settings.mode == GATEWAY else "sidecar"
    who = settings.name or settings.service or settings.workload_group
    return AgentUnit(
        name=f"lateen-{wish.name}",
        description=f"Lateen: {kind} of {who}.{settings.namespace}",
        command=(wish.python, "-m", "lateen.agent", "--settings", str(settings_file)),
        # The record of its rules is beside, for everybody who intercepts here.
        writes=(str(STATE_FOLDER if intercepts else state),),
        user=wish.user,
        rights=Rights.RULES if intercepts else Rights.CONFINED,
        reload_command=(wish.python, "-m", "lateen.cli.main", "proxy", "restart", "--state", str(state), "--pid"),
    )
