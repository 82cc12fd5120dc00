"""PROXY.yaml, read strictly."""

from __future__ import annotations

import dataclasses
import inspect

import msgspec
import pytest

from lateen.cli.exits import ExitCode, Failure
from lateen.cli.processes import gateway, run, sidecar
from lateen.cli.proxy_documents import ProxyDocument, read_proxy
from lateen.model.proxies import Interception, Proxy, ProxyType, Upstream
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
privileged: false
upstreams: [{host: ratings, port: 9080, localPort: 19080}]
answersDns: true
metadata: {ISTIO_VERSION: "1.31.0"}
certificates: false
"""
OF_FLAGS = {
    "service": "labels",  # as `app`; which services it is of, addresses and endpoints say
    "workload_group": "labels",
    "version": "labels",
    "label": "labels",
    "name": "name",
    "namespace": "namespace",
    "upstream": "upstreams",
    "service_account": "service_account",
    "locality": "locality",
    "network": "network",
    "intercept": "interception",
    "inbound_mode": "interception",
    "dns": "answers_dns",
    "address": "addresses",
    "port_map": "port_map",
    "token": "certificates",
}
"""Flags of `run`, `proxy sidecar` and `proxy gateway` -> the key that says the same."""
OF_THE_AGENT = {
    "command", "control_plane", "ca_file", "own_rules", "app_user", "exclude_port", "exclude_network", "state", "job",
    "print_addresses", "stats_inclusion_prefix", "stats_inclusion_suffix", "stats_inclusion_regexp",
    "probe", "probe_period", "probe_timeout", "probe_failures", "probe_successes", "probe_delay", "allow_exec_probe",
    "metrics", "stop_timeout",
}  # fmt: skip
"""Flags that change nothing of what the control plane generates for the proxy."""
OF_THE_WORKLOAD = {"port", "hops"}
"""Flags about the endpoint that is registered: WorkloadEntries and Services say it in files."""
FOUND_OUT = {
    "cluster_id", "capability", "dns_domain", "asks_on_demand", "private_keys", "learned", "registers", "istio_version",
}  # fmt: skip
"""Fields of Proxy that its connection, node or metadata tell, and no flag."""
OF_FILES_ONLY = {"type", "privileged", "metadata"}
"""Keys for what a command, the machine or the agent decides."""


def test_every_field_is_read() -> None:
    proxy = read_proxy(WHOLE, "proxy.yaml")

    assert (proxy.type, proxy.id, proxy.service_account) == (ProxyType.GATEWAY, "ingress-1.edge", "front")
    assert proxy.labels == {"istio": "ingressgateway"}
    assert proxy.addresses == ("10.0.0.5", "::1")
    assert (proxy.locality, proxy.network) == (Locality("eu", "eu-1", "a"), "left")
    assert (proxy.interception, proxy.port_map) == (Interception.NONE, {80: 8080})
    assert not proxy.certificates
    assert proxy.upstreams == (Upstream(host="ratings", port=9080, local_port=19080),)
    assert (proxy.answers_dns, proxy.privileged, proxy.istio_version) == (True, False, "1.31.0")


def test_whatever_flags_can_say_of_a_proxy_a_file_can_say_too() -> None:
    """Each flag has a key, or a reason why there is none; and no key is about nothing."""
    keys = {field.name for field in msgspec.structs.fields(ProxyDocument)}
    flags = {name for command in (run, sidecar, gateway) for name in inspect.signature(command).parameters}

    assert flags == OF_FLAGS.keys() | OF_THE_AGENT | OF_THE_WORKLOAD
    assert keys == set(OF_FLAGS.values()) | OF_FILES_ONLY


def test_every_field_of_a_proxy_can_be_written_or_is_found_out() -> None:
    keys = {field.name for field in msgspec.structs.fields(ProxyDocument)}

    assert {field.name for field in dataclasses.fields(Proxy)} == keys | FOUND_OUT


def test_a_tproxy_sidecar_can_be_written() -> None:
    assert read_proxy(b"{type: sidecar, name: a, interception: TPROXY}", "f").interception is Interception.TPROXY


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
        ("{type: sidecar, name: web, upstreams: [{host: a, port: 80}]}", "upstreams[0]"),
        ("{type: sidecar, name: web, answersDns: sure}", "answersDns"),
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
