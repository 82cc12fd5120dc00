"""Gateway API objects in a real mesh: who answers which request, at a gateway and between workloads."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.meshes import Answer, Mesh, eventually, good, request, running_mesh
from e2e.tls_servers import TlsClient, tls_server
from key_pairs import Authority, encoded

pytestmark = pytest.mark.e2e

IDLE = (sys.executable, "-c", "import signal; signal.pause()")
CA, CLIENTS = Authority("servers"), Authority("clients")
API = "apiVersion: gateway.networking.k8s.io/v1\n"
ROUTES = ("httproutes", "tlsroutes", "tcproutes", "grpcroutes")
KINDS = ("gtw", "lset", *ROUTES, "refgrant", "btlspolicy", "secrets", "cm", "svc")


def gateway(*listeners: str, more: str = "") -> str:
    listed = "".join(f"  - {listener}\n" for listener in listeners)
    head = f"{API}kind: Gateway\nmetadata: {{name: edge}}\nspec:\n  gatewayClassName: lateen\n"
    return f"{head}{more}  listeners:\n{listed}---\n"


def route(name: str, spec: str, kind: str = "HTTPRoute") -> str:
    return f"{API}kind: {kind}\nmetadata: {{name: {name}}}\nspec:\n{spec}---\n"


def secret(name: str, *hosts: str, namespace: str = "default") -> str:
    chain, key = CA.pair(*hosts)
    return (
        f"apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: {namespace}}}\ntype: kubernetes.io/tls\n"
        f"data: {{tls.crt: {encoded(chain)}, tls.key: {encoded(key)}}}\n---\n"
    )


HTTP = "{name: http, port: 80, protocol: HTTP}"
TO_EDGE = "  parentRefs: [{name: edge}]\n"


class Bed:
    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self.one = mesh.run("one", version="v1", wait=False)
        self.two = mesh.run("two", version="v1", wait=False)
        self.client = mesh.run("client", *IDLE, port="", wait=False)
        self.gateway = mesh.gateway("edge", "--label", "gateway.networking.k8s.io/gateway-name=edge", wait=False)
        mesh.wait_addresses(self.one, self.two, self.client, self.gateway)

    def listener(self, port: int) -> tuple[str, int]:
        host, _, admin = self.gateway.addresses["admin"].rpartition(":")

        def found() -> tuple[str, int] | None:
            statuses = request(int(admin), "/listeners?format=json", address=host).json.get("listener_statuses", [])
            for status in statuses:
                if status["name"] == f"0.0.0.0_{port}":
                    bound = status["local_address"]["socket_address"]
                    return bound["address"], bound["port_value"]
            return None

        return eventually(found, what=f"port {port}")

    def get(self, path: str, host: str, **options: object) -> Answer:
        address, port = self.listener(80)
        headers = {"host": host, **options.pop("headers", {})}  # type: ignore[dict-item]
        return request(port, path, address=address, headers=headers, **options)  # type: ignore[arg-type]

    def answers(self, path: str, host: str, **options: object) -> str:
        """Who answers: the name of an app, or the status."""
        answer = self.get(path, host, **options)
        return str(answer.json["app"]) if answer.status == 200 else str(answer.status)


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    with running_mesh(tmp_path_factory.mktemp("mesh")) as mesh:
        yield Bed(mesh)


@pytest.fixture(autouse=True)
def _clean(bed: Bed) -> Iterator[None]:
    yield
    bed.mesh.delete_all(*KINDS)


PRECEDENCE = """  hostnames: [a.example.com]
  rules:
  - backendRefs: [{name: two, port: 80}]
  - matches: [{path: {value: /deep}}]
    filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}]
    backendRefs: [{name: one, port: 80}]
  - matches: [{path: {value: /deep}, headers: [{name: X-Who, value: two}]}]
    backendRefs: [{name: two, port: 80}]
  - matches: [{path: {type: Exact, value: /deep/exact}}]
    backendRefs: [{name: gone, port: 80}]
  - matches: [{path: {value: /moved}}]
    filters: [{type: RequestRedirect, requestRedirect: {hostname: b.example.com, scheme: https}}]
"""


def test_the_most_specific_match_wins(bed: Bed) -> None:
    """Order in the document does not matter; prefixes are of whole elements; a backend that is not there is a 500."""
    bed.mesh.apply(gateway(HTTP) + route("a", TO_EDGE + PRECEDENCE))
    eventually(lambda: bed.answers("/", "a.example.com") == "two", what="the route")
    assert bed.answers("/deep", "a.example.com") == "one"
    assert bed.get("/deep/er?x=1", "a.example.com").json["target"] == "/er?x=1"
    assert bed.get("/deep", "a.example.com").json["target"] == "/"
    assert bed.answers("/deeper", "a.example.com") == "two"
    assert bed.answers("/deep", "a.example.com", headers={"x-who": "two"}) == "two"
    assert bed.answers("/deep/exact", "a.example.com") == "500"
    moved = bed.get("/moved/x", "a.example.com")
    assert (moved.status, moved.headers["location"]) == (302, "https://b.example.com/moved/x")
    assert bed.answers("/", "other.example.com") == "404"


def test_weights_and_the_share_that_leads_nowhere(bed: Bed) -> None:
    spec = "  rules: [{backendRefs: [{name: one, port: 80, weight: 1}, {name: gone, port: 80, weight: 1}]}]\n"
    bed.mesh.apply(gateway(HTTP) + route("a", TO_EDGE + spec))
    eventually(lambda: bed.answers("/", "x.example.com") == "one", what="the route")
    found = Counter(bed.answers("/", "x.example.com") for _ in range(60))
    assert set(found) == {"one", "500"}


def test_header_filters_are_literal(bed: Bed) -> None:
    spec = """  rules:
  - filters:
    - {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-a, value: 100%}], remove: [x-b]}}
    - {type: ResponseHeaderModifier, responseHeaderModifier: {add: [{name: x-c, value: "%UPSTREAM%"}]}}
    backendRefs: [{name: one, port: 80}]
"""
    bed.mesh.apply(gateway(HTTP) + route("a", TO_EDGE + spec))
    answer = eventually(lambda: good(bed.get("/", "x.example.com", headers={"x-b": "1"})), what="the route")
    assert answer.json["headers"]["x-a"] == "100%"
    assert "x-b" not in answer.json["headers"]
    assert answer.headers["x-c"] == "%UPSTREAM%"


def test_a_preflight_is_answered_by_the_gateway(bed: Bed) -> None:
    """Of an allowed origin with what it may do, of another one without; the backend sees neither."""
    cors = "{type: CORS, cors: {allowOrigins: ['https://a.example'], allowMethods: [GET]}}"
    spec = TO_EDGE + f"  rules: [{{filters: [{cors}], backendRefs: [{{name: one, port: 80}}]}}]\n"
    bed.mesh.apply(gateway(HTTP) + route("a", spec))
    eventually(lambda: bed.answers("/", "x.example.com") == "one", what="the route")
    for origin, allowed in (("https://a.example", "https://a.example"), ("https://b.example", None)):
        headers = {"origin": origin, "access-control-request-method": "GET"}
        answer = bed.get("/", "x.example.com", method="OPTIONS", headers=headers)
        assert (answer.status, answer.body) == (200, b"")
        assert answer.headers.get("access-control-allow-origin") == allowed


def test_a_more_specific_listener_has_its_hosts_alone(bed: Bed) -> None:
    """Listener isolation: the wildcard's route does not answer for a listener of its own, routes there or none."""
    wild = '{name: wild, port: 80, protocol: HTTP, hostname: "*.example.com"}'
    own = "{name: own, port: 80, protocol: HTTP, hostname: own.example.com}"
    spec = "  parentRefs: [{name: edge, sectionName: wild}]\n  rules: [{backendRefs: [{name: one, port: 80}]}]\n"
    bed.mesh.apply(gateway(wild, own) + route("a", spec))
    eventually(lambda: bed.answers("/", "any.example.com") == "one", what="the route")
    assert bed.answers("/", "own.example.com") == "404"


def test_https_with_a_certificate_of_another_namespace(bed: Bed, tmp_path: Path) -> None:
    """Only a ReferenceGrant lets a Gateway show it; without, nothing is served and the status says why."""
    tls = "tls: {certificateRefs: [{name: servers, namespace: certs}]}"
    listener = "{name: https, port: 443, protocol: HTTPS, hostname: a.example.com, " + tls + "}"
    objects = gateway(HTTP, listener) + route("a", TO_EDGE + "  rules: [{backendRefs: [{name: one, port: 80}]}]\n")
    grant = (
        "apiVersion: gateway.networking.k8s.io/v1beta1\nkind: ReferenceGrant\nmetadata: {name: g, namespace: certs}\n"
        "spec:\n  from: [{group: gateway.networking.k8s.io, kind: Gateway, namespace: default}]\n"
        '  to: [{group: "", kind: Secret}]\n'
    )
    bed.mesh.apply(secret("servers", "a.example.com", namespace="certs") + objects)
    eventually(lambda: bed.answers("/", "x.example.com") == "one", what="the HTTP listener")
    shown = bed.mesh.command("get", "gtw", "edge", "-o", "yaml")
    assert "RefNotPermitted" in shown.stdout, shown
    bed.mesh.apply(grant)
    client = TlsClient(folder=tmp_path, address=bed.listener(443), trusts=CA.certificate)
    eventually(lambda: client.get("a.example.com").status == 200, what="HTTPS")


def test_clients_are_checked_when_the_gateway_says_so(bed: Bed, tmp_path: Path) -> None:
    tls = "  tls: {frontend: {default: {validation: {caCertificateRefs: [{group: '', kind: ConfigMap, name: ca}]}}}}\n"
    listener = "{name: https, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: servers}]}}"
    text = "\n".join(f"    {line}" for line in CLIENTS.certificate.decode().splitlines())
    config_map = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: ca}}\ndata:\n  ca.crt: |\n{text}\n---\n"
    spec = TO_EDGE + "  rules: [{backendRefs: [{name: one, port: 80}]}]\n"
    bed.mesh.apply(secret("servers", "a.example.com") + config_map + gateway(listener, more=tls) + route("a", spec))
    client = TlsClient(folder=tmp_path, address=bed.listener(443), trusts=CA.certificate)
    eventually(lambda: not client.refuses("a.example.com", CLIENTS.pair("c")), what="HTTPS")
    assert client.refuses("a.example.com", None)
    assert client.refuses("a.example.com", CA.pair("c"))
    fallback = tls.replace("{validation: {", "{validation: {mode: AllowInsecureFallback, ")
    bed.mesh.apply(gateway(listener, more=fallback))
    eventually(lambda: not client.refuses("a.example.com", None), what="clients without a certificate")
    for pair in (CLIENTS.pair("c"), CA.pair("c")):
        assert client.get("a.example.com", pair).status == 200


def test_tls_that_ends_at_the_gateway_goes_by_name(bed: Bed, tmp_path: Path) -> None:
    """One listener, one certificate, a TLSRoute for each name: bytes to the one or the other."""
    listener = "{name: tls, port: 443, protocol: TLS, tls: {mode: Terminate, certificateRefs: [{name: servers}]}}"
    objects = secret("servers", "one.example.com", "two.example.com") + gateway(listener)
    for name in ("one", "two"):
        spec = f"{TO_EDGE}  hostnames: [{name}.example.com]\n  rules: [{{backendRefs: [{{name: {name}, port: 80}}]}}]\n"
        objects += route(name, spec, "TLSRoute")
    bed.mesh.apply(objects)
    client = TlsClient(folder=tmp_path, address=bed.listener(443), trusts=CA.certificate)
    one = eventually(lambda: good(client.get("one.example.com")), what="the TLSRoutes")
    assert (one.json["app"], client.get("two.example.com").json["app"]) == ("one", "two")


def test_a_wildcard_that_ends_tls_takes_no_host_of_an_https_listener(bed: Bed, tmp_path: Path) -> None:
    """One TLSRoute names both hosts: bytes for the one, requests for the other, which has a listener of its own."""
    certificate = "certificateRefs: [{name: servers}]"
    wild = f"{{name: all, port: 443, protocol: TLS, hostname: '*.example.com', tls: {{{certificate}}}}}"
    web = f"{{name: web, port: 443, protocol: HTTPS, hostname: w.example.com, tls: {{{certificate}}}}}"
    objects = secret("servers", "w.example.com", "x.example.com") + gateway(wild, web)
    both = "  hostnames: [w.example.com, x.example.com]\n  rules: [{backendRefs: [{name: one, port: 80}]}]\n"
    rule = """  rules:
  - filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-by, value: web}]}}]
    backendRefs: [{name: two, port: 80}]
"""
    bed.mesh.apply(objects + route("both", TO_EDGE + both, "TLSRoute") + route("web", TO_EDGE + rule))
    client = TlsClient(folder=tmp_path, address=bed.listener(443), trusts=CA.certificate)
    bytes_ = eventually(lambda: good(client.get("x.example.com")), what="the TLSRoute")
    requests = eventually(lambda: good(client.get("w.example.com")), what="the HTTPRoute")
    assert (bytes_.json["app"], requests.json["app"]) == ("one", "two")
    assert ("x-by" in bytes_.headers, requests.headers["x-by"]) == (False, "web")


def test_a_sealed_host_without_routes_is_not_opened_by_the_wildcard(bed: Bed, tmp_path: Path) -> None:
    """Its connections are closed, though the wildcard has a certificate for it and a route for everything."""
    wild = "{name: all, port: 443, protocol: TLS, hostname: '*.example.com', tls: {certificateRefs: [{name: servers}]}}"
    seal = "{name: seal, port: 443, protocol: TLS, hostname: p.example.com, tls: {mode: Passthrough}}"
    spec = "  parentRefs: [{name: edge, sectionName: all}]\n  hostnames: ['*.example.com', p.example.com]\n"
    spec += "  rules: [{backendRefs: [{name: one, port: 80}]}]\n"
    objects = secret("servers", "p.example.com", "x.example.com") + gateway(wild, seal)
    bed.mesh.apply(objects + route("all", spec, "TLSRoute"))
    client = TlsClient(folder=tmp_path, address=bed.listener(443), trusts=CA.certificate)
    eventually(lambda: client.get("x.example.com").status == 200, what="the TLSRoute")
    assert client.refuses("p.example.com")


def test_routes_of_a_service_are_for_its_callers(bed: Bed) -> None:
    """A route whose parent is a Service decides where calls of it go, inside the mesh."""
    spec = """  parentRefs: [{group: "", kind: Service, name: one, port: 80}]
  rules:
  - matches: [{path: {value: /other}}]
    backendRefs: [{name: two, port: 80}]
  - matches: [{path: {value: /same}}]
    backendRefs: [{name: one, port: 80}]
"""
    eventually(lambda: good(bed.client.get("http://one/other")), what="the service")
    bed.mesh.apply(route("a", spec))
    eventually(lambda: bed.client.get("http://one/other").json["app"] == "two", what="the route")
    assert bed.client.get("http://one/same").json["app"] == "one"
    assert bed.client.get("http://one/neither").status == 404


LISTENER_SETS = """apiVersion: gateway.networking.k8s.io/v1
kind: ListenerSet
metadata: {name: team, namespace: team}
spec:
  parentRef: {name: edge, namespace: default}
  listeners:
  - {name: http, port: 80, protocol: HTTP, hostname: team.example.com}
  - {name: https, port: 443, protocol: HTTPS, hostname: team.example.com, tls: {certificateRefs: [{name: servers}]}}
  - {name: taken, port: 80, protocol: HTTP, hostname: own.example.com}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: team, namespace: team}
spec:
  parentRefs: [{kind: ListenerSet, name: team}]
  rules: [{backendRefs: [{name: two, namespace: default, port: 80}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {name: routes}
spec:
  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: team}]
  to: [{group: "", kind: Service}]
---
"""


def test_a_set_of_another_namespace_adds_listeners(bed: Bed, tmp_path: Path) -> None:
    """They are served when the Gateway allows it, with the set's own certificate, beside what stands there already."""
    own = "{name: own, port: 80, protocol: HTTP, hostname: own.example.com}"
    mine = route("a", TO_EDGE + "  rules: [{backendRefs: [{name: one, port: 80}]}]\n")
    sets = LISTENER_SETS + secret("servers", "team.example.com", namespace="team")
    bed.mesh.apply(gateway(own) + mine + sets)
    eventually(lambda: bed.answers("/", "own.example.com") == "one", what="the Gateway's own listener")
    assert bed.answers("/", "team.example.com") == "404"
    assert "NotAllowed" in bed.mesh.command("get", "lset", "team", "-n", "team", "-o", "yaml").stdout
    bed.mesh.apply(gateway(own, more="  allowedListeners: {namespaces: {from: All}}\n"))
    eventually(lambda: bed.answers("/", "team.example.com") == "two", what="the listener of the set")
    assert bed.answers("/", "own.example.com") == "one"
    client = TlsClient(folder=tmp_path, address=bed.listener(443), trusts=CA.certificate)
    eventually(lambda: client.get("team.example.com").status == 200, what="HTTPS")
    assert "HostnameConflict" in bed.mesh.command("get", "lset", "team", "-n", "team", "-o", "yaml").stdout


def test_tcp_routes_forward_connections(bed: Bed) -> None:
    tcp = "{name: tcp, port: 9000, protocol: TCP}"
    spec = "  parentRefs: [{name: edge, sectionName: tcp}]\n  rules: [{backendRefs: [{name: two, port: 80}]}]\n"
    bed.mesh.apply(gateway(tcp) + route("a", spec, kind="TCPRoute"))
    address, port = bed.listener(9000)
    answer = eventually(lambda: good(request(port, "/", address=address)), what="TCP")
    assert answer.json["app"] == "two"


def backend(port: int) -> str:
    """A Service whose only endpoint is a TLS server outside the mesh."""
    return (
        "apiVersion: v1\nkind: Service\nmetadata: {name: sealed}\nspec: {ports: [{port: 80, name: http}, "
        "{port: 443, name: tls}]}\n---\n"
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\n"
        "metadata: {name: sealed-1, labels: {kubernetes.io/service-name: sealed}}\n"
        "endpoints: [{addresses: [127.0.0.1]}]\n"
        f"ports: [{{name: http, port: {port}}}, {{name: tls, port: {port}}}]\n---\n"
    )


def ca_map(name: str, authority: Authority) -> str:
    text = "\n".join(f"    {line}" for line in authority.certificate.decode().splitlines())
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata:\n  ca.crt: |\n{text}\n---\n"


def policy(ca: str, hostname: str) -> str:
    return (
        f"{API}kind: BackendTLSPolicy\nmetadata: {{name: sealed}}\nspec:\n"
        '  targetRefs: [{group: "", kind: Service, name: sealed, sectionName: http}]\n'
        f"  validation:\n    hostname: {hostname}\n"
        f"    caCertificateRefs: [{{group: '', kind: ConfigMap, name: {ca}}}]\n---\n"
    )


def test_a_backend_is_called_by_tls_and_checked(bed: Bed, tmp_path: Path) -> None:
    """By gateways and by sidecars; a wrong name, a wrong CA or a missing one is no reason to call it unchecked."""
    with tls_server(tmp_path, CA.pair("sealed.example.com")) as server:
        spec = TO_EDGE + "  rules: [{backendRefs: [{name: sealed, port: 80}]}]\n"
        objects = gateway(HTTP) + route("a", spec) + backend(server.port) + ca_map("ca", CA) + ca_map("no", CLIENTS)
        bed.mesh.apply(objects + policy("ca", "sealed.example.com"))
        answer = eventually(lambda: good(bed.get("/", "x.example.com")), what="the backend")
        assert answer.json["sni"] == "sealed.example.com"
        assert eventually(lambda: good(bed.client.get("http://sealed/")), what="the sidecar's way").json["sni"]
        for wrong in (policy("ca", "other.example.com"), policy("no", "sealed.example.com"), policy("gone", "a.b")):
            bed.mesh.apply(wrong)
            eventually(lambda: bed.get("/", "x.example.com").status == 503, what="the refusal")
            eventually(lambda: bed.client.get("http://sealed/").status == 503, what="the sidecar's refusal")


def test_tls_routes_pass_connections_through(bed: Bed, tmp_path: Path) -> None:
    listener = "{name: sealed, port: 8443, protocol: TLS, tls: {mode: Passthrough}}"
    spec = TO_EDGE + "  hostnames: [sealed.example.com]\n  rules: [{backendRefs: [{name: sealed, port: 443}]}]\n"
    with tls_server(tmp_path, CA.pair("sealed.example.com")) as server:
        bed.mesh.apply(gateway(listener) + route("a", spec, kind="TLSRoute") + backend(server.port))
        client = TlsClient(folder=tmp_path, address=bed.listener(8443), trusts=CA.certificate)
        eventually(lambda: client.get("sealed.example.com").status == 200, what="the backend's own certificate")
        assert client.refuses("other.example.com")


def test_a_filter_that_nobody_knows_is_an_error(bed: Bed) -> None:
    """For the requests that it is for; the others go on, and the status says why."""
    spec = """  rules:
  - matches: [{path: {value: /extended}}]
    filters: [{type: ExtensionRef, extensionRef: {group: example.com, kind: Magic, name: m}}]
    backendRefs: [{name: one, port: 80}]
  - backendRefs: [{name: one, port: 80}]
"""
    bed.mesh.apply(gateway(HTTP) + route("a", TO_EDGE + spec))
    eventually(lambda: bed.answers("/", "x.example.com") == "one", what="the route")
    assert bed.answers("/extended", "x.example.com") == "500"
    shown = bed.mesh.command("get", "httproutes", "a", "-o", "yaml").stdout
    assert "InvalidKind" in shown
    assert "example.com/Magic" in shown


def test_an_option_of_a_listener_asks_clients_for_a_certificate(bed: Bed, tmp_path: Path) -> None:
    """Istio's option, with the CA that stands beside the server's certificate."""
    chain, key = CA.pair("a.example.com")
    pair = (
        "apiVersion: v1\nkind: Secret\nmetadata: {name: servers}\n"
        f"data: {{tls.crt: {encoded(chain)}, tls.key: {encoded(key)}, ca.crt: {encoded(CLIENTS.certificate)}}}\n---\n"
    )
    tls = "{certificateRefs: [{name: servers}], options: {gateway.istio.io/tls-terminate-mode: MUTUAL}}"
    listener = f"{{name: https, port: 443, protocol: HTTPS, tls: {tls}}}"
    spec = TO_EDGE + "  rules: [{backendRefs: [{name: one, port: 80}]}]\n"
    bed.mesh.apply(pair + gateway(listener) + route("a", spec))
    client = TlsClient(folder=tmp_path, address=bed.listener(443), trusts=CA.certificate)
    eventually(lambda: not client.refuses("a.example.com", CLIENTS.pair("c")), what="HTTPS")
    assert client.refuses("a.example.com", None)


def test_a_gateway_shows_backends_its_certificate(bed: Bed, tmp_path: Path) -> None:
    """That of `tls.backend`, to a backend that a BackendTLSPolicy has called by TLS."""
    chain, key = CLIENTS.pair("edge.example.com")
    own = (
        "apiVersion: v1\nkind: Secret\nmetadata: {name: own}\ntype: kubernetes.io/tls\n"
        f"data: {{tls.crt: {encoded(chain)}, tls.key: {encoded(key)}}}\n---\n"
    )
    more = "  tls: {backend: {clientCertificateRef: {name: own}}}\n"
    spec = TO_EDGE + "  rules: [{backendRefs: [{name: sealed, port: 80}]}]\n"
    with tls_server(tmp_path, CA.pair("sealed.example.com"), client_ca=CLIENTS.certificate) as server:
        objects = gateway(HTTP, more=more) + route("a", spec) + backend(server.port) + ca_map("ca", CA)
        bed.mesh.apply(own + objects + policy("ca", "sealed.example.com"))
        answer = eventually(lambda: good(bed.get("/", "x.example.com")), what="the backend")
    assert answer.json["client"] == ["edge.example.com"]
