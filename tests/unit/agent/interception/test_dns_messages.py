"""DNS as bytes: queries understood, answers made, garbage refused."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lateen.agent.interception import dns_messages
from lateen.agent.interception.relay import inner_resolv_conf, resolvers


def query(name: str, kind: int = dns_messages.A) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack("!HHHHHH", 7, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", kind, 1)


def test_question_is_read_and_its_case_kept_in_the_answer() -> None:
    """Resolvers that mix letters' case compare it (0x20 encoding)."""
    asked = dns_messages.question(query("ReViews.Shop"))
    assert asked is not None
    assert (asked.name, asked.type) == ("reviews.shop", dns_messages.A)
    answer = dns_messages.answer(asked, "240.240.1.2")
    assert answer[:2] == b"\0\7"
    assert b"\7ReViews\4Shop\0" in answer
    assert answer.endswith(bytes([0, 4, 240, 240, 1, 2]))
    assert dns_messages.code(answer) == 0


def test_no_address_is_no_error() -> None:
    """AAAA of a name that has an A: an error would be taken for the name's."""
    asked = dns_messages.question(query("reviews", dns_messages.AAAA))
    assert asked is not None
    answer = dns_messages.answer(asked)
    assert struct.unpack_from("!HHH", answer, 2) == (0x8180, 1, 0)


@given(st.binary(max_size=80))
def test_any_bytes_are_a_question_or_none(message: bytes) -> None:
    """Nothing raises, whatever comes."""
    dns_messages.question(message)


@given(st.integers(0, 40))
def test_cut_off_queries_are_none(length: int) -> None:
    """Half a question is not answered."""
    whole = query("reviews.shop")
    if length < len(whole):
        assert dns_messages.question(whole[:length]) is None


@pytest.mark.parametrize(
    ("name", "may"),
    [
        ("reviews", True),
        ("reviews.shop", True),
        ("reviews.shop.svc", True),
        ("reviews.shop.svc.cluster.local", True),
        ("api.example.com", False),
        ("a.b.example.com", False),
    ],
)
def test_which_names_may_be_of_the_mesh(name: str, may: bool) -> None:
    """Names of services in their short, namespaced and full forms."""
    assert dns_messages.may_be_of_the_mesh(name) is may


@given(st.text(max_size=20))
def test_mesh_addresses_are_stable_and_of_the_range(name: str) -> None:
    """The same name has the same address, and it is nobody's."""
    if name.isascii():
        address = dns_messages.mesh_address(name)
        assert address == dns_messages.mesh_address(name)
        assert address.startswith("240.240.")


def test_resolv_conf_keeps_what_is_searched() -> None:
    """Only who is asked changes."""
    given = "# theirs\nnameserver 192.0.2.53\nnameserver fe80::1%eth0\nsearch corp.example\noptions ndots:2\n"
    assert resolvers(given) == ("192.0.2.53", "fe80::1")
    inner = inner_resolv_conf(given).splitlines()[1:]
    assert inner == ["nameserver 127.0.0.1", "search corp.example", "options ndots:2"]
