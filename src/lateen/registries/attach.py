"""The gRPC edge of the agents' registry: one handler for the attach protocol of `model.workloads`.

Given to the control plane's gRPC server by `app`. One stream is one workload. A message that cannot be taken is
answered with `refused` and ends the stream; it never harms another one.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import grpc
import structlog

from lateen.mesh.workload_groups import traits
from lateen.model.identities import Identity
from lateen.model.proxy_settings import ProxySettings, fits
from lateen.model.workloads import ATTACH_METHOD, CALLS, MAX_BOOTSTRAP_BYTES, TRUSTS, WorkloadRegistration
from lateen.registries.agents import AgentRegistry
from lateen.registries.registrations import Calls, Leave, Trusts, read_message
from lateen.registries.sessions import Refusal, StreamId
from lateen.registries.trust import Proof, Trust, TrustBoard

log = structlog.get_logger()

LEAVE_SECONDS = 5.0
"""How long `left` waits for the proxies."""
CONFIGURED_SECONDS = 30.0
"""How long a registration waits for the first configuration; after that it is answered without."""
FIRST_MESSAGE_SECONDS = 10.0
"""A stream that says nothing for so long is closed."""

OnLeft = Callable[[str], Awaitable[bool]]
"""Called with `name.namespace` after a workload has left: returns once no proxy knows it any more, False when that
cannot be said."""

OnCalls = Callable[[str, str, tuple[str, ...]], None]
"""Called with a workload's name and namespace, and hosts that it says it calls."""

Authenticate = Callable[[grpc.aio.ServicerContext], "Proof | Refusal | None"]
"""Returns what the stream's connection proves of its other end, or why it may not attach; None where nobody is asked to
prove anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachOptions:
    """What an attach stream may do and is told, besides registering."""

    on_calls: OnCalls | None = None
    authenticate: Authenticate = lambda _context: None
    bootstrap: Callable[[WorkloadRegistration], dict[str, Any]] = lambda _registration: {}
    """Returns what is to be merged into the bootstrap of a workload's Envoy, in protobuf's JSON form."""
    trust: TrustBoard | None = None
    settings: Callable[[WorkloadRegistration], ProxySettings] = lambda _registration: ProxySettings()
    """What the proxy of a registered workload begins with."""
    configured: Callable[[], Awaitable[None]] | None = None
    """Returns once the configuration is read: before that, nobody can say what groups and settings there are."""
    configured_seconds: float = CONFIGURED_SECONDS
    leave_seconds: float = LEAVE_SECONDS
    first_message_seconds: float = FIRST_MESSAGE_SECONDS


def attach_handler(
    registry: AgentRegistry, on_left: OnLeft, options: AttachOptions = AttachOptions()
) -> grpc.GenericRpcHandler:
    """Return the handler of ATTACH_METHOD for a `grpc.aio` server. Messages are raw bytes, no protobuf."""

    async def attach(_requests: object, context: grpc.aio.ServicerContext) -> None:
        who = options.authenticate(context)
        if isinstance(who, Refusal):
            # Whoever is refused while speaking would hear of a broken stream only.
            await _first(context, options.first_message_seconds)
            log.warning("workload refused", peer=context.peer(), reason=who.message)
            await context.write(_encode({"refused": {"message": who.message}}))
            return
        conversation = _Conversation(registry, on_left, who, options)
        say = _Voice(context).say
        try:
            message = await _first(context, options.first_message_seconds)
            async with asyncio.TaskGroup() as group:
                telling = group.create_task(_tell_trust(conversation, say))
                while message is not None:
                    reply, last = await conversation.answer(message)
                    if reply:
                        await say(reply)
                    message = None if last else await _next(context)
                telling.cancel()
        except* (grpc.aio.InternalError, grpc.aio.UsageError):
            # The connection broke while we wrote: the lease goes on for its grace.
            pass
        finally:
            conversation.close()

    service, _, method = ATTACH_METHOD.strip("/").rpartition("/")
    handler = grpc.stream_stream_rpc_method_handler(attach)
    return grpc.method_handlers_generic_handler(service, {method: handler})


async def _next(context: grpc.aio.ServicerContext) -> bytes | None:
    message = await context.read()
    return None if message is grpc.aio.EOF else message


async def _first(context: grpc.aio.ServicerContext, seconds: float) -> bytes | None:
    """Return the first message, None when the peer ends the stream or says nothing for so long."""
    try:
        async with asyncio.timeout(seconds):
            return await _next(context)
    except TimeoutError:
        return None


class _Voice:
    """The writing side of a stream: gRPC takes one message at a time."""

    def __init__(self, context: grpc.aio.ServicerContext) -> None:
        self._context = context
        self._lock = asyncio.Lock()

    async def say(self, message: bytes) -> None:
        """Send a message."""
        async with self._lock:
            await self._context.write(message)


async def _tell_trust(conversation: _Conversation, say: Callable[[bytes], Awaitable[None]]) -> None:
    """Bring each trust to an agent that has a certificate, the first once it is registered."""
    board = conversation.board
    if board is None:
        return
    await conversation.registered.wait()
    told: Trust | None = None
    while True:
        told = await board.other_than(told)
        await say(_encode({"trust": {"roots": list(told.roots), "issuer": told.issuer}}))


class _Conversation:
    """One stream's side of the protocol."""

    def __init__(self, registry: AgentRegistry, on_left: OnLeft, proof: Proof | None, options: AttachOptions) -> None:
        self._registry = registry
        self._on_left = on_left
        self._proof = proof
        self._options = options
        self._stream: StreamId = registry.open()
        self._workload = ""
        self._left_for_good = False
        self.board = options.trust if proof is not None else None
        """Where this agent learns whom to trust; None for one without a certificate."""
        self.registered = asyncio.Event()

    async def answer(self, data: bytes) -> tuple[bytes, bool]:
        """Return the reply to a message, if it has one, and whether it ends the stream."""
        message = read_message(data)
        match message:
            case Refusal():
                return self._refuse(message), True
            case Leave():
                return await self._leave(), True
            case WorkloadRegistration():
                await self._until_configured()
                return self._register(message)
            case Calls(hosts=hosts):
                return self._note_calls(hosts)
            case Trusts(roots=roots):
                return self._note_trust(roots)

    def close(self) -> None:
        """Note that the stream is over, whatever the reason."""
        if self.board is not None and self._workload:
            self.board.answers.detached(self._stream, for_good=self._left_for_good)
        if self._registry.disconnect(self._stream) is not None:
            log.info("workload disconnected", workload=self._workload)

    def _register(self, registration: WorkloadRegistration) -> tuple[bytes, bool]:
        proven = _proven(registration, self._proof.identity if self._proof else None)
        taken = proven if isinstance(proven, Refusal) else self._registry.register(self._stream, proven)
        if isinstance(taken, Refusal):
            return self._refuse(taken), True
        if not self._workload:
            self._workload = f"{taken.name}.{taken.namespace}"
            log.info("workload attached", workload=self._workload, address=taken.address, identity=taken.identity)
            if self.board is not None and self._proof is not None:
                self.board.answers.attached(self._stream, self._workload, self._proof.certificate)
        takes = [word for word, taken_here in ((CALLS, self._options.on_calls), (TRUSTS, self.board)) if taken_here]
        self.registered.set()
        told = {
            "name": taken.name,
            **({"takes": takes} if takes else {}),
            **self._told(taken),
            **self._bootstrap(taken),
        }
        return _encode({"registered": told}), False

    async def _until_configured(self) -> None:
        if self._options.configured is None:
            return
        try:
            async with asyncio.timeout(self._options.configured_seconds):
                await self._options.configured()
        except TimeoutError:
            log.warning("workload registers before the configuration is read", workload=self._workload)

    def _bootstrap(self, registration: WorkloadRegistration) -> dict[str, Any]:
        patch = self._options.bootstrap(registration)
        if len(_encode(patch)) > MAX_BOOTSTRAP_BYTES:
            log.warning("patch of the bootstrap is too large to be told", workload=self._workload)
            return {}
        return {"bootstrap": patch} if patch else {}

    def _told(self, taken: WorkloadRegistration) -> dict[str, Any]:
        """Return what the agent is told of its proxy and its group."""
        group, settings = traits(taken, self._registry.group(self._stream)), self._options.settings(taken)
        said, traits_said = settings.to_json(), group.to_json() if group is not None else {}
        if not fits(said, traits_said):
            # Numbers and the other traits of a group always fit: their limits are those of a registration.
            log.warning("settings of a proxy are too large to be told", workload=self._workload)
            said = settings.without_texts().to_json()
            traits_said = group.without_texts().to_json() if group is not None else {}
        return {**({"proxy": said} if said else {}), **({"group": traits_said} if group is not None else {})}

    def _note_calls(self, hosts: tuple[str, ...]) -> tuple[bytes, bool]:
        name, _, namespace = self._workload.partition(".")
        if not name:
            return self._refuse(Refusal(message="a workload registers before it says whom it calls")), True
        if self._options.on_calls is not None:
            self._options.on_calls(name, namespace, hosts)
        return b"", False

    def _note_trust(self, digest: str) -> tuple[bytes, bool]:
        if self.board is not None and self._workload:
            self.board.answers.confirmed(self._stream, digest)
        return b"", False

    def _refuse(self, refusal: Refusal) -> bytes:
        log.warning("workload refused", workload=self._workload, reason=refusal.message)
        return _encode({"refused": {"message": refusal.message}})

    async def _leave(self) -> bytes:
        self._left_for_good = True
        left = self._registry.leave(self._stream)
        if left is None:
            return _encode({"left": {"acknowledged": True}})
        acknowledged = False
        try:
            async with asyncio.timeout(self._options.leave_seconds):
                acknowledged = await self._on_left(self._workload)
        except TimeoutError:
            log.info("workload left before all proxies knew", workload=self._workload)
        log.info("workload left", workload=self._workload, acknowledged=acknowledged)
        return _encode({"left": {"acknowledged": acknowledged}})


def _proven(registration: WorkloadRegistration, identity: Identity | None) -> WorkloadRegistration | Refusal:
    """Return the registration with the identity that its connection proves; refused when it says another one."""
    if identity is None:
        return registration
    said = (registration.namespace, registration.service_account)
    if said != (identity.namespace, identity.service_account):
        return Refusal(
            message=f"the workload says it is service account {said[1]!r} of namespace {said[0]!r}, but its "
            f"certificate is that of {identity}"
        )
    return replace(registration, identity=identity.uri)


def _encode(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode()
