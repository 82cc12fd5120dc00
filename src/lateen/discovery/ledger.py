"""The ledger: per stream and kind what was sent, what was acknowledged and what was rejected and why. Pure data.

Written by `protocol`, which also asks it whether an answer is still awaited; shown through `hub.proxies()` by the
API (`proxy-status`). Knows nothing of subscriptions, resources or time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import Enum, auto
from typing import Literal

from lateen.model.proxies import Proxy

Progress = Literal["synced", "stale", "rejected", "not sent"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeStatus:
    """Where one proxy is with one kind of resource."""

    state: Progress
    """`stale`: sent and not yet answered. `not sent`: it never asked, or there is nothing yet to answer with."""
    sent: str = ""
    """Version of the snapshot in the newest response."""
    acknowledged: str = ""
    """Version in the newest response that it accepted."""
    rejection: str = ""
    """The proxy's own words, when the newest response was rejected."""
    resources: int = 0
    """How many resources it subscribes to were there in the newest response's snapshot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyStatus:
    """One connected stream."""

    proxy: Proxy
    connected_at: float
    """Seconds since the epoch."""
    user_agent: str
    types: Mapping[str, TypeStatus]
    """By kind (message name): every kind that Lateen serves, and whatever else the proxy asked for."""


class Answer(Enum):
    """What a request means for the response that its nonce names."""

    UNPROMPTED = auto()
    """Nothing of this kind has been sent on this stream, so there is nothing to answer."""
    ACK = auto()
    NACK = auto()
    REPEATED = auto()
    """The newest response again, which was answered already."""
    STALE = auto()
    """An older response, or none that was sent on this stream."""


_ANSWERS = {
    # (nonce of the newest response, still unanswered, with an error)
    (True, True, False): Answer.ACK,
    (True, True, True): Answer.NACK,
    (True, False, False): Answer.REPEATED,
    # A rejection twice says nothing new; taking it as a wish to get the same again would loop.
    (True, False, True): Answer.STALE,
    (False, True, False): Answer.STALE,
    (False, True, True): Answer.STALE,
    (False, False, False): Answer.STALE,
    (False, False, True): Answer.STALE,
}
"""xDS protocol, "ACK/NACK and resource type instance version": a response is rejected exactly when the request that
carries its nonce has `error_detail`."""


@dataclass(slots=True)
class _Entry:
    sent: str = ""
    nonce: str = ""
    acknowledged: str = ""
    rejection: str | None = None


class Ledger:
    """What one stream was sent and what it said. At most one response of a kind is unanswered at a time."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}
        self._unanswered: dict[str, str] = {}
        """Nonce by kind."""

    def record_sent(self, kind: str, version: str, nonce: str) -> None:
        """Note a response; the one before it must have been answered."""
        entry = self._entries.setdefault(kind, _Entry())
        assert kind not in self._unanswered, f"two {kind} responses in flight"
        entry.sent = version
        entry.nonce = self._unanswered[kind] = nonce

    def record_answer(self, kind: str, nonce: str, error: str | None) -> Answer:
        """Note what a request with this nonce says, and return it."""
        entry = self._entries.get(kind)
        if entry is None:
            return Answer.UNPROMPTED
        answer = _ANSWERS[bool(nonce) and nonce == entry.nonce, kind in self._unanswered, error is not None]
        if answer is Answer.ACK:
            entry.acknowledged, entry.rejection = entry.sent, None
            del self._unanswered[kind]
        elif answer is Answer.NACK:
            entry.rejection = error
            del self._unanswered[kind]
        return answer

    def withdraw(self, kind: str) -> None:
        """Stop waiting for the answer to the newest response of a kind; one that comes all the same is stale."""
        if self._unanswered.pop(kind, None):
            self._entries[kind].nonce = ""

    def awaits(self, kind: str) -> bool:
        """Whether the newest response of this kind is unanswered."""
        return kind in self._unanswered

    def unanswered_nonce(self, kind: str) -> str:
        """Return the nonce of the newest response of this kind if it is unanswered, else an empty string."""
        return self._unanswered.get(kind, "")

    @property
    def unanswered(self) -> AbstractSet[str]:
        """Kinds whose newest response is unanswered."""
        return self._unanswered.keys()

    def rejects(self, kinds: Iterable[str]) -> bool:
        """Whether the newest answered response of any of these kinds was rejected."""
        return any(kind in self._entries and self._entries[kind].rejection is not None for kind in kinds)

    def status(self, kind: str, resources: int) -> TypeStatus:
        """Return the state of one kind."""
        entry = self._entries.get(kind)
        if entry is None:
            return TypeStatus(state="not sent")
        state: Progress = "synced"
        if kind in self._unanswered:
            state = "stale"
        elif entry.rejection is not None:
            state = "rejected"
        return TypeStatus(
            state=state,
            sent=entry.sent,
            acknowledged=entry.acknowledged,
            rejection=entry.rejection or "",
            resources=resources,
        )
