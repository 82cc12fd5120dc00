"""What proxies are sent for Gateway API objects, and that it follows every change."""

from __future__ import annotations

import pytest

from key_pairs import encoded, key_pair
from lateen.api.answers import resource_view
from lateen.config.mesh_config import MeshConfig
from lateen.config.parsing import parse
from lateen.envoy.resources import LISTENER, SECRET, Snapshot
from lateen.generate.generator import Generator
from lateen.generate.snapshot import generate
from lateen.mesh.build import build_state
from lateen.mesh.state import MeshState
from lateen.model.findings import has_errors
from lateen.model.proxies import Proxy, ProxyType

CHAIN, KEY = map(encoded, key_pair())
GATEWAY = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: lateen
  listeners:
  - {name: https, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: s, namespace: certs}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r}
spec: {parentRefs: [{name: edge}], rules: [{backendRefs: [{name: a, port: 80}]}]}
---
"""
SECRET_OF_OTHERS = f"""
apiVersion: v1
kind: Secret
metadata: {{name: s, namespace: certs}}
data: {{tls.crt: {CHAIN}, tls.key: {KEY}}}
---
"""
GRANT = """
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {name: g, namespace: certs}
spec: {from: [{group: gateway.networking.k8s.io, kind: Gateway, namespace: default}], to: [{group: "", kind: Secret}]}
---
"""
BACKEND = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80, name: http}]}\n---\n"
NAME = "kubernetes-gateway://certs/s"


@pytest.fixture
def edge() -> Proxy:
    labels = {"gateway.networking.k8s.io/gateway-name": "edge"}
    return Proxy(
        type=ProxyType.GATEWAY,
        name="edge",
        namespace="default",
        addresses=("127.0.0.9",),
        labels=labels,
        certificates=True,
    )


def state(text: str, previous: MeshState | None = None) -> MeshState:
    parsed = parse(text.encode(), "f.yaml")
    assert not has_errors(parsed.findings), parsed.findings
    return build_state(parsed.objects, (), MeshConfig(), previous)


def named(snapshot: Snapshot, kind: str) -> set[str]:
    return set(snapshot.resources.get(kind, {}))


def test_a_secret_of_another_namespace_comes_and_goes_with_its_grant(edge: Proxy) -> None:
    """The generator that keeps what it made says at each step what one without a memory says."""
    generator, before = Generator(), None
    everything = GATEWAY + SECRET_OF_OTHERS + GRANT + BACKEND
    steps = [
        (GATEWAY + SECRET_OF_OTHERS, False),
        (everything, True),
        (everything.replace(BACKEND, ""), True),
        (GATEWAY + SECRET_OF_OTHERS + BACKEND, False),
        (everything, True),
        (GATEWAY + GRANT, False),
    ]
    for text, served in steps:
        before = state(text, before)
        found = generator.generate(before, edge)
        assert found == generate(state(text), edge)
        assert (NAME in named(found, SECRET)) is served
        assert ("0.0.0.0_443" in named(found, LISTENER)) is served


def test_a_set_comes_and_goes_with_its_gateways_permission(edge: Proxy) -> None:
    """The generator that keeps what it made says at each step what one without a memory says."""
    a_set = """
apiVersion: gateway.networking.k8s.io/v1
kind: ListenerSet
metadata: {name: team, namespace: certs}
spec:
  parentRef: {name: edge, namespace: default}
  listeners:
  - {name: own, port: 8443, protocol: HTTPS, hostname: a.example.com, tls: {certificateRefs: [{name: s}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: team, namespace: certs}
spec: {parentRefs: [{kind: ListenerSet, name: team}], rules: [{backendRefs: [{name: a, port: 80}]}]}
---
"""
    allowing = GATEWAY.replace("lateen\n", "lateen\n  allowedListeners: {namespaces: {from: All}}\n")
    of_own = "{name: s, namespace: certs}"
    plain = allowing.replace(f"443, protocol: HTTPS, tls: {{certificateRefs: [{of_own}]}}", "80, protocol: HTTP")
    generator, before = Generator(), None
    steps = [
        (GATEWAY + SECRET_OF_OTHERS + GRANT + a_set, False),
        (allowing + SECRET_OF_OTHERS + GRANT + a_set, True),
        (allowing + SECRET_OF_OTHERS + a_set, False),  # its Gateway is not accepted: that has no certificate
        (plain + SECRET_OF_OTHERS + a_set, True),
        (plain + a_set, False),
        (plain + SECRET_OF_OTHERS + a_set, True),
        (plain + SECRET_OF_OTHERS, False),
    ]
    for text, served in steps:
        before = state(text, before)
        found = generator.generate(before, edge)
        assert found == generate(state(text), edge)
        assert ("0.0.0.0_8443" in named(found, LISTENER)) is served
        assert served <= (NAME in named(found, SECRET))


def test_a_gateway_of_istio_gets_nothing_by_the_grant(edge: Proxy) -> None:
    """A ReferenceGrant is for Gateways of the Gateway API."""
    istio = f"""
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: mine}}
spec:
  servers:
  - port: {{number: 443, name: h, protocol: HTTPS}}
    hosts: [a.example.com]
    tls: {{mode: SIMPLE, credentialName: "{NAME}"}}
---
"""
    found = generate(state(istio + SECRET_OF_OTHERS + GRANT), edge)
    assert named(found, SECRET) == set()


def test_what_a_listener_ends_tls_of_goes_by_the_name_that_was_asked_for(edge: Proxy) -> None:
    """TLSRoutes name hosts, a TCPRoute has the rest; a passthrough listener may share the port."""
    tls = "protocol: TLS, tls: {certificateRefs: [{name: s, namespace: certs}]}"
    listeners = f"""
  - {{name: wild, port: 443, hostname: "*.example.com", {tls}}}
  - {{name: sealed, port: 443, hostname: sealed.example.org, protocol: TLS, tls: {{mode: Passthrough}}}}
---
"""
    routes = ""
    for name, kind, more in (
        ("one", "TLSRoute", "hostnames: [one.example.com], "),
        ("two", "TLSRoute", "hostnames: [two.example.com, sealed.example.org], "),
        ("rest", "TCPRoute", ""),
    ):
        spec = f"{{parentRefs: [{{name: edge}}], {more}rules: [{{backendRefs: [{{name: {name}, port: 80}}]}}]}}"
        routes += f"apiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\n"
        routes += f"metadata: {{name: {name}}}\nspec: {spec}\n---\n"
        routes += BACKEND.replace("name: a}", f"name: {name}}}")
    text = GATEWAY.partition("  listeners:")[0] + "  listeners:" + listeners + routes + SECRET_OF_OTHERS + GRANT
    listener = resource_view(generate(state(text), edge).resources[LISTENER]["0.0.0.0_443"]).resource
    found = {
        ",".join(chain["filter_chain_match"]["server_names"]): (
            chain["filters"][-1]["typed_config"]["cluster"].split("|")[3].partition(".")[0],
            "transport_socket" in chain,
        )
        for chain in listener["filter_chains"]
    }
    assert found == {
        "one.example.com": ("one", True),
        "two.example.com": ("two", True),
        "*.example.com": ("rest", True),
        "sealed.example.org": ("two", False),
    }
