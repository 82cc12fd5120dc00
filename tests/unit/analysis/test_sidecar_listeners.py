"""Listeners of Sidecars that are where others are, or take calls that nothing tells apart."""

import pytest

from analysis_cases import codes, document

TWO = [
    document(
        "ServiceEntry",
        name,
        f"{{hosts: [{name}.test], resolution: DNS, ports: [{{number: 3306, name: p, protocol: TCP}}]}}",
    )
    for name in ("a", "b")
]


def conflicts(spec: str) -> list[str]:
    found = codes(*TWO, document("Sidecar", "s", spec))
    return [line.removeprefix("LAT0054 Sidecar/s ") for line in found if line.startswith("LAT0054")]


@pytest.mark.parametrize(
    ("protocol", "hosts", "expected"),
    [
        ("TCP", "'*/a.test', '*/b.test'", ["spec.egress[0].hosts"]),
        ("TCP", "'*/a.test'", []),
        ("TCP", "'./*', '~*/b.test'", []),
        ("HTTP", "'*/a.test', '*/b.test'", []),
        ("TLS", "'*/a.test', '*/b.test'", []),
    ],
)
def test_a_listener_of_plain_tcp_is_for_one_service(protocol: str, hosts: str, expected: list[str]) -> None:
    """HTTP has a Host header, TLS a server name."""
    listener = f"{{port: {{number: 3306, protocol: {protocol}, name: p}}, bind: 127.0.0.1, hosts: [{hosts}]}}"
    assert conflicts(f"{{egress: [{listener}]}}") == expected


@pytest.mark.parametrize(
    ("ingress", "egress", "expected"),
    [
        ("bind: 127.0.0.1", "bind: 127.0.0.1", True),
        ("bind: 127.0.0.2", "bind: 127.0.0.1", False),
        ("defaultEndpoint: '127.0.0.1:3306'", "bind: 127.0.0.1", True),
        ("defaultEndpoint: '127.0.0.1:3306'", "captureMode: NONE", True),
        ("defaultEndpoint: '127.0.0.1:3306'", "captureMode: DEFAULT", False),
        ("defaultEndpoint: '127.0.0.1:3307'", "captureMode: NONE", False),
        ("defaultEndpoint: 'unix:///a.sock'", "captureMode: NONE", False),
    ],
)
def test_an_egress_listener_where_the_workload_itself_listens(ingress: str, egress: str, expected: bool) -> None:
    port = "port: {number: 3306, protocol: TCP, name: p}"
    spec = f"{{ingress: [{{{port}, {ingress}}}], egress: [{{{port}, {egress}, hosts: ['*/a.test']}}]}}"
    assert conflicts(spec) == (["spec.egress[0].port"] if expected else [])
