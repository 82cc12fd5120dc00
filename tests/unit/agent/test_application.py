"""The app's environment, and when it counts as serving."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import pytest

from lateen.agent import application
from lateen.agent.application import accepts, app_environment, check_program, wait_for_ports, wait_until_serving
from lateen.agent.backoff import pauses
from lateen.agent.errors import StartError
from ports import free_port


def test_environment_of_an_app_behind_the_proxy() -> None:
    env = app_environment({"HOME": "/x"}, {9080: 23456, 7070: 23457}, "http://127.64.1.2:15001")
    assert env == {
        "HOME": "/x",
        "PORT": "23456",
        "PORT_9080": "23456",
        "PORT_7070": "23457",
        "HTTP_PROXY": "http://127.64.1.2:15001",
        "http_proxy": "http://127.64.1.2:15001",
        "NO_PROXY": "localhost,127.0.0.1,::1",
        "no_proxy": "localhost,127.0.0.1,::1",
        "NODE_USE_ENV_PROXY": "1",
    }


def test_without_the_proxy_only_ports_are_given() -> None:
    assert app_environment({}, {9080: 1}, "") == {"PORT": "1", "PORT_9080": "1"}
    assert app_environment({"PORT": "5"}, {}, "") == {"PORT": "5"}


def test_what_the_user_excludes_from_proxies_stays_excluded() -> None:
    assert app_environment({"NO_PROXY": "db"}, {}, "http://p")["no_proxy"] == "localhost,127.0.0.1,::1,db"


def test_pauses_double_up_to_the_longest() -> None:
    endless = pauses(0.1, 1)
    assert [next(endless) for _ in range(6)] == [0.1, 0.2, 0.4, 0.8, 1, 1]


class Scanner:
    """What /proc would say."""

    def __init__(self, ports: Callable[[], set[int]]) -> None:
        self._ports = ports

    def scan(self) -> frozenset[int]:
        return frozenset(self._ports())


def listening() -> socket.socket:
    opened = socket.socket()
    opened.bind(("127.0.0.1", 0))
    opened.listen()
    return opened


async def test_app_that_takes_the_offer_serves_there_whatever_proc_says() -> None:
    """On a system without /proc the offered port still works."""
    with listening() as app:
        port = app.getsockname()[1]
        assert await wait_until_serving({9080: port}, Scanner(set)) == {9080: port}


async def test_app_on_its_own_declared_port_is_found() -> None:
    with listening() as app:
        port = app.getsockname()[1]
        assert await wait_until_serving({port: free_port()}, Scanner(lambda: {port})) == {port: port}


async def test_app_on_another_port_is_found_once_it_stays_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(application, "_SETTLE_SECONDS", 0.1)
    with listening() as app:
        port = app.getsockname()[1]
        assert await wait_until_serving({9080: free_port()}, Scanner(lambda: {port})) == {9080: port}


async def test_a_port_that_listens_but_is_not_there_yet_is_waited_for() -> None:
    """Ready means that a connection was accepted, not that a table said so."""
    free = free_port()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await wait_until_serving({9080: free}, Scanner(lambda: {free}))


async def test_ports_are_followed_down_and_up() -> None:
    with listening() as app:
        port = app.getsockname()[1]
        await wait_for_ports((port,), accepting=True)
    assert not await accepts(port)
    await wait_for_ports((port,), accepting=False)


@pytest.mark.parametrize("command", [("no-such-program", "x"), ("/no/such/program",), ("./no-such-program",)])
def test_a_program_that_is_not_there_is_said_before_anything_is_begun(command: tuple[str, ...]) -> None:
    """As a shell says it, and not only once the control plane has been found."""
    with pytest.raises(StartError, match=f"cannot start '{command[0]}': No such file") as raised:
        check_program(command)
    assert raised.value.exit_code == 127


@pytest.mark.parametrize("command", [(), ("sh",), ("/bin/sh", "-c", "")])
def test_what_is_there_is_started_when_its_proxy_serves(command: tuple[str, ...]) -> None:
    check_program(command)
