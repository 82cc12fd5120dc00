"""DNS as bytes: queries understood, answers made and read, garbage refused."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lateen.agent.interception import dns_messages
from lateen.agent.interception.dns_messages import AAAA, A
from lateen.agent.interception.relay import inner_resolv_conf
from lateen.agent.interception.resolvers import named

OPT_OF_4096 = b"\0" + struct.pack("!HHIH", dns_messages.OPT, 4096, 0, 0)
LABELS = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_", min_size=1, max_size=40)
NAMES = st.lists(LABELS, min_size=1, max_size=5).map(".".join)


def query(name: str, kind: int = A, *, edns: bool = False) -> bytes:
    made = dns_messages.query(name, kind, 7)
    return made[:11] + b"\1" + made[12:] + OPT_OF_4096 if edns else made


def asked(name: str, kind: int = A, *, edns: bool = False) -> dns_messages.Question:
    found = dns_messages.question(query(name, kind, edns=edns))
    assert found is not None
    return found


@given(NAMES, st.sampled_from([A, AAAA, 16, 65]), st.booleans())
def test_a_query_is_read_as_it_was_asked(name: str, kind: int, edns: bool) -> None:
    """In lower case, with the size that EDNS0 says."""
    found = asked(name, kind, edns=edns)
    assert (found.name, found.type, found.id) == (name.lower(), kind, 7)
    assert found.limit == (dns_messages.MOST_PAYLOAD if edns else dns_messages.LEAST_PAYLOAD)


@given(NAMES, st.lists(st.ip_addresses(v=4), max_size=40), st.lists(st.ip_addresses(v=6), max_size=40), st.booleans())
def test_what_is_answered_is_what_is_read(
    name: str, four: list[IPv4Address], six: list[IPv6Address], edns: bool
) -> None:
    """Every address in order, of the asked type only, in an answer to that query."""
    for kind, given_addresses in ((A, [str(one) for one in four]), (AAAA, [str(one) for one in six])):
        answer = dns_messages.answer(asked(name, kind, edns=edns), given_addresses)
        assert list(dns_messages.addresses(answer, kind)) == given_addresses
        assert dns_messages.addresses(answer, A + AAAA - kind) == ()
        assert dns_messages.is_answer(answer, query(name, kind, edns=edns))
        assert answer.endswith(b"\0" * 4 + b"\0\0") == edns or not edns


@given(NAMES, st.integers(0, 200), st.booleans())
def test_an_answer_fits_and_says_what_it_leaves_out(name: str, count: int, edns: bool) -> None:
    """The bit for truncated makes resolvers ask again by TCP."""
    question = asked(name, edns=edns)
    answer = dns_messages.answer(question, ["192.0.2.1"] * count, limit=question.limit)
    assert len(answer) <= question.limit
    assert bool(answer[2] & 0x02) == (len(dns_messages.addresses(answer, A)) < count)


def test_the_case_of_a_question_is_kept_in_the_answer() -> None:
    """Resolvers that mix letters' case compare it (0x20 encoding)."""
    answer = dns_messages.answer(asked("ReViews.Shop"), ["240.240.1.2"])
    assert b"\7ReViews\4Shop\0" in answer
    assert dns_messages.code(answer) == 0


def test_no_address_is_no_error() -> None:
    """AAAA of a name that has an A: an error would be taken for the name's."""
    answer = dns_messages.answer(asked("reviews", AAAA))
    assert struct.unpack_from("!HHH", answer, 2) == (0x8180, 1, 0)


@given(st.binary(max_size=80), st.binary(max_size=80))
def test_any_bytes_are_read_or_refused(message: bytes, other: bytes) -> None:
    """Nothing raises, whatever comes, from whichever side."""
    dns_messages.question(message)
    dns_messages.addresses(message, A)
    dns_messages.addresses(message[:12] + b"\xc0\x0c" * 9 + other, AAAA)
    dns_messages.is_answer(message, other)
    dns_messages.code(message)


@given(st.data(), NAMES)
def test_a_damaged_answer_never_raises(data: st.DataObject, name: str) -> None:
    """Neither cut off nor with a byte of it changed."""
    whole = bytearray(dns_messages.answer(asked(name), ["192.0.2.1", "192.0.2.2"]))
    whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    dns_messages.addresses(bytes(whole[: data.draw(st.integers(0, len(whole)))]), A)


@given(st.integers(0, 40))
def test_cut_off_queries_are_none(length: int) -> None:
    """Half a question is not answered."""
    whole = query("reviews.shop")
    if length < len(whole):
        assert dns_messages.question(whole[:length]) is None


def test_a_dot_within_a_label_is_nobody_of_ours() -> None:
    """As text it would be another name."""
    assert dns_messages.question(query("reviewsxshop").replace(b"x", b".")) is None


def test_answers_to_something_else_are_not_taken() -> None:
    """Another number, another question, or no answer at all."""
    answer = dns_messages.answer(asked("reviews"), ["192.0.2.1"])
    assert dns_messages.is_answer(answer, query("REVIEWS"))
    assert not dns_messages.is_answer(b"\0\x08" + answer[2:], query("reviews"))
    assert not dns_messages.is_answer(answer, query("ratings"))
    assert not dns_messages.is_answer(query("reviews"), query("reviews"))


@pytest.mark.parametrize("name", ["", "a..b", "x" * 64, ".".join(["abcdefgh"] * 40)])
def test_what_is_no_name_is_not_asked(name: str) -> None:
    """It is a mistake of the caller."""
    with pytest.raises(ValueError, match="domain name"):
        dns_messages.query(name, A, 1)


def test_resolv_conf_keeps_what_is_searched() -> None:
    """Only who is asked changes."""
    given_text = "# theirs\nnameserver 192.0.2.53\nnameserver fe80::1%eth0\nsearch corp.example\noptions ndots:2\n"
    assert named(given_text) == ("192.0.2.53", "fe80::1%eth0")
    assert named("") == ("127.0.0.1",)
    inner = inner_resolv_conf(given_text).splitlines()[1:]
    assert inner == ["nameserver 127.0.0.1", "search corp.example", "options ndots:2"]
