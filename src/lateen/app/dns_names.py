"""The log's and the metrics' view of names that DNS does not answer, because there are too many.

Called by `control_plane` whenever a state is in force. What is wrong is said when it changes, not at each change of the
mesh; endpoints that come and go beside a headless service are not looked at until a service changes.
"""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from lateen.analysis.dns_names import message
from lateen.config.codes import TOO_MANY_NAMES
from lateen.mesh.dns_names import left_out
from lateen.mesh.state import MeshState
from lateen.model.names import Hostname
from lateen.model.services import Service

_LOG = structlog.get_logger(__name__)
_MOST_LINES = 5


class DnsNames:
    """Remembers what was said."""

    def __init__(self) -> None:
        self.count = 0
        """Names that a sidecar is not told of; of the one that most are."""
        self._services: Mapping[Hostname, Service] | None = None
        self._said: frozenset[str] = frozenset()
        """Namespaces of whose sidecars it was."""

    def update(self, state: MeshState) -> None:
        """Look at the state in force."""
        if state.services is self._services:
            return
        self._services = state.services
        found = left_out(state)
        self.count = max((one.count for one in found), default=0)
        # How many it are changes with every service.
        for one in [one for one in found if not self._said.intersection(one.namespaces)][:_MOST_LINES]:
            _LOG.warning("more names than dns answers", what=message(one), see=TOO_MANY_NAMES.code)
        self._said = frozenset(namespace for one in found for namespace in one.namespaces)
