"""Own addresses: chosen by hash, never shared, problems named in one line."""

from __future__ import annotations

import itertools
import socket
import threading
from ipaddress import ip_address, ip_network

import pytest

from lateen.agent import addresses
from lateen.agent.addresses import (
    METRICS_PORT,
    can_bind_privileged,
    candidates,
    host_port,
    listen,
    pick_address,
    reserve_app_ports,
    share_loopback,
    split_host_port,
    take_address,
)
from lateen.agent.errors import StartError
from lateen.envoy.bootstrap import ADMIN_PORT


def test_candidates_are_stable_distinct_loopback_addresses() -> None:
    """The same workload is offered the same addresses in the same order, all in 127.64.0.0/10."""
    first = list(itertools.islice(candidates("default/reviews/v1"), 600))
    assert first == list(itertools.islice(candidates("default/reviews/v1"), 600))
    assert len(set(first)) == 600
    assert all(ip_address(ip) in ip_network("127.64.0.0/10") for ip in first)
    assert not any(ip.endswith((".0", ".255")) for ip in first)
    assert next(candidates("default/reviews/v2")) != first[0]


def test_two_agents_of_one_workload_get_two_addresses() -> None:
    first = pick_address("test/twins/", ())
    second = pick_address("test/twins/", ())
    try:
        assert first.ip != second.ip
        assert first.metrics_socket.getsockname() == (first.ip, METRICS_PORT)
    finally:
        first.close()
        second.close()


def test_address_is_free_again_after_close() -> None:
    first = pick_address("test/again/", ())
    first.close()
    second = pick_address("test/again/", ())
    second.close()
    assert second.ip == first.ip


def test_an_address_is_waited_for_while_the_envoy_of_a_killed_agent_is_cleared_away() -> None:
    """Only there is what was kept of the workload."""
    ip = next(candidates("test/killed/"))
    envoy = listen(ip, ADMIN_PORT)
    clearing = threading.Timer(0.2, envoy.close)
    clearing.start()
    found = pick_address("test/killed/", ())
    found.close()
    clearing.join()
    assert found.ip == ip


def test_a_port_that_somebody_has_on_every_address_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """No other address helps then, and none is recommended."""
    monkeypatch.setattr(addresses, "_MOST_PROBES", 8)
    with listen("0.0.0.0", 0) as everywhere:
        port = everywhere.getsockname()[1]
        with pytest.raises(StartError, match=f"port {port} is in use on every address") as raised:
            pick_address("test/everywhere/", (port,))
    assert f"`ss -ltnp 'sport = :{port}'`" in str(raised.value)
    assert "--address" not in str(raised.value)


def test_address_where_a_service_port_is_taken_is_skipped() -> None:
    ip = next(candidates("test/busy/"))
    with listen(ip, 9080):
        found = pick_address("test/busy/", (9080,))
        found.close()
    assert found.ip != ip


@pytest.mark.parametrize("port", [15000, 15001, 15020, 15021, 15090, 9080])
def test_given_address_with_a_port_in_use_is_refused_with_its_name(port: int) -> None:
    ip = f"127.99.{port % 251}.4"  # of its own: the cases run side by side
    with listen(ip, port), pytest.raises(StartError, match=f"port in use: {ip}:{port} is taken"):
        take_address(ip, (9080,))
    take_address(ip, (9080,)).close()


def test_foreign_address_is_refused() -> None:
    with pytest.raises(StartError, match="is not an address of this machine"):
        take_address("192.0.2.1", ())


def test_one_loopback_address_gives_free_ports() -> None:
    """As on macOS: everything on 127.0.0.1, nothing on a fixed port, the outbound port in the map."""
    owned = share_loopback(())
    try:
        ports = owned.ports
        assert owned.ip == "127.0.0.1"
        assert len({ports.admin, ports.outbound, ports.metrics, ports.ready, ports.prometheus}) == 5
        assert ports.moved() == {15001: ports.outbound}
    finally:
        owned.close()


def test_one_loopback_address_cannot_serve_a_port_twice() -> None:
    with listen("127.0.0.1", 0) as taken, pytest.raises(StartError, match="needs ports of its own"):
        share_loopback((taken.getsockname()[1],))


def test_systems_without_a_loopback_block_share_one_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "has_own_loopback_addresses", lambda: False)
    owned = pick_address("test/mac/", ())
    owned.close()
    assert owned.ip == "127.0.0.1"


def test_admin_stays_on_the_loopback() -> None:
    with socket.socket() as one, socket.socket() as two:
        outside = addresses.OwnAddress(ip="192.0.2.1", ports=addresses.OwnPorts(), metrics_socket=one, ready_socket=two)
        assert outside.private_ip == "127.0.0.1"


def test_app_ports_are_distinct_and_skip_what_is_taken_on_any_address() -> None:
    """A listener on another address blocks an app that binds the wildcard address: such a port is not offered."""
    reserved = reserve_app_ports("test", 1)
    port = reserved[0].getsockname()[1]
    reserved[0].close()
    with listen("127.99.3.5", port):
        again = reserve_app_ports("test", 2)
        numbers = [opened.getsockname()[1] for opened in again]
        for opened in again:
            opened.close()
    assert port not in numbers
    assert len(set(numbers)) == 2


@pytest.mark.parametrize(
    ("text", "parts"),
    [("127.0.0.1:15010", ("127.0.0.1", 15010)), ("[::1]:1", ("::1", 1)), ("mesh:65535", ("mesh", 65535))],
)
def test_host_port_is_read(text: str, parts: tuple[str, int]) -> None:
    assert split_host_port(text) == parts
    assert host_port(*parts) == text


@pytest.mark.parametrize("text", ["", "host", ":1", "host:0", "host:65536", "host:x", "host:"])
def test_bad_host_port_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not HOST:PORT"):
        split_host_port(text)


def test_privileged_ports_are_tried_not_guessed() -> None:
    """The answer is what a real bind says, whoever we are."""
    assert can_bind_privileged("127.99.3.6") == (addresses.port_problem("127.99.3.6", 80) == 0)
