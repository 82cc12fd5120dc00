"""The structs have every field of Istio's CRD schema, with its type, and no other.

`istio_schema_paths.txt` holds one line for each field of Istio's 15 kinds: its path and its type, as facts taken from
the CRD schema of istio/api (July 2026; the versions of a kind are equal).
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import inspect

from lateen.config.decoding import fields_of
from lateen.config.kinds import KINDS

FACTS = Path(__file__).with_name("istio_schema_paths.txt")
ISTIO_KINDS = [kind.name for kind in KINDS.values() if kind.is_istio]
FIELDS_BY_KIND = {
    "AuthorizationPolicy": 46,
    "DestinationRule": 363,
    "EnvoyFilter": 59,
    "Gateway": 32,
    "PeerAuthentication": 6,
    "ProxyConfig": 6,
    "RequestAuthentication": 30,
    "ServiceEntry": 21,
    "Sidecar": 92,
    "Telemetry": 54,
    "TrafficExtension": 30,
    "VirtualService": 168,
    "WasmPlugin": 32,
    "WorkloadEntry": 7,
    "WorkloadGroup": 33,
}
"""All of Istio's kinds, with the number of paths that each has."""
PENDING = frozenset(("EnvoyFilter",)) - set(ISTIO_KINDS)
"""Kinds that are not read yet."""


def described(path: str, expected: inspect.Type) -> Iterator[tuple[str, str]]:
    """Yield path and type of a field and of everything below it, as the facts write them."""
    match expected:
        case inspect.UnionType():
            (only,) = (one for one in expected.types if not isinstance(one, inspect.NoneType))
            yield from described(path, only)
        case inspect.ListType():
            yield from described(f"{path}[]", expected.item_type)
        case inspect.DictType():
            if isinstance(expected.value_type, inspect.AnyType):
                yield path, "any"
            else:
                yield from described(f"{path}{{}}", expected.value_type)
        case inspect.StructType():
            yield path, "object"
            for name, below in fields_of(expected.cls).types.items():
                yield from described(f"{path}.{name}", below)
        case inspect.EnumType():
            yield path, "enum:" + ",".join(sorted(member.value for member in expected.cls))
        case inspect.StrType():
            yield path, "string"
        case inspect.BoolType():
            yield path, "boolean"
        case inspect.IntType():
            yield path, "integer"
        case inspect.FloatType():
            yield path, "number"
        case inspect.AnyType():
            yield path, "any"
        case _:
            raise AssertionError(f"{path} has an unexpected type {expected}")


def facts(kind: str) -> dict[str, str]:
    lines = (line.split(" ", 1) for line in FACTS.read_text().splitlines())
    found = {path: written for path, written in lines if path.startswith(f"{kind}.")}
    return {
        path: "enum:" + ",".join(sorted(written[5:].split(","))) if written.startswith("enum:") else written
        for path, written in found.items()
    }


def schema(kind: str) -> dict[str, str]:
    return {
        path: written
        for name, below in fields_of(KINDS[kind].struct).types.items()
        for path, written in described(f"{kind}.{name}", below)
    }


@pytest.mark.parametrize("kind", ISTIO_KINDS)
def test_structs_and_schema_have_the_same_fields(kind: str) -> None:
    ours, theirs = schema(kind), facts(kind)
    assert sorted(set(theirs) - set(ours)) == [], "fields of the schema that no struct has"
    assert sorted(set(ours) - set(theirs)) == [], "fields of structs that the schema does not have"


@pytest.mark.parametrize("kind", ISTIO_KINDS)
def test_structs_and_schema_have_the_same_types(kind: str) -> None:
    ours, theirs = schema(kind), facts(kind)
    different = {path: (ours[path], theirs[path]) for path in ours.keys() & theirs.keys() if ours[path] != theirs[path]}
    assert different == {}


def test_the_facts_are_those_of_all_kinds() -> None:
    assert Counter(line.split(".", 1)[0] for line in FACTS.read_text().splitlines()) == FIELDS_BY_KIND


def test_every_kind_is_read_or_known_to_be_pending() -> None:
    assert set(ISTIO_KINDS) | PENDING == set(FIELDS_BY_KIND)
