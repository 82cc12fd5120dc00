"""Configuration files named on the command line: files, folders, stdin -> contents -> objects and findings.

Called by the offline commands and by apply. Must not know: what a document means (that is `config`).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lateen.cli.exits import ExitCode, Failure
from lateen.config.limits import MAX_BYTES
from lateen.model.findings import Finding
from lateen.model.names import DEFAULT_NAMESPACE

if TYPE_CHECKING:
    from lateen.config.objects import ConfigObject
    from lateen.config.positions import Positions
    from lateen.model.names import ObjectKey

SUFFIXES = (".yaml", ".yml", ".json")


@dataclass(frozen=True, slots=True, kw_only=True)
class InputFile:
    """A file's name as the user wrote it, and its content."""

    name: str
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedFiles:
    """The objects of all files, in order; of two with one key only the first."""

    objects: tuple[ConfigObject[Any], ...]
    findings: tuple[Finding, ...]
    positions: Mapping[ObjectKey, Positions]
    """Where the fields of each object stand."""


def read_inputs(paths: Sequence[str]) -> list[InputFile]:
    """Return the contents of files, of folders (recursive, sorted) and of `-` (stdin).

    Raises Failure with the usage code for a path that is missing, unreadable, or a folder without configuration.
    """
    files: list[InputFile] = []
    seen: set[Path] = set()
    for path in paths:
        if path == "-":
            files.append(InputFile(name="-", content=sys.stdin.buffer.read(MAX_BYTES + 1)))
            continue
        for file in _expand(Path(path)):
            if (real := file.resolve()) not in seen:
                seen.add(real)
                files.append(InputFile(name=str(file), content=_read(file)))
    return files


def _expand(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    try:
        found = sorted(file for file in path.rglob("*") if file.suffix in SUFFIXES and file.is_file())
    except OSError as error:
        raise _unreadable(path, error) from error
    if not found:
        raise Failure(f"{path} holds no .yaml, .yml or .json file", code=ExitCode.USAGE)
    return found


def _read(file: Path) -> bytes:
    """Return the content of a file, or one byte more than is taken: enough to be refused for its size."""
    try:
        with file.open("rb") as opened:
            return opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise _unreadable(file, error) from error


def _unreadable(path: Path, error: OSError) -> Failure:
    return Failure(f"{path} cannot be read: {error.strerror}", code=ExitCode.USAGE, hint="check the path")


def parse_inputs(files: Sequence[InputFile], *, namespace: str = "") -> ParsedFiles:
    """Parse all files; an object whose key another file already has is an error, and the first one counts.

    `namespace` is that of documents that name none.
    """
    from lateen.config.parsing import find_duplicates, parse

    objects: list[ConfigObject[Any]] = []
    findings: list[Finding] = []
    positions: dict[ObjectKey, Positions] = {}
    for file in files:
        parsed = parse(file.content, file.name, default_namespace=namespace or DEFAULT_NAMESPACE)
        objects += parsed.objects
        findings += parsed.findings
        for key, place in parsed.positions.items():
            positions.setdefault(key, place)  # the first file's win, as its object does
    findings += find_duplicates(objects)
    first: dict[ObjectKey, ConfigObject[Any]] = {}
    for found in objects:
        first.setdefault(found.key, found)
    return ParsedFiles(objects=tuple(first.values()), findings=tuple(findings), positions=positions)
