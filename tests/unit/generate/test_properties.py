"""What must hold of every snapshot, whatever the mesh: closed, unambiguous, the same each time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from lateen.config.objects import ConfigObject
from lateen.envoy.messages import to_json
from lateen.envoy.resources import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, Snapshot
from lateen.generate.scopes import scope_of
from lateen.generate.snapshot import generate
from lateen.mesh.state import MeshState
from lateen.model.names import Hostname
from lateen.model.protocols import Protocol
from lateen.model.proxies import Proxy
from unit.generate.meshes import PROXIES, mesh_of, object_lists

every_mesh = settings()


@every_mesh
@given(object_lists(), st.booleans())
def test_a_snapshot_is_closed_and_unambiguous(objects: list[ConfigObject[Any]], registry_only: bool) -> None:
    """Envoy would wait for a missing resource, and refuse two equal matches, domains or names.

    A cluster that a route names may be missing, but only when its host, port or subset is.
    """
    state = mesh_of(objects, registry_only=registry_only)
    for proxy in PROXIES:
        found = shown(generate(state, proxy))
        for listener in found[LISTENER].values():
            for name in values_of(listener, "route_config_name"):
                assert name in found[ROUTE]
            for config in values_of(listener, "sds_config"):
                assert config
            assert_distinct([chain.get("filter_chain_match") for chain in listener.get("filter_chains", ())])
        for name, cluster in found[CLUSTER].items():
            assert (cluster.get("type") == "EDS") == (name in found[ENDPOINT])
        assert set(found[ENDPOINT]) <= set(found[CLUSTER])
        for configuration in found[ROUTE].values():
            hosts = configuration.get("virtual_hosts", [])
            assert_distinct([host["name"] for host in hosts])
            assert_distinct([domain for host in hosts for domain in host["domains"]])
            for name in values_of(configuration, "cluster"):
                assert name in found[CLUSTER] or is_dangling(state, name)


@every_mesh
@given(object_lists(), st.randoms(use_true_random=False))
def test_the_same_mesh_gives_the_same_bytes(objects: list[ConfigObject[Any]], random: Any) -> None:
    """Neither a second run nor the order of the documents makes a difference."""
    shuffled = list(objects)
    random.shuffle(shuffled)
    for proxy in PROXIES:
        first, second, third = (generate(mesh_of(order), proxy) for order in (objects, objects, shuffled))

        assert first.version == second.version == third.version


@every_mesh
@given(object_lists())
def test_equal_scopes_get_equal_snapshots(objects: list[ConfigObject[Any]]) -> None:
    """A replica without addresses of its own to bind may share what its sibling was served."""
    state = mesh_of(objects)
    for proxy in PROXIES:
        sibling = Proxy(**{name: getattr(proxy, name) for name in proxy.__slots__} | {"name": "a-2"})

        assert scope_of(state, proxy) == scope_of(state, sibling)
        assert generate(state, proxy).version == generate(state, sibling).version


def shown(snapshot: Snapshot) -> dict[str, dict[str, Any]]:
    return {
        kind: {name: to_json(kind, item.body) for name, item in snapshot.resources.get(kind, {}).items()}
        for kind in (CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET)
    }


def values_of(value: Any, key: str) -> Iterator[Any]:
    """Yield what stands under a key anywhere below."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            if name == key and isinstance(item, str | Mapping):
                yield item
            yield from values_of(item, key)
    elif isinstance(value, list):
        for item in value:
            yield from values_of(item, key)


def assert_distinct(values: list[Any]) -> None:
    texts = [json.dumps(value, sort_keys=True) for value in values]
    assert len(texts) == len(set(texts)), texts


def is_dangling(state: MeshState, cluster: str) -> bool:
    """Whether nothing in the mesh is what a cluster's name says."""
    _, port, subset, host = cluster.split("|")
    service = state.services.get(Hostname(host))
    found = service.port(int(port)) if service is not None else None
    return found is None or bool(subset) or found.protocol is Protocol.UDP
