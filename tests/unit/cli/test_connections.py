"""Reading `--server`."""

from __future__ import annotations

import pytest

from lateen.cli.connections import read_server
from lateen.cli.exits import ExitCode, Failure


@pytest.mark.parametrize(
    ("url", "scheme", "host", "port", "prefix"),
    [
        ("http://127.0.0.1:15080", "http", "127.0.0.1", 15080, ""),
        ("127.0.0.1:15080", "http", "127.0.0.1", 15080, ""),
        ("http://mesh/lateen/", "http", "mesh", 80, "/lateen"),
        ("https://mesh.example", "https", "mesh.example", 443, ""),
        ("https://[::1]:15080", "https", "::1", 15080, ""),
    ],
)
def test_urls(url: str, scheme: str, host: str, port: int, prefix: str) -> None:
    server = read_server(url)

    assert (server.scheme, server.host, server.port, server.prefix) == (scheme, host, port, prefix)


def test_a_path_of_a_unix_socket() -> None:
    assert read_server("unix:///run/lateen/a%20b.sock").socket == "/run/lateen/a b.sock"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://",
        "ftp://a",
        "unix://host/path",
        "unix:relative",
        "unix://",
        "http://a:b",
        "http://a:99999",
        "https://me:pw@a",
    ],
)
def test_what_is_no_url_is_wrong_usage(url: str) -> None:
    with pytest.raises(Failure) as raised:
        read_server(url)

    assert raised.value.code is ExitCode.USAGE
