"""What the hub asks and tells of the hosts that workloads were seen calling. Fulfilled by `app`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from lateen.model.names import Hostname
from lateen.model.proxies import Proxy


class Learning(Protocol):
    """Which hosts a workload calls, as far as its proxies have shown."""

    def hosts(self, proxy: Proxy) -> tuple[Hostname, ...]:
        """Return the hosts that a proxy which connects now is told of before it asks, sorted."""

    def note(self, proxy: Proxy, clusters: Iterable[str]) -> None:
        """Take note of clusters, by name, that a proxy asked for or came back with."""


class Forgetful:
    """Nothing is learned: every proxy asks for everything again."""

    def hosts(self, _proxy: Proxy) -> tuple[Hostname, ...]:
        """Return none."""
        return ()

    def note(self, proxy: Proxy, clusters: Iterable[str]) -> None:
        """Forget it."""
