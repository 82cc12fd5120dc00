"""The names that an intercepted sidecar knows, and the listeners of their addresses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from lateen.config.parsing import parse
from lateen.generate.generator import Generator
from lateen.generate.snapshot import generate
from lateen.mesh.build import build_state
from lateen.mesh.queries import virtual_addresses
from lateen.mesh.virtual_addresses import allocated
from lateen.model.names import Hostname
from lateen.model.proxies import Interception, Proxy
from unit.generate.conftest import Generated, shown, state_of

ENTRY = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: NAME, namespace: default}
spec: {hosts: [HOST], resolution: STATIC, ports: [{number: 7000, name: p, protocol: TCP}], MORE}
"""
HEADLESS = """
apiVersion: v1
kind: Service
metadata: {name: db, namespace: default}
spec: {clusterIP: None, ports: [{port: 5432, name: tcp}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: db-1, namespace: default, labels: {kubernetes.io/service-name: db}}
addressType: IPv4
ports: [{port: 5432, name: tcp}]
endpoints:
- {addresses: [198.51.100.1], targetRef: {kind: Pod, name: db-0, namespace: default}}
- {addresses: [127.0.0.7], targetRef: {kind: Pod, name: db-1, namespace: default}}
"""


def entry(host: str, more: str = "exportTo: ['*']", name: str = "n") -> str:
    return ENTRY.replace("HOST", f"'{host}'").replace("MORE", more).replace("NAME", name)


@pytest.fixture
def answering(sidecar: Proxy) -> Proxy:
    """An intercepted sidecar beside which names are answered."""
    return replace(sidecar, answers_dns=True)


def table(listeners: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the addresses by name."""
    config = listeners["dns"]["listener_filters"][0]["typed_config"]["server_config"]["inline_dns_table"]
    return {item["name"]: item["endpoint"]["address_list"]["address"] for item in config.get("virtual_domains", [])}


def test_only_who_answers_names_has_them(generated: Generated, sidecar: Proxy, explicit_sidecar: Proxy) -> None:
    """Others get neither the table nor listeners of virtual addresses."""
    for proxy in (sidecar, replace(explicit_sidecar, answers_dns=True)):
        listeners = generated(entry("a.example.com"), proxy)["Listener"]
        assert not [name for name in listeners if name == "dns" or name.startswith("24")]


def test_addresses_of_a_name(generated: Generated, answering: Proxy) -> None:
    """Its own before virtual ones; CIDRs are no answer, and neither is what nobody can connect to."""
    (four, six) = allocated(state_of(entry("a.example.com")).services.values())[Hostname("a.example.com")]
    dual = replace(answering, addresses=("10.9.9.9", "fd00::9"))
    only6 = replace(answering, addresses=("fd00::9",))
    own = entry("a.example.com", "addresses: [203.0.113.1, 'fd00::1']")
    for documents, proxy, expected in (
        (entry("a.example.com"), answering, [four]),
        (entry("a.example.com"), dual, [four, six]),
        (entry("a.example.com"), only6, ["0.0.0.0", six]),
        (own, answering, ["203.0.113.1", "fd00::1"]),
        (entry("a.example.com", "addresses: ['fd00::1']"), answering, ["0.0.0.0", "fd00::1"]),
    ):
        assert table(generated(documents, proxy)["Listener"]) == {"a.example.com": expected}
    for documents in (entry("a.example.com", "addresses: [203.0.113.0/24]"), entry("a.example.com", "exportTo: [x]")):
        assert table(generated(documents, answering)["Listener"]) == {}


def test_tcp_by_virtual_address_has_a_listener(generated: Generated, answering: Proxy) -> None:
    """For both IP versions, and to the service's cluster."""
    dual = replace(answering, addresses=("10.9.9.9", "fd00::9"))
    listeners = generated(entry("a.example.com"), dual)["Listener"]
    four, six = table(listeners)["a.example.com"]
    found = listeners[f"{four}_7000"]
    assert found["additional_addresses"][0]["address"]["socket_address"]["address"] == six
    assert "outbound|7000||a.example.com" in str(found)


def test_headless_service_is_its_endpoints_and_they_have_names(generated: Generated, answering: Proxy) -> None:
    """But for loopback: a connection there does not leave the app's network."""
    host = "db.default.svc.cluster.local"
    found = table(generated(HEADLESS, answering)["Listener"])
    assert found == {host: ["198.51.100.1"], f"db-0.{host}": ["198.51.100.1"]}


@pytest.mark.parametrize(("host", "known"), [("*.w.example.com", True), ("*w.example.com", False)])
def test_wildcards(generated: Generated, answering: Proxy, host: str, known: bool) -> None:
    """Those that Envoy's table can say."""
    documents = entry(host).replace("TCP", "TLS")
    assert (host in table(generated(documents, answering)["Listener"])) is known


def test_what_follows_is_what_is_made_from_scratch(answering: Proxy) -> None:
    """Also where a service that comes takes the address of one that stays."""
    hosts = [Hostname(f"s-{number}.example.com") for number in range(40)]
    generator, state = Generator(), None
    documents = ""
    for number, host in enumerate(hosts):
        documents += "---" + entry(host, name=f"n{number}")
        state = build_state(parse(documents.encode(), "f").objects, (), state_of("").mesh_config, state)
        snapshot = generator.generate(state, answering)
        assert snapshot.version == generate(state, answering).version
    assert state is not None
    assert len(table(shown(snapshot)["Listener"])) == len(virtual_addresses(state)) == 40


def test_two_that_meet(answering: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a range of eight addresses they do: the listeners follow the names, for old services as for new ones."""
    from lateen.mesh import virtual_addresses as module

    monkeypatch.setattr(module, "_COUNT", 8)
    generator, state, documents = Generator(), None, ""
    for number, host in enumerate(("e.example.com", "d.example.com", "c.example.com", "a.example.com")):
        documents += "---" + entry(host, name=f"n{number}")
        state = build_state(parse(documents.encode(), "f").objects, (), state_of("").mesh_config, state)
        listeners = shown(generator.generate(state, answering))["Listener"]
        for name, (address,) in table(listeners).items():
            assert f"outbound|7000||{name}" in str(listeners[f"{address}_7000"])
        assert generator.generate(state, answering).version == generate(state, answering).version


def test_it_tells_proxies_apart(answering: Proxy) -> None:
    """One that answers names and one that does not share no snapshot."""
    state, generator = state_of(entry("a.example.com")), Generator()
    scopes = {generator.scope_of(state, replace(answering, answers_dns=answers)) for answers in (True, False)}
    assert len(scopes) == 2
    explicit = replace(answering, interception=Interception.NONE)
    assert generator.scope_of(state, explicit) == generator.scope_of(state, replace(explicit, answers_dns=False))
