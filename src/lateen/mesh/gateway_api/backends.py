"""Where a route leads: its backend references resolved, and what its ResolvedRefs condition says of them.

A reference that leads nowhere keeps its share of the traffic, which is answered with a 500 (HTTPRoute, "backendRefs").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from lateen.config.gateway_api import BackendObjectReference, HTTPRouteFilter
from lateen.config.networking import Destination, PortSelector
from lateen.mesh.gateway_api.statuses import Condition, fails, holds
from lateen.mesh.gateway_api.world import Route, World
from lateen.mesh.references import NO_BACKEND
from lateen.model.names import Hostname, service_host

RESOLVED_REFS = "ResolvedRefs"


@dataclass(slots=True)
class Backends:
    """Resolves the references of one route, and collects what is wrong with them."""

    world: World
    route: Route
    problems: list[Condition] = field(default_factory=list)

    def destination(self, ref: BackendObjectReference) -> Destination | None:
        """Return where a reference leads, None when nowhere."""
        key = self.route.key
        namespace = ref.namespace or key.namespace
        if (ref.group, ref.kind) not in (("", "Service"), ("networking.istio.io", "Hostname")):
            what = f"{ref.group}/{ref.kind}" if ref.group else ref.kind
            return self._refused("InvalidKind", f"the backend {ref.name!r} is a {what}; only a Service can be one")
        if not self.world.permits(key.kind, key.namespace, ref.group, ref.kind, (namespace, ref.name)):
            message = (
                f"no ReferenceGrant of namespace {namespace} lets {key.kind}s of {key.namespace} refer to {ref.name}"
            )
            return self._refused("RefNotPermitted", message)
        host = service_host(ref.name, namespace) if ref.kind == "Service" else Hostname(ref.name.lower())
        service = self.world.service_at(host)
        if service is None:
            return self._refused("BackendNotFound", f"there is no Service {namespace}/{ref.name}")
        port = ref.port or 0
        if service.port(port) is None:
            ports = ", ".join(str(one.number) for one in service.ports) or "none"
            message = f"the Service {namespace}/{ref.name} has no port {port}; it has {ports}"
            return self._refused("BackendNotFound", message)
        return Destination(host=host, port=PortSelector(number=port))

    def all_known(self, filters: Sequence[HTTPRouteFilter]) -> bool:
        """Whether all filters are known; what an extension means, nobody here knows."""
        refs = [item.extension_ref for item in filters if item.extension_ref is not None]
        for ref in refs:
            what = f"{ref.group}/{ref.kind}" if ref.group else ref.kind
            self._refused("InvalidKind", f"the filter {ref.name!r} is a {what}, which is not known")
        return not refs

    def condition(self) -> Condition:
        """Return ResolvedRefs, after all references were asked for."""
        if not self.problems:
            return holds(RESOLVED_REFS, message="all references lead somewhere")
        first = self.problems[0]
        return fails(RESOLVED_REFS, first.reason, "; ".join(dict.fromkeys(one.message for one in self.problems)))

    def _refused(self, reason: str, message: str) -> Destination | None:
        self.problems.append(fails(RESOLVED_REFS, reason, message))
        return None


def nowhere() -> Destination:
    """Return the destination of a share of traffic that leads nowhere."""
    return Destination(host=NO_BACKEND, port=PortSelector(number=1))
