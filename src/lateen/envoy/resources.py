"""Resources as they are served: a name, a version (hash of the bytes) and the bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from lateen.envoy.messages import serialise

TYPE_PREFIX = "type.googleapis.com/"
LISTENER = "envoy.config.listener.v3.Listener"
ROUTE = "envoy.config.route.v3.RouteConfiguration"
CLUSTER = "envoy.config.cluster.v3.Cluster"
ENDPOINT = "envoy.config.endpoint.v3.ClusterLoadAssignment"
SECRET = "envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105  a type's name, not a secret

KINDS = (CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET)
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

    def __repr__(self) -> str:
        return f"Resource({self.kind.rsplit('.', 1)[-1]} {self.name!r} {self.version})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything that one scope of proxies is served: per kind, resources by name."""

    version: str
    """Hash over all resources: equal means there is nothing to do."""
    resources: Mapping[str, Mapping[str, Resource]]
    """Keyed by kind (message name), then by resource name. A kind without resources may be absent."""


def content_hash(*parts: bytes) -> str:
    """Return a short, stable hash of the parts (16 hex digits of BLAKE2b)."""
    digest = blake2b(digest_size=8)
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()


def make_resource(kind: str, name: str, fields: Mapping[str, Any]) -> Resource:
    """Serialise the fields of a message into a resource."""
    body = serialise(kind, fields)
    return Resource(kind=kind, name=name, version=content_hash(body), body=body)


def make_snapshot(resources: list[Resource]) -> Snapshot:
    """Group resources by kind and name; two of one kind and name are a bug of the caller."""
    grouped: dict[str, dict[str, Resource]] = {}
    for resource in resources:
        named = grouped.setdefault(resource.kind, {})
        assert resource.name not in named, f"two {resource.kind} named {resource.name}"
        named[resource.name] = resource
    parts = [f"{r.kind}\0{r.name}\0{r.version}".encode() for r in sorted(resources, key=lambda r: (r.kind, r.name))]
    return Snapshot(version=content_hash(*parts), resources=grouped)
