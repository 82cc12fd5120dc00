"""The envelope of a configuration object: key, metadata, spec, origin, and the document as written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from lateen.model.names import ObjectKey
from lateen.model.origins import Origin

SpecT_co = TypeVar("SpecT_co", covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigObject(Generic[SpecT_co]):
    """One parsed and valid object. Equal digests mean equal content, whatever file it stands in."""

    key: ObjectKey
    api_version: str
    """As written, `networking.istio.io/v1beta1`."""
    spec: SpecT_co
    origin: Origin
    digest: str
    """Hash of the document's canonical JSON (without its place); the version of this object."""
    document: bytes
    """Canonical JSON of the whole document as the user wrote it, for `lateen get -o yaml`. Secrets too:
    whoever prints it redacts."""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    created: str = ""
    """metadata.creationTimestamp (RFC 3339), empty when the document has none. Older wins a conflict."""
    made_of: tuple[ConfigObject[Any], ...] = ()
    """For an object that no user wrote (see `mesh.gateway_api`): what it was made of. Of a VirtualService, the object
    of each of its rules; otherwise one. Findings and metadata are about these."""

    def source(self, rule: int = 0) -> ConfigObject[Any]:
        """Return the object that a user wrote: this one, or what (a rule of) it was made of."""
        return self.made_of[rule] if rule < len(self.made_of) else self.made_of[0] if self.made_of else self

    def __repr__(self) -> str:
        """Show the key only: a spec or document can hold a private key."""
        return f"ConfigObject({self.key}, {self.origin}, {self.digest})"
