"""The annotation `lateen.io/health-check`: how gateways check endpoints that have no agent. Pure.

Called by `mesh.claims`, `mesh.workloads` and `config.validation`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache

from lateen.config.metadata import Metadata
from lateen.config.violations import Violation, warning
from lateen.model.health import HealthCheck
from lateen.model.probe_texts import read_check

HEALTH_CHECK = "lateen.io/health-check"
_KINDS = ("ServiceEntry", "WorkloadEntry")
_LONGEST = 1024
_EXAMPLE = 'as in "http://:8080/healthz period=5s timeout=1s", "tcp" or "grpc://:9090/SERVICE"'


def health_check(annotations: Mapping[str, str]) -> HealthCheck | None:
    """Return the check of an object; None for none, and for one that cannot be."""
    text = annotations.get(HEALTH_CHECK, "")
    if not text:
        return None
    try:
        return _read(text)
    except ValueError:
        return None


@lru_cache(1024)
def _read(text: str) -> HealthCheck:
    if len(text) > _LONGEST:
        raise ValueError(f"is longer than {_LONGEST} characters")
    probe, named = read_check(text)
    return HealthCheck(" ".join(text.split()), probe, not named)


def health_check_violations(kind: str, metadata: Metadata) -> Iterator[Violation]:
    """Yield what is wrong with the annotation of an object; paths begin with `metadata`."""
    text = metadata.annotations.get(HEALTH_CHECK)
    if text is None:
        return
    path = ("metadata", "annotations", HEALTH_CHECK)
    if kind not in _KINDS:
        message = f"a {kind} has no plain endpoints, so that {HEALTH_CHECK} does nothing here"
        yield warning(path, message, f"put it on a {' or '.join(_KINDS)}")
        return
    try:
        _read(text)
    except ValueError as error:
        yield Violation(path, f"{text[:80]!r}: {error}", f"write it {_EXAMPLE}")
