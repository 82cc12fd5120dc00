"""The log's view of findings: each is said once when it appears, and once when all are gone.

Called by `running` whenever a store has spoken, and when proxies were told of a state. Must not know: stores, or what
refuses what.
"""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from lateen.model.findings import Finding, Severity

_LOG = structlog.get_logger(__name__)
MOST_LINES = 20
"""Lines for one change; the rest is a count, and `GET /v1/findings` has them all."""


class FindingLog:
    """Remembers what was said."""

    def __init__(self, end: str = "no findings any more") -> None:
        """`end`: what is said when all are gone."""
        self._end = end
        self._said: frozenset[Finding] = frozenset()

    def update(self, findings: Iterable[Finding]) -> None:
        """Take all findings of now; log those that are new, errors first."""
        now = tuple(dict.fromkeys(findings))
        new = sorted((found for found in now if found not in self._said), key=lambda found: found.severity.value)
        for found in new[:MOST_LINES]:
            say = _LOG.error if found.severity is Severity.ERROR else _LOG.warning
            say("finding", what=str(found))
        if len(new) > MOST_LINES:
            _LOG.warning("more findings", count=len(new) - MOST_LINES, see="GET /v1/findings")
        if self._said and not now:
            _LOG.info(self._end)
        self._said = frozenset(now)
