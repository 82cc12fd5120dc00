"""Text to objects: the one door through which configuration comes in.

Called by the stores, the API and the commands. For each document: find the kind, check the metadata, decode the
spec, apply the kind's rules, and say which set fields have no effect. A document with an error gives findings and no
object; the others of the file are not harmed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from lateen.config.acting import inert_fields
from lateen.config.codes import (
    DUPLICATE_OBJECT,
    MISSING_FIELD,
    NO_EFFECT,
    UNKNOWN_FIELD,
    UNKNOWN_KIND,
    UNKNOWN_VERSION,
    WRONG_TYPE,
    Subject,
)
from lateen.config.decoding import check, closest, decode, salvage
from lateen.config.documents import Document, problem_findings, read_documents
from lateen.config.health_checks import health_check_violations
from lateen.config.kinds import KINDS, NOT_YET, Kind, document_kind, find_kind
from lateen.config.kubernetes import Secret
from lateen.config.metadata import Metadata, metadata_violations, read_metadata
from lateen.config.objects import ConfigObject
from lateen.config.positions import Path, Positions, render_path
from lateen.config.validation.rules import validate, validate_rest
from lateen.config.violations import Violation
from lateen.model.findings import Finding, Severity
from lateen.model.names import DEFAULT_NAMESPACE, ObjectKey
from lateen.model.origins import Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """What a file holds, in the file's order."""

    objects: tuple[ConfigObject[Any], ...] = ()
    """Valid ones only; keys are unique."""
    findings: tuple[Finding, ...] = ()
    positions: Mapping[ObjectKey, Positions] = field(default_factory=dict)
    """Where the fields of each object stand."""


def parse(content: bytes, file: str, *, default_namespace: str = DEFAULT_NAMESPACE, origin: str = "") -> Parsed:
    """Read all objects of a file; never raises on any content.

    `file` is what findings name; `origin` is what the objects are said to come from when that is not a file (`api`).
    """
    read = read_documents(content, file)
    findings = list(read.findings)
    objects: dict[ObjectKey, ConfigObject[Any]] = {}
    positions: dict[ObjectKey, Positions] = {}
    for document in read.documents:
        source = _Source(document, file, origin, default_namespace)
        parsed = source.read()
        if parsed is not None and parsed.key in objects:
            findings.append(_duplicate(parsed.key, file, document.positions.start, objects[parsed.key].origin))
        elif parsed is not None:
            objects[parsed.key] = parsed
            positions[parsed.key] = document.positions
        findings += source.findings
    findings.sort(key=lambda finding: (finding.line, finding.column))
    return Parsed(objects=tuple(objects.values()), findings=tuple(findings), positions=positions)


def find_duplicates(objects: Iterable[ConfigObject[Any]]) -> tuple[Finding, ...]:
    """Return a finding for each object whose key an earlier one of the sequence has (files read one by one)."""
    first: dict[ObjectKey, ConfigObject[Any]] = {}
    findings = []
    for one in objects:
        known = first.setdefault(one.key, one)
        if known is not one:
            findings.append(_duplicate(one.key, one.origin.source, (one.origin.line, 0), known.origin))
    return tuple(findings)


def _duplicate(key: ObjectKey, file: str, place: tuple[int, int], first: Origin) -> Finding:
    message = f"{key} is already defined at {first}; rename or remove one of them"
    subject = Subject(kind=document_kind(key.kind), namespace=key.namespace, name=key.name)
    return DUPLICATE_OBJECT.finding(message, file=file, place=place, subject=subject)


class _Source:
    """One document on its way to an object, and the findings on that way."""

    def __init__(self, document: Document, file: str, origin: str, default_namespace: str) -> None:
        self._value = document.value
        self._document = document
        self._file = file
        self._origin = origin
        self._default_namespace = default_namespace
        self._kind_name = ""
        self._metadata = Metadata()
        self.findings: list[Finding] = []

    def read(self) -> ConfigObject[Any] | None:
        """Return the object, or None when anything is wrong with it."""
        name = self._value.get("kind")
        self._kind_name = name if isinstance(name, str) else ""
        group = self._value.get("apiVersion")
        known = find_kind(group.rpartition("/")[0], self._kind_name) if isinstance(group, str) else None
        known = known or KINDS.get(self._kind_name)
        self._metadata = read_metadata(
            self._value, default_namespace=self._default_namespace, namespaced=known is None or known.namespaced
        )
        kind = self._kind()
        if kind is None:
            return None
        subject = self._subject(())
        self.findings += problem_findings(self._document, self._file, subject)
        self._add(metadata_violations(self._value), ())
        self._add(self._unknown_fields(kind), ())
        spec = self._spec(kind)
        if spec is None or any(finding.severity is Severity.ERROR for finding in self.findings):
            return None
        return self._object(kind, spec)

    def _kind(self) -> Kind | None:
        """Return the kind to decode; otherwise say why there is none."""
        wrong = False
        for field_name, example in (("apiVersion", "networking.istio.io/v1"), ("kind", "VirtualService")):
            value = self._value.get(field_name)
            if value is None or value == "":
                message = f"the field `{field_name}` is required"
                self._add([Violation((), message, f"add `{field_name}: {example}`", MISSING_FIELD)], ())
                wrong = True
            elif not isinstance(value, str):
                self._add([Violation((field_name,), "must be text", "", WRONG_TYPE)], ())
                wrong = True
        if wrong:
            return None
        group, _, version = self._value["apiVersion"].rpartition("/")
        kind = find_kind(group, self._kind_name)
        if kind is None:
            self._add([_unknown_kind(group, self._kind_name)], ())
            return None
        if version not in kind.versions:
            versions = ", ".join(kind.api_version(version) for version in kind.versions)
            message = f"{kind.name} has no version `{self._value['apiVersion']}`"
            self._add([Violation(("apiVersion",), message, f"known are {versions}", UNKNOWN_VERSION)], ())
            return None
        return kind

    def _unknown_fields(self, kind: Kind) -> Iterator[Violation]:
        """Yield fields beside `metadata` that no object has; a spec that stands there is the struct's business."""
        if not kind.spec_field:
            return
        known = ("apiVersion", "kind", "metadata", kind.spec_field, "status")
        for key in self._value:
            if key not in known:
                near = closest(key, known)
                hint = f"did you mean `{near}`?" if near else f"fields of the {kind.name} itself stand below `spec`"
                yield Violation((key,), f"unknown field `{key}`", hint, UNKNOWN_FIELD)

    def _spec(self, kind: Kind) -> Any:
        self._add(health_check_violations(kind.name, self._metadata), ())
        value: Any = self._value.get(kind.spec_field) if kind.spec_field else _beside(self._value)
        prefix: Path = (kind.spec_field,) if kind.spec_field else ()
        checked = check(
            {} if value is None else value, kind.struct, protobuf=kind.is_istio, secret=kind.struct is Secret
        )
        self._add(checked.violations, prefix)
        if checked.violations:
            rest = salvage(checked, kind.struct)
            if rest is not None:
                broken = [violation.path for violation in checked.violations]
                self._add(validate_rest(kind.name, rest, self._metadata, broken), prefix)
            return None
        spec = decode(checked, kind.struct)
        self._add(validate(kind.name, spec, self._metadata), prefix)
        self._add(
            (Violation(path, text, "", NO_EFFECT) for path, text in inert_fields(checked.normal, kind.struct)), prefix
        )
        return spec

    def _object(self, kind: Kind, spec: Any) -> ConfigObject[Any]:
        document = msgspec.json.encode(self._value, order="sorted")
        metadata = self._metadata
        line = self._document.positions.start[0]
        return ConfigObject(
            key=ObjectKey(kind.name, metadata.namespace, metadata.name),
            api_version=self._value["apiVersion"],
            spec=spec,
            origin=Origin(self._origin) if self._origin else Origin(self._file, line),
            digest=hashlib.blake2b(document, digest_size=8).hexdigest(),
            document=document,
            labels=metadata.labels,
            annotations=metadata.annotations,
            created=metadata.created,
        )

    def _subject(self, path: Path) -> Subject:
        return Subject(
            kind=self._kind_name,
            namespace=self._metadata.namespace,
            name=self._metadata.name,
            path=render_path(path),
        )

    def _add(self, violations: Iterable[Violation], prefix: Path) -> None:
        """Turn violations into findings with their places."""
        for violation in violations:
            path = (*prefix, *violation.path)
            place = self._document.positions.line_of(path)
            self.findings.append(
                violation.code.finding(violation.text, file=self._file, place=place, subject=self._subject(path))
            )


def _beside(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a kind that has no `spec`."""
    return {key: item for key, item in value.items() if key not in ("apiVersion", "kind", "metadata", "status")}


def _unknown_kind(group: str, name: str) -> Violation:
    if name in NOT_YET.get(group, ()):
        return Violation(
            ("kind",), f"{name} ({group}) is not supported in this version and is passed over", "", UNKNOWN_KIND
        )
    place = f"{group}/" if group else ""
    message = f"the kind {place}{name} is not one that a mesh reads; it is passed over"
    near = closest(name, KINDS)
    if near and (near != name):
        return Violation(("kind",), message, f"did you mean {near}?", UNKNOWN_KIND)
    if near:
        return Violation(("kind",), message, f"{near} is of {KINDS[near].api_version()}", UNKNOWN_KIND)
    return Violation(("kind",), message, "", UNKNOWN_KIND)
