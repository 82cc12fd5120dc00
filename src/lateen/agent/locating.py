"""Finds out what kind of control plane listens at the address that the user gave.

Called by `certificates`, for addresses of this machine only: what is learned here is said in plaintext by whoever
listens. Must not know: tokens, or what the answer is good for.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from lateen.agent.addresses import host_port, split_host_port
from lateen.agent.errors import JoinError
from lateen.agent.grpc_call import CallHead
from lateen.agent.http1 import Http1Error, fetch
from lateen.agent.joining import LOCATE, Address, Located, read_located
from lateen.agent.secure_connection import broke, connection, speaks_tls
from lateen.agent.unary_call import CallError, SpeaksHttp1Error, SpeaksNoHttp2Error, ask


@dataclass(frozen=True, slots=True)
class Plaintext:
    """A control plane that gives no certificates."""

    address: Address


@dataclass(frozen=True, slots=True)
class SecureOnly:
    """A TLS server: the user gave the secure address."""

    address: Address


async def locate(address: Address, seconds: float, *, by_http: bool = True) -> Located | Plaintext | SecureOnly:
    """Ask the control plane where it is, each step within `seconds`.

    An HTTP server is asked for the gRPC port, once (`by_http`). Raises JoinError, ConnectError when nobody answers.
    """
    try:
        return read_located(await _ask(address, seconds), address[0])
    except SpeaksHttp1Error:
        if by_http and (found := await grpc_address(address, seconds)):
            return await locate(found, seconds, by_http=False)
        raise JoinError(no_grpc(address)) from None
    except CallError as error:
        if error.status and error.status.name == "UNIMPLEMENTED":
            return Plaintext(address)
        if isinstance(error, SpeaksNoHttp2Error) and await speaks_tls(address, seconds):
            return SecureOnly(address)
        raise JoinError(f"the control plane does not say where it is: {error}") from error


async def _ask(address: Address, seconds: float) -> bytes:
    async with connection(address, None, seconds) as (reader, writer):
        try:
            async with asyncio.timeout(seconds):
                return await ask(reader, writer, CallHead(method=LOCATE, authority=host_port(*address)), b"{}")
        except TimeoutError:
            raise JoinError("the control plane does not say where it is: no answer") from None
        except OSError as error:
            raise SpeaksNoHttp2Error(broke(error)) from error


async def grpc_address(address: Address, seconds: float) -> Address | None:
    """Ask an HTTP server: if it is our control plane's, it says where gRPC is. None when it is another's."""
    host, port = address
    try:
        async with asyncio.timeout(seconds):
            answer = await fetch(host, port, "/v1/control-plane", limit=64 * 1024)
        said: dict[str, Any] = json.loads(answer.body) if answer.status == 200 else {}
        grpc_host, grpc_port = split_host_port(str(said["grpc"]))
    except (OSError, TimeoutError, Http1Error, ValueError, KeyError, TypeError, AttributeError):
        return None
    return (host if grpc_host in ("0.0.0.0", "::", "") else grpc_host), grpc_port


def no_grpc(address: Address) -> str:
    """Say that an HTTP server is none of ours."""
    return (
        f"{host_port(*address)} is a plain HTTP server, not a control plane's gRPC port: "
        "pass --control-plane HOST:PORT with the gRPC port (15010 by default)"
    )
