"""What a proxy is served, read when it is asked for: resources by name in protobuf's JSON form.

Made once per explanation, or for many about one proxy. Reading a large message costs more than everything that is
decided by it, so each is read once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from lateen.envoy.messages import Fields, to_json
from lateen.envoy.resources import CLUSTER, ENDPOINT, EXTENSION, LISTENER, ROUTE, VIRTUAL_HOST, Snapshot
from lateen.explain.route_tables import RouteTable, served_table


@dataclass(frozen=True, slots=True)
class Served:
    """A snapshot, as somebody reads it who has Envoy's eyes."""

    snapshot: Snapshot
    _read: dict[tuple[str, str], Fields | None] = field(default_factory=dict, compare=False, repr=False)
    _tables: dict[str, RouteTable | None] = field(default_factory=dict, compare=False, repr=False)

    def get(self, kind: str, name: str) -> Fields | None:
        """Return a resource, told or on demand; None when there is none."""
        key = (kind, name)
        if key not in self._read:
            found = self.snapshot.offer(kind).get(name)
            self._read[key] = None if found is None else to_json(kind, found.body)
        return self._read[key]

    def listener(self, name: str) -> Fields | None:
        """Return a listener by name."""
        return self.get(LISTENER, name)

    def listeners(self, suffix: str) -> Iterator[Fields]:
        """Yield the listeners whose names end so, in order."""
        for name in sorted(self.snapshot.offer(LISTENER).told):
            if name.endswith(suffix) and (found := self.listener(name)) is not None:
                yield found

    def listener_names(self) -> list[str]:
        """Return the names of all listeners."""
        return sorted(self.snapshot.offer(LISTENER).told)

    def routes(self, name: str) -> RouteTable | None:
        """Return a route configuration by name."""
        if name not in self._tables:
            found = self.snapshot.offer(ROUTE).get(name)
            self._tables[name] = None if found is None else served_table(found.body)
        return self._tables[name]

    def virtual_host(self, routes: str, host: str) -> Fields | None:
        """Return the virtual host that a proxy gets which asks on demand for this host of a route configuration."""
        return self.get(VIRTUAL_HOST, f"{routes}/{host}")

    def cluster(self, name: str) -> Fields | None:
        """Return a cluster by name."""
        return self.get(CLUSTER, name)

    def assignment(self, cluster: Fields) -> Fields:
        """Return the endpoints of a cluster, wherever they stand."""
        if cluster.get("type") == "EDS":
            name = cluster.get("eds_cluster_config", {}).get("service_name") or cluster["name"]
            return self.get(ENDPOINT, name) or {}
        inline: Fields = cluster.get("load_assignment", {})
        return inline

    def with_extensions(self, chain: Fields) -> Fields:
        """Return a filter chain whose filters all have their configuration: some are served it apart (ECDS)."""
        filters = []
        for named in chain.get("filters", ()):
            item = self._complete(named)
            manager = item.get("typed_config", {})
            complete = [self._complete(inner) for inner in manager.get("http_filters", ())]
            filters.append({**item, "typed_config": {**manager, "http_filters": complete}} if complete else item)
        return {**chain, "filters": filters}

    def _complete(self, named: Fields) -> Fields:
        if "config_discovery" not in named:
            return named
        served = self.get(EXTENSION, named["name"]) or {}
        return {"name": named["name"], "typed_config": served.get("typed_config", {})}
