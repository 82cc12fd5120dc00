"""HTTP client of the control plane's API: one request, one decoded answer, or a Failure that says what to do.

Called by the online commands. `http.client` is quick to import and enough for one request at a time.
"""

from __future__ import annotations

import http.client
from typing import TypeVar
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from lateen.api.schemas import ErrorAnswer
from lateen.cli.exits import ExitCode, Failure

AnswerT = TypeVar("AnswerT")
SECONDS = 15.0
"""Longest wait for an answer, on top of what the request itself asks the server to wait."""
FILES_TYPE = "application/vnd.lateen.files+json"
_START = "is it running? Start it with `lateen serve`, or name another with --server URL or LATEEN_SERVER"


class ApiError(Failure):
    """The control plane answered with an error."""

    def __init__(self, status: int, answer: ErrorAnswer) -> None:
        super().__init__(answer.error.message, hint=answer.error.hint)
        self.status = status
        self.answer = answer


class Client:
    """Requests to one control plane."""

    def __init__(self, server: str) -> None:
        """`server` is an http:// URL; a path is kept as a prefix. Raises Failure when it is no such URL."""
        parts = urlsplit(server if "://" in server else f"http://{server}")
        try:
            port = parts.port or 80
        except ValueError:
            port = 0
        if parts.scheme != "http" or not parts.hostname or not port:
            raise Failure(
                f"--server {server!r} is not an http:// URL", code=ExitCode.USAGE, hint="as in http://127.0.0.1:15080"
            )
        self.server = server
        self._host, self._port, self._prefix = parts.hostname, port, parts.path.rstrip("/")

    def get(self, answer: type[AnswerT], *path: str, **query: str) -> AnswerT:
        """GET a path (its parts are escaped) with the query parameters that are not empty."""
        return self._request("GET", path, query, answer)

    def delete(self, answer: type[AnswerT], *path: str) -> AnswerT:
        """DELETE a path."""
        return self._request("DELETE", path, {}, answer)

    def post(
        self, answer: type[AnswerT], *path: str, query: dict[str, str], body: bytes, seconds: float = 0
    ) -> AnswerT:
        """POST files to a path; `seconds` is how long the server was asked to wait."""
        return self._request("POST", path, query, answer, body=body, seconds=seconds)

    def _request(
        self,
        method: str,
        path: tuple[str, ...],
        query: dict[str, str],
        answer: type[AnswerT],
        *,
        body: bytes | None = None,
        seconds: float = 0,
    ) -> AnswerT:
        target = self._prefix + "".join(f"/{quote(part, safe='')}" for part in path)
        if given := {name: value for name, value in query.items() if value}:
            target += f"?{urlencode(given)}"
        connection = http.client.HTTPConnection(self._host, self._port, timeout=SECONDS + seconds)
        try:
            connection.request(method, target, body=body, headers={"Content-Type": FILES_TYPE} if body else {})
            response = connection.getresponse()
            content = response.read()
        except TimeoutError as error:
            raise Failure(
                f"the control plane at {self.server} did not answer in {SECONDS + seconds:.0f} s",
                code=ExitCode.TIMEOUT,
            ) from error
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise Failure(
                f"the control plane at {self.server} cannot be reached ({reason})",
                code=ExitCode.UNREACHABLE,
                hint=_START,
            ) from error
        finally:
            connection.close()
        return self._decoded(response.status, content, answer)

    def _decoded(self, status: int, content: bytes, answer: type[AnswerT]) -> AnswerT:
        try:
            if status < 400:
                return msgspec.json.decode(content, type=answer)
            raise ApiError(status, msgspec.json.decode(content, type=ErrorAnswer))
        except msgspec.DecodeError as error:
            raise Failure(
                f"{self.server} does not answer like a Lateen control plane (HTTP {status})",
                code=ExitCode.UNREACHABLE,
                hint="name the control plane's HTTP address with --server URL or LATEEN_SERVER",
            ) from error
