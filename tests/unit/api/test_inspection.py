"""What the API shows of a running control plane."""

from __future__ import annotations

from typing import Any

from lateen.api.application import monitoring_application
from lateen.envoy.resources import LISTENER, SECRET, make_resource

SERVICE = b"{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {ports: [{port: 80, name: http}]}}"


async def test_readiness_is_503_until_the_first_state(call: Any, plane: Any) -> None:
    plane.ready = False
    assert (await call("GET", "/readyz")).status == 503
    assert (await call("GET", "/healthz")).status == 200
    plane.ready = True
    assert (await call("GET", "/readyz")).status == 200


async def test_the_control_plane_says_where_it_listens(call: Any) -> None:
    assert (await call("GET", "/v1/control-plane")).json() == {"grpc": "127.0.0.1:15010", "http": "127.0.0.1:15080"}


async def test_a_proxy_is_shown_with_the_words_of_the_command_line(call: Any, plane: Any) -> None:
    plane.connect("web-1")
    [proxy] = (await call("GET", "/v1/proxies")).json()["items"]

    assert (proxy["id"], proxy["address"], proxy["connected_at"]) == (
        "web-1.default",
        "127.0.0.9",
        "1970-01-01T00:00:00+00:00",
    )
    assert list(proxy["types"]) == ["listeners"]


async def test_resources_of_a_proxy_are_protobuf_json(call: Any, plane: Any) -> None:
    plane.serve("web-1", make_resource(LISTENER, "here", {"name": "here", "bind_to_port": {"value": False}}))
    [item] = (await call("GET", "/v1/proxies/web-1.default/config/listeners")).json()["items"]
    empty = (await call("GET", "/v1/proxies/web-1.default/config/routes")).json()["items"]

    assert (item["name"], item["resource"]["bind_to_port"]) == ("here", False)
    assert empty == []


async def test_private_keys_are_hidden_and_file_names_are_not(call: Any, plane: Any) -> None:
    fields = {
        "name": "kubernetes://cert",
        "tls_certificate": {
            "certificate_chain": {"inline_bytes": b"public"},
            "private_key": {"inline_bytes": b"hush-hush"},
        },
    }
    plane.serve("web-1", make_resource(SECRET, "kubernetes://cert", fields))
    inline = await call("GET", "/v1/proxies/web-1.default/config/secrets")
    fields["tls_certificate"] = {"private_key": {"filename": "/etc/key.pem"}}
    plane.serve("web-1", make_resource(SECRET, "kubernetes://cert", fields))
    file = await call("GET", "/v1/proxies/web-1.default/config/secrets")

    assert b"hush-hush" not in inline.body
    assert b"aHVzaC1odXNo" not in inline.body
    assert b"[redacted]" in inline.body
    assert b"/etc/key.pem" in file.body


async def test_unknown_proxies_and_types_are_404(call: Any, plane: Any) -> None:
    plane.serve("web-1", make_resource(LISTENER, "here", {"name": "here"}))
    for target in ("/v1/proxies/nobody.default/config/routes", "/v1/proxies/web-1.default/config/cats", "/v2"):
        answer = await call("GET", target)
        assert answer.status == 404
        assert answer.json()["error"]["message"]


async def test_services_are_listed_by_host(call: Any) -> None:
    await call("POST", "/v1/config", body=SERVICE)
    [service] = (await call("GET", "/v1/services?namespace=default")).json()["items"]

    assert service["host"] == "web.default.svc.cluster.local"
    assert service["ports"] == [{"number": 80, "protocol": "HTTP", "name": "http"}]
    assert (await call("GET", "/v1/services?namespace=shop")).json()["items"] == []
    assert (await call("GET", "/v1/workloads")).json()["items"] == []


async def test_a_wrong_method_is_405_in_the_one_shape(call: Any) -> None:
    answer = await call("DELETE", "/v1/proxies")

    assert answer.status == 405
    assert answer.json()["error"]["code"] == "method_not_allowed"


async def test_metrics_are_prometheus_text(plane: Any, call_application: Any) -> None:
    plane.connect("web-1")
    answer = await call_application(monitoring_application(plane, loopback=True, security=None), "GET", "/metrics")

    lines = answer.body.decode().splitlines()
    assert "lateen_connected_proxies 1" in lines
    assert 'lateen_proxy_types{type="listeners",state="synced"} 1' in lines
    assert answer.headers["content-type"].startswith("text/plain")
