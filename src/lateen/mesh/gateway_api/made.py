"""Objects that no user wrote, made of Gateway API ones."""

from __future__ import annotations

import hashlib
from typing import Any, TypeVar

import msgspec

from lateen.config.networking import Spec
from lateen.config.objects import ConfigObject
from lateen.mesh.references import MADE_MARK as MARK
from lateen.model.names import ObjectKey

SpecT = TypeVar("SpecT", bound=Spec)

__all__ = ["MARK", "made"]


def made(kind: str, namespace: str, name: str, spec: SpecT, *sources: ConfigObject[Any]) -> ConfigObject[SpecT]:
    """Return an object of a kind of Istio's or of Kubernetes, as old as the oldest that it was made of."""
    oldest = min(sources, key=lambda source: (source.created, source.key))
    group = "" if kind == "Secret" else "networking.istio.io/"
    return ConfigObject(
        key=ObjectKey(kind, namespace, name),
        api_version=f"{group}v1",
        spec=spec,
        origin=oldest.origin,
        digest=hashlib.blake2b(msgspec.json.encode(spec), digest_size=8).hexdigest(),
        document=b"{}",
        created=oldest.created,
        made_of=tuple(sources),
    )
