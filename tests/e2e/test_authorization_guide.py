"""The YAML of the guide does what the guide says, on real Envoy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.authorized_workloads import (
    PAYLOAD_HEADER,
    Authority,
    Connection,
    Workload,
    applications,
    bootstrap,
    payload_header,
    running_envoy,
)
from e2e.test_authorization_servers import authorizer_documents, http_authorizer
from ports import free_ports

pytestmark = pytest.mark.e2e

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "authorization.md"
BLOCKS = [
    yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
]
POLICIES = {block["metadata"]["name"]: block for block in BLOCKS if "kind" in block}
# A server of a test may stand still for longer than one ought to wait for it.
MESH_CONFIG = yaml.safe_dump(next(block for block in BLOCKS if "extensionProviders" in block)).replace(
    "timeout: 2s", "timeout: 30s"
)
APP = Workload(address="127.74.0.1", namespace="default", labels={"app": "reviews"})


class Caller:
    """Calls the workload as one identity."""

    def __init__(self, authority: Authority, http: int, tcp: int) -> None:
        self._authority = authority
        self._http, self._tcp = (APP.address, http), (APP.address, tcp)

    def status(self, path: str, *, of: str = "shop/productpage", method: str = "GET", **headers: str) -> int:
        names = [(name.replace("_", "-"), value) for name, value in headers.items()]
        with Connection(self._http, self._tls(of)) as connection:
            return connection.request(method, path, names).status

    def echoes(self, *, of: str = "shop/productpage") -> bool:
        with Connection(self._tcp, self._tls(of)) as connection:
            return connection.line(b"ping") == b"echo ping\n"

    def _tls(self, of: str) -> Any:
        namespace, _, account = of.partition("/")
        return self._authority.client(f"spiffe://cluster.local/ns/{namespace}/sa/{account}")


@contextmanager
def guarded(folder: Path, *names: str, authorizer: int = 1) -> Iterator[Caller]:
    http, tcp, admin_port = free_ports(3)
    # The guide's application listens where it can here.
    policies = yaml.safe_load(yaml.safe_dump([POLICIES[name] for name in names]).replace("'9080'", f"'{http}'"))
    documents = [*policies, *APP.documents((http,), (tcp,)), *authorizer_documents(authorizer, "http", APP.namespace)]
    authority = Authority(folder)
    config = bootstrap([APP], documents, authority, mesh_config=MESH_CONFIG, admin_port=admin_port)
    with applications((http,), (tcp,)), running_envoy(folder, config):
        yield Caller(authority, http, tcp)


def test_every_policy_of_the_guide_is_tried() -> None:
    assert set(POLICIES) == {"nothing", "readers", "admin", "conditions", "ask", "tried"}


def test_a_namespace_is_closed_and_opened(tmp_path: Path) -> None:
    with guarded(tmp_path, "nothing") as caller:
        assert caller.status("/reviews/1") == 403
        assert not caller.echoes()
    with guarded(tmp_path, "nothing", "readers") as caller:
        assert caller.status("/reviews/1") == 200
        assert caller.status("/books/7/reviews", of="ops/anyone") == 200
        assert caller.status("/books/7/8/reviews") == 403
        assert caller.status("/reviews/1", method="POST") == 403
        assert caller.status("/reviews/1", of="shop/other") == 403
        assert not caller.echoes()


def test_something_is_refused(tmp_path: Path) -> None:
    with guarded(tmp_path, "admin") as caller:
        assert caller.status("/admin/x") == 403
        assert caller.status("/x/../admin") == 403
        assert caller.status("/admin/x", of="ops/anyone") == 200
        assert caller.status("/other") == 200
        assert caller.echoes()


def test_conditions_must_all_hold(tmp_path: Path) -> None:
    editor = payload_header({"iss": "https://idp.example.com", "sub": "ann", "groups": ["editors"]})
    reader = payload_header({"iss": "https://idp.example.com", "sub": "bob", "groups": ["readers"]})
    token = PAYLOAD_HEADER.replace("-", "_")
    with guarded(tmp_path, "conditions") as caller:
        assert caller.status("/", **{token: editor}) == 200
        assert caller.status("/", **{token: reader}) == 403
        assert caller.status("/", **{token: editor, "x_team": "guests"}) == 403
        assert caller.status("/") == 403


def test_a_server_is_asked(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    with guarded(tmp_path, "ask", authorizer=port) as caller:
        assert caller.status("/private/1") == 403
        with http_authorizer(port):
            assert caller.status("/private/1") == 200
            assert caller.status("/private/1", x_ask="deny") == 401
            assert caller.status("/public", x_ask="deny") == 200


def test_a_policy_is_tried(tmp_path: Path) -> None:
    with guarded(tmp_path, "tried") as caller:
        assert caller.status("/", method="DELETE") == 200
