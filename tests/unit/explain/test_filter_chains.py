"""Which filter chain takes a connection, and what the others lack."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lateen.explain.filter_chains import BYTES, PLAINTEXT, Transport, failed_criteria, filter_chain

TLS = Transport(name="TLS", offered=("h2",), server_name="a.example.com")


def chains(*matches: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"filter_chains": [{"name": str(n), "filter_chain_match": match} for n, match in enumerate(matches)], **more}


def chosen(
    listener: dict[str, Any], transport: Transport = PLAINTEXT, address: str = "10.0.0.1", port: int = 80
) -> str:
    found = filter_chain(listener, transport, address, port)
    return "" if found is None else str(found["name"])


def block(address: str, length: int) -> dict[str, Any]:
    return {"prefix_ranges": [{"address_prefix": address, "prefix_len": length}]}


@pytest.mark.parametrize(
    ("matches", "transport", "name"),
    [
        ([{}, {"destination_port": 80}], PLAINTEXT, "1"),
        ([{"destination_port": 81}], PLAINTEXT, ""),
        ([block("10.0.0.0", 8), block("10.0.0.0", 24), block("10.0.0.0", 16)], PLAINTEXT, "1"),
        ([{"server_names": ["*.example.com"]}, {"server_names": ["a.example.com"]}], TLS, "1"),
        ([{"server_names": ["*.example.com"]}, {"server_names": ["*.com"]}], TLS, "0"),
        ([{"server_names": ["b.example.com"]}, {"transport_protocol": "tls"}], TLS, "1"),
        ([{"transport_protocol": "tls"}, {"transport_protocol": "raw_buffer"}], PLAINTEXT, "1"),
        ([{"application_protocols": ["x", "h2"]}, {}], TLS, "0"),
    ],
)
def test_the_most_specific_chain_wins(matches: list[dict[str, Any]], transport: Transport, name: str) -> None:
    assert chosen(chains(*matches), transport) == name


def test_envoy_never_goes_back_to_a_criterion() -> None:
    """A chain that names the port keeps the connection, even if it then does not match."""
    listener = chains({"destination_port": 80, "transport_protocol": "tls"}, {"transport_protocol": "raw_buffer"})

    assert chosen(listener) == ""
    assert chosen({**listener, "default_filter_chain": {"name": "last"}}) == "last"


def test_http_is_recognised_where_somebody_looks() -> None:
    listener = chains({"transport_protocol": "raw_buffer", "application_protocols": ["http/1.0", "http/1.1", "h2c"]})
    sniffing = {**listener, "listener_filters": [{"name": "envoy.filters.listener.http_inspector"}]}

    assert (chosen(listener), chosen(sniffing), chosen(sniffing, BYTES)) == ("", "0", "")


def test_what_a_chain_lacks_is_told() -> None:
    listener = chains({"server_names": ["b.example.com"], "transport_protocol": "tls"})
    [chain] = listener["filter_chains"]
    other = failed_criteria(listener, chain, TLS, "10.0.0.1", 443)
    plain = failed_criteria(listener, chain, replace(TLS, name="plain text"), "10.0.0.1", 443)

    assert [str(one) for one in other] == ["server name: wanted b.example.com, is a.example.com"]
    assert [one.attribute for one in plain] == ["server name", "transport protocol"]
