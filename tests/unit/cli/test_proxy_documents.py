"""PROXY.yaml, read strictly."""

from __future__ import annotations

import pytest

from lateen.cli.exits import ExitCode, Failure
from lateen.cli.proxy_documents import read_proxy
from lateen.model.proxies import Interception, ProxyType
from lateen.model.services import Locality

WHOLE = b"""
type: gateway
name: ingress-1
namespace: edge
serviceAccount: front
labels: {istio: ingressgateway}
addresses: [10.0.0.5, "::1"]
locality: eu/eu-1/a
network: left
interception: NONE
portMap: {80: 8080}
certificates: false
"""


def test_every_field_is_read() -> None:
    proxy = read_proxy(WHOLE, "proxy.yaml")

    assert (proxy.type, proxy.id, proxy.service_account) == (ProxyType.GATEWAY, "ingress-1.edge", "front")
    assert proxy.labels == {"istio": "ingressgateway"}
    assert proxy.addresses == ("10.0.0.5", "::1")
    assert (proxy.locality, proxy.network) == (Locality("eu", "eu-1", "a"), "left")
    assert (proxy.interception, proxy.port_map) == (Interception.NONE, {80: 8080})
    assert not proxy.certificates


def test_type_and_name_are_enough() -> None:
    proxy = read_proxy(b'{"type": "sidecar", "name": "web"}', "proxy.json")

    assert (proxy.type, proxy.id, proxy.interception) == (ProxyType.SIDECAR, "web.default", Interception.REDIRECT)


@pytest.mark.parametrize(
    ("fields", "bare", "certificates"),
    [
        ("", False, True),
        ("", True, False),
        ("certificates: true", True, True),
        ("certificates: false", False, False),
    ],
)
def test_only_a_bare_envoy_has_no_certificate_unless_it_is_said(fields: str, bare: bool, certificates: bool) -> None:
    text = f"type: sidecar\nname: web\n{fields}\n"

    assert read_proxy(text.encode(), "proxy.yaml", bare=bare).certificates is certificates


@pytest.mark.parametrize(
    ("fields", "interception"),
    [
        ("type: sidecar, addresses: [127.64.0.7, 10.0.0.5]", Interception.NONE),
        ('type: sidecar, addresses: ["::1"]', Interception.NONE),
        ("type: sidecar, addresses: [10.0.0.5, 127.64.0.7]", Interception.REDIRECT),
        ("type: sidecar, addresses: [somewhere]", Interception.REDIRECT),
        ("type: sidecar, addresses: [127.64.0.7], interception: REDIRECT", Interception.REDIRECT),
        ("type: sidecar, addresses: [10.0.0.5], interception: NONE", Interception.NONE),
        ("type: gateway, addresses: [127.64.0.7]", Interception.REDIRECT),
    ],
)
def test_nothing_is_intercepted_on_a_loopback_address(fields: str, interception: Interception) -> None:
    assert read_proxy(f"{{name: web, {fields}}}".encode(), "proxy.yaml").interception is interception


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("type: sidecar", "name"),
        ("name: web", "type"),
        ("{type: sidecart, name: web}", "type"),
        ("{type: sidecar, name: web, adresses: [a]}", "addresses"),
        ("{type: sidecar, name: web, labels: {version: 1}}", "labels.version"),
        ("{type: sidecar, name: web, name: web}", "twice"),
        ("{type: gateway, name: web, portMap: {http: 80}}", "portMap.http"),
        ("{type: gateway, name: web, portMap: {80: 70000}}", "portMap"),
        ("", "one document"),
        ("{type: sidecar, name: a}\n---\n{type: sidecar, name: b}", "one document"),
        ("type: [", "proxy.yaml:1:8"),
        ("- type: sidecar", "mapping"),
    ],
)
def test_a_mistake_is_named_with_its_place(text: str, said: str) -> None:
    with pytest.raises(Failure) as raised:
        read_proxy(text.encode(), "proxy.yaml")

    assert raised.value.code is ExitCode.REJECTED
    assert said in raised.value.message
    assert "proxy.yaml" in raised.value.message


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(Failure) as raised:
        read_proxy(b"type: x\nlabels: []\nnope: 1\n", "proxy.yaml")

    assert len(raised.value.message.splitlines()) >= 4
