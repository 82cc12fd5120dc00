"""A control plane in a few lines, for the agent's tests: Attach by hand, and just enough delta ADS for a real Envoy.

`running` serves in plaintext; `running_securely` also says where it is, gives certificates, and serves over mTLS.

Independent of `discovery` and `registries` on purpose: the agent is tested against the protocols, not against the
other half of the same program.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc

from flow.fake_authority import SERVER, FakeAuthority
from lateen.agent.certificate_messages import CREATE_CERTIFICATE
from lateen.envoy.messages import Fields, Message, message_class, packed, typed_extension
from lateen.envoy.resources import CLUSTER, LISTENER, ROUTE, TYPE_PREFIX, Resource, make_resource
from lateen.model.workloads import ATTACH_METHOD
from ports import free_port

_ADS = "envoy.service.discovery.v3.AggregatedDiscoveryService"
_HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = "envoy.extensions.filters.http.router.v3.Router"


async def _yes(name: str) -> bool:
    return True


@dataclass
class FakeControlPlane:
    """What the agents said, and what they are told."""

    on_leave: Callable[[str], Awaitable[bool]] = _yes
    refuse: str = ""
    """A message with which every registration is refused."""
    registered_more: dict[str, Any] = field(default_factory=dict)
    """What newer control planes say with `registered`."""
    serve_listeners: bool = True
    routes: Resource | None = None
    """Routes of the outbound proxy, served by RDS; None for fixed ones inside the listener."""
    workloads: dict[str, dict[str, Any]] = field(default_factory=dict)
    said: list[tuple[str, Any]] = field(default_factory=list)
    """(workload name, message) in order."""
    tokens: list[str] = field(default_factory=list)
    """What each attach stream had for authorization."""
    peers: list[str] = field(default_factory=list)
    """Who each attach stream was from: the URI in its certificate."""
    trust: dict[str, Any] | None = None
    """What is said about roots after `registered`."""
    nodes: list[Any] = field(default_factory=list)
    node_peers: list[str] = field(default_factory=list)
    """Who each xDS stream was from."""
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    _epoch: int = 0
    _cuts: list[asyncio.Timeout] = field(default_factory=list)

    async def until(self, condition: Callable[[], Any], seconds: float = 60) -> Any:
        """Wait until the condition holds; return its value."""
        async with asyncio.timeout(seconds), self.changed:
            return await self.changed.wait_for(condition)

    def registration(self, name: str) -> dict[str, Any]:
        """Return the newest registration of a workload."""
        return self.workloads[name]

    async def break_streams(self) -> None:
        """Cut every attach stream off, as a restart would."""
        self._epoch += 1
        for cut in self._cuts:
            cut.reschedule(0)
        self._cuts.clear()

    async def say_trust(self, trust: dict[str, Any]) -> None:
        """Say this to every agent that is attached, and to those that come."""
        async with self.changed:
            self.trust = trust
            self.changed.notify_all()

    async def _note(self, name: str, message: Any) -> None:
        async with self.changed:
            self.said.append((name, message))
            self.changed.notify_all()

    async def attach(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        """The Attach method."""
        self.tokens.append(dict(context.invocation_metadata()).get("authorization", ""))
        self.peers.append(_peer(context))
        name, trust = "", None
        messages, epoch = aiter(requests), self._epoch
        reading = None
        while epoch == self._epoch:
            try:
                if name and self.trust and trust is not self.trust:
                    trust = self.trust
                    yield json.dumps({"trust": trust}).encode()
                # A read that is cancelled would lose its message, so it outlives the look at what there is to say.
                reading = reading or asyncio.get_running_loop().create_task(_next(messages))
                await self._unless_cut(asyncio.wait([reading], timeout=0.05))
                if not reading.done():
                    continue
                raw, reading = reading.result(), None
                if raw is None:
                    return
                message = json.loads(raw)
                if "register" in message and self.refuse:
                    yield json.dumps({"refused": {"message": self.refuse}}).encode()
                    return
                if "register" in message:
                    name = await self._register(message)
                    yield json.dumps({"registered": {"name": name} | self.registered_more}).encode()
                elif "calls" in message or "trusts" in message:
                    await self._note(name, message)
                elif message.get("leave"):
                    self.workloads.pop(name, None)
                    await self._note(name, message)
                    acknowledged = await self._unless_cut(self.on_leave(name))
                    yield json.dumps({"left": {"acknowledged": acknowledged}}).encode()
                    return
            except TimeoutError:
                return

    async def _register(self, message: Any) -> str:
        registration = message["register"]
        service = "-".join(part for part in (registration["service"], registration["version"]) if part)
        name = registration["name"] or f"{service}-{next(self._numbers)}"
        self.workloads[name] = registration
        await self._note(name, message)
        return str(name)

    async def _unless_cut(self, waiting: Awaitable[Any]) -> Any:
        """Wait; TimeoutError as soon as `break_streams` is called."""
        async with asyncio.timeout(None) as cut:
            self._cuts.append(cut)
            try:
                return await waiting
            finally:
                if cut in self._cuts:
                    self._cuts.remove(cut)

    async def stream(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        """Delta ADS: everything of a type, again after each change of the workload."""
        first = message_class("envoy.service.discovery.v3.DeltaDiscoveryRequest").FromString(
            await anext(aiter(requests))
        )
        node = first.node
        async with self.changed:
            self.nodes.append(node)
            self.node_peers.append(_peer(context))
            self.changed.notify_all()
        sent: dict[str, str] = {}
        while True:
            for kind, resources in self._resources(node).items():
                version = "".join(sorted(resource.version for resource in resources))
                if sent.get(kind) != version:
                    sent[kind] = version
                    yield _response(kind, resources)
            async with self.changed:
                await self.changed.wait()

    def _resources(self, node: Message) -> dict[str, list[Resource]]:
        _, address, identifier, _ = node.id.split("~")
        registration = self.workloads.get(identifier.rpartition(".")[0], {})
        if node.id.startswith("router~"):
            ports = node.metadata["LATEEN"]["portMap"]
            bound = int(ports["80"]) if "80" in ports else 80
            found = [_listener("0.0.0.0_80", address, bound, "OUTBOUND", {"direct_response": {"status": 200}})]
            return {CLUSTER: [], LISTENER: found if self.serve_listeners else []}
        ports = {port["port"]: port["app_port"] or port["port"] for port in registration.get("ports", [])}
        outbound: Fields = {"direct_response": {"status": 204}}
        rds = self.routes is not None
        listeners = [_listener("http_proxy", address, 15001, "OUTBOUND", outbound, rds=rds)]
        for port in ports:
            route = {"route": {"cluster": f"inbound|{port}||", "timeout": {"seconds": 60}}}
            listeners.append(_listener(f"{address}_{port}", address, port, "INBOUND", route))
        clusters = [_cluster(f"inbound|{port}||", app_port) for port, app_port in ports.items()]
        made: dict[str, list[Resource]] = {CLUSTER: clusters, LISTENER: listeners if self.serve_listeners else []}
        return made if self.routes is None else made | {ROUTE: [self.routes]}

    async def serve_routes(self, action: Fields) -> None:
        """Serve one route that does this from now on."""
        self.routes = make_resource(ROUTE, "http_proxy", _route_configuration("http_proxy", action))
        async with self.changed:
            self.changed.notify_all()


def _response(kind: str, resources: list[Resource]) -> bytes:
    wire: bytes = message_class("envoy.service.discovery.v3.DeltaDiscoveryResponse")(
        type_url=TYPE_PREFIX + kind,
        nonce="n",
        resources=[
            {"name": r.name, "version": r.version, "resource": {"type_url": TYPE_PREFIX + kind, "value": r.body}}
            for r in resources
        ],
    ).SerializeToString()
    return wire


def _cluster(name: str, port: int) -> Resource:
    endpoint = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}
    fields: Fields = {
        "name": name,
        "type": "STATIC",
        "alt_stat_name": f"{name};",
        "connect_timeout": {"seconds": 5},
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}]},
    }
    return make_resource(CLUSTER, name, fields)


def _route_configuration(name: str, action: Fields) -> Fields:
    route = {"match": {"prefix": "/"}, **action}
    return {
        "name": name,
        "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}],
        "validate_clusters": {"value": False},
    }


def _listener(name: str, address: str, port: int, direction: str, action: Fields, *, rds: bool = False) -> Resource:
    ads = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": {"seconds": 0}}
    routes: Fields = {"route_config": _route_configuration(name, action)}
    if rds:
        routes = {"rds": {"route_config_name": name, "config_source": ads}}
    manager = {
        "stat_prefix": f"{direction.lower()}_{name};",
        **routes,
        "http_filters": [typed_extension("envoy.filters.http.router", _ROUTER)],
    }
    fields: Fields = {
        "name": name,
        "address": {"socket_address": {"address": address, "port_value": port}},
        "traffic_direction": direction,
        "filter_chains": [
            {
                "filters": [
                    {
                        "name": "envoy.filters.network.http_connection_manager",
                        "typed_config": packed(_HCM, manager),
                    }
                ]
            }
        ],
    }
    return make_resource(LISTENER, name, fields)


async def _next(messages: AsyncIterator[bytes]) -> bytes | None:
    return await anext(messages, None)


def _peer(context: Any) -> str:
    return b" ".join(context.auth_context().get("peer_spiffe_id", [])).decode()


@dataclass
class FakeSecurity:
    """The side of a control plane that gives certificates."""

    authority: FakeAuthority = field(default_factory=FakeAuthority)
    server: str = SERVER
    """The SPIFFE ID that the servers show."""
    token_file: str = ""
    seconds: float = 3600
    """Validity of the certificates."""
    refuse: tuple[grpc.StatusCode, str] | None = None
    hold_after: int = 1 << 30
    """After so many requests for a certificate, each is answered only when `hold` is set."""
    hold: asyncio.Event = field(default_factory=asyncio.Event)
    held: bool = False
    answer: bytes | None = None
    """What a request for a certificate gets, instead of one."""
    located: dict[str, Any] = field(default_factory=dict)
    """What `Locate` says besides, or instead of, the truth."""
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    """(token, peer, name) of each request for a certificate."""
    secure: int = 0
    join: int = 0

    async def locate(self, request: bytes, context: Any) -> bytes:
        """The Locate method."""
        assert json.loads(request) == {}
        truth = {
            "secure": f"127.0.0.1:{self.secure}",
            "join": f"127.0.0.1:{self.join}",
            "roots": [self.authority.root_pem],
            "trust_domain": "cluster.local",
            "token_file": self.token_file,
        }
        return json.dumps(truth | self.located).encode()

    async def create_certificate(self, request: bytes, context: Any) -> bytes:
        """The CreateCertificate method."""
        token = dict(context.invocation_metadata()).get("authorization", "").removeprefix("Bearer ")
        csr = _csr(request)
        name, leaf = self.authority.certify(csr, self.seconds)
        self.asked.append((token, _peer(context), name))
        if len(self.asked) > self.hold_after:
            self.held = True
            await self.hold.wait()
        if self.refuse:
            await context.abort(*self.refuse)
        if self.answer is not None:
            return self.answer
        return b"".join(_string_field(1, text) for text in (leaf, self.authority.root_pem))


def _csr(request: bytes) -> str:
    """The first field of the request, which is small: two bytes of length."""
    assert request[0] == 0x0A
    length = request[1] & 0x7F | request[2] << 7
    assert len(request) == 3 + length
    return request[3:].decode()


def _string_field(number: int, text: str) -> bytes:
    body = text.encode()
    assert 128 <= len(body) < 1 << 14
    return bytes([number << 3 | 2, len(body) & 0x7F | 0x80, len(body) >> 7]) + body


@asynccontextmanager
async def running(plane: FakeControlPlane, port: int = 0) -> AsyncIterator[int]:
    """Serve in plaintext inside the block; yield the port, which nobody else takes before it is served again."""
    server = _server(_attach_and_ads(plane))
    bound = server.add_insecure_port(f"127.0.0.1:{port or free_port()}")
    async with _serving(server):
        yield bound


@asynccontextmanager
async def running_securely(plane: FakeControlPlane, security: FakeSecurity, port: int = 0) -> AsyncIterator[int]:
    """Serve inside the block: plaintext (the port is yielded) with `Locate`, mTLS, and joining."""
    create = grpc.unary_unary_rpc_method_handler(security.create_certificate)
    service, _, method = CREATE_CERTIFICATE.strip("/").rpartition("/")
    creating = grpc.method_handlers_generic_handler(service, {method: create})
    locate = grpc.unary_unary_rpc_method_handler(security.locate)
    locating = grpc.method_handlers_generic_handler("lateen.agent.v1.Join", {"Locate": locate})
    key, chain = security.authority.pair(security.server)
    root = security.authority.root_pem.encode()
    async with contextlib.AsyncExitStack() as stack:
        plaintext = _server([*_attach_and_ads(plane), locating])
        bound = plaintext.add_insecure_port(f"127.0.0.1:{port or free_port()}")
        secure = _server([*_attach_and_ads(plane), creating])
        mutual = grpc.ssl_server_credentials([(key, chain)], root, require_client_auth=True)
        security.secure = secure.add_secure_port(f"127.0.0.1:{security.secure or free_port()}", mutual)
        join = _server([creating])
        one_sided = grpc.ssl_server_credentials([(key, chain)])
        security.join = join.add_secure_port(f"127.0.0.1:{security.join or free_port()}", one_sided)
        for server in (join, secure, plaintext):
            await stack.enter_async_context(_serving(server))
        yield bound


def _attach_and_ads(plane: FakeControlPlane) -> list[grpc.GenericRpcHandler]:
    service, _, method = ATTACH_METHOD.strip("/").rpartition("/")
    attach = grpc.stream_stream_rpc_method_handler(plane.attach)
    ads = grpc.stream_stream_rpc_method_handler(plane.stream)
    return [
        grpc.method_handlers_generic_handler(service, {method: attach}),
        grpc.method_handlers_generic_handler(_ADS, {"DeltaAggregatedResources": ads}),
    ]


def _server(handlers: list[grpc.GenericRpcHandler]) -> Any:
    # A gRPC server sends clients away that ping more often than every five minutes, unless told not to.
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0), ("grpc.http2.max_ping_strikes", 0)])
    server.add_generic_rpc_handlers(handlers)
    return server


@asynccontextmanager
async def _serving(server: Any) -> AsyncIterator[None]:
    await server.start()
    try:
        yield
    finally:
        await server.stop(0)
