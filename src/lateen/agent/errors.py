"""The one error that ends an agent: something the user must change first.

Raised by the rooms of the agent, caught only by `lateen.agent.__main__`, which prints it as one line.
"""

from __future__ import annotations


class StartError(Exception):
    """The agent cannot do its work. The message is one line that says what to do."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        """As in the command line's contract: 1 refused, 2 wrong usage."""
