from __future__ import annotations

from typing import Any

import pytest

from lateen.discovery.nodes import proxy_from_node
from lateen.discovery.values import Node, PeerError
from lateen.model.proxies import Capability, Interception, Proxy, ProxyType, Upstream
from lateen.model.services import Locality

ID = "sidecar~10.0.0.7~reviews-v2-1.shop~shop.svc.cluster.local"


def test_id_alone_makes_a_proxy_with_istios_defaults() -> None:
    assert proxy_from_node(Node(id=ID)) == Proxy(
        type=ProxyType.SIDECAR, name="reviews-v2-1", namespace="shop", addresses=("10.0.0.7",)
    )


def test_every_field_of_the_metadata_is_read() -> None:
    metadata = {
        "LABELS": {"app": "edge"},
        "NAMESPACE": "shop",
        "SERVICE_ACCOUNT": "edge",
        "CLUSTER_ID": "rack-1",
        "NETWORK": "east",
        "INTERCEPTION_MODE": "NONE",
        "INSTANCE_IPS": "10.0.0.7,fd00::7",
        "LATEEN": {
            "portMap": {"80": 8080.0},
            "upstreams": [{"host": "reviews", "port": 9080.0, "localPort": 19080.0}],
            "registers": True,
        },
        "ISTIO_VERSION": "1.30",
    }
    node = Node(
        id="router~10.0.0.7~edge.v1.shop~shop.svc.example.org",
        metadata=metadata,
        locality=Locality("eu", "eu-1"),
        user_agent="envoy 1.40.0",
    )
    assert proxy_from_node(node) == Proxy(
        type=ProxyType.GATEWAY,
        name="edge.v1",
        namespace="shop",
        addresses=("10.0.0.7", "fd00::7"),
        labels={"app": "edge"},
        service_account="edge",
        cluster_id="rack-1",
        network="east",
        locality=Locality("eu", "eu-1"),
        interception=Interception.NONE,
        dns_domain="example.org",
        port_map={80: 8080},
        upstreams=(Upstream(host="reviews", port=9080, local_port=19080),),
        registers=True,
        istio_version="1.30",
        metadata={key: value for key, value in metadata.items() if isinstance(value, str)},
    )


def test_node_id_of_a_proxy_is_read_back() -> None:
    proxy = Proxy(type=ProxyType.GATEWAY, name="edge", namespace="shop", addresses=("127.0.0.9",))
    assert proxy_from_node(Node(id=proxy.node_id)) == proxy


@pytest.mark.parametrize(
    "node",
    [
        Node(id=ID, user_agent="gRPC C-core linux 1.85.1"),
        Node(id=ID, user_agent="grpc-go 1.70"),
        Node(id=ID, metadata={"GENERATOR": "grpc"}),
    ],
)
def test_grpc_clients_are_told_from_envoy(node: Node) -> None:
    assert proxy_from_node(node).capability is Capability.GRPC


@pytest.mark.parametrize(
    ("node_id", "metadata", "message"),
    [
        ("", {}, "is not of the form TYPE~IP~NAME.NAMESPACE~DOMAIN"),
        ("sidecar~10.0.0.7~reviews.shop", {}, "is not of the form"),
        ("ztunnel~10.0.0.7~z.shop~shop.svc", {}, "'ztunnel' in node id .* is not one of sidecar, router"),
        ("sidecar~reviews~reviews.shop~shop.svc", {}, "'reviews' in the node id or INSTANCE_IPS is not an IP address"),
        ("sidecar~10.0.0.7~reviews~shop.svc", {}, "names no workload and namespace"),
        ("sidecar~10.0.0.7~.shop~shop.svc", {}, "names no workload and namespace"),
        ("sidecar~10.0.0.7~a\n\x1b[2J.shop~shop.svc", {}, "not all are printable"),
        (f"sidecar~10.0.0.7~{'a' * 1024}.shop~shop.svc", {}, "longer than 1024 characters"),
        (ID, {"LABELS": ["app"]}, "LABELS is not a map"),
        (ID, {"LABELS": {"app": 1.0}}, "LABELS: the value of 'app' is not a string"),
        (ID, {"NAMESPACE": 7.0}, "NAMESPACE is not a string"),
        (ID, {"INTERCEPTION_MODE": "MAGIC"}, "'MAGIC', not one of REDIRECT, TPROXY, NONE"),
        (ID, {"INSTANCE_IPS": "10.0.0.7,x"}, "'x' in the node id"),
        (ID, {"LATEEN": {"portMap": {"80": "http"}}}, r"LATEEN.portMap\[80\]: 'http' is not a port"),
        (ID, {"LATEEN": {"portMap": {"80": float("inf")}}}, "is not a port"),
        (ID, {"LATEEN": {"upstreams": {}}}, "upstreams is not a list"),
        (ID, {"LATEEN": {"upstreams": [{}]}}, r"upstreams\[0\] is not of the form"),
        (
            ID,
            {"LATEEN": {"upstreams": [{"host": "a", "port": 1.0}]}},
            r"upstreams\[0\].localPort: 'None' is not a port",
        ),
    ],
)
def test_malformed_node_is_refused_with_what_it_should_be(node_id: str, metadata: dict[str, Any], message: str) -> None:
    with pytest.raises(PeerError, match=message):
        proxy_from_node(Node(id=node_id, metadata=metadata))
