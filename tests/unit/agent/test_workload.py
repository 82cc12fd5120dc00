"""What an agent tells others: its registration, Envoy's node, the line of addresses."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from lateen.agent import workload
from lateen.agent.addresses import OwnAddress, OwnPorts
from lateen.agent.attach_protocol import Registered
from lateen.agent.settings import AgentSettings, SettingsError
from lateen.discovery.nodes import proxy_from_node
from lateen.discovery.values import Node
from lateen.envoy.bootstrap import bootstrap
from lateen.envoy.statistics import StatsInclusion
from lateen.model.proxies import ProxyType, Upstream
from lateen.model.proxy_settings import GroupTraits, ProxySettings

RUN = AgentSettings(
    mode="run",
    service="reviews",
    version="v2",
    ports=((9080, "http"), (7070, "tcp")),
    upstreams=(Upstream(host="ratings", port=9080, local_port=19080),),
    command=("app",),
)
GATEWAY = AgentSettings(mode="gateway", name="ingress", namespace="edge", labels={"istio": "ingressgateway"})

CONTROL_PLANE = workload.ControlPlane(address=("127.0.0.1", 15010))


@pytest.fixture
def address() -> Iterator[OwnAddress]:
    with ExitStack() as stack:
        one, two = (stack.enter_context(socket.socket()) for _ in range(2))
        yield OwnAddress(ip="127.64.1.2", ports=OwnPorts(), metrics_socket=one, ready_socket=two)


def test_first_registration_is_not_ready_but_says_where_the_app_is_expected() -> None:
    """So that the inbound side is configured before the app runs, and usually stays as it is."""
    first = workload.registration(RUN, "127.64.1.2", {9080: 23456, 7070: 23457})
    assert not first.ready
    assert [(port.port, port.protocol, port.app_port) for port in first.ports] == [
        (9080, "http", 23456),
        (7070, "tcp", 23457),
    ]


def test_found_app_port_replaces_only_its_own() -> None:
    first = workload.registration(RUN, "127.64.1.2", {9080: 23456, 7070: 23457})
    assert [port.app_port for port in workload.with_app_ports(first, {9080: 9080}).ports] == [9080, 23457]


@pytest.mark.parametrize(
    ("settings", "ip", "out_of_reach"),
    [
        (replace(RUN, control_plane="cp:15012"), "127.64.1.1", True),
        (replace(RUN, control_plane="10.0.0.5:15012,10.0.0.6:15012"), "127.64.1.1", True),
        (replace(RUN, control_plane="cp:15012"), "10.0.0.7", False),
        (RUN, "127.64.1.1", False),
        (replace(RUN, control_plane="cp:15012", ports=()), "127.64.1.1", False),
        (replace(GATEWAY, control_plane="cp:15012"), "127.64.1.1", True),
    ],
)
def test_who_is_to_be_called_from_elsewhere_needs_an_address(
    settings: AgentSettings, ip: str, out_of_reach: bool
) -> None:
    assert workload.is_out_of_reach(settings, ip) is out_of_reach


def test_gateway_registers_without_service_and_ports() -> None:
    registered = workload.registration(GATEWAY, "127.64.1.2", {})
    assert (registered.service, registered.name, registered.ports) == ("", "ingress", ())


def test_line_of_a_sidecar(address: OwnAddress) -> None:
    """Keys and forms are a contract of the command line."""
    assert json.loads(workload.addresses_line(RUN, "reviews-v2-1", address, {})) == {
        "workload": "reviews-v2-1.default",
        "address": "127.64.1.2",
        "inbound": {"9080": "127.64.1.2:9080", "7070": "127.64.1.2:7070"},
        "http_proxy": "http://127.64.1.2:15001",
        "admin": "127.64.1.2:15000",
        "ready": "http://127.64.1.2:15021/healthz/ready",
        "metrics": "http://127.64.1.2:15020/stats/prometheus",
    }


def test_line_of_a_gateway(address: OwnAddress) -> None:
    line = json.loads(workload.addresses_line(GATEWAY, "ingress", address, {80: ("127.64.1.2", 8080)}))
    assert line["listeners"] == {"80": "127.64.1.2:8080"}
    assert "inbound" not in line
    assert "http_proxy" not in line


def test_interception_none_offers_no_proxy(address: OwnAddress) -> None:
    settings = AgentSettings(mode="sidecar", service="a", ports=((80, ""),), interception="none")
    assert workload.http_proxy(settings, address) == ""
    assert workload.expected_listeners(settings, address) == {("127.64.1.2", 80)}


def test_app_waits_for_its_own_listeners_and_not_for_the_services_it_calls(address: OwnAddress) -> None:
    assert {port for _, port in workload.expected_listeners(RUN, address)} == {9080, 7070, 15001}
    assert workload.expected_listeners(GATEWAY, address) == frozenset()


def test_node_labels_are_those_of_the_endpoints(address: OwnAddress) -> None:
    made = workload.bootstrap_settings(RUN, "reviews-v2-1", address, CONTROL_PLANE, privileged=True)
    assert made.proxy.labels == {"app": "reviews", "version": "v2"}
    assert made.proxy.type is ProxyType.SIDECAR
    assert made.service == "reviews"


def test_added_statistics_reach_the_bootstrap(address: OwnAddress) -> None:
    added = StatsInclusion(prefixes=("tcp.",))
    settings = replace(RUN, stats_inclusion=added)
    made = workload.bootstrap_settings(settings, "reviews-v2-1", address, CONTROL_PLANE, privileged=True)
    assert made.stats_inclusion == added


def test_own_labels_win_over_implied_ones(address: OwnAddress) -> None:
    settings = AgentSettings(mode="sidecar", service="a", version="v1", labels={"app": "b", "version": "x"})
    made = workload.bootstrap_settings(settings, "a-v1-1", address, CONTROL_PLANE, privileged=True)
    assert made.proxy.labels == {"app": "b", "version": "x"}


def test_gateway_has_only_its_own_labels(address: OwnAddress) -> None:
    made = workload.bootstrap_settings(GATEWAY, "ingress", address, CONTROL_PLANE, privileged=True)
    assert made.proxy.labels == {"istio": "ingressgateway"}
    assert made.proxy.type is ProxyType.GATEWAY


@pytest.mark.parametrize("settings", [RUN, GATEWAY])
def test_the_control_plane_may_wait_for_the_registration(settings: AgentSettings, address: OwnAddress) -> None:
    """What Envoy says of itself is what the control plane goes by, so it is written as the agent means it."""
    node = bootstrap(workload.bootstrap_settings(settings, "a-1", address, CONTROL_PLANE, privileged=True))["node"]
    assert proxy_from_node(Node(id=node["id"], metadata=node["metadata"])).registers


@pytest.mark.parametrize(
    ("privileged", "given", "expected"),
    [
        (False, {}, {80: 8080, 443: 8443, 143: 8143}),
        (False, {80: 9000, 31400: 31401}, {80: 9000, 443: 8443, 31400: 31401}),
        (True, {}, {80: 80, 443: 443}),
        (True, {80: 9000}, {80: 9000, 443: 443}),
    ],
)
def test_bound_ports_of_a_gateway_read_back(
    address: OwnAddress, privileged: bool, given: dict[int, int], expected: dict[int, int]
) -> None:
    """Ports move only where they must, and the user's map stands."""
    settings = AgentSettings(mode="gateway", name="ingress", port_map=given)
    made = workload.bootstrap_settings(settings, "ingress", address, CONTROL_PLANE, privileged=privileged)
    read = workload.gateway_port_map(made.proxy)
    assert {port: read[port] for port in expected} == expected


def test_proxy_has_certificates_where_the_control_plane_has_an_identity(address: OwnAddress) -> None:
    plain = workload.bootstrap_settings(RUN, "a-1", address, CONTROL_PLANE, privileged=True)
    assert not plain.proxy.certificates
    server = workload.ControlPlane(address=("127.0.0.1", 15012), identity="spiffe://td/ns/istio-system/sa/istiod")
    secure = workload.bootstrap_settings(RUN, "a-1", address, server, privileged=True)
    assert secure.proxy.certificates
    assert (secure.control_plane, secure.control_plane_identity) == (server.address, server.identity)


def test_what_the_control_plane_says_of_the_proxy_counts_where_no_flag_does() -> None:
    flags = replace(RUN, stats_inclusion=StatsInclusion(prefixes=("own",)))
    proxy = ProxySettings(concurrency=3, environment={"A": "b"}, drain_seconds=60, stats_prefixes=("more",))
    told = workload.as_told(flags, Registered("a", proxy=proxy))
    assert (told.concurrency, told.environment, told.drain_seconds) == (3, {"A": "b"}, 60)
    assert told.stats_inclusion.prefixes == ("own", "more")
    assert workload.as_told(RUN, Registered("a")) == workload.as_told(RUN, None) == RUN


def test_zero_threads_are_one_for_each_core() -> None:
    assert workload.as_told(RUN, Registered("a", proxy=ProxySettings(concurrency=0))).concurrency >= 1


def test_a_group_gives_labels_place_and_ports_but_not_ports_that_flags_give() -> None:
    group = GroupTraits(labels={"a": "b"}, service_account="vm", locality="r/z", network="n", ports=(8080,))
    told = workload.as_told(replace(RUN, ports=(), workload_group="g"), Registered("a", group=group))
    assert (told.labels, told.service_account, told.locality, told.network) == ({"a": "b"}, "vm", "r/z", "n")
    assert told.ports == ((8080, ""),)
    assert workload.as_told(RUN, Registered("a", group=group)).ports == RUN.ports


def test_a_version_flag_wins_over_the_label_of_the_group(address: OwnAddress) -> None:
    settings = replace(RUN, workload_group="g", labels={"version": "of-the-group"})
    made = workload.bootstrap_settings(settings, "a", address, CONTROL_PLANE, privileged=True)
    assert made.proxy.labels == {"version": "v2", "app": "reviews"}


def test_a_group_with_a_port_of_the_sidecar_itself_is_an_error() -> None:
    with pytest.raises(SettingsError, match="15020"):
        workload.as_told(replace(RUN, ports=()), Registered("a", group=GroupTraits(ports=(15020,))))


def test_a_control_plane_that_knows_no_groups_is_an_error() -> None:
    """It ignores what it does not know, and the workload would be somebody else than its group says."""
    with pytest.raises(SettingsError, match="too old"):
        workload.as_told(replace(RUN, workload_group="g"), Registered("a"))
