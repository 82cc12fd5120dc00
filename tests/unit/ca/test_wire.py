"""The hand-read protobuf: what Istio's clients write is read, and no bytes crash it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lateen.ca.wire import MAX_MESSAGE_BYTES, CertificateRequest, MalformedError, decode_request, encode_response


def varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    content = bytearray()
    while number > 0x7F:
        content.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*content, number])


def text(field: int, content: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(content)) + content


def request(csr: bytes, seconds: int) -> bytes:
    return text(1, csr) + varint(3 << 3) + varint(seconds)


@given(csr=st.binary(max_size=400), seconds=st.integers(-(1 << 63), (1 << 63) - 1), metadata=st.binary(max_size=50))
def test_a_request_is_read_whatever_else_is_in_it(csr: bytes, seconds: int, metadata: bytes) -> None:
    others = text(4, metadata) + varint(9 << 3 | 1) + b"8 bytes." + varint(10 << 3 | 5) + b"four"

    assert decode_request(others + request(csr, seconds) + others) == CertificateRequest(
        csr=csr, validity_seconds=seconds
    )


def test_an_empty_request_asks_for_nothing() -> None:
    assert decode_request(b"") == CertificateRequest()


def test_of_a_repeated_field_the_last_counts() -> None:
    assert decode_request(request(b"one", 1) + request(b"two", 2)) == CertificateRequest(csr=b"two", validity_seconds=2)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (b"\x0a", "does not end"),
        (b"\x0a\x05abc", "longer than the message"),
        (b"\x0a" + b"\xff" * 9 + b"\x01", "longer than the message"),
        (b"\xff" * 11, "does not end"),
        (b"\x0b", "wire type"),
        (b"\x0c", "wire type"),
        (b"\x0f", "wire type"),
        (b"\x02\x00", "field number"),
        (b"\x49abc", "longer than the message"),
        (b"\x00" * (MAX_MESSAGE_BYTES + 1), "larger than"),
    ],
)
def test_what_is_no_message_is_refused(message: bytes, words: str) -> None:
    with pytest.raises(MalformedError, match=words):
        decode_request(message)


@given(st.binary(max_size=300))
def test_no_bytes_crash_it(message: bytes) -> None:
    try:
        read = decode_request(message)
    except MalformedError:
        return
    assert len(read.csr) <= len(message)


@given(st.lists(st.text(max_size=300), max_size=4))
def test_a_response_has_every_element_in_order(chain: list[str]) -> None:
    assert encode_response(chain) == b"".join(text(1, element.encode()) for element in chain)
