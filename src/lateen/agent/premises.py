"""What of the machine one workload has: its address, where its connections go, ports for the app, a folder, a guard.

Made once by `lifecycle`, used by all who start or reach something. Must not know: the control plane.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lateen.agent.addresses import OwnAddress
from lateen.agent.interception.places import Place
from lateen.agent.offered_ports import OfferedPorts
from lateen.agent.processes import Guard


@dataclass(frozen=True, slots=True, kw_only=True)
class Premises:
    """One agent's own things; each is closed by who opened it."""

    address: OwnAddress
    where: Place
    ports: OfferedPorts
    guard: Guard
    folder: Path
    """Private to this agent, and gone with it; Envoy's working directory."""
