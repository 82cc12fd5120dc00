"""The contract of whoever fetches keys. Used by `app`, which gives the key sets to `mesh.build`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Protocol


class KeySets(Protocol):
    """Key sets by source (`config.key_sets.key_source`)."""

    def want(self, sources: Mapping[str, float]) -> None:
        """Say which sources are needed from now on, each with the seconds that one fetch may take.

        A source that is new is fetched at once, one that is missing here is forgotten, with its keys.
        """

    async def answered(self) -> None:
        """Wait until every source that is wanted was tried once, with success or without."""

    @property
    def key_sets(self) -> Mapping[str, str]:
        """The last good key set of each source that ever had one. Nobody changes the mapping."""

    @property
    def problems(self) -> Mapping[str, str]:
        """Why the last fetch of a source failed, by source; those that went well are absent."""

    def watch(self) -> AsyncIterator[Mapping[str, str]]:
        """Yield `key_sets` at once, and again after each change, for as long as the caller iterates.

        Level-triggered: of changes that come while the caller is busy only the newest state is seen.
        """
