"""One attach stream as a sans-IO machine: bytes in, events out; messages in, bytes out.

What the messages say; `grpc_call` does the framing and `attach` owns the socket. A peer that breaks the rules yields
`Ended`; a wrong call of ours raises.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from lateen.agent.grpc_call import Alive, CallHead, Ended, GrpcCall, Message, SpeaksHttp1
from lateen.model.proxy_settings import GroupTraits, ProxySettings
from lateen.model.workloads import ATTACH_METHOD, CALLS, MAX_CALLS, MAX_MESSAGE_BYTES, TRUSTS, WorkloadRegistration

_MAX_ROOTS = 32
_TAKEN = {CALLS, TRUSTS}


@dataclass(frozen=True, slots=True)
class Registered:
    """The control plane knows the workload under this name."""

    name: str
    takes: frozenset[str] = frozenset()
    """What else it wants to be told (`calls`, `trusts`); an older one would end the stream."""
    proxy: ProxySettings = field(default_factory=ProxySettings)
    """What the proxy begins with."""
    group: GroupTraits | None = None
    """What the workload is by its group; None without one, and from a control plane that knows none."""
    bootstrap: Mapping[str, Any] = field(default_factory=dict)
    """What is to be merged into Envoy's bootstrap."""


@dataclass(frozen=True, slots=True)
class Trust:
    """Which roots to trust from now on."""

    roots: tuple[str, ...]
    """PEM."""
    issuer: str = ""
    """Who signs now: a certificate of another one is to be renewed. Empty when nobody says."""


@dataclass(frozen=True, slots=True)
class Left:
    """The workload is gone from every proxy (`acknowledged`), or the wait for them timed out."""

    acknowledged: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """The control plane does not take this workload, and says why."""

    message: str


AttachEvent: TypeAlias = Registered | Trust | Left | Refused | Ended | SpeaksHttp1 | Alive


class AttachStream:
    """One connection with one stream on it. Send what `data_to_send` returns after each call."""

    def __init__(self, authority: str, token: str = "", *, scheme: str = "http") -> None:
        head = CallHead(method=ATTACH_METHOD, authority=authority, scheme=scheme, token=token)
        self._call = GrpcCall(head, MAX_MESSAGE_BYTES)

    def __repr__(self) -> str:
        # The headers hold a token.
        return f"AttachStream({self._call!r})"

    def data_to_send(self) -> bytes:
        """Return (once) the bytes that must go to the peer now."""
        return self._call.data_to_send()

    def register(self, registration: WorkloadRegistration) -> None:
        """Say, or say anew, what the workload is."""
        self._send({"register": registration.to_json()})

    def calls(self, hosts: Sequence[str]) -> None:
        """Say which hosts the workload calls, in messages of MAX_CALLS. Only to one that takes them."""
        for first in range(0, len(hosts), MAX_CALLS):
            self._send({CALLS: hosts[first : first + MAX_CALLS]})

    def trusts(self, digest: str) -> None:
        """Say which roots the workload trusts now. Only to one that takes it."""
        self._send({TRUSTS: digest})

    @property
    def blocked(self) -> bool:
        """Whether what was said before still waits for the peer's windows."""
        return self._call.blocked

    def leave(self) -> None:
        """Say that the workload wants to go."""
        self._send({"leave": True})

    def ping(self) -> None:
        """Ask for a sign of life; `Alive` follows."""
        self._call.ping()

    def receive(self, data: bytes) -> list[AttachEvent]:
        """Take bytes from the peer; empty bytes mean that it closed the connection."""
        events: list[AttachEvent] = []
        for event in self._call.receive(data):
            understood = self._understood(event.body) if isinstance(event, Message) else event
            events.append(understood)
            if isinstance(understood, Ended):
                break
        return events

    def _understood(self, message: bytes) -> AttachEvent:
        try:
            match json.loads(message):
                case {"registered": {"name": str(name), **more}} if name:
                    takes = more.get("takes")
                    known = _TAKEN & {word for word in takes if isinstance(word, str)} if type(takes) is list else ()
                    proxy = ProxySettings.from_json(more.get("proxy"))
                    patch = more.get("bootstrap")
                    return Registered(
                        name,
                        frozenset(known),
                        proxy,
                        GroupTraits.from_json(more.get("group")),
                        patch if isinstance(patch, dict) else {},
                    )
                case {"trust": {"roots": [*roots], **more}} if _are_texts(roots):
                    issuer = more.get("issuer")
                    return Trust(tuple(roots), issuer if isinstance(issuer, str) else "")
                case {"left": {"acknowledged": bool(acknowledged)}}:
                    return Left(acknowledged)
                case {"refused": {"message": str(text)}}:
                    return Refused(text[:1000])
        except (ValueError, RecursionError):
            pass
        return self._call.end("the control plane sent a message that this agent does not understand")

    def _send(self, message: dict[str, Any]) -> None:
        body = json.dumps(message, separators=(",", ":")).encode()
        if len(body) > MAX_MESSAGE_BYTES:
            raise ValueError(f"a registration of {len(body)} bytes is larger than {MAX_MESSAGE_BYTES}: fewer labels?")
        self._call.send(body)


def _are_texts(roots: list[Any]) -> bool:
    """Whether these can be roots: none at all would cut the workload off from everybody."""
    return 0 < len(roots) <= _MAX_ROOTS and all(isinstance(root, str) for root in roots)
