"""Where a token comes from, and which file that a server names is read."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from urllib.parse import quote

import pytest

from lateen.agent.port_owners import listening_users
from lateen.cli.credentials import MAX_FILE, given_token, local_token
from lateen.cli.exits import ExitCode, Failure

TOKEN = "head.claims.signature"
HEADER = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


@pytest.fixture(autouse=True)
def nothing_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LATEEN_TOKEN", raising=False)
    monkeypatch.delenv("LATEEN_TOKEN_FILE", raising=False)


def file(folder: Path, content: str = TOKEN + "\n", name: str = "admin-token") -> Path:
    (folder / name).write_text(content)
    return folder / name


def test_the_flag_goes_before_the_environment_and_a_value_before_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert given_token(None) == ""
    monkeypatch.setenv("LATEEN_TOKEN_FILE", str(file(tmp_path, "of.the.file")))
    assert given_token(None) == "of.the.file"
    monkeypatch.setenv("LATEEN_TOKEN", "of.the.value")
    assert given_token(None) == "of.the.value"
    assert given_token(file(tmp_path, name="mine")) == TOKEN


@pytest.mark.parametrize("content", ["", "hush-hush", "a.b\r\nx: y.c", "a.b.c d", "a" * MAX_FILE + ".b.c", "\xff.b.c"])
def test_what_is_no_token_is_not_sent_and_not_shown(tmp_path: Path, content: str) -> None:
    with pytest.raises(Failure, match="holds no token") as raised:
        given_token(file(tmp_path, content))

    assert raised.value.code is ExitCode.USAGE
    assert not content or content not in str(raised.value) + raised.value.hint


def test_a_file_that_cannot_be_read_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(Failure, match=r"--token-file .*missing cannot be read"):
        given_token(tmp_path / "missing")


def listening() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


def test_the_file_that_a_local_server_names_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "a b"
    folder.mkdir()
    with listening() as server:
        assert local_token(quote(str(file(folder))), *server.getsockname()) == TOKEN


def link(folder: Path) -> Path:
    (folder / "real").mkdir()
    (folder / "admin-token").symlink_to(file(folder / "real"))
    return folder / "admin-token"


def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "admin-token")
    return folder / "admin-token"


def directory(folder: Path) -> Path:
    (folder / "admin-token").mkdir()
    return folder / "admin-token"


@pytest.mark.parametrize(
    "made",
    [
        lambda folder: file(folder, name="id_rsa"),
        lambda folder: file(folder, name="admin-token.bak"),
        lambda folder: file(folder, "hush-hush"),
        lambda folder: file(folder, "a" * MAX_FILE + ".b.c"),
        lambda folder: folder / "admin-token",
        lambda folder: Path("admin-token"),
        link,
        pipe,
        directory,
    ],
    ids=["name", "suffix", "content", "size", "missing", "relative", "link", "pipe", "folder"],
)
def test_any_other_file_is_not(tmp_path: Path, made: object) -> None:
    """Whoever listens on the port could name anything."""
    assert callable(made)
    with listening() as server, pytest.raises(Failure, match="wants a token") as raised:
        local_token(quote(str(made(tmp_path))), *server.getsockname())

    assert "lateen token create" in raised.value.hint
    assert "hush" not in str(raised.value)


def test_another_users_server_does_not_get_my_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It listens on the port while the control plane is away, and names the control plane's file."""
    monkeypatch.setattr("lateen.cli.credentials.listening_users", lambda host, port: {os.geteuid() + 1})

    with pytest.raises(Failure, match="belongs to another user than who listens on port 15080"):
        local_token(str(file(tmp_path)), "127.0.0.1", 15080)


def test_a_system_that_does_not_tell_who_listens_is_no_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lateen.cli.credentials.listening_users", lambda host, port: None)

    assert local_token(str(file(tmp_path)), "127.0.0.1", 15080) == TOKEN


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_who_listens_is_what_the_kernel_says(host: str) -> None:
    if not Path("/proc/net/tcp").exists():
        pytest.skip("this system does not tell")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        server = socket.create_server((host, 0), family=family)
    except OSError:
        pytest.skip(f"this machine has no {host}")
    with server:
        assert listening_users(host, server.getsockname()[1]) == {os.geteuid()}


def row(address: str, state: str, user: int) -> str:
    return f"   0: {address} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000  {user}        0 1 1 0 100\n"


def test_each_socket_that_may_have_taken_the_connection_counts(tmp_path: Path) -> None:
    """Bound to the address or to all, of either family; not other ports, addresses or connections."""
    loopback = f"{int.from_bytes(socket.inet_aton('127.0.0.1'), sys.byteorder):08X}"
    other = f"{int.from_bytes(socket.inet_aton('127.0.0.2'), sys.byteorder):08X}"
    (tmp_path / "tcp").write_text(
        HEADER
        + row(f"{loopback}:3AE8", "0A", 1)
        + row("00000000:3AE8", "0A", 2)
        + row(f"{loopback}:3AE8", "01", 3)
        + row(f"{loopback}:3AE9", "0A", 4)
        + row(f"{other}:3AE8", "0A", 5)
    )
    (tmp_path / "tcp6").write_text(HEADER + row(f"{'0' * 32}:3AE8", "0A", 6))

    assert listening_users("127.0.0.1", 15080, tmp_path) == {1, 2, 6}
    assert listening_users("127.0.0.1", 1, tmp_path) is None
    assert listening_users("127.0.0.1", 15080, tmp_path / "missing") is None
