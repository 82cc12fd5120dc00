"""Services of one host that not everybody sees alike: who sees which.

Called by `mesh.services`, which settles each of them; `mesh.state` holds them, `mesh.index` and `mesh.queries` choose.
As in Istio (`HostnameAndNamespace` of its push context), what the sources of one namespace say of a host is one
service, and a proxy sees one of those that are exported to its namespace: one of Kubernetes before any other, then
what is private to the namespace, what is exported to it by name, and what is public; the oldest of each.

As long as all sources of a host are exported alike there is one service, and nothing here is asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from lateen.mesh.claims import Claim, Rank
from lateen.model.services import Endpoint, Service, readers


class Double(NamedTuple):
    """A service that some namespaces see in place of the one that a state has for the host."""

    service: Service
    endpoints: tuple[Endpoint, ...]
    selector: Mapping[str, str] | None
    """Of its workloads, as in a claim."""
    seen_in: frozenset[str]
    """Namespaces that see this one."""


def groups_of(claims: tuple[Claim, ...]) -> tuple[tuple[Claim, ...], ...]:
    """Return the claims of one host, in order, by service: the one that a state has for the host first.

    What is public is one, as without the others; what is not is one for each namespace. A claim is seen by those who
    see the first one of its namespace: a workload that names a service exports nothing.
    """
    if len(claims) == 1:
        return (claims,)
    limited: dict[str, bool] = {}
    for claim in claims:
        owner = claim.service.namespace
        if owner not in limited:
            limited[owner] = readers(claim.service.export_to, owner) is not None
    if len(limited) == 1 or not any(limited.values()):
        return (claims,)
    public = tuple(claim for claim in claims if not limited[claim.service.namespace])
    private: dict[str, list[Claim]] = {}
    for claim in claims:
        if limited[claim.service.namespace]:
            private.setdefault(claim.service.namespace, []).append(claim)
    return (*((public,) if public else ()), *map(tuple, private.values()))


def seen_in(groups: tuple[tuple[Claim, ...], ...]) -> list[frozenset[str]]:
    """Return for each group the namespaces that see it, of all those that are named."""
    owners = [group[0] for group in groups]
    visible = [readers(owner.service.export_to, owner.service.namespace) for owner in owners]
    found: list[set[str]] = [set() for _ in groups]
    for namespace in {name for names in visible for name in names or ()}:
        candidates = [number for number, names in enumerate(visible) if names is None or namespace in names]
        best = min(candidates, key=lambda number: (_precedence(owners[number], visible[number], namespace), number))
        found[best].add(namespace)
    return [frozenset(names) for names in found]


def _precedence(owner: Claim, visible: frozenset[str] | None, namespace: str) -> tuple[object, ...]:
    nearness = 2 if visible is None else 0 if owner.service.namespace == namespace else 1
    return owner.rank is not Rank.KUBERNETES, nearness, owner.rank, owner.order
