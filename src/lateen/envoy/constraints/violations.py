"""A rule of Envoy's that a message breaks, and where. Made by the rules of this folder."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One value that Envoy refuses."""

    path: str
    """Of the field, from the message that was checked: `virtual_hosts[0].routes[2].match.safe_regex`."""
    rule: str
    """What the field must be: `must be greater than 0s`."""
    origin: str = ""
    """`bookshop.yaml:12` of the innermost message around it that says where it comes from."""
    config: str = ""
    """`VirtualService default/reviews`, likewise."""

    def __str__(self) -> str:
        return f"{self.path} {self.rule}" if self.path else self.rule

    def under(self, prefix: str) -> Violation:
        """Return it as seen from a message around."""
        if not self.path:
            return replace(self, path=prefix)
        joint = "" if self.path.startswith("[") else "."
        return replace(self, path=f"{prefix}{joint}{self.path}")

    def coming_from(self, origin: str, config: str) -> Violation:
        """Return it with a place, unless it has one that is nearer."""
        return self if self.config else replace(self, origin=origin, config=config)


def under(prefix: str, found: Iterable[Violation]) -> list[Violation]:
    """Return violations as seen from a message around."""
    return [one.under(prefix) for one in found]
