"""AuthorizationPolicies on real Envoys: hundreds of random policies, thousands of calls, one verdict for each.

What Envoy decides must be what `authorization_evaluator`, which knows Istio's documentation only, says of the call.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from e2e.authorization_evaluator import Call, Mesh, allowed
from e2e.authorized_workloads import (
    PAYLOAD_HEADER,
    Authority,
    Connection,
    Document,
    Workload,
    applications,
    bootstrap,
    payload_header,
    policy,
    running_envoy,
)
from ports import free_ports

pytestmark = pytest.mark.e2e

SEED = 20261122
WORKLOADS = 120
CALLS_PER_CONNECTION = 8
CONNECTIONS = 6
MESH = Mesh(trust_domains=("cluster.local", "old.example"))
MESH_CONFIG = "trustDomain: cluster.local\ntrustDomainAliases: [old.example]\n"

PRINCIPALS = (
    None,
    "cluster.local/ns/alpha/sa/web",
    "cluster.local/ns/alpha/sa/web-2",
    "cluster.local/ns/alpha-2/sa/web",
    "cluster.local/ns/beta/sa/job",
    "old.example/ns/alpha/sa/web",
    "foreign.example/ns/beta/sa/job",
)
SOURCES = ("127.0.0.2", "127.0.1.3")
REMOTES = ("", "192.0.2.7", "198.51.100.9", "2001:db8::5")
METHODS = ("GET", "POST", "DELETE", "PUT")
PATHS = ("/", "/a", "/a/b", "/a/b/c", "/a/x/c", "/admin", "/admin/x", "/info.txt", "/A", "/a?x=/admin")
HOSTS = ("app.example", "App.Example", "app.example:8080", "app.example.", "other.example", "x.app.example", "app")
NAMES = (None, "app.example", "db.example")
CLAIMS: tuple[Mapping[str, Any], ...] = (
    {},
    {"iss": "https://idp/a", "sub": "ann", "aud": "shop", "azp": "cli", "groups": ["staff", "ops"]},
    {"iss": "https://idp/b", "sub": "bob", "aud": ["shop", "bank"], "groups": "guest", "org": {"unit": ["x1", "y"]}},
    {"iss": "issuer", "sub": "ann", "org": {"unit": "x2"}},
)
HEADERS: tuple[Mapping[str, str], ...] = ({}, {"x-team": "red"}, {"x-team": "green-1", "x-env": "prod"}, {"x-env": ""})


class Maker:
    """Random policies over a small world, so that values hit and miss."""

    def __init__(self, chance: random.Random, ports: Sequence[int]) -> None:
        self.chance = chance
        numbers = [str(port) for port in ports]
        addresses = ["127.0.0.2", "127.0.0.0/24", "127.0.1.0/24", "127.0.0.0/8", "10.0.0.0/8", "127.0.1.77/25"]
        remotes = ["192.0.2.0/24", "198.51.100.9", "2001:db8::/32", "0.0.0.0/0", "127.0.0.0/8"]
        principals = [
            *("cluster.local/ns/alpha/sa/web", "old.example/ns/beta/sa/job", "foreign.example/ns/beta/sa/job", "*"),
            *("*/ns/alpha/sa/web", "*/sa/web", "cluster.local/ns/alpha/*", "cluster.local/*", "*b", "nobody"),
        ]
        users = ["*", "https://idp/a/ann", "https://idp/*", "*/ann", "issuer/*", "https://idp/b/b*", "*/bob", "x/y"]
        domains = ["cluster.local", "old.example", "foreign.example", "*.example", "cluster*", "*"]
        claims = ["*", "staff", "guest", "st*", "*s", "none"]
        self.source = {
            "principals": principals,
            "requestPrincipals": users,
            "namespaces": ["alpha", "beta", "alpha*", "*", "gamma", "*a"],
            "serviceAccounts": ["alpha/web", "beta/job", "web", "gamma/web"],
            "trustDomains": domains,
            "ipBlocks": addresses,
            "remoteIpBlocks": remotes,
        }
        self.operation = {
            "hosts": [
                "app.example",
                "APP.example",
                "app.example:8080",
                "app.example:*",
                "*.example",
                "app*",
                "*",
                "app",
            ],
            "ports": [*numbers, "1"],
            "methods": ["GET", "POST", "*", "P*", "*T", "DELETE"],
            "paths": [
                *("/a", "/a/*", "*/c", "*", "/admin*", "/", "*.txt", "/nothing"),
                *("/a/{*}/c", "/a/{**}", "/{*}", "/{**}", "/{*}/b", "/a/{*}"),
            ],
        }
        self.conditions = {
            "request.headers[x-team]": ["red", "green*", "*1", "*", "blue"],
            "request.headers[X-Env]": ["prod", "*", "p*"],
            "source.ip": addresses,
            "remote.ip": remotes,
            "source.namespace": ["alpha", "beta", "alpha*"],
            "source.principal": principals,
            "source.serviceAccount": ["alpha/web", "web"],
            "source.trustDomain": domains,
            "request.auth.principal": users,
            "request.auth.audiences": ["shop", "bank", "b*", "*"],
            "request.auth.presenter": ["cli", "*", "c*"],
            "request.auth.claims[groups]": claims,
            "request.auth.claims[org][unit]": ["x1", "x*", "*", "y"],
            "destination.ip": ["127.0.0.0/8", "127.70.0.0/29", "10.0.0.1"],
            "destination.port": numbers,
            "connection.sni": ["app.example", "*.example", "db*", "*"],
        }

    def fields(self, pool: Mapping[str, Sequence[str]], limit: int) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for name in self.chance.sample(sorted(pool), self.chance.randint(1, limit)):
            negated = self.chance.random() < 0.3
            known = f"not{name[0].upper()}{name[1:]}" if negated else name
            found[known] = self.some(pool[name])
        # Istio admits accounts only without principals and namespaces.
        if any(name.lower().endswith("serviceaccounts") for name in found):
            found = {
                name: values
                for name, values in found.items()
                if not name.lower().endswith(("principals", "namespaces")) or "equest" in name
            }
        return found

    def some(self, values: Sequence[str]) -> list[str]:
        return self.chance.sample(list(values), self.chance.randint(1, min(3, len(values))))

    def rule(self) -> dict[str, Any]:
        rule: dict[str, Any] = {}
        if self.chance.random() < 0.6:
            rule["from"] = [{"source": self.fields(self.source, 2)} for _ in range(self.chance.randint(1, 2))]
        if self.chance.random() < 0.6:
            rule["to"] = [{"operation": self.fields(self.operation, 2)} for _ in range(self.chance.randint(1, 2))]
        if self.chance.random() < 0.4:
            rule["when"] = [self.condition() for _ in range(self.chance.randint(1, 2))]
        return rule

    def condition(self) -> dict[str, Any]:
        key = self.chance.choice(sorted(self.conditions))
        kinds = self.chance.choice((("values",), ("values",), ("notValues",), ("values", "notValues")))
        return {"key": key, **{kind: self.some(self.conditions[key]) for kind in kinds}}

    def policies(self, workload: Workload) -> Iterator[Document]:
        """Yield the policies that are about a workload: its namespace's, and such of the root namespace."""
        for number in range(self.chance.randint(1, 4)):
            action = self.chance.choice(("ALLOW", "ALLOW", "DENY"))
            rules = [self.rule() for _ in range(self.chance.randint(1, 3))]
            if action == "ALLOW" and self.chance.random() < 0.05:
                rules = []
            spec: dict[str, Any] = {"action": action, "rules": rules}
            namespace = workload.namespace
            if self.chance.random() < 0.25:
                namespace = "istio-system"
                spec["selector"] = {"matchLabels": dict(workload.labels)}
            name = f"{workload.namespace}-{number}"
            yield policy(name, spec, namespace=namespace, dry_run=self.chance.random() < 0.08)


@dataclass(frozen=True)
class World:
    """Everything that one Envoy runs."""

    authority: Authority
    ports: tuple[int, int, int]
    policies: Sequence[tuple[Workload, Sequence[Document]]]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("authorization")
    with running_world(folder) as found:
        yield found


@contextmanager
def running_world(folder: Path) -> Iterator[World]:
    first, second, tcp, admin_port = free_ports(4)
    authority = Authority(folder)
    maker = Maker(random.Random(SEED), (first, second, tcp))
    workloads = [
        Workload(
            address=f"127.70.{number // 250}.{number % 250 + 1}", namespace=f"set-{number}", labels={"set": str(number)}
        )
        for number in range(WORKLOADS)
    ]
    policies = [(workload, list(maker.policies(workload))) for workload in workloads]
    documents: list[Document] = [one for _, found in policies for one in found]
    for workload in workloads:
        documents += workload.documents((first, second), (tcp,))
    config = bootstrap(workloads, documents, authority, mesh_config=MESH_CONFIG, admin_port=admin_port)
    with applications((first, second), (tcp,)), running_envoy(folder, config):
        yield World(authority, (first, second, tcp), policies)


def connections(chance: random.Random, workload: Workload, ports: Sequence[int]) -> Iterator[Call]:
    for _ in range(CONNECTIONS):
        yield Call(
            principal=chance.choice(PRINCIPALS),
            source=chance.choice(SOURCES),
            destination=workload.address,
            port=chance.choice(ports),
            sni=chance.choice(NAMES) or "",
        )


def opened(world: World, call: Call) -> Connection:
    uris = (f"spiffe://{call.principal}",) if call.principal else ()
    tls = world.authority.client(*uris)
    return Connection((call.destination, call.port), tls, source=call.source, sni=call.sni or None)


def requests(chance: random.Random, connection: Call) -> Iterator[Call]:
    for _ in range(CALLS_PER_CONNECTION):
        yield replace(
            connection,
            method=chance.choice(METHODS),
            path=chance.choice(PATHS),
            host=chance.choice(HOSTS),
            headers=chance.choice(HEADERS),
            claims=chance.choice(CLAIMS),
            remote=chance.choice(REMOTES),
        )


def sent_headers(call: Call) -> list[tuple[str, str]]:
    found = list(call.headers.items())
    if call.claims:
        found.append((PAYLOAD_HEADER, payload_header(call.claims)))
    if call.remote:
        found.append(("x-forwarded-for", call.remote))
    return found


def test_requests_are_decided_as_istio_documents(world: World) -> None:
    """Of thousands of random requests to workloads with random policies, Envoy's verdicts are the evaluator's."""
    chance = random.Random(SEED + 1)
    wrong, verdicts = [], {True: 0, False: 0}
    for workload, policies in world.policies:
        for call in connections(chance, workload, world.ports[:2]):
            with opened(world, call) as connection:
                for request in requests(chance, call):
                    answer = connection.request(request.method, request.path, sent_headers(request), host=request.host)
                    expected = allowed(policies, request, MESH)
                    verdicts[expected] += 1
                    if (answer.status == 200, answer.status == 403) != (expected, not expected):
                        wrong.append((request, answer.status, policies))
    assert not wrong, (len(wrong), wrong[0])
    # The world is such that both verdicts are common.
    assert min(verdicts.values()) > WORKLOADS * CONNECTIONS, verdicts


def test_connections_are_decided_as_istio_documents(world: World) -> None:
    """The same for bytes, where attributes of requests do not exist."""
    chance = random.Random(SEED + 2)
    wrong, verdicts = [], {True: 0, False: 0}
    for workload, policies in world.policies:
        for call in connections(chance, workload, world.ports[2:]):
            with opened(world, call) as connection:
                passed = connection.line(b"ping") == b"echo ping\n"
            expected = allowed(policies, call, MESH)
            verdicts[expected] += 1
            if passed != expected:
                wrong.append((call, passed, policies))
    assert not wrong, (len(wrong), wrong[0])
    assert min(verdicts.values()) > WORKLOADS // 2, verdicts
