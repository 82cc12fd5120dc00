"""Exit codes, and the one exception that ends a command with a clear line. A contract of the command line."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """How a command ends; scripts rely on the numbers."""

    DONE = 0
    """Nothing wrong."""
    REJECTED = 1
    """The input has errors, or a proxy rejected it."""
    USAGE = 2
    """Wrong usage."""
    UNREACHABLE = 3
    """The control plane, or another server, cannot be reached."""
    TIMEOUT = 4
    """Timed out while waiting."""


class Failure(Exception):  # noqa: N818  it is how a command ends, not an error of the program
    """Ends the command: `main` prints the message and the hint to stderr and exits with the code."""

    def __init__(self, message: str, *, code: ExitCode = ExitCode.REJECTED, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.hint = hint


def usage(message: str, hint: str = "") -> Failure:
    """Return the failure of a command that was called wrongly."""
    return Failure(message, code=ExitCode.USAGE, hint=hint)
