"""The question: which request, from whom. Read from what a user writes, with words for what is wrong with it.

Called by `cli` and `api`; answered by `explaining`.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from lateen.model.proxies import Proxy


class QuestionError(ValueError):
    """A question that cannot be asked; `hint` says how to write it, `usage` whether it is one of form."""

    def __init__(self, message: str, hint: str = "", *, usage: bool = True) -> None:
        super().__init__(message)
        self.hint = hint
        self.usage = usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A request, and who sends it."""

    proxy: Proxy
    """The caller's sidecar, or the gateway through which it comes in."""
    method: str
    scheme: str
    host: str
    """As the caller writes it, lower case, without port."""
    port: int
    authority: str
    """What the Host header says."""
    url_authority: str
    """What the URL says."""
    path: str
    """With its query."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """By lower-case name."""
    claims: Mapping[str, Any] | None = None
    """Of a token that comes along where it is looked for."""
    source_ip: str = ""
    identity: tuple[str, str] | None = None
    """Namespace and service account of the caller, instead of the proxy's own."""
    plaintext: bool = False
    """Whether the caller has no certificate."""
    assumed_sidecars: bool = False
    """Whether every workload of the mesh counts as one that takes mutual TLS: files cannot tell."""

    @property
    def as_headers(self) -> dict[str, str]:
        """The request as filters see it, pseudo-headers first."""
        whole = {":method": self.method, ":path": self.path, ":authority": self.authority}
        return {**whole, "x-forwarded-proto": self.scheme, **self.headers}

    @property
    def url(self) -> str:
        """The URL as it was understood."""
        return f"{self.scheme}://{self.authority}{self.path}"


_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_REQUEST = 'write it as "GET http://reviews:9080/path", or tcp://bank:7070'
_PORTS = {"http": 80, "https": 443, "tcp": 0}
_BYTES = "tcp"


def question(
    proxy: Proxy,
    request: str,
    *,
    headers: Sequence[str] = (),
    claims: str = "",
    source_ip: str = "",
    identity: str = "",
    plaintext: bool = False,
    assumed_sidecars: bool = False,
) -> Question:
    """Read a question from text. Raises QuestionError."""
    method, url = _request_line(request)
    parts = urlsplit(url)
    try:
        port = parts.port or _PORTS[parts.scheme]
    except ValueError as error:
        raise QuestionError(f"{url!r} has no port from 1 to 65535", _REQUEST) from error
    given = read_headers(headers)
    if not port:
        raise QuestionError(f"{url!r} has no port", "as in tcp://bank:7070")
    default = port == _PORTS[parts.scheme]
    host = (parts.hostname or "").rstrip(".")
    written = parts.netloc.rpartition("@")[2].removesuffix(f":{parts.port}").rstrip(".")
    url_authority = written if default else f"{written}:{port}"
    return Question(
        proxy=proxy,
        method=method,
        scheme=parts.scheme,
        host=host,
        port=port,
        authority=given.pop("host", "") or url_authority,
        url_authority=url_authority,
        path=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
        headers=given,
        claims=_claims(claims) if claims else None,
        source_ip=_address(source_ip) if source_ip else "",
        identity=_identity(identity) if identity else None,
        plaintext=plaintext,
        assumed_sidecars=assumed_sidecars,
    )


def _request_line(text: str) -> tuple[str, str]:
    words = text.split()
    if len(words) == 1 and words[0].startswith(f"{_BYTES}://"):
        words.insert(0, "CONNECT")
    if len(words) == 1 and "://" in words[0]:
        raise QuestionError(f"the request {text[:200]!r} has no method", _REQUEST)
    if len(words) == 3 and words[2].upper().startswith("HTTP/"):
        words.pop()
    if len(words) != 2:
        raise QuestionError(f"the request {text[:200]!r} is not a method and a URL", _REQUEST)
    method, url = words
    if not _TOKEN.fullmatch(method):
        raise QuestionError(f"{method[:50]!r} is not an HTTP method", _REQUEST)
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError as error:
        raise QuestionError(f"{url[:200]!r} is not a URL ({error})", _REQUEST) from error
    if parts.scheme not in _PORTS or not host:
        raise QuestionError(f"{url[:200]!r} is not an http://, https:// or tcp:// URL with a host", _REQUEST)
    return method, url


def read_headers(lines: Sequence[str]) -> dict[str, str]:
    """Return headers by lower-case name, of several of one name the values joined. `NAME=VALUE` or `NAME: VALUE`."""
    found: dict[str, str] = {}
    for line in lines:
        match = re.fullmatch(rf"({_TOKEN.pattern})(?:=|:\s*)(.*)", line, re.DOTALL)
        if match is None or any(char in match[2] for char in "\r\n\0"):
            raise QuestionError(f"{line[:200]!r} is not a header", "write it as NAME=VALUE")
        name, value = match[1].lower(), match[2].strip()
        found[name] = f"{found[name]},{value}" if name in found else value
    return found


def _claims(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise QuestionError(f"the claims are not JSON: {error}", '{"iss": "...", "sub": "..."}') from error
    if not isinstance(found, dict):
        raise QuestionError("the claims are not a JSON object", '{"iss": "...", "sub": "..."}')
    return found


def _address(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError as error:
        raise QuestionError(f"the source {text[:80]!r} is not an IP address", "as in 10.0.0.7") from error


def _identity(text: str) -> tuple[str, str]:
    match = re.fullmatch(r"([A-Za-z0-9._-]+)/([A-Za-z0-9._-]+)", text)
    if match is None:
        raise QuestionError(f"{text[:80]!r} is not an identity", "write NAMESPACE/SERVICE_ACCOUNT")
    return match[1], match[2]


def decoded_token(text: str) -> dict[str, Any] | None:
    """Return the claims of a JWT, nothing verified; None when it is none."""
    parts = text.split(".")
    if len(parts) != 3:
        return None
    try:
        found = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError):
        return None
    return found if isinstance(found, dict) else None


_JWT = re.compile(r"(eyJ[\w-]+\.[\w-]+)\.[\w-]+")


def without_signatures(text: str) -> str:
    """Return a text in which tokens are no longer valid: what is only read need not travel as a credential."""
    return _JWT.sub(r"\1.removed", text)
