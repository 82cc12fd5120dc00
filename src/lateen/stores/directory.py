"""A store in a folder of files (GitOps): `lateen serve --config DIR`. Read-only here: people change the files.

Used by `app`. `stores.files` reads; this module notices changes.

What can go wrong is missing a change. The naive way, read and then start watching, loses what happens in between;
so the watch starts first. A watch is tied to a folder's inode, so it is renewed when the path leads to another
folder (a link was swapped, a checkout replaced the folder). And since some file systems (network mounts) report
nothing, everything is looked at again now and then anyway: that costs one `stat` per file.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import structlog
from watchfiles._rust_notify import RustNotify, WatchfilesRustInternalError

from lateen.config.objects import ConfigObject
from lateen.model.names import ObjectKey
from lateen.stores.files import Folder
from lateen.stores.protocol import ReadOnlyStore, StoreContent

log = structlog.get_logger()

STEP_MS = 10
"""Changes are grouped until none came for this long ..."""
GROUPING_MS = 20
"""... or this long at most: the app groups changes of all sources again."""
QUIET_SECONDS = 1.0
"""How often to check that the watched folder is still the one at the path."""
RESCANS = 10
"""Every so many quiet checks all files are looked at, whether a change was reported or not."""


class DirectoryStore:
    """The configuration files under a folder, recursively: `.yaml`, `.yml`, `.json`; hidden ones are left out."""

    def __init__(self, path: Path, *, quiet_seconds: float = QUIET_SECONDS) -> None:
        """Raise NotADirectoryError or FileNotFoundError when there is no such folder: a wrong path is a mistake
        to report at start, not an empty mesh.
        """
        if not path.is_dir():
            problem = "is not a folder" if path.exists() else "does not exist"
            kind = NotADirectoryError if path.exists() else FileNotFoundError
            raise kind(f"configuration folder {path} {problem}; create it or name another one")
        self._path = path
        self._quiet_seconds = quiet_seconds

    @property
    def name(self) -> str:
        """`directory PATH`."""
        return f"directory {self._path}"

    async def watch(self) -> AsyncIterator[StoreContent]:
        """Yield the content at once and after each change (see Store.watch)."""
        folder = Folder(self._path)
        seen: StoreContent | None = None
        while True:
            with _Notices(self._path, folder, self._quiet_seconds) as notices:
                while notices.current():
                    newest = await asyncio.to_thread(folder.read)
                    if newest is not seen:
                        seen = newest
                        yield newest
                    await notices.wait()

    async def put(self, objects: Sequence[ConfigObject[Any]]) -> str:
        """Raise ReadOnlyStore."""
        what = ", ".join(str(item.key) for item in objects)
        raise ReadOnlyStore(f"{self.name} is read-only: write {what} into one of its files")

    async def delete(self, key: ObjectKey) -> bool:
        """Raise ReadOnlyStore."""
        raise ReadOnlyStore(f"{self.name} is read-only: remove {key} from its files")


class _Notices:
    """Tells when to look at a folder again. Changes between two waits are not lost: the next wait returns at once.

    This uses watchfiles' documented backend rather than `awatch`, which starts watching only when it is first
    waited on.
    """

    def __init__(self, path: Path, folder: Folder, quiet_seconds: float) -> None:
        self._folder = folder
        self._quiet_seconds = quiet_seconds
        self._watched = folder.identity()
        self._backend: RustNotify | None = None
        if self._watched is None:
            return
        try:
            self._backend = RustNotify([str(path)], False, False, 300, True, True)
        except (OSError, WatchfilesRustInternalError) as error:
            log.warning(
                "folder cannot be watched, looking at it every second instead", path=str(path), error=str(error)
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._backend is not None:
            self._backend.close()

    def current(self) -> bool:
        """Whether the path still leads to the watched folder (or still to none)."""
        return self._folder.identity() == self._watched

    async def wait(self) -> None:
        """Return after a change, when the path leads elsewhere, or when it is time to look again anyway."""
        if self._backend is None:
            await asyncio.sleep(self._quiet_seconds)
            return
        for _ in range(RESCANS):
            if await self._changed(self._backend) or not self.current():
                return

    async def _changed(self, backend: RustNotify) -> bool:
        """Wait for changes, the quiet time at most. Its thread ends with it, even when it is cancelled."""
        stop = threading.Event()
        quiet = int(self._quiet_seconds * 1000)
        waiting = asyncio.get_running_loop().run_in_executor(None, backend.watch, GROUPING_MS, STEP_MS, quiet, stop)
        try:
            return isinstance(await asyncio.shield(waiting), set)
        finally:
            stop.set()
            await asyncio.wait([waiting])
