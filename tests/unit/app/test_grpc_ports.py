"""Where the gRPC server listens."""

import socket

import pytest

from lateen.app.grpc_ports import SECURE_AFTER_PLAIN, grpc_ports
from lateen.app.settings import Settings, StartError
from lateen.discovery.ports import Security
from ports import free_port


def test_free_ports_are_free_for_all() -> None:
    ports = grpc_ports(Settings(grpc="127.0.0.1:0"))
    assert [(port.address, port.security) for port in ports] == [
        ("127.0.0.1:0", Security.PLAIN),
        ("127.0.0.1:0", Security.MUTUAL),
        ("127.0.0.1:0", Security.JOIN),
    ]


def test_a_taken_default_gives_way_and_a_taken_wish_does_not() -> None:
    number = free_port() + 1
    with socket.create_server(("127.0.0.1", number)):
        ports = grpc_ports(Settings(grpc="127.0.0.1:0", secure_grpc=f"127.0.0.1:{number - 1}"))
        assert ports[2].address == "127.0.0.1:0"
        with pytest.raises(StartError, match="--join"):
            grpc_ports(Settings(grpc="127.0.0.1:0", join=f"127.0.0.1:{number}"))


def test_no_two_have_one_port() -> None:
    number = free_port()
    plain, join = f"127.0.0.1:{number}", f"127.0.0.1:{number + SECURE_AFTER_PLAIN}"
    assert [port.address for port in grpc_ports(Settings(grpc=plain, join=join))] == [plain, "127.0.0.1:0", join]
    with pytest.raises(StartError, match="--join"):
        grpc_ports(Settings(grpc=plain, join=plain))


@pytest.mark.parametrize("address", ["0.0.0.0:15010", "10.0.0.1:15010", "[::]:15010", "example.com:15010"])
def test_plain_text_is_for_loopback(address: str) -> None:
    with pytest.raises(StartError, match="loopback only") as raised:
        grpc_ports(Settings(grpc=address))
    assert raised.value.exit_code == 2
