"""What is known of the tokens that were made: never the tokens. `tokens.json` of the CA folder. Blocking.

Used by `tokens`, which holds the folder's lock while records change.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from lateen.ca.files import CaFileError, read_if_there
from lateen.private_files import write_private

FILE = "tokens.json"
VERSION = 1
FORGOTTEN_AFTER = dt.timedelta(days=1)
"""How long after its end a token is still listed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRecord:
    """One token, without its content."""

    id: str
    audience: str
    """`lateen-join` or `lateen-api`."""
    subject: str
    """`NAMESPACE/SERVICE_ACCOUNT` of a join token, each maybe `*`; the name of an API token."""
    role: str = ""
    created: dt.datetime
    expires: dt.datetime
    once: bool = False
    used: dt.datetime | None = None
    """When a token for one use was used up."""
    revoked: dt.datetime | None = None

    def state(self, now: dt.datetime) -> str:
        """Say in a word what it is worth now: revoked, used, expired or valid."""
        if self.revoked is not None:
            return "revoked"
        if self.used is not None:
            return "used"
        return "expired" if self.expires <= now else "valid"


class Records:
    """Records by id: in memory, and in a folder if there is one."""

    def __init__(self, folder: Path | None) -> None:
        self._path = None if folder is None else folder / FILE
        self._known: dict[str, TokenRecord] = {}
        self._lines: dict[TokenRecord, str] = {}
        """What stands in the file for each."""
        self._version: tuple[int, int, int] | None = None
        """Of the file that was read or written last."""

    def get(self, token_id: str) -> TokenRecord | None:
        """Return the record of an id."""
        return self._known.get(token_id)

    def all(self, now: dt.datetime) -> tuple[TokenRecord, ...]:
        """Return those that are not to be forgotten, oldest first."""
        return tuple(sorted(self._kept(now), key=lambda record: (record.created, record.id)))

    def count(self, now: dt.datetime) -> int:
        """Return how many those are."""
        return len(self._kept(now))

    def put(self, record: TokenRecord, now: dt.datetime) -> None:
        """Add or replace one, and write all that are not to be forgotten. CaFileError: then nothing has changed."""
        known = {each.id: each for each in self._kept(now)} | {record.id: record}
        if self._path is not None:
            # Each record is written out once: with thousands of them, that is what a change would cost.
            lines = {each: self._lines.get(each) or _written(each) for each in known.values()}
            body = ",\n".join(lines.values())
            content = f'{{"version": {VERSION}, "tokens": [\n{body}\n]}}\n'
            try:
                write_private(self._path, content.encode())
            except OSError as error:
                raise CaFileError(f"{self._path} cannot be written: {error.strerror or error}") from error
            self._version, self._lines = _version(self._path), lines
        self._known = known

    def refresh(self) -> None:
        """Read the file if it is another one than we know. CaFileError when it is broken: what we know stays."""
        if self._path is None:
            return
        version = _version(self._path)
        if version == self._version:
            return
        content = read_if_there(self._path)
        self._known = {} if content is None else _read(self._path, content)
        self._version = version

    def _kept(self, now: dt.datetime) -> list[TokenRecord]:
        return [record for record in self._known.values() if now < record.expires + FORGOTTEN_AFTER]


def _version(path: Path) -> tuple[int, int, int] | None:
    """Return what changes when the file is replaced."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def _written(record: TokenRecord) -> str:
    document = {
        name: value.isoformat() if isinstance(value, dt.datetime) else value for name, value in asdict(record).items()
    }
    return json.dumps(document)


def _read(path: Path, content: bytes) -> dict[str, TokenRecord]:
    try:
        document = json.loads(content)
        if document["version"] != VERSION:
            raise CaFileError(f"{path} has version {document['version']!r}; this Lateen reads version {VERSION}")
        records = [_record(each) for each in document["tokens"]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CaFileError(f"{path} is broken: restore it, or remove it, which revokes every token") from error
    return {record.id: record for record in records}


def _record(document: Mapping[str, str]) -> TokenRecord:
    times = {
        name: None if document[name] is None else dt.datetime.fromisoformat(document[name])
        for name in ("created", "expires", "used", "revoked")
    }
    created, expires = times["created"], times["expires"]
    if created is None or expires is None or any(time is not None and time.tzinfo is None for time in times.values()):
        raise ValueError("a time is missing, or its zone")
    return TokenRecord(
        id=document["id"],
        audience=document["audience"],
        subject=document["subject"],
        role=document["role"],
        created=created,
        expires=expires,
        once=bool(document["once"]),
        used=times["used"],
        revoked=times["revoked"],
    )
