"""The version of a state: a content hash that follows a change without hashing everything again.

Called by `mesh.build`, and by `stores` for their revisions. Every input has a fingerprint of 128 bits; a mesh's is
their sum modulo 2**128, to which what comes is added and from which what goes is subtracted. The sum does not depend
on the order of the inputs, as the state does not either.

Is a sum good enough? Two different meshes have the same version by accident with a probability of 2**-128 per pair,
as with any hash of that size. Unlike a hash of everything it does not resist somebody who may craft thousands of
objects to make two meshes collide. Nothing is gained by that: who may write objects already decides what the mesh
does, and all a collision would do is that their own change is not noticed. The version tells changes apart; it
authenticates nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import blake2b
from typing import Any, TypeVar

import msgspec

from lateen.config.mesh_config import MeshConfig
from lateen.config.objects import ConfigObject
from lateen.model.catalogues import Catalogue
from lateen.model.health import HealthTarget
from lateen.model.workloads import WorkloadRegistration

ItemT = TypeVar("ItemT")

_SIZE = 16
_MODULUS = 1 << (8 * _SIZE)


def version(inputs: int, mesh_config: int) -> str:
    """Return the version of a state with inputs and a MeshConfig of these fingerprints."""
    return f"{(inputs + mesh_config) % _MODULUS:0{2 * _SIZE}x}"


def mesh_config_fingerprint(mesh_config: MeshConfig) -> int:
    """Fingerprint the mesh-wide settings."""
    return fingerprint(b"mesh", canonical(_plain(mesh_config)))


def _plain(value: Any) -> Any:
    """Return a struct with all its fields: encoded, it would leave out some defaults, and not all that are equal."""
    if isinstance(value, msgspec.Struct):
        return {name: _plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value


def shifted(known: int, of: Callable[[ItemT], int], turns: Iterable[tuple[ItemT | None, ItemT | None]]) -> int:
    """Return a fingerprint after inputs, of which each has its own, turned into others (None for nothing)."""
    for before, after in turns:
        if before is not None:
            known -= of(before)
        if after is not None:
            known += of(after)
    return known % _MODULUS


def object_fingerprint(item: ConfigObject[Any]) -> int:
    """Fingerprint an object, but not its place: moving a document changes nothing.

    Metadata that decides behaviour (labels, annotations, age) is part of an object's digest.
    """
    key = item.key
    return fingerprint(b"object", f"{key.kind}\0{key.namespace}\0{key.name}\0{item.digest}\0{item.created}".encode())


def registration_fingerprint(registration: WorkloadRegistration) -> int:
    """Fingerprint a registered workload."""
    return fingerprint(b"registration", canonical(registration))


def catalogue_fingerprint(catalogue: Catalogue) -> int:
    """Fingerprint a registry's services and endpoints, in whatever order they are; workloads count by themselves."""
    services = sorted(canonical(service) for service in catalogue.services)
    endpoints = sorted((host, sorted(map(canonical, found))) for host, found in catalogue.endpoints.items())
    return fingerprint(b"catalogue", repr((catalogue.name, services, endpoints)).encode())


def key_set_fingerprint(item: tuple[str, str]) -> int:
    """Fingerprint the keys of a source."""
    return fingerprint(b"keys", "\0".join(item).encode())


def sick_fingerprint(target: HealthTarget) -> int:
    """Fingerprint the fact that a target is sick."""
    return fingerprint(b"sick", "\0".join(map(str, target)).encode())


def canonical(value: Any) -> bytes:
    """Return one text for equal values of the model."""
    return msgspec.json.encode(value, order="sorted", enc_hook=dict)


def fingerprint(word: bytes, data: bytes) -> int:
    """Return the fingerprint of an input; `word` says what it is, so that two kinds never have one by accident."""
    return int.from_bytes(blake2b(b"%b\0%b" % (word, data)).digest()[:_SIZE], "big")
