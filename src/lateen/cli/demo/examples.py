"""Finding and reading `examples/bookshop/`: beside the package in a checkout, inside it in a wheel."""

from __future__ import annotations

from pathlib import Path

import lateen

FOLDER = "examples/bookshop"


def bookshop_folder() -> Path:
    """Return the folder that holds the demo's YAML. Raises FileNotFoundError when the installation lacks it."""
    package = Path(lateen.__file__).parent
    for candidate in (package / FOLDER, package.parents[1] / FOLDER):
        if candidate.is_dir():
            return candidate
    raise FileNotFoundError(f"{FOLDER} is not part of this installation of lateen")


def without_comments(content: str) -> str:
    """Return YAML without the comment block at its head: the tour tells that part in its own words."""
    lines = content.splitlines()
    while lines and (lines[0].startswith("#") or not lines[0].strip()):
        lines.pop(0)
    return "\n".join(lines) + "\n"


def shown_path(path: Path, working_directory: Path) -> str:
    """Return the path as the reader can type it: relative below the working directory, else as it is."""
    return str(path.relative_to(working_directory)) if path.is_relative_to(working_directory) else str(path)
