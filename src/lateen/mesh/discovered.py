"""MeshConfig's `discoverySelectors`: which namespaces are part of the mesh. Pure.

Called by `mesh.build` before anything else looks at objects and workloads. Source: Istio's MeshConfig reference:
selectors are ORed, none takes every namespace. Two things differ from labels as written: each namespace has the label
`kubernetes.io/metadata.name`, as in a cluster, so that one without a Namespace object can be named; and the root
namespace always counts, or a selector that forgets it would take the mesh's own policies out of force.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from lateen.config.mesh_config import LabelSelector, MeshConfig
from lateen.config.objects import ConfigObject
from lateen.model.catalogues import Catalogue

NAME_LABEL = "kubernetes.io/metadata.name"


def discovered(
    objects: Iterable[ConfigObject[Any]], catalogues: Iterable[Catalogue], mesh_config: MeshConfig
) -> tuple[Iterable[ConfigObject[Any]], Iterable[Catalogue]]:
    """Return the objects and catalogues without what is of other namespaces; as they are without selectors."""
    if not mesh_config.discovery_selectors:
        return objects, catalogues
    given = list(objects)
    labels = {item.key.name: item.labels for item in given if item.key.kind == "Namespace"}
    known: dict[str, bool] = {"": True, mesh_config.root_namespace: True}

    def counts(namespace: str) -> bool:
        if namespace not in known:
            own = {**labels.get(namespace, {}), NAME_LABEL: namespace}
            known[namespace] = any(_selects(one, own) for one in mesh_config.discovery_selectors)
        return known[namespace]

    return (
        [item for item in given if counts(item.key.namespace)],
        [replace(one, workloads=[found for found in one.workloads if counts(found.namespace)]) for one in catalogues],
    )


def _selects(selector: LabelSelector, labels: Mapping[str, str]) -> bool:
    """Kubernetes' rule: all must hold; an empty selector takes everything."""
    if any(labels.get(key) != value for key, value in selector.match_labels.items()):
        return False
    for one in selector.match_expressions:
        there = one.key in labels
        held = {
            "In": there and labels[one.key] in one.values,
            "NotIn": not there or labels[one.key] not in one.values,
            "Exists": there,
            "DoesNotExist": not there,
        }
        if not held.get(one.operator, False):
            return False
    return True
