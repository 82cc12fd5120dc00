"""Metadata of an object: name, namespace, labels, annotations, creation time.

Called by `config.parsing`. The other fields of Kubernetes' ObjectMeta (uid, managedFields, ...) describe an object's
life in a cluster and mean nothing to a mesh: they are admitted, so that `kubectl get -o yaml` can be fed back.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lateen.config.codes import INVALID_VALUE, MISSING_FIELD, UNKNOWN_FIELD, WRONG_TYPE
from lateen.config.decoding import closest
from lateen.config.positions import Path
from lateen.config.violations import Violation

DNS_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
"""RFC 1123 label, as Kubernetes names namespaces and services."""
DNS_SUBDOMAIN = re.compile(r"(?=.{1,253}$)[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*")
"""RFC 1123 subdomain, as Kubernetes names most objects."""
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)")

_OWN = ("name", "namespace", "labels", "annotations", "creationTimestamp")
_CLUSTER = (
    "uid",
    "resourceVersion",
    "generation",
    "selfLink",
    "managedFields",
    "ownerReferences",
    "finalizers",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "clusterName",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """Metadata as far as a mesh needs it; the namespace is already defaulted."""

    name: str = ""
    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    created: str = ""
    version: str = ""
    """Of the API the document is written in, `v1`: a few rules are younger than others."""


def read_metadata(document: Mapping[str, Any], *, default_namespace: str, namespaced: bool = True) -> Metadata:
    """Read what can be read; `metadata_violations` says what is wrong."""
    metadata = document.get("metadata")
    if not isinstance(metadata, Mapping):
        metadata = {}
    namespace = _text(metadata.get("namespace")) or default_namespace
    return Metadata(
        name=_text(metadata.get("name")),
        namespace=namespace if namespaced else "",
        labels=_texts(metadata.get("labels")),
        annotations=_texts(metadata.get("annotations")),
        created=_text(metadata.get("creationTimestamp")),
        version=_text(document.get("apiVersion")).rpartition("/")[2],
    )


def metadata_violations(document: Mapping[str, Any]) -> Iterator[Violation]:
    """Yield everything that is wrong with a document's metadata; paths begin with `metadata`."""
    metadata = document.get("metadata")
    if metadata is None:
        yield Violation((), "the field `metadata` is required", "add `metadata: {name: …}`", MISSING_FIELD)
        return
    if not isinstance(metadata, Mapping):
        yield Violation(("metadata",), "must be a mapping", "write `name: …` below it", WRONG_TYPE)
        return
    for key, value in metadata.items():
        if value is None:
            continue
        if key in _OWN:
            yield from _FIELDS[key](("metadata", key), value)
        elif key not in (*_CLUSTER, "generateName"):
            near = closest(key, _OWN)
            hint = f"did you mean `{near}`?" if near else f"known fields are {', '.join(_OWN)}"
            yield Violation(("metadata", key), f"unknown field `{key}`", hint, UNKNOWN_FIELD)
    if metadata.get("name") is None:
        yield _missing_name(metadata)


def _missing_name(metadata: Mapping[str, Any]) -> Violation:
    if metadata.get("generateName"):
        message = "`generateName` is not supported: a file must give the same object each time it is read"
        return Violation(("metadata", "generateName"), message, "write `name: …` instead", MISSING_FIELD)
    return Violation(("metadata",), "the field `name` is required", "add `name: …`", MISSING_FIELD)


def _name(path: Path, value: object) -> Iterator[Violation]:
    yield from _matching(
        path, value, DNS_SUBDOMAIN, "lower-case letters, digits, `-` and `.` only, at most 253 characters"
    )


def _namespace(path: Path, value: object) -> Iterator[Violation]:
    if value != "":
        yield from _matching(path, value, DNS_LABEL, "lower-case letters, digits and `-` only, at most 63 characters")


def _created(path: Path, value: object) -> Iterator[Violation]:
    yield from _matching(path, value, _TIMESTAMP, "write it as 2026-07-01T12:00:00Z")


def _matching(path: Path, value: object, pattern: re.Pattern[str], hint: str) -> Iterator[Violation]:
    if not isinstance(value, str):
        shown = str(value).lower() if isinstance(value, bool) else value
        yield Violation(
            path, "must be text", f'quote it: "{shown}"' if isinstance(value, int | float) else "", WRONG_TYPE
        )
    elif not pattern.fullmatch(value):
        yield Violation(path, f"{value[:80]!r} is not valid here", hint, INVALID_VALUE)


def _string_map(path: Path, value: object) -> Iterator[Violation]:
    if not isinstance(value, Mapping):
        yield Violation(path, "must be a mapping of text to text", "", WRONG_TYPE)
        return
    for key, item in value.items():
        if not isinstance(item, str):
            shown = str(item).lower() if isinstance(item, bool) else item
            hint = f'quote it: "{shown}"' if isinstance(item, int) else ""
            if isinstance(item, float):
                # Not shown: 1.20 was read as 1.2.
                hint = "put it in quotes, as it is written"
            yield Violation((*path, key), "must be text", hint, WRONG_TYPE)


_FIELDS = {
    "name": _name,
    "namespace": _namespace,
    "labels": _string_map,
    "annotations": _string_map,
    "creationTimestamp": _created,
}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: object) -> dict[str, str]:
    if not isinstance(value, Mapping):
        return {}
    return {key: item for key, item in value.items() if isinstance(item, str)}
