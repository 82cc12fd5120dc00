"""The edge that changes the machine: a plan is written below a root, and taken away again by its record.

The record is written before anything else and holds everything, so that whatever a join was interrupted at, `leave`
finds. Files are replaced whole. Called by `cli/join.py`. Must not know: the network, or the agent.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lateen.agent.private_folders import remove_folder
from lateen.cli.joining.plans import RECORDS_FOLDER, HostPlan, PlannedFile, record_path
from lateen.cli.joining.records import Record, RecordError, digest, read_record


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Who the agent's files are given to; None leaves them to this process's user."""

    uid: int
    gid: int


class Host:
    """A machine's files, below a root."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def place(self, path: PurePosixPath | str) -> Path:
        """Return where a path of the machine is for this process."""
        return self._root / str(path).lstrip("/")

    def record(self, name: str) -> Record | None:
        """Return what a join of this name made; None when there was none. RecordError, OSError."""
        try:
            return read_record(self.place(record_path(name)).read_bytes())
        except FileNotFoundError:
            return None

    def names(self) -> list[str]:
        """Return the names of all joins that are on record."""
        return sorted(path.stem for path in self.place(RECORDS_FOLDER).glob("*.json"))

    def strangers(self, plan: HostPlan, record: Record | None) -> tuple[str, ...]:
        """Return files and links of the plan that are there, and neither a join's nor what it would write."""
        known = {*record.files, *record.links} if record else set()
        files = [str(file.path) for file in plan.files if self._content(file.path) not in (None, file.content)]
        links = [str(link.path) for link in plan.links if self._target(link.path) not in (None, link.target)]
        return tuple(path for path in (*files, *links) if path not in known)

    def differences(self, plan: HostPlan, record: Record | None) -> tuple[str, ...]:
        """Return, a line each, what writing the plan changes; none when all is as it says."""
        return tuple(self._differences(plan, record))

    def _differences(self, plan: HostPlan, record: Record | None) -> Iterator[str]:
        for file in plan.files:
            found = self._content(file.path)
            if found is None:
                yield f"{file.path}: new"
            elif found != file.content:
                by_hand = bool(record) and digest(found) != record.files.get(str(file.path))  # type: ignore[union-attr]
                yield f"{file.path}: {_difference(file, found)}{', was changed by hand' if by_hand else ''}"
            elif self.place(file.path).stat().st_mode & 0o777 != file.mode:
                yield f"{file.path}: mode {file.mode:o} again"
        for link in plan.links:
            if self._target(link.path) != link.target:
                yield f"{link.path}: {'new' if self._target(link.path) is None else 'to ' + link.target}"
        planned = {str(file.path) for file in plan.files}
        for path in (record.files if record else {}).keys() - planned:
            yield f"{path}: goes"

    def write(self, plan: HostPlan, record: Record | None, token_id: str, owner: Owner | None) -> None:
        """Put the plan on the machine. OSError; what was written until then is on record."""
        missing = tuple(str(each.path) for each in plan.folders if not self.place(each.path).is_dir())
        old = record or Record(name=plan.name, unit=plan.unit, state=str(plan.state))
        fresh = Record(
            name=plan.name,
            unit=plan.unit,
            state=str(plan.state),
            control_plane=plan.settings.control_plane,
            token_id=token_id or old.token_id,
            files={str(file.path): digest(file.content) for file in plan.files},
            links={str(link.path): link.target for link in plan.links},
            folders=tuple(dict.fromkeys((*old.folders, *missing))),
        )
        for folder in plan.folders:
            place = self.place(folder.path)
            if not place.is_dir():
                # Outer folders of a bare root are nobody's to remember: it is no machine yet.
                place.mkdir(mode=folder.mode, parents=True)
                place.chmod(folder.mode)
                _give(place, owner if folder.of_user else None)
        _replace(self.place(plan.record), fresh.to_json(), 0o600, None)
        for file in plan.files:
            if self._content(file.path) != file.content or self.place(file.path).stat().st_mode & 0o777 != file.mode:
                _replace(self.place(file.path), file.content, file.mode, owner if file.of_user else None)
        for link in plan.links:
            if self._target(link.path) != link.target:
                self.place(link.path).unlink(missing_ok=True)
                self.place(link.path).symlink_to(link.target)
        for path in old.files.keys() - fresh.files.keys():
            if digest(self._content(PurePosixPath(path)) or b"") == old.files[path]:
                self.place(path).unlink()

    def keep(self, folder: PurePosixPath, name: str, content: bytes, state: PurePosixPath, owner: Owner | None) -> None:
        """Put one file of the agent's own below its state folder."""
        place = self.place(folder)
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        _replace(place / name, content, 0o600, owner)
        while place != self.place(state):
            _give(place, owner)
            place = place.parent

    def remove(self, record: Record) -> list[str]:
        """Take away what the record says; return what was kept because somebody changed it. OSError."""
        kept = []
        for path, target in record.links.items():
            if self._target(PurePosixPath(path)) == target:
                self.place(path).unlink()
        for path, written in record.files.items():
            found = self._content(PurePosixPath(path))
            if found is not None and digest(found) == written:
                self.place(path).unlink()
            elif found is not None:
                kept.append(path)
        state = self.place(record.state)
        if state.is_dir() and not state.is_symlink():
            remove_folder(state)
        self.place(record_path(record.name)).unlink(missing_ok=True)
        self._remove_folders(record)
        return kept

    def _remove_folders(self, record: Record) -> None:
        """Remove the folders that joins made, if they are empty now. Others that need them inherit them."""
        others = [found for name in self.names() if (found := self.record(name)) is not None]
        for path in reversed(record.folders):
            with contextlib.suppress(OSError):
                self.place(path).rmdir()
        left = tuple(path for path in record.folders if self.place(path).is_dir())
        if left and others:
            heir = others[0]
            folders = tuple(dict.fromkeys((*left, *heir.folders)))
            merged = Record(
                name=heir.name, unit=heir.unit, state=heir.state, control_plane=heir.control_plane,
                token_id=heir.token_id, files=heir.files, links=heir.links, folders=folders,
            )  # fmt: skip
            _replace(self.place(record_path(heir.name)), merged.to_json(), 0o600, None)

    def _content(self, path: PurePosixPath) -> bytes | None:
        place = self.place(path)
        return place.read_bytes() if place.is_file() else None

    def _target(self, path: PurePosixPath) -> str | None:
        place = self.place(path)
        if place.is_symlink():
            return str(place.readlink())
        return "" if place.exists() else None


def _difference(file: PlannedFile, found: bytes) -> str:
    """Say what changes, of a secret only that it does."""
    if file.secret:
        return "another one"
    before, after = found.decode("utf-8", "replace").splitlines(), file.content.decode().splitlines()
    gone = [f"-{line.strip()}" for line in before if line not in after]
    come = [f"+{line.strip()}" for line in after if line not in before]
    return "; ".join((*gone[:6], *come[:6])) or "the order of its lines"


def _replace(place: Path, content: bytes, mode: int, owner: Owner | None) -> None:
    """Replace a file whole: with its mode and owner before it has its name."""
    fresh = place.with_name(f".{place.name}.{os.urandom(4).hex()}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123  a descriptor, not a path
            file.write(content)
            if owner:
                os.fchown(descriptor, owner.uid, owner.gid)
            os.fchmod(descriptor, mode)
            file.flush()
            os.fsync(descriptor)
        fresh.replace(place)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def _give(place: Path, owner: Owner | None) -> None:
    if owner:
        os.chown(place, owner.uid, owner.gid)


__all__ = ["Host", "Owner", "RecordError"]
