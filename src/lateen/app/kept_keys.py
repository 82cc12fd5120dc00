"""Keys of tokens over a restart: the last good key sets, in a file of the state folder.

Called by `app.running`. A control plane that comes back while an issuer is away would otherwise take the keys from
proxies that are up and have them, and so refuse tokens that were good a moment before. The file holds public keys only;
one that cannot be read or written costs just that. What is read is checked like what is fetched.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import msgspec
import structlog

from lateen.app.state_folder import StateFile, open_state_folder
from lateen.config.key_sets import KeySetError, read_key_set
from lateen.keysets.protocol import KeySets

_LOG = structlog.get_logger(__name__)

FILE_NAME = "key-sets.json"


def kept_keys_file(folder: Path | None) -> StateFile | None:
    """Return the file of a state folder, None without one. Raises StartError when the folder is unusable."""
    return None if folder is None else StateFile(open_state_folder(folder) / FILE_NAME)


def read_kept_keys(file: StateFile | None) -> dict[str, str]:
    """Return the key sets of an earlier control plane, by source."""
    try:
        content = file.read() if file is not None else None
        found = msgspec.json.decode(content, type=dict[str, str]) if content else {}
    except (OSError, ValueError, RecursionError) as error:
        _LOG.warning("kept keys cannot be read, starting without", reason=type(error).__name__)
        return {}
    kept = {}
    for source, text in found.items():
        try:
            kept[source] = read_key_set(text.encode())
        except (KeySetError, UnicodeEncodeError):
            _LOG.warning("kept keys are no keys", source=source.partition("?")[0])
    return kept


async def keep_keys(file: StateFile, key_sets: KeySets) -> None:
    """Write the key sets after each change, until cancelled."""
    written: Mapping[str, str] = {}  # nothing is wanted yet: that is no reason to forget what is kept
    async for newest in key_sets.watch():
        if newest == written:
            continue
        try:
            await asyncio.to_thread(file.write, msgspec.json.encode(dict(newest)))
            written = newest
        except OSError as error:
            _LOG.warning("keys cannot be kept", path=str(file.path), reason=str(error))
