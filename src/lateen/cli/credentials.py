"""Tokens for the control plane's API: where the command line finds one, and to whom it may go.

Called by `cli/client.py`. A token comes from `--token-file`, `LATEEN_TOKEN` or `LATEEN_TOKEN_FILE`. Without any, a
control plane on this machine names a file in its 401 that only its own OS user can read: who can read it is that user.

That name comes from whoever listens on the port, which may be another user of this machine who wants the token. So the
file is read only if it is called `admin-token` and holds what looks like a token, and, where the system tells, only if
its owner is also who listens on that port (or root listens). Nothing of a token is ever in a message.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from urllib.parse import unquote

from lateen.agent.port_owners import listening_users
from lateen.cli.exits import ExitCode, Failure

TOKEN_FILE_NAME = "admin-token"  # noqa: S105  the name of a file
MAX_FILE = 16 * 1024
_JWT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
HOW = (
    "an admin makes one: `lateen token create --role editor --name WHO`; then --token-file FILE, LATEEN_TOKEN_FILE "
    "or LATEEN_TOKEN"
)


def given_token(token_file: Path | None) -> str:
    """Return the token of the flag or the environment, "" when there is none. Raises Failure for what is no token."""
    if token_file is not None:
        return _from_file(token_file, "--token-file")
    if value := os.environ.get("LATEEN_TOKEN", "").strip():
        return _token(value, "LATEEN_TOKEN")
    if named := os.environ.get("LATEEN_TOKEN_FILE", ""):
        return _from_file(Path(named), "LATEEN_TOKEN_FILE")
    return ""


def _from_file(file: Path, what: str) -> str:
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_FILE + 1)
    except OSError as error:
        raise Failure(f"{what} {file} cannot be read: {error.strerror}", code=ExitCode.USAGE) from error
    return _token(content.decode("latin-1").strip(), f"{what} {file}")


def _token(text: str, what: str) -> str:
    if len(text) > MAX_FILE or not _JWT.fullmatch(text):
        raise Failure(f"{what} holds no token", code=ExitCode.USAGE, hint="a token is one word with two dots in it")
    return text


def local_token(header: str, host: str, port: int) -> str:
    """Return the token of the file that a server at this loopback address names. Raises Failure with the reason."""
    path = Path(unquote(header))
    if not path.is_absolute() or path.name != TOKEN_FILE_NAME:
        raise _not_taken(f"the file that it names is not called {TOKEN_FILE_NAME}")
    try:
        # Neither a link nor a pipe: whoever names the file does not get to choose what is opened or waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _not_taken(f"{path}: {error.strerror}") from error
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise _not_taken(f"{path} is no regular file")
        listeners = listening_users(host, port)
        if listeners is not None and not listeners <= {found.st_uid, 0}:
            raise _not_taken(f"{path} belongs to another user than who listens on port {port}")
        content = os.read(descriptor, MAX_FILE + 1)
    finally:
        os.close(descriptor)
    text = content.decode("latin-1").strip()
    if len(content) > MAX_FILE or not _JWT.fullmatch(text):
        raise _not_taken(f"{path} holds no token")
    return text


def _not_taken(reason: str) -> Failure:
    return Failure(f"the control plane wants a token, and there is none to send ({reason})", hint=HOW)
