"""Rules of AuthorizationPolicy, as Istio's validation has them. Called by `validation.rules`."""

from __future__ import annotations

from collections.abc import Iterator

from lateen.config.metadata import Metadata
from lateen.config.security import AuthorizationPolicy
from lateen.config.violations import Violation


def authorization_policy(spec: AuthorizationPolicy, metadata: Metadata) -> Iterator[Violation]:
    """Yield what is wrong with a AuthorizationPolicy."""
    yield from ()
