"""What one join made, remembered so that `leave` removes exactly that. Pure.

A file counts as ours while its content is what was written: the digest tells. Called by `hosts`. Must not know: disks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

FORM = 1


class RecordError(ValueError):
    """The record cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What a join made; paths as the machine sees them."""

    name: str
    unit: str
    state: str
    control_plane: str = ""
    token_id: str = ""
    """By which the token is revoked; the token itself is not here."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Path -> digest of what was written."""
    links: Mapping[str, str] = field(default_factory=dict)
    """Path -> target."""
    folders: tuple[str, ...] = ()
    """Those that were not there before, outer ones first."""

    def to_json(self) -> bytes:
        """Return what `read_record` reads."""
        document = {
            "form": FORM,
            "name": self.name,
            "unit": self.unit,
            "state": self.state,
            "controlPlane": self.control_plane,
            "tokenId": self.token_id,
            "files": dict(sorted(self.files.items())),
            "links": dict(sorted(self.links.items())),
            "folders": list(self.folders),
        }
        return (json.dumps(document, indent=2) + "\n").encode()


def read_record(content: bytes) -> Record:
    """Read a record. RecordError for anything else."""
    try:
        found: dict[str, Any] = json.loads(content)
        if found["form"] != FORM:
            raise RecordError(f"it is of form {found['form']!r}, and this Lateen knows {FORM}")
        return Record(
            name=str(found["name"]),
            unit=str(found["unit"]),
            state=str(found["state"]),
            control_plane=str(found["controlPlane"]),
            token_id=str(found["tokenId"]),
            files={str(path): str(digest) for path, digest in found["files"].items()},
            links={str(path): str(target) for path, target in found["links"].items()},
            folders=tuple(map(str, found["folders"])),
        )
    except RecordError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecordError(f"it cannot be read ({type(error).__name__})") from error


def digest(content: bytes) -> str:
    """Return by what a file is known again."""
    return sha256(content).hexdigest()
