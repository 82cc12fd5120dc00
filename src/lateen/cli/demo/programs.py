"""What the demo starts, as command lines: one control plane, one gateway, six services. Pure.

Each program is an ordinary `lateen` command that a reader could type (`typed`). What has an Envoy is started without
the detour through the command line, by the settings that the command would make; a test holds the two together.
"""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass

from lateen.agent import settings
from lateen.agent.settings import AgentSettings

BOOKSHOP = (
    ("details", "v1"),
    ("ratings", "v1"),
    ("reviews", "v1"),
    ("reviews", "v2"),
    ("reviews", "v3"),
    ("productpage", "v1"),
)
"""Service and version of each workload."""

_SINGLE = {"details", "ratings", "productpage"}
GATEWAY = "ingress gateway"
CONTROL_PLANE = "control plane"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Where the control plane listens, on 127.0.0.1."""

    grpc: int = 15010
    http: int = 15080
    monitoring: int = 15014
    entrance: int = 8080
    """Where the ingress gateway listens for its port 80."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One process of the demo."""

    name: str
    arguments: tuple[str, ...]
    """Behind `lateen`."""
    settings: AgentSettings | None = None
    """What an agent is told; it writes its addresses as the first line of stdout once it is ready."""

    @property
    def launched(self) -> tuple[str, ...]:
        """The arguments of `tether`."""
        return ("lateen", *self.arguments) if self.settings is None else ("agent", self.settings.to_json())

    @property
    def typed(self) -> str:
        """The command as a reader would type it."""
        return shlex.join(("lateen", *self.arguments))


def control_plane(ports: Ports) -> Program:
    """Return the control plane, its configuration in memory."""
    return Program(
        name=CONTROL_PLANE,
        arguments=(
            "serve",
            *("--store", "memory:"),
            *("--grpc", f"127.0.0.1:{ports.grpc}"),
            *("--http", f"127.0.0.1:{ports.http}"),
            *("--monitoring", f"127.0.0.1:{ports.monitoring}"),
        ),
    )


def gateway(ports: Ports) -> Program:
    """Return the ingress gateway, on a loopback address of its own: 127.0.0.1 may be somebody else's a moment later."""
    return Program(
        name=GATEWAY,
        arguments=(
            *("proxy", "gateway", "--name", "bookshop-gateway", "--namespace", "default"),
            *("--label", "istio=ingressgateway", "--port-map", f"80:{ports.entrance}"),
            *("--control-plane", f"127.0.0.1:{ports.grpc}", "--print-addresses"),
        ),
        settings=AgentSettings(
            mode=settings.GATEWAY,
            name="bookshop-gateway",
            labels={"istio": "ingressgateway"},
            port_map={80: ports.entrance},
            control_plane=f"127.0.0.1:{ports.grpc}",
            print_addresses=True,
        ),
    )


def workload(ports: Ports, service: str, version: str) -> Program:
    """Return one service of the bookshop with its sidecar."""
    module = f"lateen.cli.demo.bookshop.{service}"
    command = (sys.executable, "-m", module, *(() if service in _SINGLE else (version,)))
    return Program(
        name=workload_name(service, version),
        arguments=(
            *("run", "--service", service, "--version", version, "--port", "9080/http"),
            *("--control-plane", f"127.0.0.1:{ports.grpc}", "--print-addresses"),
            *("--", *command),
        ),
        settings=AgentSettings(
            mode=settings.RUN,
            service=service,
            version=version,
            ports=((9080, "http"),),
            control_plane=f"127.0.0.1:{ports.grpc}",
            print_addresses=True,
            command=command,
        ),
    )


def workload_name(service: str, version: str) -> str:
    """Return the name of a workload as the demo's tables show it."""
    return service if service in _SINGLE else f"{service} {version}"


def data_plane(ports: Ports) -> tuple[Program, ...]:
    """Return everything that has an Envoy, the gateway first."""
    return (gateway(ports), *(workload(ports, *one) for one in BOOKSHOP))
