"""MeshConfig has every field of Istio's, down to the messages of other packages, and few of our own.

`mesh_config_schema_paths.txt` holds the path of each field of `MeshConfig`, `ProxyConfig` among them, as facts taken
from istio/api's `mesh/v1alpha1` (July 2026): `[]` is a list, `{}` a map.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import inspect

from lateen.config.decoding import fields_of
from lateen.config.mesh_config import MeshConfig

FACTS = Path(__file__).with_name("mesh_config_schema_paths.txt")
OURS_ALONE = ("MeshConfig.discoveryScope", "MeshConfig.meshNetworks")
"""Of our own, and what Istio's ConfigMap has beside MeshConfig."""


def paths(struct: type[msgspec.Struct], prefix: str) -> Iterator[str]:
    for name, expected in fields_of(struct).types.items():
        yield from paths_of(expected, f"{prefix}.{name}")


def paths_of(expected: inspect.Type, path: str) -> Iterator[str]:
    match expected:
        case inspect.UnionType():
            (only,) = (one for one in expected.types if not isinstance(one, inspect.NoneType))
            yield from paths_of(only, path)
        case inspect.ListType():
            yield from paths_of(expected.item_type, f"{path}[]")
        case inspect.DictType(value_type=inspect.AnyType()):
            yield path
        case inspect.DictType():
            yield from paths_of(expected.value_type, f"{path}{{}}")
        case inspect.StructType():
            yield path
            yield from paths(expected.cls, path)
        case _:
            yield path


def test_structs_and_schema_have_the_same_fields() -> None:
    ours, theirs = set(paths(MeshConfig, "MeshConfig")), set(FACTS.read_text().split())
    known_above = {path for path in ours - theirs if any(path.startswith(f"{leaf}.") for leaf in leaves(theirs))}
    assert sorted(theirs - ours) == [], "fields of the schema that no struct has"
    assert [path for path in sorted(ours - theirs - known_above) if not path.startswith(OURS_ALONE)] == []


def leaves(facts: set[str]) -> set[str]:
    """Return the fields below which the facts say nothing: those of a message of another package."""
    above = {path.rpartition(".")[0] for path in facts}
    return facts - above
