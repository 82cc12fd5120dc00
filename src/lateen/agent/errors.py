"""Errors that more than one room of the agent knows.

`StartError` ends an agent: something the user must change first. It is caught only by `lateen.agent.__main__`, which
prints it as one line. `JoinError` ends one try to get a certificate; `certificates` says it and tries again.
"""

from __future__ import annotations


class StartError(Exception):
    """The agent cannot do its work. The message is one line that says what to do."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        """As in the command line's contract: 1 refused, 2 wrong usage."""


class JoinError(Exception):
    """There is no certificate yet. The message says why, never with a secret."""

    def __init__(self, message: str, todo: str = "trying again") -> None:
        super().__init__(message)
        self.todo = todo
        """What the user can do about it."""


class RefusedError(JoinError):
    """The control plane does not take what we showed."""
