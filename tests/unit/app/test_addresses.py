"""Addresses to bind, and what is said when they cannot be."""

from __future__ import annotations

import pytest

from lateen.app.addresses import bind, shown, split_address, with_port
from lateen.app.settings import StartError


@pytest.mark.parametrize(
    ("address", "parts"),
    [("127.0.0.1:80", ("127.0.0.1", 80)), ("[::1]:15010", ("::1", 15010)), ("localhost:0", ("localhost", 0))],
)
def test_an_address_is_host_and_port(address: str, parts: tuple[str, int]) -> None:
    assert split_address(address, "--http") == parts


@pytest.mark.parametrize("address", ["", "8080", ":8080", "127.0.0.1", "127.0.0.1:", "127.0.0.1:http", "a:65536"])
def test_anything_else_names_the_flag(address: str) -> None:
    with pytest.raises(StartError, match="--http"):
        split_address(address, "--http")


def test_a_taken_port_is_one_line_with_the_port_and_the_flag() -> None:
    with bind("127.0.0.1:0", "--http") as taken:
        address = shown(taken)
        with pytest.raises(StartError) as raised:
            bind(address, "--http")

    message = str(raised.value)
    assert address in message
    assert "--http" in message
    assert "\n" not in message


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(StartError, match="no address of this machine"):
        bind("192.0.2.1:0", "--grpc")


def test_ipv6_is_shown_in_brackets() -> None:
    assert with_port("::1", 80) == "[::1]:80"
