"""A control plane of handmade snapshots for the flow tests: hub and gRPC server on a free port of loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Hashable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from lateen.config.mesh_config import MeshConfig
from lateen.discovery.hub import PATIENCE_SECONDS, Hub, Stream
from lateen.discovery.limits import DEFAULT_LIMITS, Limits
from lateen.discovery.ports import Port
from lateen.discovery.protocol import Session
from lateen.discovery.server import serve
from lateen.discovery.values import Response
from lateen.envoy.resources import CLUSTER, ENDPOINT, Resource, Snapshot, make_resource, make_snapshot
from lateen.mesh.state import MeshState
from lateen.model.proxies import Proxy
from lateen.model.workloads import WorkloadRegistration


def empty_state(version: str, workloads: Sequence[WorkloadRegistration] = ()) -> MeshState:
    """A state that is nothing but its version, and who is registered."""
    return MeshState(
        version=version,
        mesh_config=MeshConfig(),
        services={},
        endpoints={},
        virtual_services=(),
        destination_rules={},
        gateways=(),
        sidecars=(),
        secrets={},
        workloads=workloads,
    )


class RecordingHub(Hub):
    """Also keeps what its streams were sent."""

    sent: list[Response]

    @contextmanager
    def connected(
        self, proxy: Proxy, user_agent: str, session: Session[Any], *, resumes: bool = False
    ) -> Iterator[Stream]:
        with super().connected(proxy, user_agent, session, resumes=resumes) as stream:
            take = stream.take

            def recording() -> tuple[Response, ...]:
                responses = take()
                self.sent += responses
                return responses

            stream.take = recording  # type: ignore[method-assign]
            yield stream


@dataclass
class Handmade:
    """What `generate` returns: by state version; a scope is a namespace."""

    hub: RecordingHub = field(init=False)
    address: str = ""
    snapshots: dict[str, Snapshot] = field(default_factory=dict)
    generated: list[tuple[str, str]] = field(default_factory=list)
    """(state version, namespace) of each generation."""
    broken: set[str] = field(default_factory=set)
    """Namespaces for which generation raises."""

    patience: float = PATIENCE_SECONDS

    def __post_init__(self) -> None:
        self.hub = RecordingHub(self._generate, self._scope_of, patience=self.patience)
        self.hub.sent = []

    def publish(self, version: str, *resources: Resource, workloads: Sequence[WorkloadRegistration] = ()) -> None:
        self.snapshots[version] = make_snapshot(list(resources))
        self.hub.publish(empty_state(version, workloads))

    def _generate(self, state: MeshState, proxy: Proxy) -> Snapshot:
        self.generated.append((state.version, proxy.namespace))
        if proxy.namespace in self.broken:
            raise RuntimeError("a bug in generation")
        return self.snapshots[state.version]

    @staticmethod
    def _scope_of(_state: MeshState, proxy: Proxy) -> Hashable:
        return proxy.namespace


@asynccontextmanager
async def serving(
    address: str = "127.0.0.1:0",
    limits: Limits = DEFAULT_LIMITS,
    *,
    settled: bool = True,
    patience: float = PATIENCE_SECONDS,
) -> AsyncIterator[Handmade]:
    made = Handmade(patience=patience)
    if settled:
        made.hub.settle()
    async with serve(made.hub, [Port(address=address)], limits=limits) as ports, asyncio.TaskGroup() as tasks:
        made.address = f"127.0.0.1:{ports[0]}"
        run = tasks.create_task(made.hub.run())
        yield made
        run.cancel()


async def eventually(condition: Callable[[], object], deadline: float = 30) -> None:
    """Wait for a condition that nothing announces."""
    async with asyncio.timeout(deadline):
        while not condition():  # noqa: ASYNC110  there is no event for it
            await asyncio.sleep(0.001)


def cluster(name: str, **fields: Any) -> Resource:
    eds = {"type": "EDS", "eds_cluster_config": {"eds_config": {"resource_api_version": "V3", "ads": {}}}}
    return make_resource(CLUSTER, name, {"name": name, "connect_timeout": {"seconds": 1}, **eds, **fields})


def endpoints(name: str, *ports: int) -> Resource:
    hosts = [
        {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}} for port in ports
    ]
    locality = {"locality": {"region": "here"}, "lb_endpoints": hosts, "load_balancing_weight": {"value": 1}}
    return make_resource(ENDPOINT, name, {"cluster_name": name, "endpoints": [locality] if hosts else []})
