"""Binding the Unix socket: who reaches it, and what may be replaced."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from lateen.api.unix_sockets import SocketError, uid_of, unix_socket


def test_only_its_owner_reaches_it_and_nothing_is_left(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    with unix_socket(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    assert not path.exists()


def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    assert path.exists()

    with unix_socket(path), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_a_socket_that_somebody_serves_is_not(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        with pytest.raises(SocketError, match="another program"), unix_socket(path):
            pass
        assert path.exists()


def test_two_control_planes_do_not_take_it_from_each_other(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    with unix_socket(path):
        with pytest.raises(SocketError, match="another control plane"), unix_socket(path):
            pass
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))


def test_a_file_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    path.write_text("precious")
    with pytest.raises(SocketError, match="no socket"), unix_socket(path):
        pass

    assert path.read_text() == "precious"


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    target, path = tmp_path / "elsewhere", tmp_path / "api.sock"
    path.symlink_to(target)
    with pytest.raises(SocketError), unix_socket(path):
        pass

    assert not target.exists()


@pytest.mark.parametrize("name", ["missing/api.sock", "x" * 150])
def test_a_path_that_cannot_be_is_an_error_with_words(tmp_path: Path, name: str) -> None:
    with pytest.raises(SocketError, match=r"cannot be made \(.+\)"), unix_socket(tmp_path / name):
        pass


def test_what_others_put_there_meanwhile_stays(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    with unix_socket(path):
        path.unlink()
        path.write_text("another's")

    assert path.read_text() == "another's"


@pytest.mark.skipif(not hasattr(socket, "SO_PEERCRED"), reason="this system does not tell Python who the peer is")
def test_the_kernel_says_who_is_at_the_other_end() -> None:
    left, right = socket.socketpair(socket.AF_UNIX)
    with left, right:
        assert uid_of(left) == os.geteuid()


def test_a_tcp_peer_is_nobody() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
        server.accept()[0] as accepted,
    ):
        assert uid_of(accepted) is None
        assert uid_of(client) is None
