"""Messages put together from serialised parts are those that are serialised as a whole."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lateen.envoy.endpoints import EndpointEntries, assignment_resource, load_assignment
from lateen.envoy.messages import Fields, entry, serialise
from lateen.envoy.resources import ENDPOINT, ROUTE, VIRTUAL_HOST, Fragment, Fragments
from lateen.envoy.routes import (
    cluster_route,
    route_configuration,
    route_entries,
    spliced_route_configuration,
    spliced_virtual_host,
    virtual_host,
    virtual_host_fragment,
)
from lateen.model.services import Endpoint, Locality

texts = st.text("abc.", max_size=300)
routes = st.builds(lambda prefix, cluster: {"match": {"prefix": prefix}, "route": cluster_route(cluster)}, texts, texts)
hosts = st.builds(virtual_host, texts, st.lists(texts, max_size=3), st.lists(routes, max_size=3))


@given(texts.filter(bool), st.lists(hosts, max_size=4), st.booleans())
def test_a_route_configuration_of_parts_is_the_whole(name: str, found: list[Fields], ignore_port: bool) -> None:
    parts = Fragments.of([Fragment.of(b""), *map(virtual_host_fragment, found)])
    whole = serialise(ROUTE, route_configuration(name, found, ignore_port=ignore_port))

    assert spliced_route_configuration(name, parts, ignore_port=ignore_port).body == whole


@given(hosts, st.booleans())
def test_a_virtual_host_of_parts_is_the_whole(host: Fields, tls: bool) -> None:
    if tls:
        host["require_tls"] = "ALL"
    parts = [route_entries(host["routes"][:1]), route_entries(host["routes"][1:])]
    spliced = spliced_virtual_host(host["name"], host["domains"], parts, require_tls=tls)

    assert spliced.body == entry(2, serialise(VIRTUAL_HOST, host))


def test_a_replaced_part_changes_the_version() -> None:
    """And the same parts give the same one, whatever was there in between."""
    one, other = (virtual_host_fragment(virtual_host(name, [name], [])) for name in ("a", "b"))
    parts = Fragments.of([one, one])
    first = spliced_route_configuration("80", parts)
    parts.replace(1, other)
    second = spliced_route_configuration("80", parts)
    parts.replace(1, one)

    assert first.version != second.version
    assert spliced_route_configuration("80", parts) == first


endpoints = st.builds(
    Endpoint,
    address=st.sampled_from(("10.0.0.1", "10.0.0.2", "::1", "unix:///s")),
    port=st.sampled_from((80, 9080)),
    service_port=st.just(80),
    locality=st.builds(Locality, st.sampled_from(("", "r1", "r2")), st.sampled_from(("", "z"))),
    weight=st.integers(0, 3),
    tls_mode=st.sampled_from(("", "istio")),
)


@given(texts.filter(bool), st.lists(endpoints, max_size=6))
def test_an_assignment_of_parts_is_the_whole(cluster: str, found: list[Endpoint]) -> None:
    """Whether an endpoint takes mutual TLS counts too."""

    def takes(endpoint: Endpoint) -> bool:
        return bool(endpoint.tls_mode)

    entries = EndpointEntries()
    whole = serialise(ENDPOINT, load_assignment(cluster, found, takes))

    assert assignment_resource(cluster, found, entries, takes).body == whole
    assert assignment_resource(cluster, found, entries, takes).body == whole
