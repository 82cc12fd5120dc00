"""The local proofs: tokens in files that only the control plane's own OS user can read.

Who can read one *is* that user, and may do what that user may: join as any workload, or administer. `app` calls
`refresh` at its start and every minute. Blocking.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from pathlib import Path

from lateen.ca.files import CaFileError, open_private_folder, read_private
from lateen.ca.tokens import Audience, Claims, Tokens
from lateen.ca.values import ANY, Refused
from lateen.private_files import write_private

FOLDER, JOIN_FILE, ADMIN_FILE = "local", "join-token", "admin-token"
TTL = dt.timedelta(hours=24)
_MAX_ROOTS = 5000
"""Characters of roots that a token has room for. Who joins from this host is told them by Locate anyway."""


class LocalProofs:
    """The two files, in the folder `local` of a CA folder (or of a temporary one, of a CA in memory)."""

    def __init__(self, tokens: Tokens, ca_folder: Path) -> None:
        self._tokens = tokens
        self._folder = ca_folder / FOLDER
        self._refreshed = False
        self.join_token = self._folder / JOIN_FILE
        """What `Locate` names as `token_file`."""
        self.admin_token = self._folder / ADMIN_FILE

    def refresh(self, now: dt.datetime, *, roots: Sequence[str] = (), join_port: int = 0) -> bool:
        """Make anew what is not good for half its life any more, or speaks of other roots or of another port.

        Returns whether something was made. `roots` are PEM. CaFileError.
        """
        open_private_folder(self._folder)
        bodies = tuple("".join(pem.split("-----")[2].split()) for pem in roots)

        if sum(map(len, bodies)) > _MAX_ROOTS:
            roots, bodies = (), ()
        # Control planes that share a folder have ports of their own: they do not take turns in writing theirs.
        any_port, self._refreshed = self._refreshed, True

        def make_join() -> str:
            return self._tokens.create_join(ANY, ANY, now=now, ttl=TTL, roots=roots, join_port=join_port)[0]

        def speaks_of_now(claims: Claims) -> bool:
            return claims.roots == bodies and (any_port or claims.join_port == join_port)

        joined = self._refresh(self.join_token, Audience.JOIN, now, make_join, speaks_of_now)
        admin = self._refresh(
            self.admin_token,
            Audience.API,
            now,
            lambda: self._tokens.create_api("admin", "local", now=now, ttl=TTL)[0],
            lambda claims: claims.role == "admin",
        )
        return joined or admin

    def _refresh(
        self,
        path: Path,
        audience: Audience,
        now: dt.datetime,
        make: Callable[[], str],
        good: Callable[[Claims], bool],
    ) -> bool:
        present = self._present(path, audience, now)
        if present is not None and now - present.issued < TTL / 2 and good(present):
            return False
        try:
            write_private(path, make().encode())
        except OSError as error:
            raise CaFileError(f"{path} cannot be written: {error.strerror or error}") from error
        return True

    def _present(self, path: Path, audience: Audience, now: dt.datetime) -> Claims | None:
        """Return what the token in the file says, None when there is none that would be taken."""
        try:
            token = (read_private(path) or b"").decode("ascii")
        except (CaFileError, UnicodeDecodeError):
            return None
        if isinstance(self._tokens.verify(token, audience, now), Refused):
            return None
        claims = self._tokens.read(token, audience, now)
        return None if isinstance(claims, Refused) else claims
