"""Names of Envoy resources are Istio's."""

from __future__ import annotations

import pytest

from lateen.envoy import names


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (names.outbound_cluster("a.b", 80), "outbound|80||a.b"),
        (names.outbound_cluster("a.b", 80, "v1"), "outbound|80|v1|a.b"),
        (names.inbound_cluster(9080), "inbound|9080||"),
        (names.host_and_port("a.b", 80), "a.b:80"),
        (names.host_and_port("fd00::1", 80), "[fd00::1]:80"),
        (names.listener("0.0.0.0", 80), "0.0.0.0_80"),
        (names.gateway_http_routes(80), "http.80"),
        (names.gateway_http_routes(80, "10.0.0.1"), "http.80.10.0.0.1"),
        (names.gateway_https_routes(443, "https", "front", "default"), "https.443.https.front.default"),
        (names.secret("cred"), "kubernetes://cred"),
        (names.secret("kubernetes://cred"), "kubernetes://cred"),
    ],
)
def test_names(name: str, expected: str) -> None:
    assert name == expected
