"""The structs have every field of Istio's CRD schema, with its type, and no other.

`istio_schema_paths.txt` holds one line for each field of the six networking kinds: its path and its type, as facts
taken from the CRD schema of istio/api (July 2026; v1, v1beta1 and v1alpha3 are equal).
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import inspect

from lateen.config.decoding import fields_of
from lateen.config.kinds import KINDS

FACTS = Path(__file__).with_name("istio_schema_paths.txt")
ISTIO_KINDS = [kind.name for kind in KINDS.values() if kind.is_istio]


def described(path: str, expected: inspect.Type) -> Iterator[tuple[str, str]]:
    """Yield path and type of a field and of everything below it, as the facts write them."""
    match expected:
        case inspect.UnionType():
            (only,) = (one for one in expected.types if not isinstance(one, inspect.NoneType))
            yield from described(path, only)
        case inspect.ListType():
            yield from described(f"{path}[]", expected.item_type)
        case inspect.DictType():
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


def test_the_facts_cover_every_istio_kind() -> None:
    assert {line.split(".", 1)[0] for line in FACTS.read_text().splitlines()} == set(ISTIO_KINDS)
