"""Where the gRPC server listens."""

import socket

import pytest

from lateen.app.grpc_ports import grpc_ports
from lateen.app.settings import Settings, StartError
from lateen.discovery.ports import Security


def test_free_ports_are_free_for_all() -> None:
    ports = grpc_ports(Settings(grpc="127.0.0.1:0"))
    assert [(port.address, port.security) for port in ports] == [
        ("127.0.0.1:0", Security.PLAIN),
        ("127.0.0.1:0", Security.MUTUAL),
        ("127.0.0.1:0", Security.JOIN),
    ]


def taken_after_a_free_one() -> socket.socket:
    """A socket that listens on a port of which the one before is free."""
    while True:
        taken = socket.create_server(("127.0.0.1", 0))
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", taken.getsockname()[1] - 1))
            except OSError:
                taken.close()
            else:
                return taken


def test_a_taken_default_gives_way_and_a_taken_wish_does_not() -> None:
    with taken_after_a_free_one() as taken:
        number = taken.getsockname()[1]
        ports = grpc_ports(Settings(grpc="127.0.0.1:0", secure_grpc=f"127.0.0.1:{number - 1}"))
        assert ports[2].address == "127.0.0.1:0"
        with pytest.raises(StartError, match="--join"):
            grpc_ports(Settings(grpc="127.0.0.1:0", join=f"127.0.0.1:{number}"))


@pytest.mark.parametrize("address", ["0.0.0.0:15010", "10.0.0.1:15010", "[::]:15010", "example.com:15010"])
def test_plain_text_is_for_loopback(address: str) -> None:
    with pytest.raises(StartError, match="loopback only") as raised:
        grpc_ports(Settings(grpc=address))
    assert raised.value.exit_code == 2
