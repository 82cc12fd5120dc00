"""Each change and each refusal leaves one record, and no record holds a secret or a content."""

from __future__ import annotations

import json
from typing import Any

import pytest
import structlog

from lateen.api.audit import MAX_OBJECTS, AuditLog, bounded_objects
from lateen.api.control_plane import AuditRecord, Outcome
from lateen.api.gate import Gate

WEB = b"""
apiVersion: v1
kind: Secret
metadata: {name: key}
stringData: {tls.key: hush-hush}
"""
BROKEN = b"{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {prots: []}}"
NOBODY = {"authorization": ""}
VIEWER = {"authorization": "Bearer h.viewer.s"}
KEY = "Secret default/key"


def records(security: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in security.lines]


@pytest.mark.parametrize(
    ("method", "path", "body", "action", "objects", "status"),
    [
        ("POST", "/v1/config", WEB, "apply", [KEY], 200),
        ("POST", "/v1/config", BROKEN, "apply", [], 422),
        ("DELETE", "/v1/config/secret/default/key", b"", "delete", [KEY], 404),
        (
            "POST",
            "/v1/tokens",
            b'{"service_account": "default/web", "one_time": true}',
            "token create",
            ["join default/web", "Token id-1"],
            201,
        ),
        ("POST", "/v1/tokens", b'{"role": "viewer", "name": "Ann"}', "token create", ["viewer Ann", "Token id-1"], 201),
        ("DELETE", "/v1/tokens/nothing", b"", "token revoke", ["Token nothing"], 404),
        ("POST", "/v1/ca/rotate", b'{"what": "root", "force": true}', "ca rotate", ["root", "force"], 200),
        (
            "POST",
            "/v1/ca/certificates",
            b'{"service_account": "a/b", "csr": "a csr"}',
            "ca issue",
            ["a/b"],
            201,
        ),
    ],
)
async def test_each_change_is_one_record(
    call: Any, security: Any, method: str, path: str, body: bytes, action: str, objects: list[str], status: int
) -> None:
    answer = await call(method, path, body=body)

    assert answer.status == status, answer.body
    [record] = records(security)
    assert record.pop("time").endswith("+00:00")
    assert record == {
        "caller": "the-admin",
        "how": "token",
        "role": "admin",
        "peer": "127.0.0.1",
        "action": action,
        "objects": objects,
        "outcome": "done" if status < 400 else "failed",
        "status": status,
        "reason": "",
        "request_id": answer.headers["x-request-id"],
        "omitted": 0,
    }


@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "caller", "action"),
    [
        ("POST", "/v1/config", VIEWER, 403, "the-viewer", "apply"),
        ("GET", "/v1/tokens", VIEWER, 403, "the-viewer", "GET /v1/tokens"),
        ("POST", "/v1/config", NOBODY, 401, "", "apply"),
        ("GET", "/v1/proxies", {"authorization": "Bearer forged.by.me"}, 401, "", "GET /v1/proxies"),
        ("GET", "/v1/proxies", {"host": "evil.example"}, 403, "", "GET /v1/proxies"),
        ("DELETE", "/v1/config/vs/a/b", {"origin": "http://evil.example"}, 403, "", "delete"),
        ("PUT", "/v1/nothing", NOBODY, 401, "", "PUT /v1/nothing"),
    ],
)
async def test_each_refusal_is_one_record(
    call: Any, security: Any, method: str, path: str, headers: dict[str, str], status: int, caller: str, action: str
) -> None:
    answer = await call(method, path, headers=headers)

    assert answer.status == status
    [record] = records(security)
    assert (record["outcome"], record["status"], record["caller"], record["action"]) == (
        "refused",
        status,
        caller,
        action,
    )
    assert record["reason"] == answer.json()["error"]["message"]
    assert record["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", "/v1/proxies", {}),
        ("POST", "/v1/config?dry_run=true", {}),
        ("GET", "/v1/proxies", NOBODY),
        ("GET", "/healthz", NOBODY),
    ],
)
async def test_what_changes_nothing_is_none(
    call: Any, security: Any, method: str, path: str, headers: dict[str, str]
) -> None:
    """Neither is a read without any credentials: that is how a client learns that it needs some."""
    await call(method, path, body=WEB, headers=headers)

    assert security.lines == []


async def test_a_dry_run_that_fails_is_none_either(call: Any, security: Any) -> None:
    assert (await call("POST", "/v1/config?dry_run=true", body=BROKEN)).status == 422
    assert security.lines == []


async def test_a_change_that_breaks_is_recorded_as_failed(call: Any, plane: Any, security: Any) -> None:
    async def broken(objects: object) -> str:
        raise RuntimeError("a bug")

    plane.put = broken
    with pytest.raises(RuntimeError):
        await call("POST", "/v1/config", body=WEB)

    [record] = records(security)
    assert (record["outcome"], record["status"], record["objects"]) == ("failed", 0, [KEY])


async def test_the_record_is_there_before_the_answer(call: Any, security: Any) -> None:
    await call("POST", "/v1/config", body=WEB)
    listed = (await call("GET", "/v1/audit")).json()["items"]

    assert [item["action"] for item in listed] == ["apply"]


async def test_the_newest_come_first_and_the_limit_holds(call: Any, security: Any) -> None:
    for name in ("a", "b", "c"):
        await call("DELETE", f"/v1/tokens/{name}")
    items = (await call("GET", "/v1/audit?limit=2")).json()["items"]

    assert [item["objects"] for item in items] == [["Token c"], ["Token b"]]


@pytest.mark.parametrize("limit", ["0", "-1", "x", "1001", "1e3", "9" * 5000, "%D9%A1"])
async def test_a_limit_that_is_none_is_refused(call: Any, limit: str) -> None:
    assert (await call("GET", f"/v1/audit?limit={limit}")).status == 400


async def test_a_flood_of_refusals_is_cut_and_counted(call: Any, security: Any) -> None:
    """And it hides no change: `lateen audit` still shows that."""
    await call("POST", "/v1/config", body=WEB)
    for _ in range(300):
        await call("GET", "/v1/proxies", headers={"authorization": "Bearer forged.by.me"})
    refused = [record for record in records(security) if record["outcome"] == "refused"]
    items = (await call("GET", "/v1/audit?limit=1000")).json()["items"]

    assert 100 <= len(refused) < 150
    assert "apply" in {item["action"] for item in items}


async def test_a_record_says_how_many_were_left_out(call_application: Any, security: Any) -> None:
    now = [0.0]
    gate = Gate(nothing, routes=[], access=security.access, audit=security.audit, loopback=True, clock=lambda: now[0])
    for _ in range(300):
        await call_application(gate, "POST", "/v1/config")
    now[0] = 10.0
    await call_application(gate, "POST", "/v1/config")

    assert [record["omitted"] for record in records(security)] == [*[0] * 100, 200]


async def nothing(scope: object, receive: object, send: object) -> None:
    raise AssertionError("the gate lets nobody in")


def test_refusals_push_out_no_change() -> None:
    log = AuditLog(kept=3)
    log.record(record(1.0, Outcome.DONE))
    for number in range(10):
        log.record(record(2.0 + number, Outcome.REFUSED))

    assert [found.time for found in log.newest(10)] == [11.0, 10.0, 9.0, 1.0]


def test_many_objects_are_counted() -> None:
    assert bounded_objects(["a"] * MAX_OBJECTS) == ("a",) * MAX_OBJECTS
    assert bounded_objects(["a"] * (MAX_OBJECTS + 5))[-1] == "and 5 more"


async def test_nothing_secret_is_written_anywhere(call: Any, security: Any) -> None:
    """Neither tokens, made or shown, nor contents: not to the audit log, not to the log."""
    with structlog.testing.capture_logs() as logs:
        made = (await call("POST", "/v1/tokens", body=b'{"role": "editor", "name": "Ann"}')).json()
        await call("POST", "/v1/config", body=WEB)
        await call("GET", "/v1/proxies", headers={"authorization": "Bearer forged.by.me"})
        await call("POST", "/v1/tokens", body=b'{"role": "editor", "name": "Ann", "secret": "hush-hush"}')
        listed = await call("GET", "/v1/tokens")
        shown = await call("GET", "/v1/audit")

    written = b"".join((*security.lines, listed.body, shown.body, repr(logs).encode()))
    for secret in (made["token"], "h.admin.s", "forged.by.me", "hush-hush"):
        assert secret.encode() not in written


def test_a_line_stays_one_line() -> None:
    lines: list[bytes] = []
    AuditLog(lines.append).record(record(0.0, Outcome.REFUSED, path="GET /a\nb\u2028\x1b[2J"))

    [line] = lines
    assert line.count(b"\n") == 1
    assert b"\x1b" not in line


def record(time: float, outcome: Outcome, path: str = "GET /") -> AuditRecord:
    return AuditRecord(
        time=time,
        caller="",
        how="",
        role="",
        peer="192.0.2.1",
        action=path,
        objects=(),
        outcome=outcome,
        status=401,
        reason="",
        request_id="1",
    )
