"""A client that warms clusters up as Envoy does is never left waiting, and has what it was told of or asked for.

The model of stock Envoy 1.40, as observed: a cluster that is new or changed warms up until a response *after* it
brings its endpoints or says that there are none, whatever the client held of them; while one warms up, the answer to
clusters is held back, and on a new stream the first request for clusters too. Some clusters it rejects. Endpoints that
come before it had any cluster it does not answer. Messages of both directions travel in order and take their time.
"""

from __future__ import annotations

from collections import deque
from typing import TypeAlias

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from lateen.discovery.protocol import Delta
from lateen.discovery.values import WILDCARD, DeltaRequest, Response
from lateen.envoy.resources import CLUSTER, ENDPOINT, LISTENER, Snapshot
from unit.discovery.transcripts import fake_resource, fake_snapshot

versions = st.sampled_from(("1", "2", "3"))
BAD = "bad"
"""Version of a cluster that Envoy rejects."""
cluster_versions = st.sampled_from(("1", "2", "3", BAD))
names = st.sampled_from(("a", "b", "c"))
meshes = st.dictionaries(names, st.tuples(cluster_versions, versions, st.booleans()), min_size=1)
"""Cluster name -> versions of the cluster and of its endpoints, and whether everybody is told of it."""
Mesh: TypeAlias = dict[str, tuple[str, str, bool]]


class EnvoyMachine(RuleBasedStateMachine):
    """One Envoy, one session, and a link with a queue in each direction."""

    @initialize(mesh=st.none() | meshes)
    def start(self, mesh: Mesh | None) -> None:
        self.count = 0
        self.snapshot: Snapshot | None = None
        self.clusters: dict[str, str] = {}
        self.endpoints: dict[str, str] = {}
        self.warming: set[str] = set()
        self.listeners: dict[str, str] = {}
        self.named: dict[str, None] = {}
        if mesh:
            self.make(mesh)
        self.connect()

    def make(self, mesh: Mesh) -> None:
        self.count += 1
        made = [fake_resource(CLUSTER, name, cluster) for name, (cluster, _, told) in mesh.items() if told]
        made.append(fake_resource(LISTENER, "web", str(self.count)))
        on_demand = [fake_resource(CLUSTER, name, cluster) for name, (cluster, _, told) in mesh.items() if not told]
        on_demand += [fake_resource(ENDPOINT, name, endpoints) for name, (_, endpoints, _) in mesh.items()]
        self.snapshot = fake_snapshot(f"s{self.count}", *made, on_demand=on_demand)

    @rule(mesh=meshes)
    def publish(self, mesh: Mesh) -> None:
        self.make(mesh)
        assert self.snapshot
        self.down += self.session.on_publish(self.snapshot)

    @rule(name=names)
    def ask(self, name: str) -> None:
        """A first request to a cluster that it does not know: Envoy asks once, for as long as it lives."""
        if name not in self.clusters and name not in self.named:
            self.named[name] = None
            self.after_warming(DeltaRequest(kind=CLUSTER, subscribe=(name,)))

    @rule()
    def lose_patience(self) -> None:
        self.down += self.session.on_timeout()

    @rule()
    def connect(self) -> None:
        self.session = Delta()
        self.up: deque[DeltaRequest] = deque()
        self.down: deque[Response] = deque()
        self.held_back: list[DeltaRequest] = []
        self.subscribed: set[str] | None = None
        hello = DeltaRequest(kind=CLUSTER, subscribe=(WILDCARD, *self.named), initial_versions=dict(self.clusters))
        self.after_warming(hello)
        self.subscribe_endpoints()
        self.up.append(DeltaRequest(kind=LISTENER, subscribe=(WILDCARD,), initial_versions=dict(self.listeners)))

    def after_warming(self, request: DeltaRequest) -> None:
        if self.warming:
            self.held_back.append(request)
        else:
            self.up.append(request)

    def subscribe_endpoints(self) -> None:
        wanted = set(self.clusters)
        if self.subscribed is None:
            if wanted:
                self.up.append(
                    DeltaRequest(kind=ENDPOINT, subscribe=tuple(sorted(wanted)), initial_versions=dict(self.endpoints))
                )
                self.subscribed = wanted
        elif wanted != self.subscribed:
            added, gone = sorted(wanted - self.subscribed), sorted(self.subscribed - wanted)
            self.up.append(DeltaRequest(kind=ENDPOINT, subscribe=tuple(added), unsubscribe=tuple(gone)))
            self.subscribed = wanted

    @precondition(lambda self: self.up)
    @rule()
    def server_reads(self) -> None:
        self.down += self.session.on_request(self.up.popleft(), self.snapshot)

    @precondition(lambda self: self.down)
    @rule()
    def client_reads(self) -> None:
        response = self.down.popleft()
        answer = DeltaRequest(kind=response.kind, nonce=response.nonce)
        if response.kind == CLUSTER:
            changed = {item.name: item.version for item in response.resources if item.version != BAD}
            if len(changed) < len(response.resources):
                answer = DeltaRequest(kind=CLUSTER, nonce=response.nonce, error="bad")
            # The same cluster again is no change to Envoy.
            self.warming |= {name for name, version in changed.items() if self.clusters.get(name) != version}
            self.clusters |= changed
            for name in response.removed:
                self.clusters.pop(name, None)
                self.endpoints.pop(name, None)
                self.warming.discard(name)
            self.subscribe_endpoints()
            self.after_warming(answer)
            return
        if response.kind == ENDPOINT and self.subscribed is None:
            return
        held = self.endpoints if response.kind == ENDPOINT else self.listeners
        for resource in response.resources:
            if response.kind == LISTENER or resource.name in self.clusters:
                held[resource.name] = resource.version
        for name in response.removed:
            held.pop(name, None)
        self.up.append(answer)
        if response.kind == ENDPOINT:
            self.warming -= {resource.name for resource in response.resources} | set(response.removed)
            if not self.warming:
                self.up += self.held_back
                self.held_back = []

    def teardown(self) -> None:
        if not hasattr(self, "up"):
            return
        if self.snapshot is None:
            self.publish({"a": ("1", "1", True)})
        for _ in range(200):
            if self.up:
                self.server_reads()
            elif self.down:
                self.client_reads()
        assert (len(self.up), len(self.down), self.warming, self.held_back) == (0, 0, set(), [])
        assert self.snapshot
        assert self.session.is_settled_on(self.snapshot)
        told, get = self.snapshot.resources.get(CLUSTER, {}), self.snapshot.offer(CLUSTER).get
        wanted = {*told, *self.named, *self.clusters}
        good = {name: found.version for name in wanted if (found := get(name)) and found.version != BAD}
        assert {name: self.clusters.get(name) for name in good} == good
        assert all(get(name) for name in self.clusters)
        endpoints = self.snapshot.offer(ENDPOINT).get
        offered = {name: endpoints(name) for name in self.clusters}
        assert self.endpoints == {name: found.version for name, found in offered.items() if found}
        assert self.listeners == {"web": str(self.count)}


TestEnvoy = EnvoyMachine.TestCase
TestEnvoy.settings = settings(stateful_step_count=30)
