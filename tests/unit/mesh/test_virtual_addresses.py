"""Addresses of services that have none: nobody else's, and the same for the same names."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lateen.mesh.build import build_state
from lateen.mesh.queries import virtual_addresses
from lateen.mesh.virtual_addresses import IPV4_RANGE, IPV6_RANGE, allocated
from lateen.model.names import Hostname
from lateen.model.protocols import Protocol
from lateen.model.services import Resolution, Service, ServicePort
from unit.generate.conftest import state_of


def service(host: str, addresses: tuple[str, ...] = ()) -> Service:
    ports = (ServicePort(number=80, protocol=Protocol.TCP),)
    return Service(host=Hostname(host), namespace="default", ports=ports, addresses=addresses)


HOSTS = st.lists(st.text("abcdef.", min_size=1, max_size=8), unique=True, max_size=40)


@given(HOSTS, st.randoms(use_true_random=False))
def test_the_same_services_have_the_same_addresses(hosts: list[str], random: Random) -> None:
    """Whatever the order that they are found in, each of its own range, and no two the same."""
    services = [service(host) for host in hosts]
    found = allocated(services)
    random.shuffle(services)
    assert allocated(services) == found
    assert found.keys() == set(hosts)
    assert len(set(found.values())) == len(hosts)
    assert all(ip_address(four) in IPV4_RANGE and ip_address(six) in IPV6_RANGE for four, six in found.values())


def test_five_thousand_have_one_each_and_few_move_when_one_comes() -> None:
    """Whoever holds an address should find the same service there tomorrow."""
    services = [service(f"s-{number}.default.svc.cluster.local") for number in range(5000)]
    found = allocated(services)
    assert len({four for four, _ in found.values()}) == 5000
    more = allocated([*services, *(service(f"new-{number}.example.com") for number in range(100))])
    assert sum(more[host] != before for host, before in found.items()) <= 2


@pytest.mark.parametrize(
    "more",
    [
        {"addresses": ("10.0.0.1",)},
        {"addresses": ("10.0.0.0/24",)},
        {"headless": True},
        {"resolution": Resolution.NONE},
        {"resolution": Resolution.DYNAMIC_DNS},
        {"ports": (ServicePort(number=53, protocol=Protocol.UDP),)},
        {"ports": ()},
        {"host": Hostname("*")},
    ],
    ids=str,
)
def test_who_needs_none_gets_none(more: dict[str, Any]) -> None:
    """It has one, or is called where the app itself found it."""
    assert allocated([replace(service("a.example.com"), **more)]) == {}


def test_an_address_that_a_service_says_is_its_own_is_given_to_nobody() -> None:
    """Of either version."""
    before = allocated([service("a.example.com")])[Hostname("a.example.com")]
    for taken in before:
        found = allocated([service("a.example.com"), service("b.example.com", addresses=(taken,))])
        assert not {*found[Hostname("a.example.com")]} & {*before}


def test_a_state_that_follows_from_another_gives_the_same_as_one_from_scratch() -> None:
    """Answers that were remembered are not those of another set of services."""
    text = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: NAME, namespace: default}
spec: {hosts: [NAME.example.com], resolution: STATIC, ports: [{number: 80, name: tcp, protocol: TCP}]}
"""
    one, two = text.replace("NAME", "one"), text.replace("NAME", "two")
    first, scratch = state_of(one), state_of(one + "---" + two)
    assert len(virtual_addresses(first)) == 1
    objects = list(scratch.memo.given) if scratch.memo else []
    later = build_state(objects, (), scratch.mesh_config, first)
    assert virtual_addresses(later) == virtual_addresses(scratch)
    assert len(virtual_addresses(later)) == 2
