"""Merge delegate VirtualServices into the ones that refer to them.

Called by `mesh.rules`. Source of the rules: Istio's VirtualService reference, "Delegate": a rule of the root that
names a delegate is replaced by the delegate's rules, each narrowed by the root rule's conditions. A delegate rule
that contradicts the root, and a delegate that is missing or not exported to the root, give no rule at all
(`analysis` reports them). Delegates have no hosts and never act by themselves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace

from msgspec.structs import replace as changed

from lateen.config.networking import Destination, HTTPMatchRequest, HTTPRoute, StringMatch, VirtualService
from lateen.config.objects import ConfigObject
from lateen.mesh.references import resolve_gateway
from lateen.model.names import resolve_host
from lateen.model.services import visible_to

_INHERITED = (
    "rewrite",
    "direct_response",
    "timeout",
    "retries",
    "fault",
    "mirror",
    "mirror_percent",
    "mirror_percent_snake",
    "mirror_percentage",
    "cors_policy",
    "mirrors",
    "headers",
)
"""Fields of a rule that a delegate's rule takes from the root's when it does not set them."""


Name = tuple[str, str]
"""Namespace and name of a VirtualService."""


def delegates_of(root: ConfigObject[VirtualService]) -> tuple[Name, ...]:
    """Return the names of the VirtualServices that the rules of this one refer to."""
    delegates = [route.delegate for route in root.spec.http if route.delegate is not None]
    return tuple([(delegate.namespace or root.key.namespace, delegate.name) for delegate in delegates])


def expanded(
    root: ConfigObject[VirtualService],
    find: Callable[[Name], ConfigObject[VirtualService] | None],
    default_export_to: Sequence[str],
) -> ConfigObject[VirtualService]:
    """Return the VirtualService with its delegates' rules merged in. `find` knows those without hosts."""
    if not delegates_of(root):
        return root
    namespace = root.key.namespace
    routes: list[HTTPRoute] = []
    digests = [root.digest]
    for route in root.spec.http:
        if route.delegate is None:
            routes.append(route)
            continue
        found = find((route.delegate.namespace or namespace, route.delegate.name))
        if found is None:
            continue
        if not visible_to(tuple(found.spec.export_to or default_export_to), found.key.namespace, namespace):
            continue
        digests.append(found.digest)
        narrowed = (
            _narrowed(_resolved(route, namespace), _resolved(sub, found.key.namespace)) for sub in found.spec.http
        )
        routes += [sub for sub in narrowed if sub is not None]
    digest = hashlib.sha256("\n".join(digests).encode()).hexdigest()
    return replace(root, spec=changed(root.spec, http=routes), digest=digest)


# --- names ---------------------------------------------------------------------------------------------------


def _resolved(route: HTTPRoute, namespace: str) -> HTTPRoute:
    """Return the rule with full names, because it moves into an object of another namespace."""

    def full(destination: Destination) -> Destination:
        return changed(destination, host=resolve_host(destination.host, namespace))

    return changed(
        route,
        match=[
            changed(match, gateways=[resolve_gateway(name, namespace) for name in match.gateways])
            for match in route.match
        ],
        route=[changed(weighted, destination=full(weighted.destination)) for weighted in route.route],
        mirror=full(route.mirror) if route.mirror is not None else None,
        mirrors=[changed(mirror, destination=full(mirror.destination)) for mirror in route.mirrors],
    )


# --- merging -------------------------------------------------------------------------------------------------


def _narrowed(root: HTTPRoute, delegate: HTTPRoute) -> HTTPRoute | None:
    """Return the delegate's rule under the root's conditions; None when they contradict each other."""
    match = _both(root.match, delegate.match)
    if match is None:
        return None
    inherited = {name: getattr(root, name) for name in _INHERITED if _unset(delegate, name)}
    return changed(delegate, name=_joined(root.name, delegate.name), match=match, delegate=None, **inherited)


def _unset(struct: HTTPRoute | HTTPMatchRequest, field: str) -> bool:
    return bool(getattr(struct, field) == getattr(type(struct)(), field))


def _joined(root: str, delegate: str) -> str:
    return "-".join(name for name in (root, delegate) if name)


def _both(root: list[HTTPMatchRequest], delegate: list[HTTPMatchRequest]) -> list[HTTPMatchRequest] | None:
    """Return each compatible pair of conditions; every condition of the delegate needs one in the root."""
    if not root or not delegate:
        return root or delegate
    pairs: list[HTTPMatchRequest] = []
    for sub in delegate:
        compatible = [_merged_match(top, sub) for top in root if not _contradicts(top, sub)]
        if not compatible:
            return None
        pairs += compatible
    return pairs


def _merged_match(root: HTTPMatchRequest, delegate: HTTPMatchRequest) -> HTTPMatchRequest:
    single = ("uri", "scheme", "method", "authority", "port", "source_namespace", "gateways", "stat_prefix")
    inherited = {name: getattr(root, name) for name in single if _unset(delegate, name)}
    return changed(
        delegate,
        name=_joined(root.name, delegate.name),
        headers={**root.headers, **delegate.headers},
        without_headers={**root.without_headers, **delegate.without_headers},
        query_params={**root.query_params, **delegate.query_params},
        source_labels={**root.source_labels, **delegate.source_labels},
        **inherited,
    )


def _contradicts(root: HTTPMatchRequest, delegate: HTTPMatchRequest) -> bool:
    pairs = [
        (root.uri, delegate.uri),
        (root.scheme, delegate.scheme),
        (root.method, delegate.method),
        (root.authority, delegate.authority),
        *((root.headers.get(key), value) for key, value in delegate.headers.items()),
        *((root.without_headers.get(key), value) for key, value in delegate.without_headers.items()),
        *((root.query_params.get(key), value) for key, value in delegate.query_params.items()),
    ]
    return (
        any(_excludes(top, sub) for top, sub in pairs)
        or root.ignore_uri_case != delegate.ignore_uri_case
        or (root.port != delegate.port and bool(root.port and delegate.port))
        or (bool(root.source_namespace) and root.source_namespace != delegate.source_namespace)
        or any(root.source_labels.get(key, value) != value for key, value in delegate.source_labels.items())
        or bool(root.gateways and not set(delegate.gateways) <= set(root.gateways))
    )


def _excludes(root: StringMatch | None, delegate: StringMatch | None) -> bool:
    """Whether what the delegate matches is not a part of what the root matches.

    Two expressions cannot be compared when one is a regular expression: Istio counts that as a contradiction.
    """
    if root is None or delegate is None:
        return False
    if root.regex or delegate.regex:
        return True
    if root.exact:
        return bool(delegate.prefix) or delegate.exact != root.exact
    if root.prefix:
        return not (delegate.prefix or delegate.exact or "").startswith(root.prefix)
    return True
