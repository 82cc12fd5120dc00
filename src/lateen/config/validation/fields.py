"""Rules of single fields that several kinds share: durations, ports, percentages, hosts, labels, regexes, headers.

Each takes the path of the field and its value and yields violations. The names of the notions are Istio's.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from http import HTTPStatus

from lateen.config.codes import INVALID_VALUE
from lateen.config.decoding import closest
from lateen.config.durations import nanoseconds
from lateen.config.metadata import DNS_LABEL
from lateen.config.networking import HTTPRetry, LocalityLoadBalancerSetting, Percent
from lateen.config.positions import Path
from lateen.config.request_claims import claim_path
from lateen.config.validation.formatters import formatter_problem
from lateen.config.validation.overlaps import LocalitySet
from lateen.config.violations import Violation, warning
from lateen.model.protocols import Protocol, protocol_named

MILLISECOND = 1_000_000
UNIX_PREFIX = "unix://"
ANY_HOST = "*"

_WILDCARD_LABEL = re.compile(r"\*|(?:\*|\*-)?[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?")
_ANY_LABEL = re.compile(r"[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?")
_AUTO_SNI = re.compile(r"outbound_\.[0-9]+_\.[-a-zA-Z0-9]*_\.(.+)")
_LABEL_NAME = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~A-Za-z0-9]+")
RETRY_ON = frozenset(
    (
        "5xx",
        "gateway-error",
        "reset",
        "reset-before-request",
        "connect-failure",
        "envoy-ratelimited",
        "retriable-4xx",
        "refused-stream",
        "retriable-status-codes",
        "retriable-headers",
        "http3-post-connect-failure",
        "cancelled",
        "deadline-exceeded",
        "internal",
        "resource-exhausted",
        "unavailable",
    )
)
"""Words of Envoy's `x-envoy-retry-on` and `x-envoy-retry-grpc-on`; numbers are status codes."""


def duration(path: Path, text: str, *, minimum: int = MILLISECOND) -> Iterator[Violation]:
    """A duration of at least `minimum` nanoseconds, in whole milliseconds."""
    try:
        length = nanoseconds(text)
    except ValueError as error:
        yield Violation(path, str(error), "", INVALID_VALUE)
        return
    if length < minimum:
        least = "at least 1ms" if minimum else "not negative"
        yield Violation(path, f"a duration must be {least}, not {text!r}", "write it as '500ms' or '10s'")
    elif length % MILLISECOND:
        yield Violation(path, f"{text!r} is finer than a millisecond", "round it to whole milliseconds")


def optional_duration(path: Path, text: str | None, *, minimum: int = MILLISECOND) -> Iterator[Violation]:
    """The same for a field that may be unset."""
    if text:
        yield from duration(path, text, minimum=minimum)


def port_number(path: Path, number: int) -> Iterator[Violation]:
    """A port of 1 to 65535."""
    if not 1 <= number <= 65535:
        yield Violation(path, f"port number {number} is out of range", "write a number from 1 to 65535")


def percent(path: Path, value: float) -> Iterator[Violation]:
    """A percentage of 0 to 100."""
    if not 0 <= value <= 100:
        yield Violation(path, f"{value:g} is not a percentage", "write a number from 0 to 100")


def percentage(path: Path, value: Percent | None) -> Iterator[Violation]:
    """A fractional percentage: 0, or from 0.0001 (Envoy counts in millionths) to 100."""
    if value is not None and not (value.value == 0 or 0.0001 <= value.value <= 100):
        yield Violation((*path, "value"), f"{value.value:g} is not a percentage", "write a number from 0 to 100")


def not_negative(path: Path, value: int) -> Iterator[Violation]:
    """A number that may not be below zero."""
    if value < 0:
        yield Violation(path, f"must not be negative, but is {value}")


def is_ip(text: str) -> bool:
    """Whether text is an IPv4 or IPv6 address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text


def ip_address(path: Path, text: str) -> Iterator[Violation]:
    """An IPv4 or IPv6 address."""
    if not is_ip(text):
        yield Violation(path, f"{text!r} is not an IP address")


def subnet(path: Path, text: str) -> Iterator[Violation]:
    """An address or a CIDR block; host bits may be set."""
    try:
        ipaddress.ip_network(text, strict=False) if "/" in text else ipaddress.ip_address(text)
    except ValueError:
        yield Violation(path, f"{text!r} is neither an IP address nor a CIDR block", "write 10.1.2.3 or 10.1.0.0/16")


def unix_path(path: Path, address: str) -> Iterator[Violation]:
    """A `unix://` address: an absolute path to a file, or `@name`."""
    place = address.removeprefix(UNIX_PREFIX)
    if not place.startswith("@") and (not place.startswith("/") or place.endswith("/")):
        yield Violation(path, f"{place!r} is not an absolute path to a file", "write unix:///path/to/socket")


def host_problem(host: str, *, wildcard: bool = False) -> str:
    """Return what is wrong with a host name, empty when nothing is.

    `wildcard` admits `*`, `*.suffix` and `*-suffix` as the first label.
    """
    if not host:
        return "a host must not be empty"
    if len(host) > 255:
        return f"{host[:40]!r}… is longer than the 255 characters of a host name"
    first, _, rest = host.partition(".")
    labels = rest.removesuffix(".").split(".") if rest else []
    if wildcard:
        if len(first) > 63 or not _WILDCARD_LABEL.fullmatch(first):
            return f"{host!r} is not a host name (look at {first!r})"
    else:
        labels = [first, *labels]
    if labels and labels[-1].isascii() and labels[-1].isdigit() and not host.endswith("."):
        return f"{host!r} is not a host name (the last label {labels[-1]!r} is a number)"
    for label in labels:
        if len(label) > 63 or not _ANY_LABEL.fullmatch(label):
            return f"{host!r} is not a host name (look at {label!r})"
    return ""


def server_name_problem(name: str) -> str:
    """The same of a server name, which may be one that sidecars make: `outbound_.80_.v1_.reviews.example.com`."""
    made = _AUTO_SNI.fullmatch(name)
    return host_problem(made[1] if made else name, wildcard=True)


def bare_host(text: str, otherwise: str) -> str:
    """Return the hint for a host that came with a scheme, a port or a path."""
    host = re.split(r"[/:]", re.sub(r"^[a-z]{2,9}://", "", text[:300]), maxsplit=1)[0]
    is_more = host != text and host and not host_problem(host, wildcard=True)
    return f"write {host}: a host has no scheme, port or path" if is_more else otherwise


def fqdn(path: Path, host: str) -> Iterator[Violation]:
    """A host name without wildcard."""
    if problem := host_problem(host):
        hint = bare_host(host, "write a name such as reviews or reviews.default.svc.cluster.local")
        yield Violation(path, problem, hint)


def wildcard_host(path: Path, host: str) -> Iterator[Violation]:
    """A host name whose first label may be a wildcard."""
    if problem := host_problem(host, wildcard=True):
        hint = bare_host(host, "write a name such as reviews, example.com or *.example.com")
        yield Violation(path, problem, hint)


def dns_label(path: Path, text: str, what: str) -> Iterator[Violation]:
    """An RFC 1123 label."""
    if not DNS_LABEL.fullmatch(text):
        hint = "use lower-case letters, digits and `-`, at most 63 characters"
        yield Violation(path, f"{text[:80]!r} is not a valid {what}", hint)


def any_label(path: Path, text: str, what: str) -> Iterator[Violation]:
    """A label of DNS in either case: names that are Istio's alone, and not those of Kubernetes' objects."""
    if len(text) > 63 or not _ANY_LABEL.fullmatch(text):
        hint = "use letters, digits and `-`, at most 63 characters"
        yield Violation(path, f"{text[:80]!r} is not a valid {what}", hint)


def labels(path: Path, values: Mapping[str, str]) -> Iterator[Violation]:
    """Kubernetes labels: `prefix/name` to value."""
    for key, value in values.items():
        prefix, slash, name = key.rpartition("/")
        if not _LABEL_NAME.fullmatch(name) or (slash and host_problem(prefix)):
            yield Violation((*path, key), f"{key!r} is not a valid label name", "write name or example.com/name")
        if value and not _LABEL_NAME.fullmatch(value):
            hint = "use letters, digits, `-`, `_` and `.`, at most 63 characters"
            yield Violation((*path, key), f"{value!r} is not a valid label value", hint)


def selector(path: Path, values: Mapping[str, str], *, required: bool = False) -> Iterator[Violation]:
    """Labels that select workloads: no wildcards."""
    for key, value in values.items():
        if not key or "*" in key or "*" in value:
            yield Violation((*path, key), f"a selector takes exact labels, not {key}={value!r}")
    if required and not values:
        yield warning(
            path, "a selector without labels selects every workload of the namespace", "remove it or add labels"
        )


def export_to(path: Path, values: Iterable[str], namespace: str, *, admits_none: bool = False) -> Iterator[Violation]:
    """Namespaces an object is visible in: `*` alone, `.`, names; `~` alone where a service may hide."""
    values = tuple(values)
    seen: set[str] = set()
    for index, value in enumerate(values):
        here = (*path, index)
        own = namespace if value == "." else value
        if own in seen:
            yield Violation(here, f"the namespace {value!r} stands twice in exportTo", "keep one of them")
        seen.add(own)
        if value == "~":
            if not admits_none:
                yield Violation(here, "`~` (nobody) is for ServiceEntries only", "write `.` for this namespace alone")
        elif value not in ("*", "."):
            yield from dns_label(here, value, "namespace; write `*`, `.` or a name")
    for alone in ("*", "~"):
        if alone in seen and len(values) > 1:
            yield Violation(path, f"`{alone}` in exportTo must stand alone", "remove the other entries or it")


def protocol(path: Path, name: str) -> Iterator[Violation]:
    """A protocol that Istio knows; empty means sniffed."""
    if name and protocol_named(name) is None:
        known = [one.value for one in Protocol if one is not Protocol.UNSUPPORTED]
        near = closest(name, known)
        hint = f"did you mean {near}?" if near else f"write one of {', '.join(known)}"
        yield Violation(path, f"{name!r} is not a protocol", hint)


def header_name(path: Path, name: str) -> Iterator[Violation]:
    """A header name to match: a token of RFC 7230, a pseudo-header, or the path of a claim."""
    claims = claim_path(name)
    if claims is not None:
        if not all(claims):
            hint = "write @request.auth.claims.sub or @request.auth.claims[a][b]"
            yield Violation(path, f"{name!r} does not name a claim", hint)
        return
    pseudo = name in (":method", ":scheme", ":authority", ":path", ":status")
    if not pseudo and not _HEADER_NAME.fullmatch(name):
        yield Violation(path, f"{name!r} is not a header name", "use letters, digits and `-`")


def cors_header_name(path: Path, name: str) -> Iterator[Violation]:
    """A header name of a CORS list, where `*` is one."""
    if name != "*" and not _HEADER_NAME.fullmatch(name):
        yield Violation(path, f"{name!r} is not a header name", "use letters, digits and `-`")


def header_value(path: Path, value: str) -> Iterator[Violation]:
    """A header value for Envoy's formatter: `%NAME%` is a command, `%%` a percent sign."""
    if re.search(r"[\x00-\x08\x0a-\x1f\x7f]", value):
        yield Violation(path, "a header value must not contain control characters")
        return
    if problem := formatter_problem(value):
        hint = "write `%%` for a percent sign, `%NAME%` for a command"
        yield Violation(path, f"{value[:80]!r} cannot be sent: {problem}", hint)


def host_and_namespace(path: Path, text: str, *, gateway: bool) -> Iterator[Violation]:
    """`namespace/host` of a Gateway's server (where the namespace is optional) or of a Sidecar's egress."""
    namespace, slash, host = text.partition("/")
    if not slash:
        if not gateway:
            yield Violation(path, f"{text!r} must be of the form namespace/host", f"write */{text} or ./{text}")
            return
        host, namespace = text, "*"
    if not namespace or not host:
        yield Violation(path, f"{text!r} must be of the form namespace/host", "write */*.example.com or ./*")
        return
    bare = namespace if gateway else namespace.removeprefix("~")
    if bare not in ("", "*", ".") and not DNS_LABEL.fullmatch(bare):
        yield Violation(path, f"{namespace!r} is not a namespace", "write `*`, `.` or a name")
    if host != ANY_HOST and "." not in host and not (gateway and is_ip(host)):
        hint = "write the full name, such as reviews.default.svc.cluster.local, or *"
        yield Violation(path, f"{host!r} is a short name, which is not allowed here", hint)
    elif problem := host_problem(host, wildcard=True):
        if not (gateway and is_ip(host)):
            yield Violation(path, problem, bare_host(host, "write a name such as example.com or *.example.com"))
    elif "*" in host and host != ANY_HOST and not host.startswith("*."):
        yield Violation(path, f"{host!r} has a partial wildcard", "a wildcard is a whole label: *.example.com")


def http_retry(path: Path, retry: HTTPRetry | None) -> Iterator[Violation]:
    """A retry policy."""
    if retry is None:
        return
    yield from not_negative((*path, "attempts"), retry.attempts)
    extras = (retry.per_try_timeout, retry.retry_on, retry.retry_remote_localities is not None)
    if retry.attempts == 0 and any(extras):
        yield Violation(
            path, "retries are off (attempts is 0) but configured", "set attempts, or remove the other fields"
        )
    yield from optional_duration((*path, "perTryTimeout"), retry.per_try_timeout)
    yield from optional_duration((*path, "backoff"), retry.backoff)
    for word in retry.retry_on.split(",") if retry.retry_on else ():
        if word not in RETRY_ON and not _is_status(word):
            near = closest(word, RETRY_ON)
            hint = f"did you mean {near}?" if near else f"write one of {', '.join(sorted(RETRY_ON))} or a status code"
            yield Violation((*path, "retryOn"), f"{word!r} is not a condition to retry on", hint)


def _is_status(word: str) -> bool:
    return word.isascii() and word.isdigit() and int(word) in {status.value for status in HTTPStatus}


def locality_setting(
    path: Path, setting: LocalityLoadBalancerSetting | None, *, has_outlier_detection: bool
) -> Iterator[Violation]:
    """Locality load balancing."""
    if setting is None:
        return
    if setting.distribute and setting.failover:
        yield Violation(path, "`distribute` and `failover` exclude each other", "keep one of them")
    topology = [one for one in setting.failover_priority if one.startswith("topology.")]
    if setting.failover and topology:
        yield Violation(path, f"`failover` and the label {topology[0]} in `failoverPriority` exclude each other")
    sources = LocalitySet()
    for index, share in enumerate(setting.distribute):
        yield from _localities((*path, "distribute", index, "from"), [share.from_], sources)
        here = (*path, "distribute", index, "to")
        yield from _localities(here, list(share.to), LocalitySet())
        for locality, weight in share.to.items():
            if not 1 <= weight <= 100:
                yield Violation((*here, locality), f"weight {weight} is out of range", "write a number from 1 to 100")
        if sum(share.to.values()) != 100:
            yield Violation(here, f"the weights add up to {sum(share.to.values())}", "make them add up to 100")
    if (setting.failover or setting.failover_priority) and not has_outlier_detection:
        yield warning(path, "failover happens only with outlier detection", "add outlierDetection")
    for index, failover in enumerate(setting.failover):
        here = (*path, "failover", index)
        if failover.from_ == failover.to:
            yield Violation(here, "failover must go to another region")
        if any(mark in name for name in (failover.from_, failover.to) for mark in "/*"):
            yield Violation(here, "failover names regions only", "leave out zones and wildcards")


def _localities(path: Path, patterns: Sequence[str], known: LocalitySet) -> Iterator[Violation]:
    """Patterns of localities: parts from the left, `*` only at the end, and none that covers what another does."""
    for pattern in patterns:
        parts = pattern.split("/")
        if (
            "" in parts
            or len(parts) > 3
            or any("*" in part for part in parts[:-1])
            or ("*" in parts[-1] and parts[-1] != "*")
        ):
            yield Violation(path, f"{pattern!r} is not a locality", "write region/zone/subzone, with * at the end")
        elif known.meets(parts):
            yield Violation(path, f"{pattern} overlaps another locality", "let each locality be covered once")
        known.add(parts[:3])
