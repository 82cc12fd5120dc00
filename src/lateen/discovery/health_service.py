"""Envoy's health discovery service over gRPC: gateways check plain endpoints for everybody.

Made by `app`, which gives the handler to the gRPC server and takes what comes of the reports (`watch`). Who connects
is proven as for the discovery service (ADR 008): a node must be that of its certificate. Only gateways are asked.
How a client is bounded: a message by the server's limit, its rate by a bucket, and what it may speak of by what it
was asked; a message that names anything else costs its reading.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING

import grpc
import structlog
from google.protobuf.message import DecodeError

from lateen.discovery.health_reports import MOST_GATEWAYS, HealthReports, Reporter
from lateen.discovery.limits import DEFAULT_LIMITS, Bucket, Limits, SlowPeerError
from lateen.discovery.nodes import proven_proxy, proxy_from_node
from lateen.discovery.values import ForbiddenError, PeerError
from lateen.discovery.wire import decode_node
from lateen.envoy.health_checks import asks_for_checks, reported
from lateen.generate.health_checks import WantedChecks, wanted_checks
from lateen.model.health import HealthTarget
from lateen.model.probes import Probe
from lateen.model.proxies import Proxy, ProxyType

if TYPE_CHECKING:
    from lateen.discovery.hub import Hub
    from lateen.discovery.server import Identify

log = structlog.get_logger()

SERVICE = "envoy.service.health.v3.HealthDiscoveryService"
_REPORT_SECONDS = 1.0
"""A verdict is known to us this much later than to Envoy, at least."""


class HealthDiscovery:
    """The streams of gateways that check, and what their reports come to."""

    def __init__(self, hub: Hub, *, limits: Limits = DEFAULT_LIMITS, reports: HealthReports | None = None) -> None:
        self.reports = reports if reports is not None else HealthReports()
        self._hub = hub
        self._limits = limits
        self._changed = asyncio.Event()
        """Replaced each time that something may be sick, healthy or forgotten."""

    def handler(self, identify: Identify) -> grpc.GenericRpcHandler:
        """Return the handler of the service."""

        async def stream(_requests: object, context: grpc.aio.ServicerContext) -> None:
            await self._serve(identify, context)

        method = grpc.stream_stream_rpc_method_handler(stream)
        return grpc.method_handlers_generic_handler(SERVICE, {"StreamHealthCheck": method})

    async def watch(self) -> AsyncIterator[frozenset[HealthTarget]]:
        """Yield what is sick, at once and after each change."""
        clock = asyncio.get_running_loop().time
        seen: frozenset[HealthTarget] | None = None
        while True:
            self.reports.expire(clock())
            newest, changed = self.reports.sick, self._changed
            if newest is not seen:
                _log_turns(seen or frozenset(), newest, self.reports.opinions())
                seen = newest
                yield newest
                continue
            try:
                async with asyncio.timeout_at(self.reports.next_deadline()):
                    await changed.wait()
            except TimeoutError:
                continue

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _serve(self, identify: Identify, context: grpc.aio.ServicerContext) -> None:
        """Serve one stream to its end; a failure becomes its status."""
        status: tuple[grpc.StatusCode, str] | None = None
        try:
            await context.send_initial_metadata(())
            await self._converse(identify, context)
        except* ForbiddenError as group:
            status = grpc.StatusCode.PERMISSION_DENIED, str(group.exceptions[0])
        except* (PeerError, DecodeError) as group:
            status = grpc.StatusCode.INVALID_ARGUMENT, str(group.exceptions[0])
        except* SlowPeerError as group:
            status = grpc.StatusCode.DEADLINE_EXCEEDED, str(group.exceptions[0])
        except* (grpc.aio.InternalError, grpc.aio.UsageError):
            pass  # the connection broke while we read or wrote
        except* Exception:
            log.exception("health stream failed", peer=context.peer())
            status = grpc.StatusCode.INTERNAL, "a bug in the control plane ended this stream; its log has the trace"
        if status is not None:
            log.warning("health stream ended", peer=context.peer(), status=status[0].name, reason=status[1])
            await context.abort(*status)

    async def _converse(self, identify: Identify, context: grpc.aio.ServicerContext) -> None:
        try:
            async with asyncio.timeout(self._limits.first_request):
                content = await context.read()
        except TimeoutError:
            raise SlowPeerError(f"no request within {self._limits.first_request:g} s") from None
        if content is grpc.aio.EOF:
            return
        node = asks_for_checks(content)
        if node is None:
            raise PeerError("the first message of a stream must say who the client is (field node)")
        proxy = proven_proxy(proxy_from_node(decode_node(node)), identify(context))
        if proxy.type is not ProxyType.GATEWAY:
            raise ForbiddenError(f"{proxy.id} is a {proxy.type.value}: only gateways check endpoints for others")
        if not self.reports.admits(proxy.id):
            raise ForbiddenError(f"{MOST_GATEWAYS} gateways report already")
        clock = asyncio.get_running_loop().time
        reporter = self.reports.open(proxy.id)
        log.info("gateway checks health", proxy=proxy.id)
        try:
            async with asyncio.TaskGroup() as tasks:
                asking = tasks.create_task(self._ask(proxy, reporter, context))
                await self._read(proxy, reporter, context)
                asking.cancel()
        finally:
            self.reports.close(reporter, clock())
            self._wake()  # the watcher must learn of the deadline

    async def _ask(self, proxy: Proxy, reporter: Reporter, context: grpc.aio.ServicerContext) -> None:
        """Send what is to be checked, and again whenever that changes."""
        clock = asyncio.get_running_loop().time
        last: Mapping[HealthTarget, Probe] = {}
        while True:
            state, changed = self._hub.state, self._hub.changed
            wanted = wanted_checks(state, proxy) if state is not None else WantedChecks(targets={}, left_out=0)
            if wanted.targets != last:
                last = wanted.targets
                if wanted.left_out:
                    log.warning("too many health checks for a gateway", proxy=proxy.id, left_out=wanted.left_out)
                patience = {target: _patience(probe) for target, probe in last.items()}
                await context.write(wanted.message())
                self.reports.ask(reporter, patience, clock())
                self._wake()
            await changed.wait()

    async def _read(self, proxy: Proxy, reporter: Reporter, context: grpc.aio.ServicerContext) -> None:
        """Take reports until the stream ends."""
        clock = asyncio.get_running_loop().time
        bucket = Bucket(self._limits.requests_per_second, self._limits.burst, clock())
        while (content := await context.read()) is not grpc.aio.EOF:
            if delay := bucket.take(len(content), clock()):
                await asyncio.sleep(delay)
            asked = {(target.cluster, target.address, target.port): target for target in reporter.deadlines}
            said = {
                target: healthy
                for cluster, address, port, healthy in reported(content)
                if (target := asked.get((cluster, address, port))) is not None
            }
            before = self.reports.sick
            self.reports.report(reporter, said, clock(), resumed=self._hub.resumed(proxy.id))
            if self.reports.sick is not before:
                self._wake()


def _patience(probe: Probe) -> float:
    """Return the seconds until as many checks in a row have failed as it takes, and were reported."""
    return (probe.failures - 1) * probe.period + probe.timeout + _REPORT_SECONDS


def _log_turns(
    old: frozenset[HealthTarget],
    new: frozenset[HealthTarget],
    opinions: Mapping[HealthTarget, Mapping[str, bool]],
) -> None:
    for target in sorted(new - old):
        said_by = sorted(opinions.get(target, ()))
        log.warning("endpoint is sick", **_shown(target), gateways=said_by[:5])
    for target in sorted(old - new):
        log.info("endpoint is no longer sick", **_shown(target))


def _shown(target: HealthTarget) -> dict[str, str]:
    where = f"[{target.address}]" if ":" in target.address else target.address
    return {"host": target.host, "endpoint": f"{where}:{target.port}", "check": target.check}
