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
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lateen.config.codes import DUPLICATE_OBJECT, LIMIT, UNREADABLE, Subject
from lateen.config.objects import ConfigObject
from lateen.config.parsing import parse
from lateen.model.findings import Finding, has_errors
from lateen.model.names import ObjectKey
from lateen.stores.protocol import StoreContent, content

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
        self._files: dict[Path, FileVersion] = {}

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
        an error. A folder that cannot be listed keeps everything as it was.
        """
        problems: list[Finding] = []
        if self._path.is_dir() and os.access(self._path, os.R_OK | os.X_OK):
            found = dict(self._versions(problems))
            self._files = found
        else:
            problems.append(_unreadable(self._path, "the folder is gone or cannot be listed; its last content stays"))
        objects, duplicates = self._merged()
        findings = [finding for version in self._files.values() for finding in version.findings]
        return content(objects, [*problems, *findings, *duplicates])

    def _versions(self, problems: list[Finding]) -> Iterator[tuple[Path, FileVersion]]:
        for path in sorted(self._paths(problems)):
            version = self._version(path, self._files.get(path))
            if version is not None:
                yield path, version

    def _paths(self, problems: list[Finding]) -> Iterator[Path]:
        """Yield configuration files. Hidden ones are skipped: editors' and Kubernetes' working copies.

        (A mounted ConfigMap shows each file as a link into `..data`, itself a link that is swapped atomically.)
        """
        visited: set[tuple[int, int]] = set()

        def unlistable(error: OSError) -> None:
            if not isinstance(error, FileNotFoundError):
                problems.append(_unreadable(Path(error.filename or self._path), error.strerror or str(error)))

        for folder, folders, names in os.walk(self._path, onerror=unlistable, followlinks=True):
            place = Path(folder)
            try:
                status = place.stat()
            except OSError:
                folders.clear()
                continue
            if (status.st_dev, status.st_ino) in visited:  # a link back up: walking on would never end
                folders.clear()
                continue
            visited.add((status.st_dev, status.st_ino))
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            yield from (place / name for name in names if name.endswith(SUFFIXES) and not name.startswith("."))

    def _version(self, path: Path, last: FileVersion | None) -> FileVersion | None:
        """Return the file's version, from memory when it has not changed; None when it is not there any more."""
        try:
            signature, data = _read(path, last.signature if last else None)
        except FileNotFoundError:
            return None
        except OSError as error:
            kept = last.objects if last else ()
            problem = _unreadable(path, error.strerror or str(error))
            return FileVersion(signature=None, objects=kept, findings=(problem,))
        if data is None and last is not None:
            return last
        return _parsed(path, signature, data or b"", last)

    def _merged(self) -> tuple[list[ConfigObject[Any]], list[Finding]]:
        owners: dict[ObjectKey, ConfigObject[Any]] = {}
        duplicates: list[Finding] = []
        for version in self._files.values():
            for item in version.objects:
                owner = owners.setdefault(item.key, item)
                if owner is not item:
                    duplicates.append(_duplicate(item, owner))
        return [owners[key] for key in sorted(owners)], duplicates


def _read(path: Path, known: Signature | None) -> tuple[Signature, bytes | None]:
    """Return the file's signature, and up to one byte more than is allowed; None when the signature is known.

    Opened without blocking, because a pipe may have the name of a configuration file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        signature = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        return signature, None if signature == known else file.read(MAX_FILE_BYTES + 1)


def _parsed(path: Path, signature: Signature, data: bytes, last: FileVersion | None) -> FileVersion:
    """Return the version of a file that could be read, with what is kept of its last one."""
    if len(data) > MAX_FILE_BYTES:
        limit = LIMIT.finding(f"the file is larger than {MAX_FILE_BYTES >> 20} MiB: split it", file=str(path))
        return FileVersion(signature=signature, objects=last.objects if last else (), findings=(limit,))
    parsed = parse(data, str(path))
    objects = parsed.objects
    if last is not None and has_errors(parsed.findings):
        described = {item.key for item in objects}
        objects += tuple(item for item in last.objects if item.key not in described)
    return FileVersion(signature=signature, objects=objects, findings=parsed.findings)


def _unreadable(path: Path, reason: str) -> Finding:
    return UNREADABLE.finding(f"cannot be read: {reason}", file=str(path))


def _duplicate(item: ConfigObject[Any], owner: ConfigObject[Any]) -> Finding:
    subject = Subject(kind=item.key.kind, namespace=item.key.namespace, name=item.key.name)
    return DUPLICATE_OBJECT.finding(
        f"{item.key} is already in {owner.origin}, which counts; rename or remove one of them",
        file=item.origin.source,
        place=(item.origin.line, 1 if item.origin.line else 0),
        subject=subject,
    )
