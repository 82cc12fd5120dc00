"""Issuers for tests: keys, tokens signed with them, and a server of their key sets. Keys are made when asked for."""

from __future__ import annotations

import base64
import hmac
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from joserfc import jwk, jwt

ISSUER = "https://issuer.example.com"


@cache
def signing_key(kid: str, algorithm: str = "RS256") -> jwk.RSAKey | jwk.ECKey:
    """A private key; the same one for the same `kid`."""
    parameters: Any = {"kid": kid, "alg": algorithm, "use": "sig"}
    if algorithm == "ES256":
        return jwk.ECKey.generate_key("P-256", parameters)
    return jwk.RSAKey.generate_key(2048, parameters)


def key_set(*keys: jwk.RSAKey | jwk.ECKey) -> str:
    """The JSON Web Key Set of the public keys."""
    return json.dumps({"keys": [key.as_dict(private=False) for key in keys]})


def token(key: jwk.RSAKey | jwk.ECKey, *, algorithm: str = "", seconds: float = 600, **claims: Any) -> str:
    """A token of ISSUER that is valid for so many seconds; claims that are None are left out."""
    now = int(time.time())
    held = {"iss": ISSUER, "sub": "alice", "iat": now, "exp": now + int(seconds), **claims}
    header = {"alg": algorithm or key.alg, "kid": key.kid}
    algorithms = [header["alg"]] if header["alg"] else None
    return jwt.encode(header, {name: value for name, value in held.items() if value is not None}, key, algorithms)


def unsigned(**claims: Any) -> str:
    """A token of ISSUER with `alg: none`, whose signature is empty."""
    held = {"iss": ISSUER, "sub": "alice", "exp": int(time.time()) + 600, **claims}
    return f"{_part({'alg': 'none', 'typ': 'JWT'})}.{_part(held)}."


def signed_with_text(secret: bytes, **claims: Any) -> str:
    """A token signed with HMAC; no library lends itself to that with a public key."""
    signed = f"{_part({'alg': 'HS256', 'typ': 'JWT', 'kid': 'rsa'})}.{_part({'exp': int(time.time()) + 600, **claims})}"
    digest = hmac.digest(secret, signed.encode(), "sha256")
    return f"{signed}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


def _part(value: Mapping[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


class Documents:
    """What a server answers, by path; may be changed while it runs."""

    def __init__(self, port: int) -> None:
        self.address = f"http://127.0.0.1:{port}"
        self.documents: dict[str, bytes] = {}
        self.asked: Counter[str] = Counter()

    def put(self, path: str, text: str) -> str:
        """Serve a document; return its URI."""
        self.documents[path] = text.encode()
        return self.address + path


@contextmanager
def document_server() -> Iterator[Documents]:
    """An HTTP server on loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.asked[self.path] += 1
            found = served.documents.get(self.path)
            self.send_response(404 if found is None else 200)
            self.send_header("content-length", str(len(found or b"")))
            self.end_headers()
            self.wfile.write(found or b"")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        served = Documents(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield served
        finally:
            server.shutdown()
            thread.join()
