"""What a proxy says about its verdicts: why, by which policy, and what a dry run would have done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.authorized_workloads import (
    Connection,
    Document,
    Workload,
    admin,
    applications,
    bootstrap,
    policy,
    running_envoy,
)
from ports import free_ports

pytestmark = pytest.mark.e2e

APP = Workload(address="127.73.0.1", namespace="app")
DETAILED = (
    "%RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %DYNAMIC_METADATA(envoy.filters.http.rbac)% "
    "%DYNAMIC_METADATA(envoy.common:access_log_hint)%"
)


@dataclass
class Reporting:
    http: tuple[str, int]
    tcp: tuple[str, int]
    admin_port: int
    log: Path

    def get(self, path: str) -> int:
        with Connection(self.http) as connection:
            return connection.request("GET", path).status

    def echoes(self) -> bool:
        with Connection(self.tcp) as connection:
            return connection.line(b"ping") == b"echo ping\n"

    def statistics(self) -> Mapping[str, int]:
        lines = [line.rpartition(": ") for line in admin(self.admin_port, "/stats").splitlines()]
        return {name: int(value) for name, _, value in lines if value.isdigit()}


@contextmanager
def reporting(folder: Path, policies: Sequence[Document], **settings: Any) -> Iterator[Reporting]:
    http, tcp, admin_port = free_ports(3)
    log = folder / "access.log"
    mesh_config = yaml.safe_dump({"accessLogFile": str(log), **settings})
    documents = [*policies, *APP.documents((http,), (tcp,))]
    config = bootstrap([APP], documents, None, mesh_config=mesh_config, admin_port=admin_port)
    with applications((http,), (tcp,)), running_envoy(folder, config):
        yield Reporting((APP.address, http), (APP.address, tcp), admin_port, log)


def rule(*paths: str) -> dict[str, Any]:
    return {"to": [{"operation": {"paths": list(paths)}}]}


def test_the_access_log_names_the_policy(tmp_path: Path) -> None:
    """Of requests in the response code's details, of connections in those of their end; with the format as it is."""
    refused = policy("no", {"action": "DENY", "rules": [rule("/x"), rule("/no")]})
    nobody = policy("nobody", {})
    with reporting(tmp_path, [refused]) as app:
        assert (app.get("/no"), app.get("/yes"), app.echoes()) == (403, 200, False)
        statistics = app.statistics()
        manager = f"http.inbound_{APP.address}_{app.http[1]};"
        assert statistics[f"{manager}.rbac.denied"] == 1
        assert statistics[f"{manager}.rbac.allowed"] == 1
        assert statistics["tcp.rbac.denied"] == 1
    of_request, _, of_connection = app.log.read_text().splitlines()
    assert "rbac_access_denied_matched_policy[ns[app]-policy[no]-rule[1]]" in of_request
    assert "rbac_access_denied_matched_policy[ns[app]-policy[no]-rule[0]]" in of_connection
    app.log.unlink()
    with reporting(tmp_path, [nobody]) as app:
        assert (app.get("/"), app.echoes()) == (403, False)
    for line in app.log.read_text().splitlines():
        assert "rbac_access_denied_matched_policy[none]" in line


def test_a_dry_run_says_what_it_would_do_and_does_nothing(tmp_path: Path) -> None:
    tried = [
        policy("no", {"action": "DENY", "rules": [rule("/no")]}, dry_run=True),
        policy("yes", {"rules": [rule("/yes")]}, dry_run=True),
    ]
    with reporting(tmp_path, tried, accessLogFormat=DETAILED) as app:
        assert (app.get("/no"), app.get("/yes"), app.echoes()) == (200, 200, True)
        statistics = app.statistics()
        manager = f"http.inbound_{APP.address}_{app.http[1]};.rbac"
        assert statistics[f"{manager}.istio_dry_run_deny_.shadow_denied"] == 1
        assert statistics[f"{manager}.istio_dry_run_deny_.shadow_allowed"] == 1
        assert statistics[f"{manager}.istio_dry_run_allow_.shadow_denied"] == 1
        assert statistics[f"{manager}.istio_dry_run_allow_.shadow_allowed"] == 1
        assert statistics["tcp.rbac.istio_dry_run_deny_.shadow_denied"] == 1
    log = app.log.read_text()
    assert '"istio_dry_run_deny_shadow_effective_policy_id":"ns[app]-policy[no]-rule[0]"' in log
    assert '"istio_dry_run_allow_shadow_effective_policy_id":"ns[app]-policy[yes]-rule[0]"' in log


def test_an_audit_counts_and_lets_through(tmp_path: Path) -> None:
    audited = policy("watched", {"action": "AUDIT", "rules": [rule("/watched")]})
    refused = policy("no", {"action": "DENY", "rules": [{"to": [{"operation": {"paths": ["/no"], "ports": ["1"]}}]}]})
    with reporting(tmp_path, [audited, refused], accessLogFormat=DETAILED) as app:
        assert (app.get("/watched"), app.get("/other"), app.echoes()) == (200, 200, True)
        statistics = app.statistics()
        manager = f"http.inbound_{APP.address}_{app.http[1]};.rbac"
        assert statistics[f"{manager}.istio_audit_.shadow_allowed"] == 1
        assert statistics[f"{manager}.istio_audit_.shadow_denied"] == 1
        assert statistics["tcp.rbac.istio_audit_.shadow_allowed"] == 1
    watched, other = app.log.read_text().splitlines()[:2]
    assert '"istio_audit_shadow_effective_policy_id":"ns[app]-policy[watched]-rule[0]"' in watched
    assert watched.endswith("true")
    assert other.endswith("false")
