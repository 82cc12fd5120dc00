"""Gets the secrets of this workload's Envoy once more, to keep them: Envoy shows private keys to nobody.

One short connection to the control plane, by the workload's own certificate; it gives what Envoy holds and nothing
else. Used by `envoy_life`. Must not know: what is done with them. Nothing of a secret is ever logged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from lateen.agent.addresses import host_port
from lateen.agent.certificate_messages import MessageError
from lateen.agent.grpc_call import CallHead
from lateen.agent.secret_messages import FETCH_SECRETS, decode_secrets, encode_question
from lateen.agent.secure_connection import ConnectError, Tls, connection
from lateen.agent.unary_call import CallError, ask

Route = tuple[tuple[str, int], Tls | None]
"""Address of a control plane, and how to prove who we are; None where it gives no certificates."""
_SECONDS = 10.0
_NAMES_AT_ONCE = 50
_SAID = ("NAMESPACE", "SERVICE_ACCOUNT")
"""Of the node's metadata: what says who it is."""


async def fetch_secrets(
    routes: Callable[[], Iterable[Route]], node: Mapping[str, Any], names: Iterable[str]
) -> dict[str, bytes]:
    """Return those of the secrets that are to be had, each as a file that Envoy reads.

    Of several control planes the one knows them that this Envoy is connected to.
    """
    wanted, found = sorted(names), dict[str, bytes]()
    for route in routes():
        while left := [name for name in wanted if name not in found][:_NAMES_AT_ONCE]:
            got = await _fetch(route, node, left)
            found |= {name: secret for name, secret in got.items() if name in left}
            if not found.keys() & set(left):
                break
    return found


async def _fetch(route: Route, node: Mapping[str, Any], names: list[str]) -> dict[str, bytes]:
    address, tls = route
    head = CallHead(
        method=FETCH_SECRETS,
        authority=host_port(*address),
        scheme="https" if tls else "http",
        content_type="application/grpc",
    )
    metadata = {key: str(node["metadata"][key]) for key in _SAID}
    question = encode_question(node["id"], metadata, names)
    try:
        async with asyncio.timeout(_SECONDS), connection(address, tls, _SECONDS) as (reader, writer):
            return decode_secrets(await ask(reader, writer, head, question))
    except (ConnectError, CallError, MessageError, OSError, TimeoutError):
        # The control plane is going, or is older than this: the secret is named as missing.
        return {}
