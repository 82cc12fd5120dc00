"""The generator remembers, and nobody can tell: what it gives is what generation from scratch gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from lateen.config.mesh_config import (
    IstioNetworkGateway,
    MeshConfig,
    MeshNetworks,
    MeshOutboundTrafficPolicy,
    MeshOutboundTrafficPolicyMode,
    Network,
    NetworkEndpoints,
)
from lateen.config.networking import LocalityLoadBalancerSetting
from lateen.config.objects import ConfigObject
from lateen.config.security import PeerAuthentication
from lateen.envoy.resources import CLUSTER, VIRTUAL_HOST, Snapshot
from lateen.generate.generator import Generator
from lateen.generate.scopes import Scope
from lateen.generate.snapshot import generate
from lateen.mesh.build import build_state
from lateen.mesh.state import MeshState
from lateen.model.catalogues import Catalogue
from lateen.model.names import Hostname, ObjectKey
from lateen.model.services import Locality
from lateen.model.workloads import WorkloadPort, WorkloadRegistration
from unit.generate.meshes import (
    AUTHORIZATION_SERVER,
    HOSTS,
    KINDS,
    NAMESPACES,
    PROXIES,
    ROOT_NAMESPACE,
    locality_settings,
    object_of,
)

OTHERS = (
    replace(PROXIES[0], name="b", labels={"app": "b"}, addresses=("10.1.0.2",)),
    replace(PROXIES[0], name="c", namespace="other", addresses=("10.1.0.1", "10.1.0.2")),
    replace(PROXIES[1], name="d", labels={"app": "z"}, addresses=("127.0.0.3",), upstreams=()),
    replace(PROXIES[1], name="e", addresses=()),
    replace(PROXIES[0], name="f", addresses=("::1",)),
    replace(PROXIES[2], name="g", labels={"app": "b"}),
    replace(PROXIES[0], name="j", locality=Locality("r2", "z1"), network="n1"),
    replace(PROXIES[0], name="h", asks_on_demand=True),
    replace(
        PROXIES[1],
        name="i",
        asks_on_demand=True,
        learned=(Hostname("a.default.svc.cluster.local"), Hostname("c.example.com")),
    ),
)
EVERY_PROXY = (*PROXIES, *OTHERS)
CALLED = [
    f"{routes}/{host}"
    for routes in ("http_proxy.vhds", "80.vhds", "9080.vhds", "443.vhds")
    for host in (
        "a",
        "a:80",
        "a.default.svc.cluster.local:9080",
        "b.other",
        "c.example.com",
        "10.9.9.9",
        "x.example.com:80",
    )
]
"""Some of what proxies ask for."""
CLUSTERS = [f"outbound|{port}||{host}" for port in (80, 9080) for host in HOSTS]
MODES = (MeshOutboundTrafficPolicyMode.ALLOW_ANY, MeshOutboundTrafficPolicyMode.REGISTRY_ONLY)


def mesh_config(mode: MeshOutboundTrafficPolicyMode) -> MeshConfig:
    policy = MeshOutboundTrafficPolicy(mode=mode)
    return MeshConfig(outbound_traffic_policy=policy, extension_providers=[AUTHORIZATION_SERVER])


@dataclass
class Inputs:
    """What a state is built from."""

    objects: dict[ObjectKey, ConfigObject[Any]] = field(default_factory=dict)
    workloads: dict[str, WorkloadRegistration] = field(default_factory=dict)
    mesh_config: MeshConfig = field(default_factory=lambda: mesh_config(MODES[0]))

    def state(self, previous: MeshState | None) -> MeshState:
        catalogue = Catalogue(name="agents", workloads=tuple(self.workloads.values()))
        return build_state(self.objects.values(), (catalogue,), self.mesh_config, previous)


registrations = st.builds(
    WorkloadRegistration,
    service=st.sampled_from(("a", "b", "")),
    namespace=st.sampled_from(NAMESPACES),
    address=st.sampled_from(("10.1.0.1", "10.1.0.2", "127.0.0.3")),
    name=st.sampled_from(("a-1", "a-2", "b-1")),
    version=st.sampled_from(("", "v1", "v2")),
    ports=st.sampled_from(
        ((WorkloadPort(port=80, protocol="http"),), (WorkloadPort(port=9080), WorkloadPort(port=443, protocol="tcp")))
    ),
    ready=st.booleans(),
    network=st.sampled_from(("", "", "n1", "n2")),
    labels=st.sampled_from(({}, {"app": "a"})),
    identity=st.sampled_from(("", *(f"spiffe://cluster.local/ns/default/sa/{name}" for name in ("default", "a")))),
)


@st.composite
def puts(draw: st.DrawFn) -> ConfigObject[Any]:
    kind = draw(st.sampled_from(tuple(KINDS)))
    namespaces = (*NAMESPACES, ROOT_NAMESPACE) if kind in ("PeerAuthentication", "EnvoyFilter") else NAMESPACES
    return object_of(kind, draw(st.sampled_from(namespaces)), draw(st.integers(0, 3)), draw(KINDS[kind]))


mesh_networks = st.builds(
    MeshNetworks,
    networks=st.dictionaries(
        st.sampled_from(("n1", "n2")),
        st.builds(
            Network,
            endpoints=st.sampled_from(([], [NetworkEndpoints(from_cidr="10.1.0.0/31")])),
            gateways=st.lists(
                st.builds(IstioNetworkGateway, address=st.sampled_from(("10.8.0.1", "10.8.0.2")), port=st.just(15443)),
                max_size=2,
            ),
        ),
    ),
)
steps = st.one_of(
    puts(),
    puts(),
    puts(),
    registrations,
    st.integers(0, 100),  # remove one thing
    st.sampled_from(MODES),
    st.sampled_from(((), ("old.domain",))),
    locality_settings,
    mesh_networks,
)


def apply(inputs: Inputs, step: Any) -> None:
    if isinstance(step, ConfigObject):
        inputs.objects[step.key] = step
    elif isinstance(step, WorkloadRegistration):
        inputs.workloads[step.name] = step
    elif isinstance(step, LocalityLoadBalancerSetting):
        inputs.mesh_config = MeshConfig(locality_lb_setting=step)
    elif isinstance(step, MeshNetworks):
        inputs.mesh_config = MeshConfig(mesh_networks=step)
    elif isinstance(step, tuple):
        inputs.mesh_config = MeshConfig(trust_domain_aliases=list(step), enable_auto_mtls=bool(step))
    elif isinstance(step, MeshOutboundTrafficPolicyMode):
        inputs.mesh_config = mesh_config(step)
    else:
        keys: list[Any] = [*inputs.objects, *inputs.workloads]
        if keys:
            chosen = keys[step % len(keys)]
            inputs.objects.pop(chosen, None)
            inputs.workloads.pop(chosen, None)


def wire(snapshot: Snapshot) -> dict[tuple[str, str], tuple[str, bytes]]:
    asked = {kind: dict(found.items()) for kind, found in snapshot.on_demand.items() if isinstance(found, Mapping)}
    hosts = snapshot.on_demand.get(VIRTUAL_HOST)
    if hosts is not None:
        asked[VIRTUAL_HOST] = {name: host for name in CALLED if (host := hosts.get(name))}
    clusters = snapshot.on_demand.get(CLUSTER)
    if clusters is not None:
        asked[CLUSTER] = {name: found for name in CLUSTERS if (found := clusters.get(name))}
    return {
        (kind, name): (resource.version, resource.body)
        for offered in (snapshot.resources, asked)
        for kind, named in offered.items()
        for name, resource in named.items()
    }


@settings()
@given(
    st.lists(puts(), max_size=12),
    st.lists(
        st.tuples(st.lists(steps, min_size=1, max_size=2), st.sets(st.sampled_from(range(len(EVERY_PROXY))))),
        max_size=8,
    ),
)
def test_after_any_changes_it_gives_what_generation_from_scratch_gives(
    start: list[ConfigObject[Any]], changes: list[tuple[list[Any], set[int]]]
) -> None:
    """Byte for byte, for proxies that are there all the time and for those that come and go.

    What stayed the same from one state to the next is the same object: every resource of a scope, every map of a kind,
    and the snapshot.
    """
    inputs, generator = Inputs(), Generator()
    for step in start:
        apply(inputs, step)
    state = inputs.state(None)
    known: dict[int, tuple[Scope, Snapshot]] = {}
    for step_list, absent in [([], set()), *changes]:
        for step in step_list:
            apply(inputs, step)
        state = inputs.state(state)
        for number, proxy in enumerate(EVERY_PROXY):
            if number in absent:
                known.pop(number, None)
                continue
            expected, found = generate(state, proxy), generator.generate(state, proxy)

            assert wire(found) == wire(expected)
            # The virtual hosts that nobody asked for count as changed when the first state had them, not when they did.
            assert found.version == expected.version or found.on_demand
            assert found.resources.keys() == expected.resources.keys()
            scope = generator.scope_of(state, proxy)
            if number in known and known[number][0] == scope:
                assert_shared(known[number][1], found)
            known[number] = (scope, found)


def assert_shared(old: Snapshot, new: Snapshot) -> None:
    """Whatever has not changed is the same object."""
    assert (old is new) == (old.version == new.version)
    for kind, asked in new.on_demand.items():
        assert kind == VIRTUAL_HOST or (old.on_demand.get(kind) is asked) == (old.on_demand.get(kind) == asked)
    for kind, named in new.resources.items():
        before = old.resources.get(kind, {})
        same = {name for name in before.keys() & named.keys() if before[name].version == named[name].version}
        assert all(before[name] is named[name] for name in same)
        # A kind of which patches leave nothing is there, and empty: it may not have been there before.
        assert kind not in old.resources or (before is named) == (len(same) == len(named) == len(before))


def test_a_mesh_that_is_again_what_it_was_shares_what_it_has_now() -> None:
    """Settings and a workload that come and go leave no older object behind."""
    inputs, generator = Inputs(), Generator()
    port = WorkloadPort(port=80, protocol="http")
    here = WorkloadRegistration(service="a", namespace="default", address="10.1.0.1", name="a-1", ports=(port,))
    strictness = [object_of("PeerAuthentication", "default", number, PeerAuthentication()) for number in range(2)]
    steps: list[list[Any]] = [
        [],
        strictness[:1],
        strictness,
        [MODES[1], here],
        [50, MODES[0]],
        [replace(here, address="10.1.0.2")],
    ]
    state = inputs.state(None)
    known: dict[int, tuple[Scope, Snapshot]] = {}
    for step in steps:
        for change in step:
            apply(inputs, change)
        state = inputs.state(state)
        for number, proxy in enumerate(EVERY_PROXY):
            found, scope = generator.generate(state, proxy), generator.scope_of(state, proxy)
            if number in known and known[number][0] == scope:
                assert_shared(known[number][1], found)
            known[number] = (scope, found)
