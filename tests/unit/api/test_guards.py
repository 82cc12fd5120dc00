"""Who may ask from where."""

from __future__ import annotations

from typing import Any

import pytest

from lateen.api.guards import host_name, refused


@pytest.mark.parametrize(
    "host", ["127.0.0.1:15080", "localhost:15080", "localhost", "[::1]:15080", "127.1.2.3", "a.localhost"]
)
def test_loopback_names_may_ask(host: str) -> None:
    assert refused("GET", host, None, loopback=True) == ""


@pytest.mark.parametrize(
    "host", ["", "evil.example", "evil.example:15080", "localhost.evil.example", "192.0.2.1:15080"]
)
def test_a_rebound_name_is_refused_on_a_loopback_bind_only(host: str) -> None:
    """DNS rebinding: the browser believes that the attacker's name lives at 127.0.0.1."""
    assert refused("GET", host, None, loopback=True) != ""
    assert refused("GET", host, None, loopback=False) == ""


@pytest.mark.parametrize(
    ("method", "origin", "passes"),
    [
        ("POST", None, True),
        ("POST", "http://127.0.0.1:15080", True),
        ("POST", "http://evil.example", False),
        ("POST", "http://127.0.0.1:3000", False),
        ("POST", "null", False),
        ("DELETE", "http://evil.example", False),
        ("GET", "http://evil.example", True),
    ],
)
def test_a_foreign_page_may_not_change_anything(method: str, origin: str | None, passes: bool) -> None:
    assert (refused(method, "127.0.0.1:15080", origin, loopback=True) == "") is passes


@pytest.mark.parametrize(
    ("authority", "host"),
    [("a:1", "a"), ("a", "a"), ("[::1]:1", "::1"), ("::1", "::1"), ("[::1].evil.example", "[::1].evil.example")],
)
def test_the_host_of_an_authority(authority: str, host: str) -> None:
    assert host_name(authority) == host


async def test_a_refusal_is_403_in_the_one_shape_and_nothing_is_applied(call: Any, plane: Any) -> None:
    answer = await call("POST", "/v1/config", body=b"", headers={"origin": "http://evil.example"})

    assert answer.status == 403
    assert answer.json()["error"]["code"] == "forbidden"
    assert plane.held == {}
    assert not any(name.startswith("access-control") for name in answer.headers)
