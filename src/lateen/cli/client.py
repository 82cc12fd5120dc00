"""HTTP client of the control plane's API: one request, one decoded answer, or a Failure that says what to do.

Called by the online commands. `http.client` is quick to import and enough for one request at a time; it follows no
redirects, so a token goes only to whom the user named. See `cli/credentials.py` for where tokens come from.
"""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote, urlencode

import msgspec

from lateen.api.schemas import ErrorAnswer
from lateen.cli.connections import connect, loopback_peer, read_server
from lateen.cli.credentials import HOW, given_token, local_token
from lateen.cli.exits import ExitCode, Failure

AnswerT = TypeVar("AnswerT")
SECONDS = 15.0
"""Longest wait for an answer, on top of what the request itself asks the server to wait."""
FILES_TYPE = "application/vnd.lateen.files+json"
JSON_TYPE = "application/json"
_START = "is it running? Start it with `lateen serve`, or name another with --server URL or LATEEN_SERVER"


class ApiError(Failure):
    """The control plane answered with an error."""

    def __init__(self, status: int, answer: ErrorAnswer) -> None:
        hint = answer.error.hint
        if status == 401:
            hint = HOW
        super().__init__(answer.error.message, hint=hint)
        self.status = status
        self.answer = answer


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    method: str
    target: str
    body: bytes | None = None
    content_type: str = ""
    seconds: float = 0.0
    """How long the server was asked to wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Response:
    status: int
    content: bytes
    loopback: str
    """Address on this machine that answered, "" if it was another machine or a Unix socket."""
    token_file: str
    """The header of that name."""


class Client:
    """Requests to one control plane."""

    def __init__(self, server: str, token_file: Path | None = None, ca_file: Path | None = None) -> None:
        """`server` is an http://, https:// or unix:// URL. Raises Failure when it is none, or the token is none."""
        self._server = read_server(server)
        self.server = server
        self._ca_file = ca_file
        self._token = given_token(token_file)

    def get(self, answer: type[AnswerT], *path: str, **query: str | list[str]) -> AnswerT:
        """GET a path (its parts are escaped) with the query parameters that are not empty; a list is repeated."""
        return self._ask(_Request(method="GET", target=self._target(path, query)), answer)

    def delete(self, answer: type[AnswerT], *path: str) -> AnswerT:
        """DELETE a path."""
        return self._ask(_Request(method="DELETE", target=self._target(path, {})), answer)

    def post(
        self, answer: type[AnswerT], *path: str, query: dict[str, str], body: bytes, seconds: float = 0
    ) -> AnswerT:
        """POST files to a path; `seconds` is how long the server was asked to wait."""
        target = self._target(path, query)
        request = _Request(method="POST", target=target, body=body, content_type=FILES_TYPE, seconds=seconds)
        return self._ask(request, answer)

    def post_json(self, answer: type[AnswerT], *path: str, body: msgspec.Struct) -> AnswerT:
        """POST a struct to a path."""
        content = msgspec.json.encode(body)
        request = _Request(method="POST", target=self._target(path, {}), body=content, content_type=JSON_TYPE)
        return self._ask(request, answer)

    def _target(self, path: tuple[str, ...], query: Mapping[str, str | list[str]]) -> str:
        target = self._server.prefix + "".join(f"/{quote(part, safe='')}" for part in path)
        given = {name: value for name, value in query.items() if value}
        return f"{target}?{urlencode(given, doseq=True)}" if given else target

    def _ask(self, request: _Request, answer: type[AnswerT]) -> AnswerT:
        if not self._token and request.method != "GET" and self._server.scheme != "unix":
            # A change without a token would be an attempt in the audit log: a read learns where the token is.
            self._learn(self._exchange(_Request(method="GET", target=self._target(("v1", "version"), {}))))
        response = self._exchange(request)
        if self._learn(response):
            response = self._exchange(request)
        return self._decoded(response, answer)

    def _learn(self, response: _Response) -> bool:
        """Take the token of the file that a control plane on this machine names; return whether there is a new one."""
        if self._token or response.status != 401 or not response.loopback or not response.token_file:
            return False
        self._token = local_token(response.token_file, response.loopback, self._server.port)
        return True

    def _exchange(self, request: _Request) -> _Response:
        connection: http.client.HTTPConnection | None = None
        seconds = SECONDS + request.seconds
        try:
            connection = connect(self._server, self._ca_file, seconds)
            loopback = loopback_peer(connection)
            headers = {"Content-Type": request.content_type} if request.content_type else {}
            if self._token:
                self._require_private(loopback)
                headers["Authorization"] = f"Bearer {self._token}"
            connection.request(request.method, request.target, body=request.body, headers=headers)
            response = connection.getresponse()
            content, named = response.read(), response.headers.get("Lateen-Token-File", "")
        except TimeoutError as error:
            raise Failure(
                f"the control plane at {self.server} did not answer in {seconds:.0f} s", code=ExitCode.TIMEOUT
            ) from error
        except ssl.SSLCertVerificationError as error:
            raise Failure(
                f"the control plane at {self.server} is not trusted ({getattr(error, 'verify_message', '') or error})",
                code=ExitCode.UNREACHABLE,
                hint="--ca-file FILE names the roots to trust: there, `lateen ca show --pem` prints them",
            ) from error
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise Failure(
                f"the control plane at {self.server} cannot be reached ({reason})",
                code=ExitCode.UNREACHABLE,
                hint=_START,
            ) from error
        finally:
            if connection is not None:
                connection.close()
        return _Response(status=response.status, content=content, loopback=loopback, token_file=named)

    def _require_private(self, loopback: str) -> None:
        if self._server.scheme == "http" and not loopback:
            raise Failure(
                f"the token is not sent to {self.server}: anybody on the way could read it",
                code=ExitCode.USAGE,
                hint="use https:// (with --ca-file FILE for the mesh's own roots)",
            )

    def _decoded(self, response: _Response, answer: type[AnswerT]) -> AnswerT:
        if 300 <= response.status < 400:
            raise Failure(
                f"{self.server} redirects (HTTP {response.status}), which is not followed",
                code=ExitCode.UNREACHABLE,
                hint="name the control plane's own HTTP address with --server URL or LATEEN_SERVER",
            )
        try:
            if response.status < 300:
                return msgspec.json.decode(response.content, type=answer)
            raise ApiError(response.status, msgspec.json.decode(response.content, type=ErrorAnswer))
        except msgspec.DecodeError as error:
            raise Failure(
                f"{self.server} does not answer like a Lateen control plane (HTTP {response.status})",
                code=ExitCode.UNREACHABLE,
                hint="name the control plane's HTTP address with --server URL or LATEEN_SERVER",
            ) from error
