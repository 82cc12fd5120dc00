"""Apply, list, read, delete through the API, over a fake control plane."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from lateen.model.names import ObjectKey
from lateen.model.origins import Origin

SERVICE = b"{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {ports: [{port: 80}]}}"
BROKEN = b"{apiVersion: v1, kind: Service, metadata: {name: bad}, spec: {prots: []}}"
SECRET = b"{apiVersion: v1, kind: Secret, metadata: {name: key}, stringData: {tls.key: hush-hush}}"
FILES = "application/vnd.lateen.files+json"
KEY = ObjectKey("Service", "default", "web")


async def test_apply_answers_what_it_did_with_each_object(call: Any) -> None:
    first = (await call("POST", "/v1/config", body=SERVICE)).json()
    again = (await call("POST", "/v1/config", body=SERVICE)).json()
    changed = (await call("POST", "/v1/config", body=SERVICE.replace(b"80", b"81"))).json()

    assert [answer["applied"][0]["action"] for answer in (first, again, changed)] == [
        "created",
        "unchanged",
        "configured",
    ]
    assert first["revision"] == again["revision"] != changed["revision"]


async def test_one_bad_document_refuses_the_whole_request(call: Any, plane: Any) -> None:
    answer = await call("POST", "/v1/config?file=shop.yaml", body=SERVICE + b"\n---\n" + BROKEN)

    assert answer.status == 422
    assert plane.held == {}
    [finding] = [found for found in answer.json()["findings"] if found["severity"] == "error"]
    assert (finding["file"], finding["line"], finding["name"]) == ("shop.yaml", 3, "bad")
    assert "ports" in finding["message"]


async def test_several_files_keep_their_names_and_share_one_fate(call: Any, plane: Any) -> None:
    files = [{"name": "a.yaml", "content": SERVICE.decode()}, {"name": "b.yaml", "content": SERVICE.decode()}]
    answer = await call(
        "POST", "/v1/config", body=msgspec.json.encode({"files": files}), headers={"content-type": FILES}
    )

    assert answer.status == 422
    assert answer.json()["findings"][0]["file"] == "b.yaml"
    assert plane.held == {}


async def test_a_dry_run_changes_nothing(call: Any, plane: Any) -> None:
    answer = (await call("POST", "/v1/config?dry_run=true&wait=5", body=SERVICE)).json()

    assert answer["applied"][0]["action"] == "created"
    assert answer["dry_run"] is True
    assert plane.held == {}
    assert plane.waited == []


async def test_wait_answers_with_the_proxies_and_whether_all_settled(call: Any, plane: Any, type_status: Any) -> None:
    plane.connect("good")
    plane.connect("bad", listeners=type_status(state="rejected", rejection="no such filter"))
    settled = (await call("POST", "/v1/config?wait=5", body=SERVICE)).json()
    plane.connect("slow", listeners=type_status(state="stale"))
    late = (await call("POST", "/v1/config?wait=5", body=SERVICE)).json()

    assert settled["synced"] is True
    assert late["synced"] is False
    assert plane.waited == [5.0, 5.0]
    rejections = {proxy["id"]: proxy["types"]["listeners"]["rejection"] for proxy in settled["proxies"]}
    assert rejections == {"bad.default": "no such filter", "good.default": ""}


async def test_an_object_of_a_folder_can_be_neither_applied_nor_deleted(call: Any, plane: Any) -> None:
    plane.folder[KEY] = Origin("config/web.yaml", 7)
    applied = await call("POST", "/v1/config", body=SERVICE)
    deleted = await call("DELETE", "/v1/config/services/default/web")

    assert (applied.status, deleted.status) == (409, 409)
    assert "managed by config/web.yaml:7" in applied.json()["error"]["message"]


async def test_an_object_is_read_back_by_any_name_of_its_kind(call: Any) -> None:
    await call("POST", "/v1/config", body=SERVICE)
    for word in ("service", "services", "svc", "Service"):
        item = (await call("GET", f"/v1/config/{word}/default/web")).json()
        assert item["document"]["metadata"]["name"] == "web"
        assert item["read_only"] is False


async def test_a_list_is_of_one_namespace_or_of_all(call: Any) -> None:
    await call("POST", "/v1/config", body=SERVICE)
    await call("POST", "/v1/config?namespace=shop", body=SERVICE)

    every = (await call("GET", "/v1/config/services")).json()["items"]
    shop = (await call("GET", "/v1/config/services?namespace=shop")).json()["items"]
    assert [item["namespace"] for item in every] == ["default", "shop"]
    assert [item["namespace"] for item in shop] == ["shop"]


async def test_a_secret_never_leaves_with_its_values(call: Any) -> None:
    await call("POST", "/v1/config", body=SECRET)
    one = await call("GET", "/v1/config/secrets/default/key")
    every = await call("GET", "/v1/config/secrets")

    assert b"tls.key" in one.body
    assert b"hush-hush" not in one.body + every.body
    assert b"aHVzaC1odXNo" not in one.body + every.body


async def test_delete_removes_once_and_is_404_after(call: Any, plane: Any) -> None:
    await call("POST", "/v1/config", body=SERVICE)
    first = await call("DELETE", "/v1/config/svc/default/web")
    second = await call("DELETE", "/v1/config/svc/default/web")

    assert (first.status, second.status) == (200, 404)
    assert plane.held == {}


@pytest.mark.parametrize(
    ("target", "body", "headers", "status"),
    [
        ("/v1/config?wait=soon", SERVICE, {}, 400),
        ("/v1/config?wait=-1", SERVICE, {}, 400),
        ("/v1/config?wait=nan", SERVICE, {}, 400),
        ("/v1/config?dry_run=perhaps", SERVICE, {}, 400),
        ("/v1/config", b"\xff\xfe", {}, 400),
        ("/v1/config", b"[1, 2]", {"content-type": FILES}, 400),
        ("/v1/config", b"x" * (8 * 1024 * 1024 + 1), {}, 413),
        ("/v1/config", b"x" * (8 * 1024 * 1024 + 1), {"content-length": "10"}, 413),
        ("/v1/config", b"a: [", {}, 422),
    ],
)
async def test_a_request_that_cannot_be_understood_is_an_error_in_the_one_shape(
    call: Any, plane: Any, target: str, body: bytes, headers: dict[str, str], status: int
) -> None:
    answer = await call("POST", target, body=body, headers=headers)

    assert answer.status == status
    assert set(answer.json()["error"]) == {"code", "message", "hint"}
    assert plane.held == {}


async def test_an_unknown_kind_is_404_and_says_how_kinds_are_named(call: Any) -> None:
    for method, target in (("GET", "/v1/config/nonsense"), ("DELETE", "/v1/config/nonsense/default/x")):
        answer = await call(method, target)
        assert answer.status == 404
        assert answer.json()["error"]["code"] == "unknown_kind"
