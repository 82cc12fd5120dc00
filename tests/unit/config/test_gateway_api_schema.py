"""The structs have every field of the Gateway API's standard channel, with its type, and no other.

`gateway_api_schema_paths.txt` holds one line for each field: its path and its type, as facts taken from the CRDs of
release 1.6.1.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from lateen.config.gateway_api import GROUP
from lateen.config.kinds import KINDS
from unit.config.test_schema_completeness import schema

FACTS = [
    line.split(" ", 1) for line in Path(__file__).with_name("gateway_api_schema_paths.txt").read_text().splitlines()
]
KNOWN = [kind.name for kind in KINDS.values() if kind.group == GROUP]
OPEN = {
    "HTTPRoute.rules[].filters[].cors.allowMethods[]",
    "HTTPRoute.rules[].backendRefs[].filters[].cors.allowMethods[]",
    "KubernetesGateway.listeners[].allowedRoutes.namespaces.selector.matchExpressions[].operator",
    "KubernetesGateway.allowedListeners.namespaces.selector.matchExpressions[].operator",
    "ListenerSet.listeners[].allowedRoutes.namespaces.selector.matchExpressions[].operator",
}
"""Where one of the two sides is an enumeration and the other says the same in a rule."""


@pytest.mark.parametrize("kind", KNOWN)
def test_structs_and_schema_have_the_same_fields_and_types(kind: str) -> None:
    ours = schema(kind)
    theirs = {path: written for path, written in FACTS if path.startswith(f"{kind}.")}
    assert sorted(set(theirs) - set(ours)) == [], "fields of the schema that no struct has"
    assert sorted(set(ours) - set(theirs)) == [], "fields of structs that the schema does not have"
    assert {
        path: (ours[path], theirs[path]) for path in theirs if ours[path] != theirs[path] and path not in OPEN
    } == {}


def test_the_facts_cover_every_kind() -> None:
    assert {path.split(".", 1)[0] for path, _ in FACTS} == set(KNOWN)
