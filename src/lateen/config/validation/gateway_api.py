"""Rules of the Gateway API's kinds but the routes. Source: patterns and CEL rules of the CRDs, release 1.6.1.

What a violation means for a running mesh is not said here: a document with one is not taken.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from lateen.config.codes import INVALID_VALUE
from lateen.config.gateway_api import (
    TLS_OPTIONS,
    BackendTLSPolicy,
    FrontendTLS,
    GatewayAddress,
    GatewayClass,
    GatewayTLSConfig,
    KubernetesGateway,
    LabelSelector,
    Listener,
    ListenerSet,
    ReferenceGrant,
    SubjectAltNameType,
    TLSMode,
)
from lateen.config.metadata import DNS_LABEL, DNS_SUBDOMAIN, Metadata
from lateen.config.positions import Path
from lateen.config.validation import fields
from lateen.config.violations import Violation, warning

_HOSTNAME = re.compile(r"(?=.{1,253}$)(?:\*\.)?[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*")
_CONTROLLER = re.compile(
    r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*/[A-Za-z0-9/\-._~%!$&'()*+,;=:]+"
)
_KIND = re.compile(r"[a-zA-Z](?:[-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?")
_PROTOCOL = re.compile(
    r"[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?|[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*/[A-Za-z0-9]+"
)
_WELL_KNOWN = re.compile(
    r"(?=.{1,253}$)(?:System|[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*/[A-Za-z0-9][-A-Za-z0-9_.]{0,61}[A-Za-z0-9])"
)
_URI = re.compile(r"[^:/?#]+://[^/?#]+.*")
_ADDRESS_TYPES = ("IPAddress", "Hostname", "NamedAddress")


def gateway_class(spec: GatewayClass, _metadata: Metadata) -> Iterator[Violation]:
    """A GatewayClass."""
    if not _CONTROLLER.fullmatch(spec.controller_name):
        hint = "write a domain and a path: lateen.io/gateway-controller"
        yield invalid(("controllerName",), f"{spec.controller_name[:80]!r} is not a controller", hint)
    yield from at_most(("description",), spec.description, 64, "characters")
    if spec.parameters_ref is not None:
        ref = spec.parameters_ref
        yield from reference(("parametersRef",), ref.group, ref.kind, ref.name, ref.namespace)


def kubernetes_gateway(spec: KubernetesGateway, _metadata: Metadata) -> Iterator[Violation]:
    """A Gateway of the Gateway API."""
    if not spec.gateway_class_name:
        yield invalid(("gatewayClassName",), "must not be empty", "name a GatewayClass")
    yield from _listeners(spec.listeners)
    yield from at_most(("addresses",), spec.addresses, 16)
    sets = spec.allowed_listeners.namespaces if spec.allowed_listeners is not None else None
    if sets is not None:
        yield from _selects(("allowedListeners", "namespaces"), sets.from_.value, sets.selector)
    seen: set[tuple[str, str]] = set()
    for index, address in enumerate(spec.addresses):
        yield from _address(("addresses", index), address, seen)
    if spec.tls is not None:
        yield from _gateway_tls(("tls",), spec.tls)


def listener_set(spec: ListenerSet, _metadata: Metadata) -> Iterator[Violation]:
    """A ListenerSet."""
    ref = spec.parent_ref
    yield from reference(("parentRef",), ref.group, ref.kind, ref.name, ref.namespace)
    yield from _listeners(spec.listeners)


def _listeners(listeners: Sequence[Listener]) -> Iterator[Violation]:
    yield from between(("listeners",), listeners, 1, 64, "listener")
    names: set[str] = set()
    places: set[tuple[int, str, str]] = set()
    for index, listener in enumerate(listeners):
        here: Path = ("listeners", index)
        yield from _listener(here, listener)
        if listener.name in names:
            yield invalid((*here, "name"), f"the listener {listener.name!r} stands twice", "rename one of them")
        names.add(listener.name)
        place = (listener.port, listener.protocol, listener.hostname)
        if place in places:
            yield invalid(here, "another listener has the same port, protocol and hostname", "remove one of them")
        places.add(place)


def _selects(here: Path, from_: str, selector: LabelSelector | None) -> Iterator[Violation]:
    if from_ == "Selector" and selector is None:
        yield warning(here, "no selector: no namespace is allowed", "add `selector`, or write All or Same")


def _listener(here: Path, listener: Listener) -> Iterator[Violation]:
    yield from subdomain((*here, "name"), listener.name, "name of a listener")
    if listener.hostname:
        yield from hostname((*here, "hostname"), listener.hostname)
    if len(listener.protocol) > 255 or not _PROTOCOL.fullmatch(listener.protocol):
        message = f"{listener.protocol[:80]!r} is not a protocol" if listener.protocol else "must not be empty"
        yield invalid((*here, "protocol"), message, "write HTTP, HTTPS, TLS or TCP")
    mode = listener.tls.mode if listener.tls is not None else None
    match listener.protocol:
        case "HTTP" | "TCP" | "UDP" if listener.tls is not None:
            hint = "remove it, or use the protocol HTTPS or TLS"
            yield invalid((*here, "tls"), f"the protocol {listener.protocol} has no TLS", hint)
        case "HTTPS" if mode is TLSMode.PASSTHROUGH:
            hint = "use the protocol TLS to pass connections through"
            yield invalid((*here, "tls", "mode"), "HTTPS ends TLS itself", hint)
        case "TLS" if listener.tls is None:
            yield invalid(here, "a listener of protocol TLS needs `tls`", "add `tls: {mode: Passthrough}`")
    if listener.protocol in ("TCP", "UDP") and listener.hostname:
        yield invalid((*here, "hostname"), f"the protocol {listener.protocol} has no host names", "remove it")
    if listener.tls is not None:
        yield from at_most((*here, "tls", "certificateRefs"), listener.tls.certificate_refs, 64)
        if mode is TLSMode.TERMINATE and not listener.tls.certificate_refs and not listener.tls.options:
            yield invalid((*here, "tls"), "names no certificate", "add `certificateRefs: [{name: SECRET}]`")
        for index, ref in enumerate(listener.tls.certificate_refs):
            yield from reference((*here, "tls", "certificateRefs", index), ref.group, ref.kind, ref.name, ref.namespace)
        for name in sorted(listener.tls.options.keys() - TLS_OPTIONS):
            hint = f"known are {', '.join(sorted(TLS_OPTIONS))}"
            yield warning((*here, "tls", "options", name), "the option is not known and has no effect", hint)
    allowed = listener.allowed_routes
    if allowed is not None:
        yield from at_most((*here, "allowedRoutes", "kinds"), allowed.kinds, 8)
        for index, kind in enumerate(allowed.kinds):
            yield from reference((*here, "allowedRoutes", "kinds", index), kind.group, kind.kind, "x", "")
        namespaces = allowed.namespaces
        if namespaces is not None:
            yield from _selects((*here, "allowedRoutes", "namespaces"), namespaces.from_.value, namespaces.selector)


def _gateway_tls(here: Path, tls: GatewayTLSConfig) -> Iterator[Violation]:
    """Certificates of the gateway itself, towards clients and towards backends."""
    own = tls.backend.client_certificate_ref if tls.backend is not None else None
    if own is not None:
        yield from reference((*here, "backend", "clientCertificateRef"), own.group, own.kind, own.name, own.namespace)
    if tls.frontend is None:
        return
    frontend = (*here, "frontend")
    yield from _client_certificates((*frontend, "default", "validation"), tls.frontend.default)
    yield from at_most((*frontend, "perPort"), tls.frontend.per_port, 64)
    seen: set[int] = set()
    for index, item in enumerate(tls.frontend.per_port):
        place = (*frontend, "perPort", index)
        if item.port in seen:
            yield invalid(place, f"the port {item.port} stands twice", "keep one of them")
        seen.add(item.port)
        yield from _client_certificates((*place, "tls", "validation"), item.tls)


def _client_certificates(here: Path, tls: FrontendTLS) -> Iterator[Violation]:
    if tls.validation is not None:
        yield from between((*here, "caCertificateRefs"), tls.validation.ca_certificate_refs, 1, 8, "reference")
        for index, ref in enumerate(tls.validation.ca_certificate_refs):
            yield from reference((*here, "caCertificateRefs", index), ref.group, ref.kind, ref.name, ref.namespace)


def _address(here: Path, address: GatewayAddress, seen: set[tuple[str, str]]) -> Iterator[Violation]:
    if address.type not in _ADDRESS_TYPES and "/" not in address.type:
        yield invalid((*here, "type"), f"{address.type!r} is not a type of address", "write IPAddress or Hostname")
    if address.type == "IPAddress" and address.value and not fields.is_ip(address.value):
        yield invalid((*here, "value"), f"{address.value[:80]!r} is not an IP address")
    if address.type == "Hostname" and address.value and not _HOSTNAME.fullmatch(address.value):
        yield invalid((*here, "value"), f"{address.value[:80]!r} is not a host name")
    place = (address.type, address.value)
    if place in seen and address.value:
        yield invalid((*here, "value"), f"{address.value!r} stands twice", "keep one of them")
    seen.add(place)


def reference_grant(spec: ReferenceGrant, _metadata: Metadata) -> Iterator[Violation]:
    """A ReferenceGrant."""
    yield from between(("from",), spec.from_, 1, 16, "entry")
    yield from between(("to",), spec.to, 1, 16, "entry")
    for index, one in enumerate(spec.from_):
        yield from reference(("from", index), one.group, one.kind, "x", one.namespace)
        if not one.namespace:
            yield invalid(("from", index, "namespace"), "must not be empty", "name the namespace that may refer")
    for index, to in enumerate(spec.to):
        yield from reference(("to", index), to.group, to.kind, to.name or "x", "")


def backend_tls_policy(spec: BackendTLSPolicy, _metadata: Metadata) -> Iterator[Violation]:
    """A BackendTLSPolicy."""
    yield from between(("targetRefs",), spec.target_refs, 1, 16, "target")
    seen: dict[tuple[str, str, str], set[str]] = {}
    for index, target in enumerate(spec.target_refs):
        yield from reference(("targetRefs", index), target.group, target.kind, target.name, "")
        sections = seen.setdefault((target.group, target.kind, target.name), set())
        if sections and ("" in sections or not target.section_name):
            yield invalid(("targetRefs", index), "the target stands twice", "tell them apart by `sectionName`")
        elif target.section_name in sections:
            yield invalid(("targetRefs", index, "sectionName"), "the port of the target stands twice")
        sections.add(target.section_name)
    validation = spec.validation
    here: Path = ("validation",)
    yield from hostname((*here, "hostname"), validation.hostname, wildcard=False)
    yield from at_most((*here, "caCertificateRefs"), validation.ca_certificate_refs, 8)
    for index, ref in enumerate(validation.ca_certificate_refs):
        yield from reference((*here, "caCertificateRefs", index), ref.group, ref.kind, ref.name, "")
    yield from at_most((*here, "subjectAltNames"), validation.subject_alt_names, 5)
    known = validation.well_known_ca_certificates
    if known and not _WELL_KNOWN.fullmatch(known):
        hint = "write System"
        yield invalid((*here, "wellKnownCACertificates"), f"{known[:80]!r} is not a set of certificates", hint)
    if bool(validation.ca_certificate_refs) == bool(validation.well_known_ca_certificates):
        hint = "write one of `caCertificateRefs` and `wellKnownCACertificates: System`"
        yield invalid(here, "exactly one source of CA certificates is needed", hint)
    for index, name in enumerate(validation.subject_alt_names):
        place = (*here, "subjectAltNames", index)
        of_host = name.type is SubjectAltNameType.HOSTNAME
        if of_host != bool(name.hostname) or of_host == bool(name.uri):
            yield invalid(place, f"an entry of type {name.type.value} has exactly that field", "see `type`")
        elif of_host:
            yield from hostname((*place, "hostname"), name.hostname)
        elif not _URI.fullmatch(name.uri):
            yield invalid((*place, "uri"), f"{name.uri[:80]!r} is not an absolute URI", "write spiffe://…")


# --- shared --------------------------------------------------------------------------------------------------


def invalid(path: Path, message: str, hint: str = "") -> Violation:
    """These are the Gateway API's rules, not Istio's: no Istio code fits."""
    return Violation(path, message, hint, INVALID_VALUE)


def hostname(path: Path, text: str, *, wildcard: bool = True) -> Iterator[Violation]:
    """A lower-case host name; a wildcard is its first label."""
    if not _HOSTNAME.fullmatch(text) or (not wildcard and text.startswith("*")):
        hint = "write a name such as example.com" + (" or *.example.com" if wildcard else "")
        yield invalid(path, f"{text[:80]!r} is not a host name", hint)
    elif fields.is_ip(text):
        yield invalid(path, f"{text!r} is an address, not a host name", "write a name")


def subdomain(path: Path, text: str, what: str) -> Iterator[Violation]:
    """A name of RFC 1123."""
    if not DNS_SUBDOMAIN.fullmatch(text):
        yield invalid(path, f"{text[:80]!r} is not a valid {what}", "use lower-case letters, digits, `-` and `.`")


def reference(path: Path, group: str, kind: str, name: str, namespace: str) -> Iterator[Violation]:
    """A reference to an object."""
    if group and not DNS_SUBDOMAIN.fullmatch(group):
        yield invalid((*path, "group"), f"{group[:80]!r} is not an API group")
    if not _KIND.fullmatch(kind):
        yield invalid((*path, "kind"), f"{kind[:80]!r} is not a kind")
    if not 1 <= len(name) <= 253:
        yield invalid((*path, "name"), "a name has 1 to 253 characters")
    if namespace and not DNS_LABEL.fullmatch(namespace):
        yield invalid((*path, "namespace"), f"{namespace[:80]!r} is not a namespace")


def at_most(path: Path, items: Sequence[object], highest: int, what: str = "entries") -> Iterator[Violation]:
    """A list or text that may not be longer."""
    if len(items) > highest:
        yield invalid(path, f"has {len(items)} {what}, which are more than {highest}", "split the object")


def between(path: Path, items: Sequence[object], lowest: int, highest: int, what: str) -> Iterator[Violation]:
    """A list with a number of entries."""
    if len(items) < lowest:
        yield invalid(path, f"needs at least {lowest} {what}")
    yield from at_most(path, items, highest)


def unique(path: Path, values: Iterable[str], what: str) -> Iterator[Violation]:
    """Values that may stand once."""
    seen: set[str] = set()
    for index, value in enumerate(values):
        if value in seen:
            yield invalid((*path, index), f"the {what} {value[:80]!r} stands twice", "keep one of them")
        seen.add(value)
