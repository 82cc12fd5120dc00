"""Where an app listens: matching, and the tables of /proc."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from lateen.agent.listening import ListeningPorts, match_ports, parse_table

TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:2378 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 111 1 0 100 0 0 10 0
   1: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 112 1 0 100 0 0 10 0
   2: 0100007F:9C40 0100007F:2378 01 00000000:00000000 00:00000000 00000000     0        0 113 1 0 100 0 0 10 0
   3: 0302407F:2378 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 114 1 0 100 0 0 10 0
"""
TCP6 = """\
  sl  local_address                         remote_address                        st ...
   0: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 211 1
   1: 0000000000000000FFFF00000100007F:0051 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 212 1
   2: 00000000000000000000000001000000:0052 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 213 1
"""


def test_tables_are_read() -> None:
    assert list(parse_table(TCP)) == [(111, "127.0.0.1", 9080), (112, "0.0.0.0", 8080), (114, "127.64.2.3", 9080)]
    assert list(parse_table(TCP6)) == [(211, "::", 80), (212, "::ffff:127.0.0.1", 81), (213, "::1", 82)]


@pytest.mark.parametrize(
    ("listening", "certain", "guessed"),
    [
        ({23456, 5005}, {9080: 23456}, {}),
        ({9080, 5005}, {9080: 9080}, {}),
        ({23456, 9080}, {9080: 23456}, {}),
        ({8000}, {}, {9080: 8000}),
        ({8000, 5005}, {}, {}),
        (set(), {}, {}),
    ],
    ids=["took the offer", "its own port", "offer first", "one other port", "two other ports", "nothing yet"],
)
def test_declared_port_is_found(listening: set[int], certain: dict[int, int], guessed: dict[int, int]) -> None:
    match = match_ports({9080: 23456}, frozenset(listening))
    assert (match.certain, match.guessed) == (certain, guessed)


def test_two_declared_ports_leave_no_room_for_a_wrong_guess() -> None:
    offered = {9080: 23456, 7070: 23457}
    assert match_ports(offered, frozenset({8000})).guessed == {}
    assert match_ports(offered, frozenset({9080, 8000})).guessed == {7070: 8000}


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_own_sockets_are_found_and_others_are_not() -> None:
    """Only sockets that 127.0.0.1 reaches, and only while they are open."""
    ports = ListeningPorts(os.getpid())
    with socket.socket() as near, socket.socket() as far:
        near.bind(("127.0.0.1", 0))
        near.listen()
        far.bind(("127.99.3.7", 0))
        far.listen()
        found = ports.scan()
        assert near.getsockname()[1] in found
        assert far.getsockname()[1] not in found - {near.getsockname()[1]}
    assert near.fileno() == -1
    assert not ports.scan() - found


def test_no_proc_means_no_knowledge(tmp_path: Path) -> None:
    assert ListeningPorts(1, proc=tmp_path).scan() == frozenset()
