"""Istio's protocol selection."""

from __future__ import annotations

import pytest

from lateen.model.protocols import Protocol, protocol_named, protocol_of_port


@pytest.mark.parametrize(
    ("name", "app_protocol", "transport", "expected"),
    [
        ("http", "", "TCP", Protocol.HTTP),
        ("http-web", "", "TCP", Protocol.HTTP),
        ("HTTP2-x", "", "TCP", Protocol.HTTP2),
        ("grpc-web-x", "", "TCP", Protocol.GRPC_WEB),
        ("grpc-api", "", "TCP", Protocol.GRPC),
        ("tcp-db", "", "TCP", Protocol.TCP),
        ("mysql", "", "TCP", Protocol.MYSQL),
        ("web", "", "TCP", Protocol.UNSUPPORTED),
        ("", "", "TCP", Protocol.UNSUPPORTED),
        ("http", "tcp", "TCP", Protocol.TCP),
        ("x", "kubernetes.io/h2c", "TCP", Protocol.HTTP2),
        ("http", "unheard-of", "TCP", Protocol.UNSUPPORTED),
        ("http", "", "UDP", Protocol.UDP),
    ],
)
def test_the_protocol_of_a_kubernetes_port(name: str, app_protocol: str, transport: str, expected: Protocol) -> None:
    """appProtocol wins over the name's prefix; a name that says nothing is sniffed."""
    assert protocol_of_port(name=name, app_protocol=app_protocol, transport=transport) is expected


@pytest.mark.parametrize("protocol", [p for p in Protocol if p is not Protocol.UNSUPPORTED])
def test_each_name_reads_back_in_any_case(protocol: Protocol) -> None:
    assert protocol_named(protocol.value.upper()) is protocol


@pytest.mark.parametrize("protocol", list(Protocol))
def test_a_protocol_is_exactly_one_of_http_tcp_udp_or_sniffed(protocol: Protocol) -> None:
    assert [protocol.is_http, protocol.is_tcp, protocol is Protocol.UDP, protocol.is_sniffed].count(True) == 1
