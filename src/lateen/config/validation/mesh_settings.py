"""Rules of what MeshConfig says of proxies (`defaultConfig`), of TLS that is not the mesh's, and of its providers.

Called by `config.mesh_config`. Istio asks more of `defaultConfig`, because its installation fills it in; here what is
unset has a default.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lateen.config.codes import NO_EFFECT
from lateen.config.durations import seconds
from lateen.config.positions import Path
from lateen.config.proxy_config import ProxyConfig
from lateen.config.validation import fields
from lateen.config.validation.gateways import CIPHER_SUITES
from lateen.config.validation.regexes import regex
from lateen.config.validation.workload_groups import environment, readiness_probe, threads
from lateen.config.violations import Violation, warning
from lateen.model.proxy_settings import LONGEST_DRAIN_SECONDS

# Istio knows X25519Kyber768Draft00 too, which has gone from Envoy's TLS library: by that name a cluster is refused.
ECDH_CURVES = frozenset(("P-224", "P-256", "P-384", "P-521", "X25519", "X25519MLKEM768"))
"""Names of curves and key exchanges that Envoy takes."""
_AGENT_PREFIX = "ISTIO_META_"
_BUILT_IN = frozenset(("envoy", "prometheus", "stackdriver"))
"""Providers that Istio's installation names by itself."""
_LONGEST_PATTERN = 256
_MOST_PATTERNS = 32
"""Of all three kinds: they travel in one message to each proxy, and a workload's flags may add more."""


def default_config(path: Path, config: ProxyConfig | None) -> Iterator[Violation]:
    """What every proxy begins with."""
    if config is None:
        return
    yield from threads((*path, "concurrency"), config.concurrency)
    for name, text in (
        ("drainDuration", config.drain_duration),
        ("terminationDrainDuration", config.termination_drain_duration),
    ):
        found = list(fields.optional_duration((*path, name), text, minimum=0))
        yield from found
        if text and not found and seconds(text) > LONGEST_DRAIN_SECONDS:
            yield warning((*path, name), f"{text} is longer than an hour", "write 1h, which is what counts")
    yield from environment((*path, "proxyMetadata"), config.proxy_metadata)
    for name in config.proxy_metadata:
        if name.startswith(_AGENT_PREFIX):
            message = f"{name} is a setting of Istio's own agent and has no effect here"
            yield Violation((*path, "proxyMetadata", name), message, "use flags of `lateen run`", NO_EFFECT)
    yield from readiness_probe((*path, "readinessProbe"), config.readiness_probe)
    matcher = config.proxy_stats_matcher
    if matcher is not None:
        here = (*path, "proxyStatsMatcher")
        patterns = (*matcher.inclusion_prefixes, *matcher.inclusion_suffixes, *matcher.inclusion_regexps)
        if len(patterns) > _MOST_PATTERNS:
            yield Violation(here, f"there are {len(patterns)} patterns", f"at most {_MOST_PATTERNS} are allowed")
        yield from _patterns((*here, "inclusionPrefixes"), matcher.inclusion_prefixes)
        yield from _patterns((*here, "inclusionSuffixes"), matcher.inclusion_suffixes)
        yield from _patterns((*here, "inclusionRegexps"), matcher.inclusion_regexps)
        for index, text in enumerate(matcher.inclusion_regexps):
            yield from regex((*here, "inclusionRegexps", index), text)


def _patterns(path: Path, patterns: Sequence[str]) -> Iterator[Violation]:
    for index, pattern in enumerate(patterns):
        if not 1 <= len(pattern) <= _LONGEST_PATTERN:
            message = f"the pattern has {len(pattern)} characters"
            yield Violation((*path, index), message, f"write 1 to {_LONGEST_PATTERN}")


def tls_defaults(path: Path, curves: Sequence[str], suites: Sequence[str]) -> Iterator[Violation]:
    """TLS that is not the mesh's own. As Istio: what is unknown is ignored."""
    for name, values, known, what in (
        ("ecdhCurves", curves, ECDH_CURVES, "curve"),
        ("cipherSuites", suites, CIPHER_SUITES, "cipher suite"),
    ):
        for index, value in enumerate(values):
            if value not in known:
                yield warning((*path, name, index), f"{value[:80]!r} is not a {what} and is ignored")
            elif value in values[:index]:
                yield warning((*path, name, index), f"the {what} {value} stands twice", "keep one of them")


def provider_names(path: Path, names: Sequence[str], known: Sequence[str]) -> Iterator[Violation]:
    """References to extension providers."""
    for index, name in enumerate(names):
        if name not in known and name not in _BUILT_IN:
            hint = f"known are {', '.join(sorted(known))}" if known else "add it to extensionProviders"
            yield warning((*path, index), f"there is no extension provider {name[:80]!r}", hint)
