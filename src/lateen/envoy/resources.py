"""Resources as they are served: a name, a version (hash of the bytes) and the bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from types import MappingProxyType
from typing import Any, Protocol, TypeAlias

from lateen.envoy.messages import serialise

TYPE_PREFIX = "type.googleapis.com/"
LISTENER = "envoy.config.listener.v3.Listener"
ROUTE = "envoy.config.route.v3.RouteConfiguration"
VIRTUAL_HOST = "envoy.config.route.v3.VirtualHost"
"""One virtual host of a route configuration, asked for by `ROUTE CONFIGURATION/HOST` (VHDS)."""
CLUSTER = "envoy.config.cluster.v3.Cluster"
ENDPOINT = "envoy.config.endpoint.v3.ClusterLoadAssignment"
SECRET = "envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105  a type's name, not a secret

EXTENSION = "envoy.config.core.v3.TypedExtensionConfig"
"""An HTTP filter that listeners name, so that its settings change without them (ECDS)."""

KINDS = (CLUSTER, ENDPOINT, LISTENER, ROUTE, VIRTUAL_HOST, SECRET, EXTENSION)
"""Message names in make-before-break order: clusters, their endpoints, listeners, their routes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One xDS resource. Equal versions mean equal bytes. Its repr never shows the body (secrets)."""

    kind: str
    """Full message name; the xDS type URL is `TYPE_PREFIX + kind`."""
    name: str
    version: str
    body: bytes
    """The serialised message, what goes into `Any.value`."""
    leads_to: tuple[str, ...] = ()
    """Clusters that a proxy which knows only what it asked for must be told of together with this."""

    def __repr__(self) -> str:
        return f"Resource({self.kind.rsplit('.', 1)[-1]} {self.name!r} {self.version})"


Resources: TypeAlias = Mapping[str, Resource]
"""Resources of one kind by name."""


class OnDemand(Protocol):
    """Resources of one kind that are found by name and need not be counted: a mapping is one."""

    def get(self, name: str, /) -> Resource | None:
        """Return the resource of a name, None when there is none."""


NOTHING: Resources = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Offer:
    """What a snapshot has of one kind."""

    told: Resources = field(default_factory=lambda: NOTHING)
    """What a proxy is told unless it asks for single names."""
    on_demand: OnDemand = field(default_factory=lambda: NOTHING)
    """What it is told of only if it asks for it, or has it already."""

    def get(self, name: str) -> Resource | None:
        """Return the resource of a name, told or not."""
        return self.told.get(name) or self.on_demand.get(name)

    def is_same(self, other: Offer) -> bool:
        """Whether both are made of the same objects."""
        return self.told is other.told and self.on_demand is other.on_demand


EMPTY_OFFER = Offer()


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything that one scope of proxies is served."""

    version: str
    """Hash over all resources: equal means there is nothing to do."""
    resources: Mapping[str, Resources]
    """What they are told, by kind (message name), then by resource name. A kind without resources may be absent."""
    on_demand: Mapping[str, OnDemand] = field(default_factory=dict)
    """What they are told of only when they ask, by kind."""

    def offer(self, kind: str) -> Offer:
        """Return what there is of one kind."""
        told, on_demand = self.resources.get(kind), self.on_demand.get(kind)
        if told is None and on_demand is None:
            return EMPTY_OFFER
        return Offer(NOTHING if told is None else told, NOTHING if on_demand is None else on_demand)


def content_hash(body: bytes) -> str:
    """Return a short, stable hash (16 hex digits of BLAKE2b)."""
    return blake2b(body, digest_size=8).hexdigest()


def make_resource(kind: str, name: str, fields: Mapping[str, Any]) -> Resource:
    """Serialise the fields of a message into a resource."""
    body = serialise(kind, fields)
    return Resource(kind=kind, name=name, version=content_hash(body), body=body)


@dataclass(frozen=True, slots=True)
class Fragment:
    """A serialised part of a message: fields of it with their tags."""

    body: bytes
    digest: bytes

    @classmethod
    def of(cls, body: bytes) -> Fragment:
        """Hash a part, once for all the messages that it becomes a part of. Nothing has no hash either."""
        return cls(body, blake2b(body, digest_size=8).digest() if body else b"")


@dataclass(slots=True)
class Fragments:
    """The entries of a repeated field, which can be replaced one at a time."""

    bodies: list[bytes]
    digests: list[bytes]

    @classmethod
    def of(cls, fragments: Iterable[Fragment]) -> Fragments:
        """Take them in order."""
        found = list(fragments)
        return cls([fragment.body for fragment in found], [fragment.digest for fragment in found])

    def replace(self, position: int, fragment: Fragment) -> None:
        """Put another one in a place."""
        self.bodies[position] = fragment.body
        self.digests[position] = fragment.digest


def splice(kind: str, name: str, head: bytes, fragments: Fragments, tail: bytes) -> Resource:
    """Return a resource of parts that are serialised already: fields of a message may be concatenated.

    `head` holds the fields before the repeated one that the fragments are entries of, `tail` those after it. The
    version is a hash of the fragments' hashes, so that a change of one costs nothing for the others.
    """
    body = b"".join((head, *fragments.bodies, tail))
    version = content_hash(b"".join((head, *fragments.digests, tail)))
    return Resource(kind=kind, name=name, version=version, body=body)


def resource_digest(resource: Resource) -> int:
    """Return what a resource adds to the version of its snapshot."""
    text = f"{resource.kind}\0{resource.name}\0{resource.version}"
    return int.from_bytes(blake2b(text.encode(), digest_size=16).digest(), "big")


def snapshot_version(total: int) -> str:
    """Return the version of a snapshot from the sum of its resources' digests.

    A sum, because one changed resource then costs two digests, not a hash over all; 128 bits of it, because sums of
    hashes are easier to bring into collision than hashes.
    """
    return f"{total % (1 << 128):032x}"


def grouped(resources: Iterable[Resource]) -> dict[str, dict[str, Resource]]:
    """Return resources by kind and name; two of one kind and name are a bug of the caller."""
    found: dict[str, dict[str, Resource]] = {}
    for resource in resources:
        named = found.setdefault(resource.kind, {})
        assert resource.name not in named, f"two {resource.kind} named {resource.name}"
        named[resource.name] = resource
    return found


def make_snapshot(resources: list[Resource]) -> Snapshot:
    """Return the snapshot of a proxy that is told everything."""
    return Snapshot(version=snapshot_version(sum(map(resource_digest, resources))), resources=grouped(resources))
