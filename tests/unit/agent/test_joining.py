"""Decisions on the way to a certificate: tokens, trust, and time."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lateen.agent.certificate_times import Validity
from lateen.agent.errors import JoinError, RefusedError
from lateen.agent.grpc_call import GrpcStatus
from lateen.agent.join_tokens import JoinToken, read_token
from lateen.agent.joining import (
    Located,
    Step,
    Wish,
    check_token,
    clock_problem,
    next_step,
    plan,
    read_located,
    refusal,
    renewal_time,
)
from lateen.model.identities import Identity

NOW = 1_800_000_000.0
DER = b"\x30\x03abc"
PEM = "-----BEGIN CERTIFICATE-----\nMANhYmM=\n-----END CERTIFICATE-----\n"
WISH = Wish(namespace="shop", service_account="reviews", token_file="/given")
BESIDE = Wish(namespace="shop", service_account="reviews")
LOCATED = Located(secure=("127.0.0.1", 15012), join=("127.0.0.1", 15013), roots=("located",), trust_domain="here")
ADDRESS = ("mesh.example.com", 15012)


def jwt(claims: Any) -> bytes:
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"eyJ9.{body}.c2ln\n".encode()


def token(**claims: Any) -> JoinToken:
    return read_token(jwt({"iss": "lateen", "aud": "lateen-join", "sub": "*/*"} | claims), "FILE")


def test_claims_are_read() -> None:
    made = token(td="mesh.example", roots=[base64.b64encode(DER).decode()], join=15013, exp=NOW, once=True)
    assert (made.trust_domain, made.roots, made.join_port, made.expires) == ("mesh.example", (PEM,), 15013, NOW)


def test_foreign_token_is_read_as_far_as_it_goes() -> None:
    """Another issuer's has an audience list, and nothing of ours."""
    made = read_token(jwt({"iss": "https://kubernetes", "aud": ["istio-ca"], "sub": "system:sa:x:y"}), "FILE")
    assert (made.issuer, made.audience, made.roots) == ("https://kubernetes", ("istio-ca",), ())
    check_token(WISH, made, NOW)


@pytest.mark.parametrize(
    "claims",
    [
        [],
        {"td": "Not A Domain"},
        {"join": 70000},
        {"join": "x"},
        {"roots": "x"},
        {"roots": ["!"]},
        {"roots": [1]},
        {"roots": ["AAAA"] * 33},
        {"exp": "soon"},
        {"aud": 1},
    ],
)
def test_token_that_cannot_be_read_names_its_file_and_quotes_nothing(claims: Any) -> None:
    with pytest.raises(JoinError, match="the token in FILE cannot be read") as raised:
        read_token(jwt(claims), "FILE")
    assert raised.value.__cause__ is None
    assert "lateen token create" in raised.value.todo


@given(st.binary(max_size=100))
def test_nonsense_is_no_token_and_nothing_else(content: bytes) -> None:
    with pytest.raises(JoinError):
        read_token(content, "FILE")


def test_secret_is_in_no_repr() -> None:
    made = token(roots=[base64.b64encode(DER).decode()])
    assert made.secret not in repr(made)
    assert made.secret not in repr(plan(WISH, made, ADDRESS, None, "", NOW))


@pytest.mark.parametrize(
    ("claims", "message"),
    [
        ({"exp": NOW - 61}, "expired at 2027-01-15 07:58:59 UTC"),
        ({"aud": "lateen-api"}, "is not for joining"),
        ({"sub": "shop/ratings"}, "is for 'shop/ratings', and this workload is shop/reviews"),
        ({"sub": "other/*"}, "is for 'other/"),
        ({"sub": "shop"}, "is for 'shop'"),
    ],
)
def test_token_that_opens_nothing_is_said_before_it_is_sent(claims: dict[str, Any], message: str) -> None:
    with pytest.raises(JoinError, match=message) as raised:
        check_token(WISH, token(**claims), NOW)
    assert "lateen token create --service-account shop/reviews > FILE" in raised.value.todo


@pytest.mark.parametrize("claims", [{}, {"sub": "shop/*"}, {"sub": "*/reviews"}, {"exp": NOW - 59}, {"exp": 0}])
def test_token_that_may_open_is_sent(claims: dict[str, Any]) -> None:
    check_token(WISH, token(**claims), NOW)


def test_user_is_trusted_before_the_token_and_the_token_before_the_loopback() -> None:
    """Whoever answers on the loopback may be anybody."""
    with_roots = token(roots=[base64.b64encode(DER).decode()], td="mesh.example")
    assert plan(WISH, with_roots, ADDRESS, LOCATED, "given", NOW).roots == "given"
    assert plan(WISH, with_roots, ADDRESS, LOCATED, "", NOW).roots == PEM
    assert plan(WISH, token(), ADDRESS, LOCATED, "", NOW).roots == "located"
    assert plan(WISH, with_roots, ADDRESS, LOCATED, "", NOW).identity == Identity("mesh.example", "shop", "reviews")
    assert plan(WISH, token(), ADDRESS, LOCATED, "", NOW).server == "spiffe://here/ns/istio-system/sa/istiod"


def test_announced_token_is_not_sent_to_whom_the_announcement_names() -> None:
    with pytest.raises(JoinError, match="nothing says which control plane to trust"):
        plan(BESIDE, token(), ADDRESS, LOCATED, "", NOW)
    with pytest.raises(JoinError, match="nothing says which control plane to trust"):
        plan(WISH, token(), ADDRESS, None, "", NOW)


def test_join_port_is_the_located_one_else_the_tokens_else_the_next() -> None:
    assert plan(WISH, token(join=1), ADDRESS, LOCATED, "x", NOW).join == ("127.0.0.1", 15013)
    assert plan(WISH, token(join=1), ADDRESS, None, "x", NOW).join == ("mesh.example.com", 1)
    assert plan(WISH, token(), ADDRESS, None, "x", NOW).join == ("mesh.example.com", 15013)
    assert plan(WISH, token(), ADDRESS, None, "x", NOW).secure == ADDRESS


def test_server_that_listens_everywhere_is_reached_where_it_was_reached() -> None:
    said = {"secure": "0.0.0.0:1", "join": "[::]:2", "roots": ["r"], "trust_domain": "td", "token_file": "/f"}
    located = read_located(json.dumps(said).encode(), "127.0.0.1")
    assert located == Located(
        secure=("127.0.0.1", 1),
        join=("127.0.0.1", 2),
        roots=("r",),
        trust_domain="td",
        token_file="/f",
    )


@pytest.mark.parametrize("answer", [b"", b"[]", b"{}", b'{"secure": "a:1"}', b"[" * 100_000, b'{"secure":1,"join":2}'])
def test_location_of_another_shape_is_refused(answer: bytes) -> None:
    with pytest.raises(JoinError, match="does not understand"):
        read_located(answer, "127.0.0.1")


@given(st.floats(0, 1e9).map(lambda back: NOW - back), st.floats(1, 1e9).map(lambda on: NOW + on), st.floats(-1, 1))
def test_renewal_is_within_a_tenth_of_half_of_what_is_left(begins: float, ends: float, jitter: float) -> None:
    at = renewal_time(Validity(begins=begins, ends=ends), NOW, jitter)
    assert 0.45 * (ends - NOW) - 1e-3 <= at - NOW <= 0.55 * (ends - NOW) + 1e-3


@pytest.mark.parametrize(
    ("now", "step"), [(99, Step.KEEP), (100, Step.RENEW), (199, Step.RENEW), (200, Step.JOIN), (1000, Step.JOIN)]
)
def test_step_by_time(now: float, step: Step) -> None:
    """Expired, it proves nothing: only the token does."""
    assert next_step(Validity(begins=0, ends=200), 100, now) is step


def test_clock_is_blamed_only_for_what_is_not_valid_now() -> None:
    validity = Validity(begins=NOW - 300, ends=NOW + 300)
    assert clock_problem(validity, NOW) == ""
    assert "not valid before 2027-01-15 07:55:00 UTC" in clock_problem(validity, NOW - 301)
    assert "expired at 2027-01-15 08:05:00 UTC" in clock_problem(validity, NOW + 300)


def test_refusals_say_what_to_do() -> None:
    status = GrpcStatus("UNAUTHENTICATED", "used")
    by_token = refusal(status, "", WISH, token())
    assert isinstance(by_token, RefusedError)
    assert str(by_token) == "the control plane gives no certificate: used"
    assert "the token in FILE: make a new one with `lateen token create" in by_token.todo
    assert refusal(status, "", WISH, None).todo == "trying by the token"
    assert not isinstance(refusal(GrpcStatus("UNAVAILABLE"), "", WISH, None), RefusedError)
    assert str(refusal(None, "gone", WISH, None)).endswith("gone")
