"""Envoy's admin page as calls: is it live, where does it listen, drain, how many requests are in flight.

Called by all that ask Envoy something. The readings of Envoy's answers are pure functions. Must not know:
how Envoy was started.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import Enum
from typing import Any
from urllib.parse import quote

from lateen.agent.http1 import Connect, Http1Error, exchange, fetch
from lateen.envoy.bootstrap import XDS_CLUSTER

_GONE = (OSError, TimeoutError, Http1Error)
_IN_FLIGHT_INBOUND = (
    r"^(http\.inbound.*\.downstream_rq_active|cluster\.inbound\|.*\.upstream_(rq_active|rq_pending_active))$"
)
_IN_FLIGHT_ALL = (
    r"^(http\.(?!admin\.|stats\.).*\.downstream_rq_active"
    r"|cluster\.outbound\|.*\.upstream_(rq_active|rq_pending_active))$"
)
"""A TCP connection is a request of its cluster (observed); what TCP proxies count themselves has no such gauge."""
_GATEWAY_LISTENER = re.compile(r"^(?:0\.0\.0\.0|\[?::\]?)_(\d+)$")


_RECEIVED = rf"^cluster\.{XDS_CLUSTER}\.upstream_cx_rx_bytes_total$"
_MAX_DUMP = 64 << 20


@dataclass(frozen=True, slots=True)
class BoundListener:
    """A listener of the running Envoy."""

    name: str
    address: str
    port: int


class RoutesState(Enum):
    """Where Envoy stands with one route configuration."""

    USABLE = "one was accepted, or none is expected by RDS"
    WAITING = "none has come yet"
    REJECTED = "all that came were rejected: every request gets 404"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvoyAdmin:
    """The admin page of one Envoy. Every call is bounded in time; an Envoy that is gone gives the empty answer."""

    host: str
    port: int
    patience: float = 2.0
    """Seconds for one call."""
    connect: Connect = asyncio.open_connection
    """How it is reached."""

    async def is_live(self) -> bool:
        """Whether Envoy says LIVE: it has its clusters and listeners, and serves."""
        return (await self._ask("/ready")).strip() == b"LIVE"

    async def answers(self) -> bool:
        """Whether its main thread says anything at all."""
        return bool(await self._ask("/ready"))

    async def serves(self, epoch: int) -> bool:
        """Whether the Envoy of this epoch is live: the page goes over to a new one before that one serves.

        Not by the statistics `server.live`, which is 1 in an Envoy that has nothing yet, and `server.state`, which is
        some seconds old.
        """
        return read_server_info(await self._ask("/server_info")) == ("LIVE", epoch)

    async def received(self) -> int:
        """Return how many bytes have come from the control plane; -1 when Envoy does not say."""
        stats = read_stats(await self._ask("/stats?filter=" + quote(_RECEIVED)))
        return sum(stats.values()) if stats else -1

    async def config_dump(self) -> Any:
        """Return all configuration that is in force, as JSON; None when Envoy does not say, or says too much."""
        answer = await self._ask("/config_dump?include_eds", limit=_MAX_DUMP)
        try:
            return json.loads(answer) if answer else None
        except ValueError:
            return None

    async def listeners(self) -> tuple[BoundListener, ...]:
        """Return the active listeners."""
        return read_listeners(await self._ask("/listeners?format=json", limit=8 << 20))

    async def has_listener_config(self) -> bool:
        """Whether the control plane's first answer on listeners has arrived, even when it named none."""
        stats = read_stats(await self._ask("/stats?filter=" + quote(r"^listener_manager\.lds\.update_success$")))
        return any(value > 0 for value in stats.values())

    async def routes_state(self, name: str) -> RoutesState:
        """Return where Envoy stands with a route configuration that it gets by RDS, whole or (`.vhds`) host by host.

        Envoy's admin page does not tell why it rejected one; its log and `lateen proxy-status` do.
        """
        pattern = rf"^(server\.live|http\..*\.rds\.{re.escape(name)}(\.vhds)?\.update_(success|rejected))$"
        return read_routes_state(read_stats(await self._ask("/stats?filter=" + quote(pattern))))

    async def has_inbound(self, app_ports: Mapping[int, int]) -> bool:
        """Whether each inbound cluster (`inbound|9080||`) leads to the app's port by now; with 0, not to loopback."""
        page = await self._ask("/clusters?filter=" + quote(r"^inbound\|"), limit=32 << 20)

        def leads(port: int, app_port: int) -> bool:
            place = f"inbound|{port}||::127.0.0.1:" + (f"{app_port}::" if app_port else "")
            return (place.encode() in page) is bool(app_port)

        return all(leads(port, app_port) for port, app_port in app_ports.items())

    async def in_flight(self, *, everything: bool) -> int:
        """Return how many requests and TCP connections are on their way; -1 when Envoy does not say.

        A sidecar counts only its inbound side: the app's own calls to others are part of the requests it serves.
        Counted both where they enter (`http.inbound…`) and where they leave to the app (`cluster.inbound|…`).
        """
        # JavaScript-like lookahead does not exist in Envoy's RE2, so the pattern is applied here as well.
        pattern = _IN_FLIGHT_ALL if everything else _IN_FLIGHT_INBOUND
        wanted = quote(r"(downstream_rq_active|upstream_rq_active|upstream_rq_pending_active|^server\.live)$")
        stats = read_stats(await self._ask(f"/stats?filter={wanted}", limit=32 << 20))
        return sum_matching(stats, pattern) if stats else -1

    async def outbound_use(self) -> dict[str, int]:
        """Return what Envoy counted of the clusters of others that were used: requests, connections, open ones."""
        wanted = quote(r"^cluster\.outbound\|.*;\.upstream_(rq_total|cx_total|cx_active)$")
        return read_stats(await self._ask(f"/stats?usedonly&filter={wanted}", limit=32 << 20))

    async def drain(self, *, everything: bool) -> None:
        """Begin to drain: answers carry `connection: close`, and health checks fail.

        A sidecar's outbound listeners stay: the app needs them until its last request is done.
        """
        await self._ask("/healthcheck/fail", method="POST")
        await self._ask("/drain_listeners?graceful" + ("" if everything else "&inboundonly"), method="POST")

    async def stop_listening(self, *, everything: bool) -> None:
        """Close the listening sockets now; connections that are open go on."""
        await self._ask("/drain_listeners" + ("" if everything else "?inboundonly"), method="POST")

    async def be_quiet(self) -> None:
        """Log errors only from now on: what Envoy warns of while it is being stopped is no news."""
        await self._ask("/logging?level=error", method="POST")

    def prometheus(
        self, accept: str, query: str = ""
    ) -> AbstractAsyncContextManager[tuple[int, Mapping[str, str], Any]]:
        """Open Envoy's metrics page: status, headers and blocks. Errors rise to the caller."""
        target = f"/stats/prometheus{'?' if query else ''}{query}"
        return exchange(self.host, self.port, target, headers={"accept": accept}, connect=self.connect)

    async def _ask(self, target: str, *, method: str = "GET", limit: int = 1 << 20) -> bytes:
        try:
            async with asyncio.timeout(self.patience):
                answer = await fetch(self.host, self.port, target, method=method, limit=limit, connect=self.connect)
        except _GONE:
            return b""
        return answer.body


def read_listeners(answer: bytes) -> tuple[BoundListener, ...]:
    """Read `/listeners?format=json`; what has no IP socket (a pipe, an API listener) is left out."""
    try:
        statuses = json.loads(answer).get("listener_statuses", [])
        sockets = [(status["name"], status.get("local_address", {}).get("socket_address")) for status in statuses]
        return tuple(
            BoundListener(str(name), str(at["address"]), int(at["port_value"]))
            for name, at in sockets
            if at and "port_value" in at
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return ()


def read_server_info(answer: bytes) -> tuple[str, int]:
    """Read state and restart epoch from `/server_info`; `("", 0)` when it is none."""
    try:
        info = json.loads(answer)
        return str(info["state"]), int(info["command_line_options"].get("restart_epoch", 0))
    except (ValueError, KeyError, TypeError, AttributeError):
        return "", 0


def read_stats(answer: bytes) -> dict[str, int]:
    """Read the plain text of `/stats`: `name: number` lines; others are left out."""
    stats = {}
    for line in answer.decode("utf-8", "replace").splitlines():
        name, _, value = line.rpartition(": ")
        if name and value.isdigit():
            stats[name] = int(value)
    return stats


def read_routes_state(stats: Mapping[str, int]) -> RoutesState:
    """Read `update_success` and `update_rejected` of one route configuration, and `server.live`."""
    if not stats.get("server.live"):
        return RoutesState.WAITING
    accepted = [value for name, value in stats.items() if name.endswith(".update_success")]
    if not accepted or any(accepted):
        return RoutesState.USABLE
    rejected = any(value for name, value in stats.items() if name.endswith(".update_rejected"))
    return RoutesState.REJECTED if rejected else RoutesState.WAITING


def sum_matching(stats: Mapping[str, int], pattern: str) -> int:
    """Return the sum of the values whose name matches."""
    matches = re.compile(pattern).match
    return sum(value for name, value in stats.items() if matches(name))


def gateway_ports(listeners: tuple[BoundListener, ...], port_map: Mapping[int, int]) -> dict[int, tuple[str, int]]:
    """Return declared port -> where it is bound, for the gateway's listeners.

    The declared port is in the listener's name (`0.0.0.0_80`); else the port map, read backwards, tells.
    """
    declared_by_bound = {bound: declared for declared, bound in port_map.items()}
    found = {}
    for listener in listeners:
        named = _GATEWAY_LISTENER.match(listener.name)
        declared = int(named[1]) if named else declared_by_bound.get(listener.port, listener.port)
        found[declared] = (listener.address, listener.port)
    return dict(sorted(found.items()))
