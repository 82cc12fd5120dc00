"""Whether the workload is ready, or what it waits for: one word that every part of the agent may change, and all show.

Written by `membership`, `envoy_readiness`, `app_life` and `lifecycle`; shown by the status pages.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Readiness:
    """What is waited for now."""

    reason: str = "waiting for the control plane"
    """Why the workload is not ready; empty when it is."""

    @property
    def ready(self) -> bool:
        """Whether it serves."""
        return not self.reason
