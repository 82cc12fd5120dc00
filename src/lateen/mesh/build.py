"""Build a MeshState from configuration objects, registries' catalogues and the mesh-wide settings.

Called by `app` after every change and by the offline commands. Pure and deterministic: the order of its inputs
does not matter, equal inputs give equal versions. It reports nothing: `analysis` finds what is wrong.

There is one way to build: a state follows from the previous one and from what changed since, and a state from scratch
follows from that of an empty mesh, in which everything is new. Each step is a function of one thing (the claims of a
source, what the claims of a host come to, a bound rule), applied to the things that changed; the steps are
`elections` (which inputs count), `services` with `claims` and `memberships`, `gateway_api` (which adds objects of
Istio's kinds), `rules`, and `index`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple, TypeVar

from lateen.config.kubernetes import Secret
from lateen.config.mesh_config import MeshConfig
from lateen.config.objects import ConfigObject
from lateen.mesh.bindings import BoundDestinationRule
from lateen.mesh.discovered import discovered
from lateen.mesh.doubles import Double
from lateen.mesh.elections import Election, Place, Turn, TurnsByKind, age, place_of, seniority, workload_name
from lateen.mesh.envoy_filters import ENVOY_FILTER
from lateen.mesh.gateway_api.incremental import merged
from lateen.mesh.health import has_checks, with_health
from lateen.mesh.index import MeshIndex, Selecting, StateTurns, updated_index
from lateen.mesh.memberships import Memberships
from lateen.mesh.memo import Memo
from lateen.mesh.policies import POLICY_KINDS
from lateen.mesh.rules import updated_destination_rules
from lateen.mesh.services import Claims, Inputs, Settled, Turns, regrouped, settle_all, workload_turns
from lateen.mesh.sharing import Order, Ordered, changed_keys, kept, lasting, patched, patched_in_order, turnover
from lateen.mesh.state import MeshState
from lateen.mesh.versions import (
    canonical,
    catalogue_fingerprint,
    key_set_fingerprint,
    mesh_config_fingerprint,
    object_fingerprint,
    registration_fingerprint,
    shifted,
    sick_fingerprint,
    version,
)
from lateen.model.catalogues import Catalogue
from lateen.model.health import HealthTarget
from lateen.model.names import Hostname
from lateen.model.services import Endpoint, Service
from lateen.model.workloads import WorkloadRegistration

ValueT = TypeVar("ValueT")
Name = tuple[str, str]
"""Namespace and name of a registration."""


def build_state(
    objects: Iterable[ConfigObject[Any]],
    catalogues: Iterable[Catalogue],
    mesh_config: MeshConfig,
    previous: MeshState | None = None,
    *,
    key_sets: Mapping[str, str] | None = None,
    sick: frozenset[HealthTarget] = frozenset(),
) -> MeshState:
    """Return the state of a mesh. `key_sets`: what was fetched to check tokens with, by URI; none if not given.

    `sick`: plain endpoints that gateways found to be so; those that nobody wants checked (any more) mean nothing.

    Of objects with one key the oldest counts; of registrations with one namespace and name, the first in canonical
    order. No two catalogues have one name.

    `previous` changes nothing about the result, but the cost follows what changed since then, and every part that
    did not change is the same object as there. It is not changed itself. What changed is found quickest when objects
    and workloads are newer versions of collections that are kept in parts (see `mesh.sharing`).
    """
    old = previous if previous is not None and previous.memo is not None else _nothing(mesh_config)
    assert old.memo is not None
    mesh_config = kept(old.mesh_config, mesh_config)
    objects, catalogues = discovered(objects, catalogues, mesh_config)
    counting = _count(old.memo, objects, catalogues)
    defaults_changed = _defaults(old.mesh_config) != _defaults(mesh_config)
    turns = Turns(
        objects=counting.object_turns,
        registrations=counting.registration_turns,
        catalogues=frozenset(name for name, _, _ in counting.catalogue_turns),
        defaults_changed=defaults_changed,
    )
    winners = counting.objects.winners
    exported = tuple(mesh_config.default_service_export_to) or ("*",)
    settled = _settle(old, old.memo, Inputs(winners, counting.catalogues, exported), turns, sick)
    services = patched_in_order(old.services, _after(settled.services))
    selectors = _selectors(old, settled)
    gateway_api, made_turns = old.memo.gateway_api.updated(
        winners,
        turns.objects,
        services,
        settled.services.keys() | settled.selectors.keys(),
        lambda host: selectors.get(host, {}),
    )
    object_turns = merged(turns.objects, made_turns)
    virtual_services, virtual_service_turns = old.memo.virtual_services.updated(
        winners, object_turns, mesh_config.default_virtual_service_export_to, defaults_changed=defaults_changed
    )
    destination_rules, rule_turns = updated_destination_rules(
        old.destination_rules,
        winners,
        object_turns,
        mesh_config.default_destination_rule_export_to,
        defaults_changed=defaults_changed,
    )
    known = old.memo.mesh_config
    memo = Memo(
        given=counting.given,
        objects=counting.objects,
        registrations=counting.registrations,
        catalogues=counting.catalogues,
        fingerprint=_fingerprint(old.memo.fingerprint, counting),
        mesh_config=known if known and known[0] is mesh_config else (mesh_config, mesh_config_fingerprint(mesh_config)),
        key_sets=_key_sets(old.memo, key_sets or {}),
        sick=_sick(old.memo, sick),
        claims=settled.claims,
        memberships=settled.memberships,
        virtual_services=virtual_services,
        gateway_api=gateway_api,
        ordered=_in_order(old.memo.ordered, object_turns),
        workloads=old.memo.workloads.patched({name: after for name, (_, after) in turns.registrations.items()}),
    )
    state_turns = StateTurns(
        services=settled.services,
        endpoints=settled.endpoints,
        selectors=settled.selectors,
        doubles=settled.doubles,
        virtual_services=virtual_service_turns,
        destination_rules=rule_turns,
        sidecars=turns.objects.get("Sidecar", {}).values(),
        policies=[turn for kind in (*POLICY_KINDS, ENVOY_FILTER) for turn in turns.objects.get(kind, {}).values()],
        registrations=turns.registrations.values(),
    )
    tables = _Tables(services, selectors, destination_rules, _secrets(old, object_turns))
    return _assembled(old, memo, settled, tables, updated_index(old.index, state_turns))


def _secrets(old: MeshState, turns: TurnsByKind) -> Mapping[tuple[str, str], ConfigObject[Secret]]:
    """Return the Secrets by namespace and name."""
    return patched_in_order(old.secrets, {place[1:]: after for place, (_, after) in turns.get("Secret", {}).items()})


class _Tables(NamedTuple):
    """Parts of a state by name."""

    services: Mapping[Hostname, Service]
    selectors: Mapping[Hostname, Mapping[str, str]]
    destination_rules: Mapping[Hostname, tuple[BoundDestinationRule, ...]]
    secrets: Mapping[tuple[str, str], ConfigObject[Secret]]


def _selectors(old: MeshState, settled: _Settlement) -> Mapping[Hostname, Mapping[str, str]]:
    changes = {
        host: after and kept(old.selectors.get(host), after[1]) for host, (_, after) in settled.selectors.items()
    }
    return patched_in_order(old.selectors, changes)


def _assembled(
    old: MeshState,
    memo: Memo,
    settled: _Settlement,
    tables: _Tables,
    index: MeshIndex,
) -> MeshState:
    """Put the parts of a state together."""
    assert old.memo is not None
    assert memo.mesh_config is not None
    mesh_config, settings = memo.mesh_config
    key_sets, key_sets_print = memo.key_sets
    endpoints = patched_in_order(old.endpoints, _after(settled.endpoints))
    doubles = patched(old.doubles, _after(settled.doubles))
    return MeshState(
        version=version(memo.fingerprint + key_sets_print + memo.sick[1], settings),
        mesh_config=mesh_config,
        services=tables.services,
        endpoints=endpoints,
        checked=patched_in_order(old.checked, _checked_turns(settled, endpoints, doubles)),
        selectors=tables.selectors,
        doubles=doubles,
        virtual_services=memo.virtual_services.bound,
        destination_rules=tables.destination_rules,
        gateways=memo.ordered["Gateway"],
        sidecars=memo.ordered["Sidecar"],
        policies={kind: memo.ordered[kind] for kind in POLICY_KINDS},
        envoy_filters=memo.ordered[ENVOY_FILTER],
        secrets=tables.secrets,
        statuses=memo.gateway_api.statuses,
        key_sets=key_sets,
        workloads=memo.workloads,
        made=(index, memo),
    )


def _nothing(mesh_config: MeshConfig) -> MeshState:
    """Return the state of an empty mesh."""
    return MeshState(
        version="",
        mesh_config=mesh_config,
        services={},
        endpoints={},
        virtual_services=(),
        destination_rules={},
        gateways=(),
        sidecars=(),
        secrets={},
        workloads=(),
        made=(MeshIndex(), Memo()),
    )


def _defaults(mesh_config: MeshConfig) -> tuple[list[str], ...]:
    """Return the settings that decide about objects which do not say themselves."""
    return (
        mesh_config.default_service_export_to,
        mesh_config.default_virtual_service_export_to,
        mesh_config.default_destination_rule_export_to,
    )


# --- what counts ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Counting:
    """The inputs that count, and which of them are different from before."""

    given: Collection[ConfigObject[Any]]
    objects: Election[Place, ConfigObject[Any]]
    object_turns: TurnsByKind
    registrations: Election[Name, WorkloadRegistration]
    registration_turns: Mapping[Name, Turn[WorkloadRegistration]]
    catalogues: Mapping[str, Catalogue]
    """By name."""
    catalogue_turns: Sequence[tuple[str, Catalogue | None, Catalogue | None]]
    """Those whose services or endpoints differ."""


def _count(memo: Memo, objects: Iterable[ConfigObject[Any]], catalogues: Iterable[Catalogue]) -> _Counting:
    given = lasting(objects)
    elected, object_turns = memo.objects.updated(*turnover(memo.given, given), place_of, seniority)
    by_kind: defaultdict[str, dict[Place, Turn[ConfigObject[Any]]]] = defaultdict(dict)
    for place, turn in object_turns.items():
        by_kind[place[0]][place] = turn
    books = {book.name: book for book in catalogues}
    pairs = [(name, memo.catalogues.get(name), books.get(name)) for name in memo.catalogues.keys() | books.keys()]
    moved = [
        turnover(before.workloads if before else (), after.workloads if after else ()) for _, before, after in pairs
    ]
    registered, registration_turns = memo.registrations.updated(
        chain.from_iterable(gone for gone, _ in moved),
        chain.from_iterable(come for _, come in moved),
        workload_name,
        lambda item: (item.address, canonical(item)),
    )
    return _Counting(
        given=given,
        objects=elected,
        object_turns=dict(by_kind),
        registrations=registered,
        registration_turns=registration_turns,
        catalogues=books,
        catalogue_turns=[(name, before, after) for name, before, after in pairs if not _agree(before, after)],
    )


def _agree(one: Catalogue | None, other: Catalogue | None) -> bool:
    """Whether two catalogues have the same services and endpoints."""
    if one is None or other is None:
        return one is other
    same = one.services is other.services and one.endpoints is other.endpoints
    return same or (one.services == other.services and one.endpoints == other.endpoints)


def _fingerprint(old: int, counting: _Counting) -> int:
    catalogues = ((before, after) for _, before, after in counting.catalogue_turns)
    new = shifted(old, catalogue_fingerprint, catalogues)
    new = shifted(new, registration_fingerprint, counting.registration_turns.values())
    for turns in counting.object_turns.values():
        new = shifted(new, object_fingerprint, turns.values())
    return new


def _key_sets(old: Memo, key_sets: Mapping[str, str]) -> tuple[Mapping[str, str], int]:
    known, known_print = old.key_sets
    turns = {source: key_sets.get(source) for source in changed_keys(known, key_sets)}
    items = [
        (
            (source, known[source]) if source in known else None,
            (source, text) if text is not None else None,
        )
        for source, text in turns.items()
    ]
    same = {source: kept(known.get(source), text) for source, text in key_sets.items()}
    return (known if same == known else same), shifted(known_print, key_set_fingerprint, items)


def _sick(old: Memo, sick: frozenset[HealthTarget]) -> tuple[frozenset[HealthTarget], int]:
    known, known_print = old.sick
    turns = [(target, None) for target in known - sick] + [(None, target) for target in sick - known]
    return (known if known == sick else sick), shifted(known_print, sick_fingerprint, turns)


def _in_order(
    old: Mapping[str, Ordered[ConfigObject[Any]]], turns: TurnsByKind
) -> Mapping[str, Ordered[ConfigObject[Any]]]:
    """Return the objects of some kinds, oldest first."""
    new: dict[str, Ordered[ConfigObject[Any]]] = {}
    for kind, objects in old.items():
        changes: dict[Order, ConfigObject[Any] | None] = {}
        for before, after in turns.get(kind, {}).values():
            if before is not None:
                changes[age(before)] = None
            if after is not None:
                changes[age(after)] = after
        new[kind] = objects.patched(changes)
    return new


# --- services and endpoints ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Settlement:
    """The steps to services, and what hosts come to before and after, where that differs."""

    claims: Claims
    memberships: Memberships
    services: Mapping[Hostname, tuple[Service | None, Service | None]]
    endpoints: Mapping[Hostname, tuple[tuple[Endpoint, ...] | None, tuple[Endpoint, ...] | None]]
    selectors: Mapping[Hostname, tuple[Selecting | None, Selecting | None]]
    doubles: Mapping[Hostname, tuple[tuple[Double, ...] | None, tuple[Double, ...] | None]]


def _checked_turns(
    settled: _Settlement,
    endpoints: Mapping[Hostname, tuple[Endpoint, ...]],
    doubles: Mapping[Hostname, tuple[Double, ...]],
) -> dict[Hostname, bool | None]:
    """Return of each host whose endpoints changed whether gateways check some of them; None for no."""
    hosts = dict.fromkeys((*settled.endpoints, *settled.doubles))
    return {
        host: has_checks(endpoints.get(host, ()))
        or any(has_checks(one.endpoints) for one in doubles.get(host, ()))
        or None
        for host in hosts
    }


def _settle(old: MeshState, memo: Memo, inputs: Inputs, turns: Turns, sick: frozenset[HealthTarget]) -> _Settlement:
    claims, claimed = memo.claims.updated(inputs, turns)
    staffed, affected = memo.memberships.with_workloads(workload_turns(turns))
    memberships = regrouped(staffed, memo.claims, claims, claimed)
    services: dict[Hostname, tuple[Service | None, Service | None]] = {}
    endpoints: dict[Hostname, tuple[tuple[Endpoint, ...] | None, tuple[Endpoint, ...] | None]] = {}
    selectors: dict[Hostname, tuple[Selecting | None, Selecting | None]] = {}
    doubles: dict[Hostname, tuple[tuple[Double, ...] | None, tuple[Double, ...] | None]] = {}
    turned = sorted({target.host for target in memo.sick[0] ^ sick})
    for host in dict.fromkeys((*claimed, *affected, *turned)):
        found = claims.by_host.get(host)
        before = old.services.get(host)
        settled, others = settle_all(found, memberships.groups) if found else (Settled(), None)
        _note(services, host, before, settled.service)
        if others and sick:
            others = tuple(one._replace(endpoints=with_health(host, one.endpoints, sick)) for one in others)
        _note(endpoints, host, old.endpoints.get(host), with_health(host, settled.endpoints, sick) or None)
        selecting = None if before is None or host not in old.selectors else (before.namespace, old.selectors[host])
        _note(selectors, host, selecting, settled.selecting)
        _note(doubles, host, old.doubles.get(host), others)
    return _Settlement(
        claims=claims,
        memberships=memberships,
        services=services,
        endpoints=endpoints,
        selectors=selectors,
        doubles=doubles,
    )


def _note(
    turns: dict[Hostname, tuple[ValueT | None, ValueT | None]],
    host: Hostname,
    before: ValueT | None,
    after: ValueT | None,
) -> None:
    if before != after:
        turns[host] = (before, after)


def _after(turns: Mapping[Hostname, tuple[ValueT | None, ValueT | None]]) -> dict[Hostname, ValueT | None]:
    return {host: after for host, (_, after) in turns.items()}
