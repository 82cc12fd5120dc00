"""Rules of RequestAuthentication, as Istio's validation has them. Called by `validation.rules`."""

from __future__ import annotations

from collections.abc import Iterator

from lateen.config.metadata import Metadata
from lateen.config.security import RequestAuthentication
from lateen.config.violations import Violation


def request_authentication(spec: RequestAuthentication, metadata: Metadata) -> Iterator[Violation]:
    """Yield what is wrong with a RequestAuthentication."""
    yield from ()
