"""Rules of RequestAuthentications whose keys are to be fetched and are not there.

Called beside `references.analyse`, because only the caller knows whether anybody fetches, and why it failed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from lateen.analysis.reports import Report
from lateen.config.codes import KEYS_MISSING
from lateen.config.key_sets import jwks_uri, key_source
from lateen.config.objects import ConfigObject
from lateen.config.positions import Positions
from lateen.config.security import RequestAuthentication
from lateen.model.findings import Finding
from lateen.model.names import ObjectKey

OFFLINE = "they are fetched by a running control plane only"


def missing_keys(
    objects: Iterable[ConfigObject[Any]],
    key_sets: Mapping[str, str],
    reasons: Mapping[str, str],
    positions: Mapping[ObjectKey, Positions] | None = None,
) -> tuple[Finding, ...]:
    """Return a finding for each rule whose keys are missing for a reason, by source (see `config.key_sets`)."""
    report = Report(positions or {})
    for one in objects:
        if not isinstance(one.spec, RequestAuthentication):
            continue
        for index, rule in enumerate(one.spec.jwt_rules):
            source = key_source(rule)
            if source in reasons and source not in key_sets:
                name = "issuer" if not jwks_uri(rule) else "jwksUri" if rule.jwks_uri else "jwks_uri"
                message = (
                    f"the keys of {source} are not there, so every token of {rule.issuer} is refused: {reasons[source]}"
                )
                report.add(KEYS_MISSING, one, ("spec", "jwtRules", index, name), message)
    return tuple(report.findings)
