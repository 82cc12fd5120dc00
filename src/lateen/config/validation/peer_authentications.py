"""Rules of PeerAuthentication, as Istio's validation has them. Called by `validation.rules`."""

from __future__ import annotations

from collections.abc import Iterator

from lateen.config.metadata import Metadata
from lateen.config.security import PeerAuthentication
from lateen.config.violations import Violation


def peer_authentication(spec: PeerAuthentication, metadata: Metadata) -> Iterator[Violation]:
    """Yield what is wrong with a PeerAuthentication."""
    yield from ()
