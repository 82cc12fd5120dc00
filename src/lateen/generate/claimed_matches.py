"""Which connections of a listener are taken: Envoy refuses a listener in which two chains want one connection.

Called while an outbound listener is drafted. Two services may have an endpoint in common, two routes a server name; the
first one that asks has it, and the later one keeps what is left of its match. Pure.
"""

from __future__ import annotations

from itertools import product

from lateen.envoy.listeners import network_of

_ANY_NAME = ""
_ANY_TLS = "*"
_ANYWHERE = ("", 0)


class ClaimedMatches:
    """Pairs of a server name and a range of addresses that have a chain."""

    def __init__(self) -> None:
        self._pairs: set[tuple[str, tuple[str, int]]] = set()

    def claim(self, server_names: tuple[str, ...], ranges: tuple[str, ...]) -> tuple[list[str], list[str]] | None:
        """Take what nobody has yet of the server names at the ranges and return it, None when nothing is left.

        No server names mean connections without TLS too, no ranges mean any address. Ranges are valid ones.
        """
        names = list(dict.fromkeys(server_names)) if _ANY_TLS not in server_names else [_ANY_TLS]
        places = {network_of(text): text for text in ranges}
        keys = list(places) or [_ANYWHERE]
        wanted = names or [_ANY_NAME]
        if self._pairs.isdisjoint(product(wanted, keys)):
            self._pairs.update(product(wanted, keys))
            return names, list(places.values())
        wanted = [name for name in wanted if not all((name, key) in self._pairs for key in keys)]
        keys = [key for key in keys if not any((name, key) in self._pairs for name in wanted)]
        if not wanted or not keys:
            return None
        self._pairs.update(product(wanted, keys))
        return (wanted if names else []), [places[key] for key in keys if key in places]
