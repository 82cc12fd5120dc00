"""Headers that proxies add: Istio's defaults, and what `proxyHeaders` and `gatewayTopology` make of them."""

from __future__ import annotations

from lateen.config.mesh_config import parse_mesh_config
from lateen.config.proxy_config import ProxyConfig
from lateen.envoy.manager_headers import ManagerHeaders, manager_headers


def made(text: str) -> ManagerHeaders:
    config, findings = parse_mesh_config(f"defaultConfig: {text}".encode(), "f")
    assert not findings
    return manager_headers(config.default_config)


def test_what_is_unset_is_istio_s_default() -> None:
    assert manager_headers(None) == manager_headers(ProxyConfig()) == ManagerHeaders()
    assert ManagerHeaders().all == {"server_name": "istio-envoy", "generate_request_id": {"value": True}}


def test_a_server_header_of_one_s_own_and_none() -> None:
    assert made("{proxyHeaders: {server: {value: shop}}}").all["server_name"] == "shop"
    none = made("{proxyHeaders: {server: {disabled: true}}}").all
    assert none["server_header_transformation"] == "PASS_THROUGH"
    assert "server_name" not in none


def test_certificates_are_written_down_only_where_the_mode_does_so() -> None:
    forward = made("{proxyHeaders: {forwardedClientCert: FORWARD_ONLY, setCurrentClientCertDetails: {uri: true}}}")
    assert forward.inbound == {"forward_client_cert_details": "FORWARD_ONLY"}
    chosen = made("{proxyHeaders: {setCurrentClientCertDetails: {cert: true}}}").inbound
    assert chosen["set_current_client_cert_details"] == {"cert": True}
    assert "set_current_client_cert_details" not in made("{gatewayTopology: {forwardClientCertDetails: SANITIZE}}").edge


def test_proxies_in_front_of_a_gateway_are_trusted_by_number_and_sidecars_trust_none() -> None:
    headers = made("{gatewayTopology: {numTrustedProxies: 2}}")
    assert headers.edge["xff_num_trusted_hops"] == 2
    assert "xff_num_trusted_hops" not in headers.all | headers.inbound
