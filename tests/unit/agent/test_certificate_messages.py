"""The certificate authority's messages as bytes: against the protobuf library, and against nonsense."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given
from hypothesis import strategies as st

from lateen.agent.certificate_messages import IssuedCertificates, MessageError, decode_answer, encode_request

_FIELD = descriptor_pb2.FieldDescriptorProto
LEAF, MIDDLE, ROOT = (
    f"-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n" for body in ("AA", "BB", "CC")
)


def _messages() -> tuple[Any, Any]:
    """Request and response as Istio's `ca.proto` declares them, as far as they are used."""
    file = descriptor_pb2.FileDescriptorProto(name="ca.proto", package="test", syntax="proto3")
    request = file.message_type.add(name="Request")
    request.field.add(name="csr", number=1, type=_FIELD.TYPE_STRING, label=_FIELD.LABEL_OPTIONAL)
    request.field.add(name="validity_duration", number=3, type=_FIELD.TYPE_INT64, label=_FIELD.LABEL_OPTIONAL)
    answer = file.message_type.add(name="Answer")
    answer.field.add(name="cert_chain", number=1, type=_FIELD.TYPE_STRING, label=_FIELD.LABEL_REPEATED)
    for number, kind in ((2, _FIELD.TYPE_INT64), (3, _FIELD.TYPE_FIXED32), (4, _FIELD.TYPE_DOUBLE)):
        answer.field.add(name=f"later{number}", number=number, type=kind, label=_FIELD.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    made = [
        message_factory.GetMessageClass(pool.FindMessageTypeByName(f"test.{name}")) for name in ("Request", "Answer")
    ]
    return made[0], made[1]


Request, Answer = _messages()


@given(st.text(min_size=1, max_size=300), st.integers(0, 2**62))
def test_request_is_what_the_library_reads(csr: str, seconds: int) -> None:
    read = Request.FromString(encode_request(csr, seconds))
    assert (read.csr, read.validity_duration) == (csr, seconds)


def test_answer_of_the_library_is_read_and_what_came_later_is_skipped() -> None:
    answer = Answer(cert_chain=[LEAF, MIDDLE, ROOT + ROOT], later2=300, later3=5, later4=1.5)
    assert decode_answer(answer.SerializeToString()) == IssuedCertificates(chain=LEAF + MIDDLE, roots=ROOT + ROOT)


@pytest.mark.parametrize(
    ("chain", "message"),
    [
        ([], "0 certificates"),
        ([ROOT], "1 certificates"),
        ([LEAF] * 17, "17 certificates"),
        ([LEAF, "no"], "no certificate"),
        ([LEAF, f"{ROOT}-----BEGIN PRIVATE KEY-----"], "no certificate"),
        ([LEAF, ROOT * 30 + "x"], "no certificate"),
    ],
)
def test_answer_without_a_chain_is_refused(chain: list[str], message: str) -> None:
    with pytest.raises(MessageError, match=message):
        decode_answer(Answer(cert_chain=chain).SerializeToString())


@given(st.binary(max_size=200))
def test_nonsense_is_refused_and_never_anything_else(answer: bytes) -> None:
    with contextlib.suppress(MessageError):
        decode_answer(answer)


@given(st.integers(1, 500))
def test_answer_that_was_cut_short_is_refused(cut: int) -> None:
    whole = Answer(cert_chain=[LEAF, ROOT]).SerializeToString()
    with pytest.raises(MessageError):
        decode_answer(whole[: -min(cut, len(whole) - 1)])
