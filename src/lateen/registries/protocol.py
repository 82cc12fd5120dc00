"""The contract of a registry: where services live. Used by `app`, which gives every catalogue to `mesh.build`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from lateen.model.catalogues import Catalogue


class Registry(Protocol):
    """A source of services, endpoints and workloads."""

    @property
    def name(self) -> str:
        """How messages and catalogues call it: `agents`."""

    def watch(self) -> AsyncIterator[Catalogue]:
        """Yield the whole catalogue at once, and again after each change, for as long as the caller iterates.

        Level-triggered: changes that come while the caller is busy are seen as one, and only the newest
        catalogue is yielded. Any number of watchers may run.
        """
