"""What a caller with the mesh's own retries loses while one of two workloads is gone, or its application is: nothing.

One real Envoy has the caller's side and both workloads' inbound sides, so that nothing but the retries decides.
"""

from __future__ import annotations

import http.client
import socket
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from e2e.test_explain import running
from lateen.config.mesh_config import MeshConfig
from lateen.envoy.filters import HttpSettings, filter_defaults, http_connection_manager
from lateen.envoy.messages import Fields, serialise, to_json
from lateen.envoy.route_policies import default_retry_policy

pytestmark = [pytest.mark.e2e]

CALLS = 2000
AT_ONCE = 16
ADDRESS = "127.0.0.7"
CALLER, GOOD, WITHOUT_APP, REFUSING_APP = 15301, 15302, 15303, 15304
CLOSED = 15309
"""Where nobody listens."""


def shown(kind: str, fields: Fields) -> dict[str, Any]:
    return to_json(kind, serialise(kind, fields))


def socket_address(port: int) -> Fields:
    return {"socket_address": {"address": ADDRESS, "port_value": port}}


def listener(port: int, route: Fields, *, inbound: bool) -> dict[str, Any]:
    routes = {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, **route}]}]}
    settings = HttpSettings(stat_prefix=str(port), routes=routes, inbound=inbound)
    manager = http_connection_manager(settings, filter_defaults(MeshConfig()))
    fields = {"name": str(port), "address": socket_address(port), "filter_chains": [{"filters": [manager]}]}
    return shown("envoy.config.listener.v3.Listener", fields)


def cluster(name: str, *ports: int) -> dict[str, Any]:
    hosts = [{"endpoint": {"address": socket_address(port)}} for port in ports]
    fields: Fields = {
        "name": name,
        "lb_policy": "LEAST_REQUEST",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": hosts}]},
        "circuit_breakers": {"thresholds": [{"max_retries": {"value": 1000}}]},
    }
    return shown("envoy.config.cluster.v3.Cluster", fields)


def bootstrap(other: int) -> Mapping[str, Any]:
    """A caller of two workloads: one that answers, and this one."""
    retried: Fields = {"route": {"cluster": "both", "retry_policy": default_retry_policy()}}
    listeners = [
        listener(CALLER, retried, inbound=False),
        listener(GOOD, {"direct_response": {"status": 200}}, inbound=True),
        listener(WITHOUT_APP, {"route": {"cluster": "nobody"}}, inbound=True),
        listener(REFUSING_APP, {"direct_response": {"status": 503}}, inbound=True),
    ]
    return {
        "static_resources": {
            "listeners": listeners,
            "clusters": [cluster("both", GOOD, other), cluster("nobody", CLOSED)],
        }
    }


@contextmanager
def calling(folder: Path, other: int) -> Iterator[None]:
    def up() -> bool:
        with closing(socket.socket()) as probe:
            return probe.connect_ex((ADDRESS, CALLER)) == 0

    with running(folder, bootstrap(other), up):
        yield


def call(port: int, count: int) -> Counter[int]:
    """Statuses of POSTs, which nobody may repeat that have reached an application."""
    statuses: Counter[int] = Counter()
    with closing(http.client.HTTPConnection(ADDRESS, port, timeout=20)) as connection:
        for _ in range(count):
            connection.request("POST", "/", body=b"once")
            response = connection.getresponse()
            response.read()
            statuses[response.status] += 1
    return statuses


def statuses_of(count: int = CALLS) -> Counter[int]:
    with ThreadPoolExecutor(AT_ONCE) as threads:
        return sum(threads.map(lambda _: call(CALLER, count // AT_ONCE), range(AT_ONCE)), Counter())


@pytest.mark.parametrize("other", [CLOSED, WITHOUT_APP], ids=["host gone", "application gone"])
def test_no_call_fails_while_one_of_two_workloads_takes_no_connections(tmp_path: Path, other: int) -> None:
    with calling(tmp_path, other):
        assert statuses_of() == {200: CALLS}


def test_what_an_application_answered_is_not_repeated(tmp_path: Path) -> None:
    """A 503 of its own may come after half of the work."""
    with calling(tmp_path, REFUSING_APP):
        statuses = statuses_of(160)
    assert statuses[503] > 0


def test_workload_without_its_application_answers_503_and_unavailable(tmp_path: Path) -> None:
    """The status is the 503 that it always was; gRPC's word stands beside it."""
    with calling(tmp_path, CLOSED), closing(http.client.HTTPConnection(ADDRESS, WITHOUT_APP, timeout=20)) as connection:
        connection.request("GET", "/")
        response = connection.getresponse()
        assert (response.status, response.headers["grpc-status"]) == (503, "14")
