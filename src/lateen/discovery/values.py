"""The discovery protocol's messages as frozen values, and the error that means "the peer broke the rules".

Made and read by `wire`, understood by `protocol`; knows neither protobuf nor the network. A `kind` is the full name
of a resource's message, its type URL without `type.googleapis.com/`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from lateen.envoy.resources import Resource
from lateen.model.services import Locality

WILDCARD = "*"
"""The name that means every resource of a kind (xDS protocol, "How the client specifies what resources to return")."""


class PeerError(Exception):
    """The client sent something that the protocol or our limits forbid: its stream ends, with this message."""


class ForbiddenError(Exception):
    """The client is not who it says, or may not ask for that: its stream ends, with this message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """Who connects, as it says itself (envoy.config.core.v3.Node)."""

    id: str
    cluster: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Plain JSON values; numbers are floats, as google.protobuf.Struct has no others."""
    locality: Locality = Locality()
    user_agent: str = ""
    """Name and version, `envoy 1.40.0`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StateOfTheWorldRequest:
    """A DiscoveryRequest: every one carries the whole list of names."""

    kind: str
    names: tuple[str, ...] = ()
    version: str = ""
    """Version that the client last accepted, on an earlier stream perhaps; within one, the nonce says the same."""
    nonce: str = ""
    error: str | None = None
    """Message of `error_detail`: the response with this nonce was rejected. None means it was accepted."""
    node: Node | None = None

    @property
    def resumes(self) -> bool:
        """Whether the client, on a first request, holds resources from an earlier stream."""
        return bool(self.version)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeltaRequest:
    """A DeltaDiscoveryRequest: each one carries changes to the list of names."""

    kind: str
    subscribe: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    initial_versions: Mapping[str, str] = field(default_factory=dict)
    """What the client still holds from an earlier stream: resource name -> version."""
    nonce: str = ""
    error: str | None = None
    """As in StateOfTheWorldRequest."""
    node: Node | None = None

    @property
    def resumes(self) -> bool:
        """Whether the client, on a first request, holds resources from an earlier stream."""
        return bool(self.initial_versions)


Request: TypeAlias = StateOfTheWorldRequest | DeltaRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What goes to the client. All but the nonce is equal for clients at the same place, so its bytes can be shared."""

    kind: str
    nonce: str
    version: str
    """`version_info` (state of the world), `system_version_info` (delta): the snapshot it was made from."""
    resources: tuple[Resource, ...] = ()
    removed: tuple[str, ...] = ()
    """Delta only: names that are gone, or that never were."""
