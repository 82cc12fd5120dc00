"""Connections to the control plane, in plaintext or over TLS, made by one function that says in words why it failed.

TLS here is the standard library's, with two differences from the web's. The server is known by its SPIFFE ID and not
by its host name, which is whatever the user could reach it by: `ssl` has no check for that, so it is made right after
the handshake, before a byte is sent. And its root is the mesh's own; those of the system count for nothing.

Used by `attach`, `locating` and `certificates`. Must not know: what is said on a connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from lateen.agent.addresses import host_port

UNREACHABLE = "cannot reach the control plane"
_CLOSE_SECONDS = 1.0
_NOT_YET_VALID, _EXPIRED = 9, 10
"""OpenSSL's X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED."""


class ConnectError(Exception):
    """There is no connection. The message says why."""


class DistrustError(ConnectError):
    """One side does not take the other's certificate."""


@dataclass(frozen=True, slots=True)
class Tls:
    """How to connect."""

    context: ssl.SSLContext
    server: str
    """SPIFFE ID that the server must have."""


def client_context(roots: str, certificate: Path | None = None) -> ssl.SSLContext:
    """Return a context that trusts these roots (PEM) and shows the certificate of a file with chain and key.

    Raises ValueError (`ssl.SSLError` is not one) when these are no certificates, or the key is another's.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    try:
        # What stands between certificates is for people, and may be of any alphabet; `ssl` takes ASCII only.
        context.load_verify_locations(cadata=roots.encode("ascii", "replace").decode())
    except ssl.SSLError as error:
        raise ValueError("the roots are no certificates") from error
    if certificate is not None:
        try:
            context.load_cert_chain(certificate)
        except ssl.SSLError as error:
            raise ValueError("the certificate is none, or is not of this key") from error
    return context


@asynccontextmanager
async def connection(
    address: tuple[str, int], tls: Tls | None, seconds: float
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Open a connection for the block. ConnectError when it does not come about within `seconds`."""
    reader, writer = await _open(address, tls, seconds)
    try:
        if tls is not None:
            _check_server(writer, tls.server)
        yield reader, writer
    finally:
        writer.close()


async def _open(
    address: tuple[str, int], tls: Tls | None, seconds: float
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = address
    try:
        async with asyncio.timeout(seconds):
            if tls is None:
                return await asyncio.open_connection(host, port)
            return await asyncio.open_connection(
                host,
                port,
                ssl=tls.context,
                server_hostname=_server_name(host),
                ssl_handshake_timeout=seconds,
                ssl_shutdown_timeout=_CLOSE_SECONDS,
            )
    except TimeoutError:
        raise ConnectError(f"{UNREACHABLE}: no answer in {seconds:g} s") from None
    except ssl.SSLCertVerificationError as error:
        raise DistrustError(_distrust(host_port(host, port), error)) from error
    except ssl.SSLError as error:
        if is_alert(error):
            raise DistrustError(f"{host_port(host, port)} refuses the TLS connection: {error.reason}") from error
        raise ConnectError(f"{host_port(host, port)} is no TLS port of a control plane: {error.reason}") from error
    except OSError as error:
        # asyncio's own text repeats the address; the system's says what happened.
        said = os.strerror(error.errno) if error.errno and error.errno > 0 else error
        raise ConnectError(f"{UNREACHABLE}: {said}") from error


def _server_name(host: str) -> str:
    """Return the name for SNI: none for an address (RFC 6066 section 3).

    asyncio would take any host for one, and `ssl` then loads all of Unicode's tables: half a megabyte in each agent.
    """
    try:
        ip_address(host)
    except ValueError:
        return host
    return ""


def broke(error: OSError) -> str:
    """Return why an open connection broke, in words."""
    if is_alert(error):
        return f"the control plane refuses this workload's certificate: {getattr(error, 'reason', '')}"
    return f"the connection broke: {error.strerror or error}"


def is_alert(error: OSError) -> bool:
    """Whether the peer said by a TLS alert that it refuses us."""
    return isinstance(error, ssl.SSLError) and "ALERT" in (error.reason or "")


async def speaks_tls(address: tuple[str, int], seconds: float) -> bool:
    """Whether a TLS server listens there. Nothing is sent to it and nobody is trusted."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with contextlib.suppress(ConnectError):
        try:
            _, writer = await _open(address, Tls(context, ""), seconds)
        except DistrustError:
            return True
        writer.close()
        return True
    return False


def _check_server(writer: asyncio.StreamWriter, wanted: str) -> None:
    shown: dict[str, tuple[tuple[str, str], ...]] = writer.get_extra_info("peercert") or {}
    names = [name for kind, name in shown.get("subjectAltName", ()) if kind == "URI"]
    if names != [wanted]:
        found = ", ".join(names)[:500] or "no SPIFFE ID"
        raise DistrustError(f"the server is not the control plane: its certificate is of {found}, not of {wanted}")
    if writer.get_extra_info("ssl_object").selected_alpn_protocol() != "h2":
        raise ConnectError("the server does not speak HTTP/2 over TLS, it is no control plane")


def _distrust(place: str, error: ssl.SSLCertVerificationError) -> str:
    if error.verify_code in (_NOT_YET_VALID, _EXPIRED):
        return (
            f"the certificate of the control plane at {place} is not valid now ({error.verify_message}): "
            "is the clock of this machine right?"
        )
    return f"the server at {place} is not the control plane that this workload trusts: {error.verify_message}"
