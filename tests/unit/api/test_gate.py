"""Who may do what: credentials, roles, limits. Every endpoint of the routing table, so that none is forgotten."""

from __future__ import annotations

import os
import re
from typing import Any

import pytest

from lateen.api.application import ENDPOINTS, Endpoint, api_application, monitoring_application
from lateen.api.control_plane import Role
from lateen.api.gate import KnownTokens
from lateen.api.limits import PEER_RATE, Bucket

CLOSED = [endpoint for endpoint in ENDPOINTS if endpoint.needs is not None]
OPEN = [endpoint for endpoint in ENDPOINTS if endpoint.needs is None]
ADMINS = ("/v1/tokens", "/v1/ca", "/v1/audit")


def target(endpoint: Endpoint) -> str:
    return re.sub(r"\{\w+\}", "x", endpoint.path)


def named(endpoint: Endpoint) -> str:
    return f"{endpoint.method} {endpoint.path}"


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


NOBODY = {"authorization": ""}


@pytest.mark.parametrize("endpoint", CLOSED, ids=named)
async def test_without_credentials_every_endpoint_answers_401(call: Any, plane: Any, endpoint: Endpoint) -> None:
    answer = await call(endpoint.method, target(endpoint), headers=NOBODY)

    assert answer.status == 401
    assert answer.headers["www-authenticate"] == 'Bearer realm="lateen"'
    assert answer.headers["lateen-token-file"] == "/state/local/admin-token"
    assert answer.json()["error"]["code"] == "unauthenticated"


@pytest.mark.parametrize("endpoint", CLOSED, ids=named)
@pytest.mark.parametrize("role", Role)
async def test_each_role_may_what_it_should_and_no_more(call: Any, endpoint: Endpoint, role: Role) -> None:
    answer = await call(endpoint.method, target(endpoint), headers=bearer(f"h.{role.value}.s"))

    assert endpoint.needs is not None
    if role.covers(endpoint.needs):
        assert answer.status not in (401, 403, 429)
    else:
        assert answer.status == 403
        assert f"needs the role {endpoint.needs.value}" in answer.json()["error"]["message"]


def test_the_table_says_what_it_should() -> None:
    """A change needs an editor and has a word in the audit log; what administrators do needs an administrator."""
    assert [endpoint.path for endpoint in OPEN] == ["/healthz", "/readyz"]
    for endpoint in CLOSED:
        assert endpoint.needs is not None
        if endpoint.method != "GET":
            assert endpoint.needs.covers(Role.EDITOR), endpoint
            assert endpoint.action, endpoint
        if endpoint.path.startswith(ADMINS):
            assert endpoint.needs is Role.ADMIN, endpoint


@pytest.mark.parametrize("endpoint", OPEN, ids=named)
async def test_health_is_open(call: Any, endpoint: Endpoint) -> None:
    assert (await call(endpoint.method, endpoint.path, headers=NOBODY)).status == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/nothing", 401),
        ("GET", "/v1/config/../healthz", 401),
        ("PUT", "/v1/config", 401),
        ("OPTIONS", "/v1/config", 401),
        ("HEAD", "/v1/proxies", 401),
        ("POST", "/healthz", 401),
        ("GET", "/healthz/", 401),
        ("GET", "//healthz", 401),
        ("GET", "/", 404),
    ],
)
async def test_what_is_no_endpoint_is_closed_too(call: Any, method: str, path: str, status: int) -> None:
    assert (await call(method, path, headers=NOBODY)).status == status


@pytest.mark.parametrize(
    "header",
    [
        "Bearer",
        "Bearer ",
        "Bearer not-a-jwt",
        "Bearer a.b",
        "Bearer a.b.c.d",
        "Bearer h.admin.s h.admin.s",
        "Basic aC5hZG1pbi5z",
        "h.admin.s",
        "Bearer h.admin.\xe9",
        "Bearer " + "a" * 20_000 + ".b.c",
    ],
)
async def test_what_is_no_token_is_refused_unseen(call: Any, security: Any, header: str) -> None:
    answer = await call("GET", "/v1/proxies", headers={"authorization": header})

    assert answer.status == 401
    assert security.access.asked == []


async def test_two_authorization_headers_are_refused(call_application: Any, plane: Any, security: Any) -> None:
    """Which one is meant nobody can say."""
    application = api_application(plane, loopback=True, security=security.real)
    twice = [("authorization", "Bearer h.admin.s")] * 2

    answer = await call_application(application, "GET", "/v1/proxies", more=twice)

    assert answer.status == 401
    assert security.access.asked == []


@pytest.mark.parametrize(("token", "words"), [("forged.by.me", "not ours"), ("an.old.one", "expired")])
async def test_a_token_that_is_not_right_is_refused_in_words(call: Any, token: str, words: str) -> None:
    answer = await call("GET", "/v1/proxies", headers=bearer(token))

    assert answer.status == 401
    assert words in answer.json()["error"]["message"]
    assert token not in answer.body.decode()


async def test_a_revoked_token_opens_nothing_any_more(call: Any, security: Any) -> None:
    assert (await call("GET", "/v1/proxies", headers=bearer("h.viewer.s"))).status == 200
    del security.access.bearers["h.viewer.s"]

    assert (await call("GET", "/v1/proxies", headers=bearer("h.viewer.s"))).status == 401


async def test_the_scheme_is_read_as_http_says(call: Any) -> None:
    """RFC 9110, 11.1: case-insensitive."""
    assert (await call("GET", "/v1/proxies", headers={"authorization": "bearer  h.viewer.s "})).status == 200


async def test_wrong_tokens_are_limited_and_right_ones_are_not(
    call_application: Any, plane: Any, security: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that were right before are known from the throttled address too, those of other addresses always."""
    monkeypatch.setattr(Bucket, "_refill", lambda *_: None)  # time stands still
    application = api_application(plane, loopback=True, security=security.real)

    async def ask(token: str, client: str) -> Any:
        return await call_application(application, "GET", "/v1/proxies", b"", bearer(token), client=(client, 1))

    assert (await ask("h.viewer.s", "192.0.2.1")).status == 200
    statuses = [(await ask(f"forged.{number}.x", "192.0.2.1")).status for number in range(int(PEER_RATE.burst) + 20)]
    throttled = await ask("forged.again.x", "192.0.2.1")
    before = len(security.access.asked)
    unseen = await ask("h.editor.s", "192.0.2.1")

    assert statuses.count(401) == PEER_RATE.burst
    assert statuses[-1] == throttled.status == 429
    assert int(throttled.headers["retry-after"]) >= 1
    assert (unseen.status, len(security.access.asked)) == (429, before), "its signature is not even checked"
    assert (await ask("h.viewer.s", "192.0.2.1")).status == 200
    assert (await ask("h.editor.s", "192.0.2.2")).status == 200


async def test_requests_without_credentials_are_no_failed_log_ins(call: Any) -> None:
    """The command line asks without a token first, to learn where one is."""
    statuses = {(await call("GET", "/v1/proxies", headers=NOBODY)).status for _ in range(100)}

    assert statuses == {401}


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ({"peer_uid": os.geteuid()}, 200),
        ({"peer_uid": 0}, 200),
        ({"peer_uid": os.geteuid() + 1}, 401),
        ({"peer_uid": None}, 401),
        ({}, 401),
    ],
)
async def test_the_socket_is_open_to_the_servers_own_user_and_root(
    call_application: Any, plane: Any, security: Any, state: dict[str, Any], status: int
) -> None:
    application = api_application(plane, loopback=True, security=security.real)

    answer = await call_application(application, "GET", "/v1/audit", b"", {}, client=None, state=state)

    assert answer.status == status


async def test_a_token_goes_before_the_socket(call_application: Any, plane: Any, security: Any) -> None:
    """Who shows one acts with its role."""
    application = api_application(plane, loopback=True, security=security.real)
    state = {"peer_uid": os.geteuid()}

    answer = await call_application(application, "GET", "/v1/audit", b"", bearer("h.viewer.s"), state=state)

    assert answer.status == 403


@pytest.mark.parametrize("headers", [{"host": "evil.example"}, {"host": "evil.example:15080"}, {"host": ""}])
async def test_a_rebound_name_is_refused_before_any_credentials(call: Any, headers: dict[str, str]) -> None:
    answer = await call("GET", "/v1/proxies", headers=headers)
    bare = await call("GET", "/healthz", headers=headers | NOBODY)

    assert (answer.status, bare.status) == (403, 403)
    assert "lateen-token-file" not in answer.headers


async def test_a_foreign_page_changes_nothing_even_with_a_token(call: Any, plane: Any) -> None:
    answer = await call("POST", "/v1/config", body=b"", headers={"origin": "http://evil.example"})

    assert answer.status == 403
    assert plane.held == {}


async def test_cookies_open_nothing(call: Any) -> None:
    """A browser sends those by itself: CSRF has nothing to ride on."""
    answer = await call("GET", "/v1/proxies", headers=NOBODY | {"cookie": "token=h.admin.s"})

    assert answer.status == 401
    assert "set-cookie" not in answer.headers


async def test_a_server_that_others_reach_does_not_name_files(call_application: Any, plane: Any, security: Any) -> None:
    application = api_application(plane, loopback=False, security=security.real)

    answer = await call_application(application, "GET", "/v1/proxies", b"", {"host": "mesh.example"})

    assert answer.status == 401
    assert "lateen-token-file" not in answer.headers


async def test_the_name_of_the_file_cannot_break_the_header(call: Any, security: Any) -> None:
    security.access.token_file = "/stätte/a b\r\nx: y/admin-token"

    answer = await call("GET", "/v1/proxies", headers=NOBODY)

    assert answer.headers["lateen-token-file"] == "/st%C3%A4tte/a%20b%0D%0Ax%3A%20y/admin-token"


async def test_all_but_health_needs_a_viewer_where_others_reach_it(
    call_application: Any, plane: Any, security: Any
) -> None:
    host = {"host": "mesh.example"}
    far = monitoring_application(plane, loopback=False, security=security.real)
    bare = monitoring_application(plane, loopback=False, security=None)
    near = monitoring_application(plane, loopback=True, security=security.real)

    for path in ("/healthz", "/readyz", "/ready"):
        assert (await call_application(far, "GET", path, b"", host)).status == 200
    for path in ("/metrics", "/debug", "/debug/state", "/debug/syncz"):
        assert (await call_application(far, "GET", path, b"", host)).status == 401
        assert (await call_application(far, "GET", path, b"", host | bearer("h.viewer.s"))).status == 200
        assert (await call_application(bare, "GET", path, b"", host)).status == 404
        assert (await call_application(near, "GET", path)).status == 200


def test_known_tokens_are_bounded_and_kept_as_hashes() -> None:
    known = KnownTokens(most=2)
    for token in ("a.a.a", "b.b.b", "c.c.c"):
        known.add(token)
    known.discard("c.c.c")

    assert [token in known for token in ("a.a.a", "b.b.b", "c.c.c")] == [False, True, False]
    assert not any(b"b.b.b" in kept for kept in known._hashes)
