"""Read a folder of configuration files, again and again, keeping the last good version of what is broken now.

Used by `stores.directory`, which adds the watching. Synchronous; nothing here raises because of what is (or is
not) in the folder: files come and go while they are read, are half written, too large, forbidden or not text.

A file with errors does not take its objects away: those that its good documents still describe are new, the others
stay as they were in the last version that had no errors. They go when the file goes, or when a version without
errors no longer has them.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any

from lateen.config.codes import DUPLICATE_OBJECT, LIMIT, UNREADABLE, Subject
from lateen.config.objects import ConfigObject
from lateen.config.parsing import parse
from lateen.mesh.elections import Election, Turn
from lateen.mesh.sharing import changed_keys, turnover
from lateen.model.findings import Finding, has_errors
from lateen.model.names import ObjectKey
from lateen.stores.protocol import StoreContent, changed, content, unchanged

SUFFIXES = (".yaml", ".yml", ".json")
MAX_FILE_BYTES = 8 * 1024 * 1024
"""A file larger than this is refused: it is not configuration."""

Signature = tuple[int, int, int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileVersion:
    """What a file gave when it was last read."""

    signature: Signature | None
    """Device, inode, size, modification and change time; None when it could not be read, so try again."""
    objects: tuple[ConfigObject[Any], ...] = ()
    """Including those kept from before."""
    findings: tuple[Finding, ...] = ()


class Folder:
    """All configuration files under a path. Not safe for two threads at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._files: dict[str, FileVersion] = {}
        self._election: Election[ObjectKey, ConfigObject[Any]] = Election()
        self._duplicates: tuple[Finding, ...] = ()
        self._content = content()

    def identity(self) -> tuple[int, int] | None:
        """Return device and inode of the folder itself, None while there is none: a watch is tied to these."""
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def read(self) -> StoreContent:
        """Read what changed since the last time and return the whole content.

        Files are taken in the order of their paths: of two objects with one key the first stays, the second is
        an error. What is in a folder that cannot be listed stays as it was.
        """
        walk = _Walk()
        found = sorted(walk.files(self._path), key=itemgetter(0))
        versions = {path: _version(path, entry, self._files.get(path)) for path, entry in found}
        versions |= {
            path: version
            for path, version in self._files.items()
            if any(path.startswith(f"{folder}/") for folder in walk.unlisted)
        }
        before = self._files
        self._files = {path: version for path, version in sorted(versions.items()) if version is not None}
        turns = self._elect([(before.get(path), self._files.get(path)) for path in changed_keys(before, self._files)])
        findings = [finding for version in self._files.values() for finding in version.findings]
        self._content = changed(
            self._content,
            {key: after for key, (_, after) in turns.items()},
            (*walk.unlisted.values(), *findings, *self._duplicates),
        )
        return self._content

    def _elect(
        self, versions: Sequence[tuple[FileVersion | None, FileVersion | None]]
    ) -> Mapping[ObjectKey, Turn[ConfigObject[Any]]]:
        """Take other versions of files, and return which objects count differently now."""
        moved = [turnover(old.objects if old else (), new.objects if new else ()) for old, new in versions]
        gone, come = chain.from_iterable(gone for gone, _ in moved), chain.from_iterable(come for _, come in moved)
        known = self._election
        self._election, turns = known.updated(gone, come, lambda item: item.key, _place)
        if self._election.rivals is not known.rivals:
            owners = self._election.winners
            rivals = chain.from_iterable(self._election.rivals.values())
            hidden = sorted((item for item in rivals if item is not owners[item.key]), key=_place)
            self._duplicates = tuple(_duplicate(item, owners[item.key]) for item in hidden)
        return turns


def _place(item: ConfigObject[Any]) -> tuple[str, int]:
    return item.origin.source, item.origin.line


class _Walk:
    """One walk through a folder.

    Hidden files and folders are skipped: editors' and Kubernetes' working copies. (A mounted ConfigMap shows each
    file as a link into `..data`, itself a link that is swapped atomically.) A link back up would never end, so a
    folder is entered once.
    """

    def __init__(self) -> None:
        self.unlisted: dict[str, Finding] = {}
        """Folders that could not be listed, with what to say about it."""
        self._visited: set[tuple[int, int]] = set()

    def files(self, top: Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
        """Yield configuration files by path, in no order."""
        try:
            self._is_new_folder(top.stat())
        except OSError:
            self.unlisted[str(top)] = _unreadable(str(top), "the folder is gone; its last content stays")
        else:
            yield from self._inside(str(top))

    def _inside(self, folder: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
        try:
            with os.scandir(folder) as listing:
                entries = [entry for entry in listing if not entry.name.startswith(".")]
        except FileNotFoundError:
            return
        except OSError as error:
            self.unlisted[folder] = _unreadable(folder, error.strerror or str(error))
            return
        for entry in entries:
            if self._enters(entry):
                yield from self._inside(entry.path)
            elif entry.name.endswith(SUFFIXES):
                yield entry.path, entry

    def _enters(self, entry: os.DirEntry[str]) -> bool:
        try:
            return self._is_new_folder(entry.stat())
        except OSError:
            return False

    def _is_new_folder(self, status: os.stat_result) -> bool:
        place = (status.st_dev, status.st_ino)
        if not stat.S_ISDIR(status.st_mode) or place in self._visited:
            return False
        self._visited.add(place)
        return True


def _version(path: str, entry: os.DirEntry[str], last: FileVersion | None) -> FileVersion | None:
    """Return a file's version: the last one when it has not changed, None when it is not there any more."""
    try:
        if last is not None and last.signature == _signature(entry.stat()):
            return last
        signature, data = _read(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        kept = last.objects if last else ()
        return FileVersion(signature=None, objects=kept, findings=(_unreadable(path, error.strerror or str(error)),))
    if len(data) > MAX_FILE_BYTES:
        limit = LIMIT.finding(f"the file is larger than {MAX_FILE_BYTES >> 20} MiB: split it", file=path)
        return FileVersion(signature=signature, objects=last.objects if last else (), findings=(limit,))
    parsed = parse(data, path)
    before = {item.key: item for item in last.objects} if last else {}
    objects = tuple(unchanged(before.get(item.key), item) for item in parsed.objects)
    if has_errors(parsed.findings):
        described = {item.key for item in objects}
        objects += tuple(item for item in before.values() if item.key not in described)
    return FileVersion(signature=signature, objects=objects, findings=parsed.findings)


def _read(path: str) -> tuple[Signature, bytes]:
    """Return what identifies this version of a file, and its content, up to one byte more than is allowed.

    Opened without blocking, because a pipe may have the name of a configuration file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        return _signature(status), file.read(MAX_FILE_BYTES + 1)


def _signature(status: os.stat_result) -> Signature:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _unreadable(path: str, reason: str) -> Finding:
    return UNREADABLE.finding(f"cannot be read: {reason}", file=path)


def _duplicate(item: ConfigObject[Any], owner: ConfigObject[Any]) -> Finding:
    subject = Subject(kind=item.key.kind, namespace=item.key.namespace, name=item.key.name)
    return DUPLICATE_OBJECT.finding(
        f"{item.key} is already in {owner.origin}, which counts; rename or remove one of them",
        file=item.origin.source,
        place=(item.origin.line, 1 if item.origin.line else 0),
        subject=subject,
    )
