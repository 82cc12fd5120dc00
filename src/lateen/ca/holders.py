"""Who holds which leaf and trusts which roots, as far as this control plane was told: the facts for `rotation`. Pure.

Fed by `app`: with every certificate that is issued, and by the attach stream. A leaf is known by its serial number. Its
holder is somebody who is connected, or who may come back while it is valid. What was issued before this process started
is not known until it is shown, so for the life of a leaf after the start nobody can say who is absent.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lateen.ca.rotation import Facts


def bundle_digest(roots: Sequence[str]) -> str:
    """Return how an agent confirms these roots (`trusts`): blake2b-128 of them joined by newlines, hexadecimal."""
    return hashlib.blake2b("\n".join(roots).encode(), digest_size=16).hexdigest()


@dataclass(slots=True, kw_only=True, eq=False)
class Holder:
    """The holder of a leaf. For the attach stream: opaque."""

    name: str
    serial: int
    not_after: dt.datetime
    issuer_id: str
    trusts: str = ""
    """The digest of the roots that it has confirmed, or was given with its leaf."""
    streams: int = 0
    """How many connections it has: one that comes back may do so before we see the old one end."""

    @property
    def connected(self) -> bool:
        """Whether it can be told something now."""
        return self.streams > 0


class Holders:
    """All of them. Expired ones are forgotten when somebody asks for the facts."""

    def __init__(self, watching_since: dt.datetime, complete_from: dt.datetime) -> None:
        """`complete_from`: when no leaf can be valid any more of which we do not know: `watching_since` and the longest
        life of a leaf; `watching_since` itself for a CA that is as new as we are (`Authority.is_new`)."""
        self._watching_since = watching_since
        self._complete_from = complete_from
        self._by_serial: dict[int, Holder] = {}

    def issued(
        self, name: str, *, serial: int, not_after: dt.datetime, issuer_id: str, renews: int | None, trusts: str
    ) -> None:
        """Note a leaf that was issued, with the digest of the roots that went with it. `name` until it attaches."""
        holder = None if renews is None else self._by_serial.pop(renews, None)
        if holder is None:
            holder = Holder(name=name, serial=serial, not_after=not_after, issuer_id=issuer_id)
        holder.serial, holder.not_after, holder.issuer_id, holder.trusts = serial, not_after, issuer_id, trusts
        self._by_serial[serial] = holder

    def attached(self, name: str, *, serial: int, not_after: dt.datetime, issuer_id: str) -> Holder:
        """Note that the holder of a leaf is connected, and what it is called."""
        holder = self._by_serial.get(serial)
        if holder is None:
            holder = Holder(name=name, serial=serial, not_after=not_after, issuer_id=issuer_id)
            self._by_serial[serial] = holder
        holder.name = name
        holder.streams += 1
        return holder

    def confirmed(self, holder: Holder, digest: str) -> None:
        """Note which roots a connected holder says that it trusts."""
        holder.trusts = digest

    def detached(self, holder: Holder, *, for_good: bool) -> None:
        """Note that a stream ended; `for_good` when its workload left: it will not show its leaf again."""
        holder.streams -= 1
        if for_good and self._by_serial.get(holder.serial) is holder:
            del self._by_serial[holder.serial]

    def facts(self, now: dt.datetime, *, trusts: str, issuer_id: str, issues_new: bool) -> Facts:
        """Return the facts for a step: against the digest of the newest bundle, who signs now, and the phase."""
        expired = [each.serial for each in self._by_serial.values() if each.not_after <= now and not each.connected]
        for serial in expired:
            del self._by_serial[serial]
        distrusting = [each for each in self._by_serial.values() if each.trusts != trusts]
        old = [each for each in self._by_serial.values() if each.issuer_id != issuer_id]
        awaited = old if issues_new else distrusting
        return Facts(
            watching_since=self._watching_since,
            distrusting=_names(each for each in distrusting if each.connected),
            holding_old=_names(each for each in old if each.connected),
            absent=_names(each for each in awaited if not each.connected) if now >= self._complete_from else None,
        )


def _names(holders: Iterable[Holder]) -> tuple[str, ...]:
    return tuple(sorted({holder.name for holder in holders}))
