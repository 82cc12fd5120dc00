"""A fake xDS client: speaks ADS in both variants, holds what it was sent, and misbehaves on demand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, Self, TypeAlias

import grpc

from lateen.envoy.messages import message_class
from lateen.envoy.resources import TYPE_PREFIX

Variant: TypeAlias = Literal["delta", "sotw"]

API = "envoy.service.discovery.v3."
SERVICE = "/envoy.service.discovery.v3.AggregatedDiscoveryService/"
METHODS: Mapping[Variant, str] = {"delta": "DeltaAggregatedResources", "sotw": "StreamAggregatedResources"}
NODE_ID = "sidecar~127.0.0.5~reviews-v1-1.default~default.svc.cluster.local"
DEADLINE = 30.0


@dataclass(frozen=True)
class Received:
    """A response as the client saw it."""

    kind: str
    nonce: str
    version: str
    resources: Mapping[str, bytes]
    removed: tuple[str, ...] = ()


@dataclass
class XdsClient:
    """`async with XdsClient("127.0.0.1:15010") as client: await client.subscribe(CLUSTER, "*")`."""

    address: str
    variant: Variant = "delta"
    credentials: grpc.ChannelCredentials | None = None
    """Of TLS; None speaks plain text."""
    node_id: str = NODE_ID
    metadata: Mapping[str, Any] = field(default_factory=dict)
    user_agent: str = "fake"
    acknowledges: bool = True
    rejects: Callable[[Received], str | None] = lambda _response: None
    """Return the reason to reject a response with."""
    held: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """By kind and name. Give another client's to reconnect with what that one held."""
    versions: dict[str, dict[str, str]] = field(default_factory=dict)
    received: list[Received] = field(default_factory=list)
    ended: str = ""
    """Name of the status with which the stream ended."""
    details: str = ""

    async def __aenter__(self) -> Self:
        self._names: dict[str, set[str]] = {}
        self._changed = asyncio.Event()
        self._writing = asyncio.Lock()
        self._node: dict[str, Any] | None = {
            "id": self.node_id,
            "metadata": dict(self.metadata),
            "user_agent_name": self.user_agent,
        }
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
        if self.credentials is None:
            self._channel = grpc.aio.insecure_channel(self.address, options=options)
        else:
            self._channel = grpc.aio.secure_channel(self.address, self.credentials, options=options)
        self._call = self._channel.stream_stream(SERVICE + METHODS[self.variant])()
        self._tasks = asyncio.TaskGroup()
        await self._tasks.__aenter__()
        self._reader = self._tasks.create_task(self._read())
        return self

    async def __aexit__(self, *_raised: object) -> None:
        self._call.cancel()
        self._reader.cancel()
        await self._tasks.__aexit__(None, None, None)
        await self._channel.close()

    async def subscribe(self, kind: str, *names: str) -> None:
        """Subscribe to names; in the state-of-the-world variant this is all the names from now on."""
        known = self._names.get(kind, set())
        self._names[kind] = set(names) if self.variant == "sotw" else known | set(names)
        if self.variant == "sotw":
            await self._send_names(kind, nonce=self._nonce(kind))
        else:
            first = kind not in {response.kind for response in self.received}
            await self.send(
                type_url=TYPE_PREFIX + kind,
                resource_names_subscribe=names,
                initial_resource_versions=self.versions.get(kind, {}) if first else {},
            )

    async def unsubscribe(self, kind: str, *names: str) -> None:
        """Unsubscribe from names (delta)."""
        self._names[kind] -= set(names)
        await self.send(type_url=TYPE_PREFIX + kind, resource_names_unsubscribe=names)

    async def send(self, **fields: Any) -> None:
        """Send any request; the first one carries the node."""
        name = "DeltaDiscoveryRequest" if self.variant == "delta" else "DiscoveryRequest"
        if self._node is not None:
            fields, self._node = {"node": self._node, **fields}, None
        await self.send_bytes(message_class(API + name)(**fields).SerializeToString())

    async def send_bytes(self, content: bytes) -> None:
        """Send anything. What is sent to a stream that has ended is lost; `ended` says how it did."""
        async with self._writing:  # gRPC refuses a write beside another
            with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                await self._call.write(content)

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until the condition holds, which is asked after each response and at the stream's end."""
        async with asyncio.timeout(DEADLINE):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def until_holds(self, kind: str, *names: str) -> None:
        """Wait until exactly these names are held."""
        await self.until(lambda: self.names(kind) == set(names))

    async def until_received(self) -> None:
        """Wait for the first response."""
        await self.until(lambda: self.received)

    async def until_ended(self) -> None:
        """Wait until the server ends the stream."""
        await self.until(lambda: self.ended)

    def of(self, kind: str) -> list[Received]:
        """Return the responses of one kind."""
        return [response for response in self.received if response.kind == kind]

    def names(self, kind: str) -> set[str]:
        """Return the names that the client holds."""
        return set(self.held.get(kind, {}))

    def _nonce(self, kind: str) -> str:
        of_kind = self.of(kind)
        return of_kind[-1].nonce if of_kind else ""

    async def _send_names(self, kind: str, **fields: Any) -> None:
        await self.send(
            type_url=TYPE_PREFIX + kind,
            resource_names=sorted(self._names.get(kind, ())),
            response_nonce=fields.pop("nonce"),
            **fields,
        )

    async def _read(self) -> None:
        with suppress(grpc.aio.AioRpcError):
            while (content := await self._call.read()) is not grpc.aio.EOF:
                await self._take(self._parse(content))
        self.ended = (await self._call.code()).name
        self.details = await self._call.details() or ""
        self._changed.set()

    def _parse(self, content: bytes) -> Received:
        if self.variant == "delta":
            message = message_class(API + "DeltaDiscoveryResponse").FromString(content)
            kind = message.type_url.removeprefix(TYPE_PREFIX)
            resources = {item.name: item.resource.value for item in message.resources}
            version, removed = message.system_version_info, tuple(message.removed_resources)
            self._versions = {item.name: item.version for item in message.resources}
        else:
            message = message_class(API + "DiscoveryResponse").FromString(content)
            kind = message.type_url.removeprefix(TYPE_PREFIX)
            bodies = [item.value for item in message.resources]
            resources = {_name(kind, body): body for body in bodies}
            version, removed = message.version_info, ()
        return Received(kind=kind, nonce=message.nonce, version=version, resources=resources, removed=removed)

    async def _take(self, response: Received) -> None:
        self.received.append(response)
        reason = self.rejects(response)
        if reason is None:
            self._hold(response)
        if self.acknowledges:
            error = {} if reason is None else {"error_detail": {"code": 13, "message": reason}}
            if self.variant == "delta":
                await self.send(type_url=TYPE_PREFIX + response.kind, response_nonce=response.nonce, **error)
            else:
                await self._send_names(response.kind, nonce=response.nonce, **error)
        self._changed.set()

    def _hold(self, response: Received) -> None:
        held = self.held.setdefault(response.kind, {})
        if self.variant == "sotw" and response.kind.rsplit(".", 1)[-1] in ("Cluster", "Listener"):
            held.clear()
        held.update(response.resources)
        if self.variant == "delta":
            versions = self.versions.setdefault(response.kind, {})
            versions.update(self._versions)
            for name in response.removed:
                held.pop(name, None)
                versions.pop(name, None)


def _name(kind: str, body: bytes) -> str:
    message = message_class(kind).FromString(body)
    name: str = message.cluster_name if kind.endswith("ClusterLoadAssignment") else message.name
    return name
