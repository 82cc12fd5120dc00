"""What the API needs of a control plane: protocols that `app` fulfils and tests fake.

The shapes of the discovery room's statuses are repeated here as protocols because edges never import each other.
Must not know: HTTP, stores, registries, gRPC.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from lateen.config.objects import ConfigObject
from lateen.config.positions import Positions
from lateen.envoy.resources import Snapshot
from lateen.mesh.state import MeshState
from lateen.model.findings import Finding
from lateen.model.names import ObjectKey
from lateen.model.origins import Origin
from lateen.model.proxies import Proxy


class ReadOnlyObjectError(Exception):
    """An object that a watched directory holds cannot be changed through the API; only its file can."""

    def __init__(self, key: ObjectKey, origin: Origin) -> None:
        super().__init__(f"{key} is managed by {origin}")
        self.key = key
        self.origin = origin


class TypeStatus(Protocol):
    """Where one proxy stands with one type of resource (see `schemas.TypeStatusView`)."""

    @property
    def state(self) -> str: ...  # noqa: D102
    @property
    def sent(self) -> str: ...  # noqa: D102
    @property
    def acknowledged(self) -> str: ...  # noqa: D102
    @property
    def rejection(self) -> str: ...  # noqa: D102
    @property
    def resources(self) -> int: ...  # noqa: D102


class ProxyStatus(Protocol):
    """One connected proxy; `connected_at` is Unix time in seconds, `types` is keyed by message name."""

    @property
    def proxy(self) -> Proxy: ...  # noqa: D102
    @property
    def connected_at(self) -> float: ...  # noqa: D102
    @property
    def user_agent(self) -> str: ...  # noqa: D102
    @property
    def types(self) -> Mapping[str, TypeStatus]: ...  # noqa: D102


class ControlPlane(Protocol):
    """The running control plane as the API sees it. All reads answer from the newest published state."""

    @property
    def ready(self) -> bool:
        """Whether the first state is published and proxies are accepted."""

    @property
    def state(self) -> MeshState | None:
        """The newest published state, None before the first."""

    @property
    def grpc_address(self) -> str:
        """`HOST:PORT` of plaintext xDS."""

    @property
    def http_address(self) -> str:
        """`HOST:PORT` of this API."""

    def objects(self) -> Mapping[ObjectKey, ConfigObject[Any]]:
        """Return every object in force, whatever store holds it, sorted by key."""

    def read_only(self, key: ObjectKey) -> Origin | None:
        """Return where a directory holds this object, None when it can be changed here."""

    def findings(self) -> tuple[Finding, ...]:
        """Return what is wrong with the configuration in force, cross-resource findings included."""

    def preview(
        self, objects: Sequence[ConfigObject[Any]], positions: Mapping[ObjectKey, Positions]
    ) -> tuple[Finding, ...]:
        """Return the cross-resource findings about these objects, as if they were applied.

        `positions` say where their fields stand, so that the findings have a place.
        """

    async def put(self, objects: Sequence[ConfigObject[Any]]) -> str:
        """Store the objects and return the version of a published state that holds them.

        Raises ReadOnlyObjectError, and then stores nothing.
        """

    async def remove(self, key: ObjectKey) -> str:
        """Delete the object and return the version of a published state without it.

        Raises ReadOnlyObjectError, or KeyError when there is no such object.
        """

    def proxies(self) -> Sequence[ProxyStatus]:
        """Return the connected proxies, sorted by id."""

    def snapshot_for(self, proxy_id: str) -> tuple[Proxy, Snapshot] | None:
        """Return what a connected proxy is served, None when it is not connected."""

    async def wait_synced(self, version: str, seconds: float) -> Sequence[ProxyStatus]:
        """Wait until each connected proxy acknowledged or rejected that state, at most so many seconds."""

    def is_synced(self, version: str) -> bool:
        """Whether each connected proxy has acknowledged or rejected that state, or a later one."""
