"""What administrators ask for: tokens, the certificate authority."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lateen.api.control_plane import Role


async def test_a_token_to_join_with(call: Any, security: Any) -> None:
    body = {"service_account": "default/reviews", "one_time": True, "seconds": 60}
    answer = await call("POST", "/v1/tokens", body=json.dumps(body).encode())

    assert answer.status == 201
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json()["token"] == "h.id-1.secret"
    [wanted] = security.operations.wanted
    assert (wanted.subject, wanted.one_time, wanted.seconds, wanted.role) == ("default/reviews", True, 60, None)


async def test_a_token_of_the_api(call: Any, security: Any) -> None:
    answer = await call("POST", "/v1/tokens", body=b'{"role": "editor", "name": "Ann"}')

    assert answer.json()["view"]["subject"] == "Ann"
    [wanted] = security.operations.wanted
    assert (wanted.role, wanted.name, wanted.subject, wanted.seconds) == (Role.EDITOR, "Ann", "", 3600)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("{}", 422),
        ('{"service_account": "a/b", "role": "viewer", "name": "x"}', 422),
        ('{"service_account": "a/b", "name": "x"}', 422),
        ('{"service_account": "ab"}', 422),
        ('{"service_account": "a/b/c"}', 422),
        ('{"service_account": "a/"}', 422),
        ('{"service_account": "../b"}', 422),
        ('{"service_account": "a*/b"}', 422),
        ('{"role": "viewer"}', 422),
        ('{"role": "viewer", "name": " x"}', 422),
        ('{"role": "viewer", "name": "x\\ny"}', 422),
        ('{"role": "viewer", "name": "x", "one_time": true}', 422),
        ('{"role": "root", "name": "x"}', 400),
        ('{"role": "viewer", "name": "x", "seconds": 0}', 400),
        ('{"role": "viewer", "name": "x", "surprise": 1}', 400),
        ('{"role": "viewer", "name": "x", "seconds": 2000000}', 422),
        ("[]", 400),
        ("", 400),
        ('{"role": "' + "x" * 70_000 + '"}', 413),
    ],
)
async def test_a_token_that_makes_no_sense_is_refused(call: Any, security: Any, body: str, status: int) -> None:
    answer = await call("POST", "/v1/tokens", body=body.encode())

    assert answer.status == status
    assert answer.json()["error"]["message"]
    assert security.operations.made == {}


@pytest.mark.parametrize("account", ["*/*", "default/*", "*/web", "default/web.v1_x"])
async def test_who_may_join_can_be_any(call: Any, account: str) -> None:
    answer = await call("POST", "/v1/tokens", body=json.dumps({"service_account": account}).encode())

    assert answer.status == 201


async def test_tokens_are_listed_and_revoked(call: Any) -> None:
    await call("POST", "/v1/tokens", body=b'{"role": "editor", "name": "Ann"}')
    revoked = await call("DELETE", "/v1/tokens/id-1")
    [listed] = (await call("GET", "/v1/tokens")).json()["items"]

    assert revoked.json() == listed
    assert listed["revoked"] is True
    assert (await call("DELETE", "/v1/tokens/id-2")).status == 404


async def test_the_authority_is_shown_and_rotated(call: Any) -> None:
    before = (await call("GET", "/v1/ca")).json()
    begun = (await call("POST", "/v1/ca/rotate", body=b"{}")).json()
    again = await call("POST", "/v1/ca/rotate", body=b'{"what": "root"}')
    forced = (await call("POST", "/v1/ca/rotate", body=b'{"force": true}')).json()

    assert before["roots"][0]["not_after"] == "2001-09-09T01:46:40+00:00"
    assert (before["rotating"], begun["rotating"], forced["rotating"]) == (False, True, False)
    assert begun["missing"] == ["reviews-v1-1.default"]
    assert again.status == 409
    assert again.json()["error"]["hint"] == "--force goes on"


async def test_a_csr_is_signed(call: Any) -> None:
    answer = await call("POST", "/v1/ca/certificates", body=b'{"service_account": "shop/web", "csr": "12345"}')
    wild = await call("POST", "/v1/ca/certificates", body=b'{"service_account": "shop/*", "csr": "12345"}')

    assert answer.status == 201
    assert answer.json()["chain"] == "chain of 5"
    assert answer.json()["identity"] == "spiffe://cluster.local/ns/shop/sa/web"
    assert wild.status == 422
