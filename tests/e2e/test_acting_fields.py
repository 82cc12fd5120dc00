"""Every acting field against real Envoy: a table of YAML -> request -> what must be seen.

One mesh serves the whole table: a client sidecar (requests go through it as an app's would, by HTTP proxy), `echo`
v1 (two replicas) and v2, `other`, and an ingress gateway. A case applies its documents, waits until every proxy
acknowledged them, asks, and deletes them again.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from math import inf
from pathlib import Path

import pytest

from e2e.meshes import Answer, Mesh, Process, eventually, good, outside_app, request, running_mesh
from key_pairs import encoded, key_pair

pytestmark = pytest.mark.e2e

SUBSETS = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: echo}
spec:
  host: echo
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
---
"""


def virtual_service(http: str, *, name: str = "echo", hosts: str = "[echo]", more: str = "") -> str:
    """A VirtualService for `echo` with these http rules, after its DestinationRule."""
    return (
        f"{SUBSETS}apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}}}\n"
        f"spec:\n  hosts: {hosts}\n{more}  http:\n{http}"
    )


TO_V1 = "{destination: {host: echo, subset: v1}}"
TO_V2 = "{destination: {host: echo, subset: v2}}"


def v2_when(match: str) -> str:
    """Requests that match go to v2, all others to v1."""
    return virtual_service(f"  - match: [{match}]\n    route: [{TO_V2}]\n  - route: [{TO_V1}]\n")


def rule(text: str) -> str:
    """One http rule (YAML of one list item, without its dash), indented."""
    lines = text.strip("\n").splitlines()
    return virtual_service("\n".join([f"  - {lines[0]}", *(f"    {line}" for line in lines[1:])]) + "\n")


@dataclass(frozen=True, kw_only=True)
class Ask:
    """A request and what must be seen."""

    url: str = "http://echo/"
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int = 200
    version: str = ""
    """Version of the app that answered."""
    sees: Mapping[str, str] = field(default_factory=dict)
    """What the app received: `target`, `host`, `method`."""
    app_headers: Mapping[str, str | None] = field(default_factory=dict)
    """Headers the app received; None means absent."""
    answers: Mapping[str, str | None] = field(default_factory=dict)
    """Response headers; None means absent."""
    seconds: tuple[float, float] = (0, inf)
    """How long the answer took. What Envoy times may come 5 % early by our clock; upper bounds are for what would take
    a minute otherwise."""
    check: Callable[[Answer], None] | None = None


def ask(*asks: Ask) -> tuple[Ask, ...]:
    return asks


def yes_no(match: str, yes: Ask, no: Ask) -> tuple[str, tuple[Ask, ...]]:
    """A match that `yes` meets (v2) and `no` does not (v1)."""
    from dataclasses import replace

    return v2_when(match), (replace(yes, version="v2"), replace(no, version="v1"))


def host_is(value: str) -> dict[str, str]:
    return {"host": value}


CASES: dict[str, tuple[str, tuple[Ask, ...]]] = {
    "match uri exact": yes_no("{uri: {exact: /a}}", Ask(url="http://echo/a"), Ask(url="http://echo/a/b")),
    "match uri prefix": yes_no("{uri: {prefix: /api}}", Ask(url="http://echo/api/x?q=1"), Ask(url="http://echo/ap")),
    "match uri regex": yes_no(
        "{uri: {regex: '/id/[0-9]+'}}", Ask(url="http://echo/id/42"), Ask(url="http://echo/id/x")
    ),
    "match uri ignoring case": yes_no(
        "{uri: {exact: /Abc}, ignoreUriCase: true}", Ask(url="http://echo/aBC"), Ask(url="http://echo/abd")
    ),
    "match scheme": yes_no(
        "{scheme: {exact: http}, uri: {exact: /s}}", Ask(url="http://echo/s"), Ask(url="http://echo/t")
    ),
    "match method": yes_no("{method: {exact: DELETE}}", Ask(method="DELETE"), Ask(method="GET")),
    "match method regex": yes_no("{method: {regex: 'P.*'}}", Ask(method="PUT"), Ask(method="GET")),
    "match authority": yes_no(
        "{authority: {exact: echo.default}}", Ask(url="http://echo.default/"), Ask(url="http://echo/")
    ),
    "match header exact": yes_no(
        "{headers: {end-user: {exact: jason}}}", Ask(headers={"end-user": "jason"}), Ask(headers={"end-user": "x"})
    ),
    "match header prefix": yes_no(
        "{headers: {x-a: {prefix: ab}}}", Ask(headers={"x-a": "abc"}), Ask(headers={"x-a": "bab"})
    ),
    "match header regex": yes_no(
        "{headers: {cookie: {regex: '^(.*?;)?(user=jason)(;.*)?$'}}}",
        Ask(headers={"cookie": "a=b;user=jason;c=d"}),
        Ask(headers={"cookie": "user=mary"}),
    ),
    "match header presence": yes_no("{headers: {x-here: {}}}", Ask(headers={"x-here": "1"}), Ask()),
    "match without header": yes_no("{withoutHeaders: {x-no: {exact: '1'}}}", Ask(), Ask(headers={"x-no": "1"})),
    "match query exact": yes_no(
        "{queryParams: {v: {exact: '2'}}}", Ask(url="http://echo/?v=2"), Ask(url="http://echo/?v=3")
    ),
    "match query regex": yes_no(
        "{queryParams: {v: {regex: '\\d+$'}}}", Ask(url="http://echo/?v=12"), Ask(url="http://echo/?v=ab")
    ),
    "match query prefix": yes_no(
        "{queryParams: {v: {prefix: ab}}}", Ask(url="http://echo/?v=abc"), Ask(url="http://echo/?v=bc")
    ),
    "match port": yes_no("{port: 8080}", Ask(url="http://echo:8080/"), Ask(url="http://echo/")),
    "match source labels": (
        v2_when("{sourceLabels: {app: client}}"),
        ask(Ask(version="v2")),
    ),
    "match other source labels": (v2_when("{sourceLabels: {app: somebody}}"), ask(Ask(version="v1"))),
    "match source namespace": (v2_when("{sourceNamespace: elsewhere}"), ask(Ask(version="v1"))),
    "match gateways: mesh only": (
        v2_when("{gateways: [mesh], uri: {prefix: /m}}"),
        ask(Ask(url="http://echo/m", version="v2")),
    ),
    "all conditions of one match hold, any match suffices": yes_no(
        "{uri: {prefix: /x}, method: {exact: GET}}, {headers: {x-b: {exact: '1'}}}",
        Ask(url="http://echo/y", headers={"x-b": "1"}),
        Ask(url="http://echo/x", method="POST"),
    ),
    "short, namespaced and full names of one host": (
        rule(f"route: [{TO_V2}]"),
        tuple(
            Ask(url=f"http://{name}/", version="v2", sees=host_is(name))
            for name in ("echo", "echo.default", "echo.default.svc", "echo.default.svc.cluster.local")
        ),
    ),
    "redirect uri and authority": (
        rule("redirect: {uri: /new, authority: other.example.com, redirectCode: 302}"),
        ask(Ask(status=302, answers={"location": "http://other.example.com/new"})),
    ),
    "redirect scheme and port": (
        rule("redirect: {scheme: https, port: 8443}"),
        ask(Ask(url="http://echo/a", status=301, answers={"location": "https://echo:8443/a"})),
    ),
    "redirect prefix": (
        rule("match: [{uri: {prefix: /old}}]\nredirect: {prefixRewrite: /new}"),
        ask(Ask(url="http://echo/old/x", status=301, answers={"location": "http://echo/new/x"})),
    ),
    "rewrite prefix": (
        rule(f"match: [{{uri: {{prefix: /api}}}}]\nrewrite: {{uri: /v1}}\nroute: [{TO_V1}]"),
        ask(Ask(url="http://echo/api/x?q=1", sees={"target": "/v1/x?q=1"})),
    ),
    "rewrite authority": (
        rule(f"rewrite: {{authority: new.example.com}}\nroute: [{TO_V1}]"),
        ask(Ask(sees=host_is("new.example.com"))),
    ),
    "rewrite by regular expression": (
        rule(f"rewrite: {{uriRegexRewrite: {{match: '^/a/([^/]+)/(.*)$', rewrite: '/\\2/\\1'}}}}\nroute: [{TO_V1}]"),
        ask(Ask(url="http://echo/a/one/two", sees={"target": "/two/one"})),
    ),
    "direct response": (
        rule("directResponse: {status: 418, body: {string: teapot}}"),
        ask(Ask(status=418, check=lambda answer: _same(answer.body, b"teapot"))),
    ),
    "timeout": (
        virtual_service(
            f"  - match: [{{uri: {{prefix: /delay}}}}]\n    timeout: 0.3s\n    route: [{TO_V1}]\n"
            f"  - timeout: 20s\n    route: [{TO_V1}]\n"
        ),
        ask(Ask(url="http://echo/delay/60", status=504, seconds=(0.28, 12)), Ask(url="http://echo/")),
    ),
    "no timeout by default": (
        rule(f"route: [{TO_V1}]"),
        ask(Ask(url="http://echo/delay/1.2", seconds=(1.14, inf))),
    ),
    "retries": (
        rule(f"retries: {{attempts: 3, perTryTimeout: 20s, retryOn: 5xx}}\nroute: [{TO_V2}]"),
        ask(Ask(url="http://echo/status/503", status=503, app_headers={"x-envoy-attempt-count": "4"})),
    ),
    "retries off": (
        rule(f"retries: {{attempts: 0}}\nroute: [{TO_V2}]"),
        ask(Ask(url="http://echo/status/503", status=503, app_headers={"x-envoy-attempt-count": "1"})),
    ),
    "retry per try timeout": (
        rule(f"retries: {{attempts: 1, perTryTimeout: 0.3s, retryOn: gateway-error}}\nroute: [{TO_V2}]"),
        ask(Ask(url="http://echo/delay/60", status=504, seconds=(0.55, 12))),
    ),
    "fault delay": (
        rule(f"fault: {{delay: {{fixedDelay: 0.7s, percentage: {{value: 100}}}}}}\nroute: [{TO_V1}]"),
        ask(Ask(seconds=(0.66, inf))),
    ),
    "fault delay for none": (
        # Whoever asks does not wait for a minute.
        rule(f"fault: {{delay: {{fixedDelay: 60s, percentage: {{value: 0}}}}}}\nroute: [{TO_V1}]"),
        ask(Ask()),
    ),
    "fault abort": (
        rule(f"fault: {{abort: {{httpStatus: 555, percentage: {{value: 100}}}}}}\nroute: [{TO_V1}]"),
        ask(Ask(status=555)),
    ),
    "fault for one user only": (
        virtual_service(
            "  - match: [{headers: {end-user: {exact: jason}}}]\n"
            "    fault: {abort: {httpStatus: 500, percentage: {value: 100}}}\n"
            f"    route: [{TO_V1}]\n  - route: [{TO_V1}]\n"
        ),
        ask(Ask(headers={"end-user": "jason"}, status=500), Ask()),
    ),
    "header operations of a route": (
        rule(
            "headers:\n  request: {set: {x-set: one, x-old: new}, add: {x-add: two}, remove: [x-gone]}\n"
            f"  response: {{set: {{x-answer: three}}, remove: [x-app-header]}}\nroute: [{TO_V1}]"
        ),
        ask(
            Ask(
                headers={"x-old": "old", "x-gone": "here", "x-add": "one"},
                app_headers={"x-set": "one", "x-old": "new", "x-add": "one,two", "x-gone": None},
                answers={"x-answer": "three", "x-app-header": None},
            )
        ),
    ),
    "header operations of a destination": (
        rule(
            "route: [{destination: {host: echo, subset: v2}, headers: {request: {set: {x-d: 'yes'}}, "
            "response: {add: {x-r: v2}}}}]"
        ),
        ask(Ask(app_headers={"x-d": "yes"}, answers={"x-r": "v2"})),
    ),
    "host header set by header operations": (
        rule(f"headers: {{request: {{set: {{Host: set.example.com}}}}}}\nroute: [{TO_V1}]"),
        ask(Ask(sees=host_is("set.example.com"))),
    ),
    "cors preflight": (
        rule(
            "corsPolicy: {allowOrigins: [{exact: 'http://good.example'}], allowMethods: [POST], "
            f"allowHeaders: [x-c], maxAge: 24h, allowCredentials: true, exposeHeaders: [x-e]}}\nroute: [{TO_V1}]"
        ),
        ask(
            Ask(
                method="OPTIONS",
                headers={"origin": "http://good.example", "access-control-request-method": "POST"},
                answers={
                    "access-control-allow-origin": "http://good.example",
                    "access-control-allow-methods": "POST",
                    "access-control-allow-headers": "x-c",
                    "access-control-max-age": "86400",
                    "access-control-allow-credentials": "true",
                },
            ),
            Ask(
                headers={"origin": "http://good.example"},
                answers={"access-control-allow-origin": "http://good.example", "access-control-expose-headers": "x-e"},
            ),
            Ask(headers={"origin": "http://bad.example"}, answers={"access-control-allow-origin": None}),
        ),
    ),
    "first rule that matches wins": (
        virtual_service(
            "  - match: [{uri: {prefix: /}}]\n    route: [" + TO_V2 + "]\n"
            "  - match: [{uri: {exact: /x}}]\n    route: [" + TO_V1 + "]\n"
        ),
        ask(Ask(url="http://echo/x", version="v2")),
    ),
    "a missing subset is a 503": (rule("route: [{destination: {host: echo, subset: v9}}]"), ask(Ask(status=503))),
    "another service and port": (
        rule("route: [{destination: {host: other, port: {number: 9080}}}]"),
        ask(Ask(check=lambda answer: _same(answer.json["app"], "other"))),
    ),
    "delegate": (
        virtual_service("  - match: [{uri: {prefix: /d}}]\n    delegate: {name: echo-delegate}\n", name="echo")
        + "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: echo-delegate}\n"
        f"spec:\n  http:\n  - route: [{TO_V2}]\n",
        ask(Ask(url="http://echo/d", version="v2")),
    ),
    "v1alpha3 reads alike": (
        v2_when("{uri: {exact: /a}}").replace("networking.istio.io/v1", "networking.istio.io/v1alpha3"),
        ask(Ask(url="http://echo/a", version="v2")),
    ),
    "v1beta1 reads alike": (
        v2_when("{uri: {exact: /a}}").replace("networking.istio.io/v1", "networking.istio.io/v1beta1"),
        ask(Ask(url="http://echo/a", version="v2")),
    ),
}


def _same(seen: object, wanted: object) -> None:
    assert seen == wanted


@dataclass
class Bed:
    mesh: Mesh
    client: Process
    gateway: Process

    @property
    def listener(self) -> tuple[str, int]:
        """Where the gateway's port 80 is bound."""
        return self.gateway_listener(80)

    def gateway_listener(self, declared: int) -> tuple[str, int]:
        """Where a port of the gateway is bound."""
        found = eventually(lambda: self._listeners().get(str(declared)), what=f"port {declared}")
        host, _, port = found.rpartition(":")
        return host, int(port)

    def _listeners(self) -> dict[str, str]:
        host, _, port = self.gateway.addresses["admin"].rpartition(":")
        shown = request(int(port), "/listeners?format=json", address=host).json
        found = {}
        for status in shown.get("listener_statuses", []):
            bound = status["local_address"]["socket_address"]
            name = status["name"]
            if name.startswith("0.0.0.0_"):
                found[name.removeprefix("0.0.0.0_")] = f"{bound['address']}:{bound['port_value']}"
        return found

    def through_gateway(self, path: str = "/", *, host: str, **options: object) -> Answer:
        address, port = self.listener
        headers = {"host": host, **options.pop("headers", {})}  # type: ignore[dict-item]
        return request(port, path, address=address, headers=headers, **options)  # type: ignore[arg-type]


def answers(client: Process, url: str) -> bool:
    return client.get(url).status == 200


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    with running_mesh(tmp_path_factory.mktemp("mesh")) as mesh:
        more = ("--port", "8080/http")
        apps = [
            mesh.run("echo", version="v1", flags=more, wait=False),
            mesh.run("echo", version="v1", flags=more, wait=False),
            mesh.run("echo", version="v2", flags=more, wait=False),
            mesh.run("other", port="9080/http", wait=False),
        ]
        client = mesh.run("client", sys.executable, "-c", "import signal; signal.pause()", port="", wait=False)
        gateway = mesh.gateway(wait=False)
        mesh.wait_addresses(*apps, client, gateway)
        for url in ("http://echo/count", "http://other:9080/count"):
            eventually(partial(answers, client, url), what=url)
        yield Bed(mesh, client, gateway)


@pytest.fixture(autouse=True)
def _clean(bed: Bed) -> Iterator[None]:
    yield
    bed.mesh.delete_all("virtualservices", "destinationrules", "gateways", "serviceentries", "sidecars")


def _met(answer: Answer, wanted: Ask) -> None:
    assert answer.status == wanted.status, answer.body
    if wanted.version:
        assert answer.json["version"] == wanted.version
    for key, value in wanted.sees.items():
        assert answer.json[key] == value
    for name, value_or_none in wanted.app_headers.items():
        assert answer.json["headers"].get(name) == value_or_none, name
    for name, value_or_none in wanted.answers.items():
        assert answer.headers.get(name) == value_or_none, name
    assert wanted.seconds[0] <= answer.seconds <= wanted.seconds[1]
    if wanted.check:
        wanted.check(answer)


@pytest.mark.parametrize("name", CASES)
def test_http_field(bed: Bed, name: str) -> None:
    """The documents act on real Envoy as the Istio reference says."""
    yaml, asks = CASES[name]
    bed.mesh.apply(yaml)
    for wanted in asks:
        _met(bed.client.get(wanted.url, method=wanted.method, headers=wanted.headers), wanted)


def versions(bed: Bed, times: int, url: str = "http://echo/", **headers: str) -> Counter[str]:
    return Counter(bed.client.get(url, headers=headers).json["version"] for _ in range(times))


def test_weights(bed: Bed) -> None:
    """90/10 is 90/10: chance leaves these bounds once in ten million times (300 draws)."""
    bed.mesh.apply(rule(f"route:\n- {TO_V1[:-1]}, weight: 90}}\n- {TO_V2[:-1]}, weight: 10}}"))
    seen = versions(bed, 300)
    assert seen["v1"] + seen["v2"] == 300
    assert 6 <= seen["v2"] <= 60


def test_a_zero_weight_gets_nothing(bed: Bed) -> None:
    bed.mesh.apply(rule(f"route:\n- {TO_V1[:-1]}, weight: 100}}\n- {TO_V2[:-1]}, weight: 0}}"))
    assert versions(bed, 60) == {"v1": 60}


def test_mirror(bed: Bed) -> None:
    """Every request is copied to the mirror; the answer comes from the route."""
    bed.mesh.apply(
        rule("mirror: {host: other, port: {number: 9080}}\nmirrorPercentage: {value: 100}\nroute: [" + TO_V1 + "]")
    )
    before = bed.client.get("http://other:9080/count").json["count"]
    assert versions(bed, 10) == {"v1": 10}
    eventually(
        lambda: bed.client.get("http://other:9080/count").json["count"] >= before + 10, what="10 mirrored requests"
    )


def policy(traffic_policy: str) -> str:
    return (
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: echo}\n"
        f"spec:\n  host: echo\n  trafficPolicy: {traffic_policy}\n"
    )


def hosts(bed: Bed, times: int, url: str = "http://echo/", **headers: str) -> Counter[str]:
    """Which upstream host answered, by what each app says of itself."""
    seen: Counter[str] = Counter()
    for _ in range(times):
        answer = bed.client.get(url, headers=headers)
        assert answer.status == 200, answer.body
        seen[answer.json["version"]] += 1
    return seen


@pytest.mark.parametrize("simple", ["ROUND_ROBIN", "LEAST_REQUEST", "RANDOM"])
def test_load_balancer_spreads(bed: Bed, simple: str) -> None:
    """Two of three hosts are v1, so about two thirds of the requests are; chance errs once in ten million times."""
    bed.mesh.apply(policy(f"{{loadBalancer: {{simple: {simple}}}}}"))
    seen = hosts(bed, 120)
    assert 52 <= seen["v1"] <= 107


def test_round_robin_is_even(bed: Bed) -> None:
    bed.mesh.apply(policy("{loadBalancer: {simple: ROUND_ROBIN}}"))
    seen = hosts(bed, 90)
    assert abs(seen["v1"] - 60) <= 3


def test_consistent_hash_by_header(bed: Bed) -> None:
    """One value always goes to one host; many values reach both versions.

    The addresses, and so who is whose host, depend on which others are taken:
    50 values miss v2 once in a billion times.
    """
    bed.mesh.apply(policy("{loadBalancer: {consistentHash: {httpHeaderName: x-user}}}"))
    by_user = [hosts(bed, 3, **{"x-user": f"user-{number}"}) for number in range(50)]
    assert all(len(seen) == 1 for seen in by_user)
    assert {version for seen in by_user for version in seen} == {"v1", "v2"}


def test_consistent_hash_by_cookie(bed: Bed) -> None:
    """Without the cookie Envoy sets one; with it the host stays the same."""
    bed.mesh.apply(policy("{loadBalancer: {consistentHash: {httpCookie: {name: affinity, ttl: 60s}}}}"))
    for _ in range(8):
        first = bed.client.get("http://echo/")
        cookie = first.headers["set-cookie"].partition(";")[0]
        assert cookie.startswith("affinity=")
        assert hosts(bed, 4, cookie=cookie) == {first.json["version"]: 4}


def test_consistent_hash_by_source_ip(bed: Bed) -> None:
    bed.mesh.apply(policy("{loadBalancer: {consistentHash: {useSourceIp: true}}}"))
    assert len(hosts(bed, 12)) == 1


def test_connection_pool_limits_pending_requests(bed: Bed) -> None:
    """With one connection and one pending request, a burst overflows into 503 UO; without, it does not."""
    from concurrent.futures import ThreadPoolExecutor

    def burst() -> Counter[int]:
        with ThreadPoolExecutor(8) as pool:
            return Counter(pool.map(lambda _: bed.client.get("http://other:9080/delay/0.4").status, range(8)))

    assert burst() == {200: 8}
    bed.mesh.apply(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: other}\nspec:\n  host: other\n"
        "  trafficPolicy: {connectionPool: {tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1}}}\n"
        "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: other}\nspec:\n"
        "  hosts: [other]\n  http: [{retries: {attempts: 0}, route: [{destination: {host: other}}]}]\n"
    )
    # All eight at once, unless somebody stands still meanwhile; without the limit none fails, however they come.
    eventually(lambda: burst()[503] >= 4, what="a burst of which half overflows")


def test_outlier_detection_ejects_the_failing_host(bed: Bed) -> None:
    """A host that answers 5xx is ejected after its errors and gets no more requests."""
    sick = bed.mesh.run("echo", version="v3", flags=("--port", "8080/http"), FAIL="1")
    try:
        bed.mesh.apply(
            policy(
                "{outlierDetection: {consecutive5xxErrors: 2, interval: 0.2s, baseEjectionTime: 60s, "
                "maxEjectionPercent: 100}}"
            )
            + "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: echo}\nspec:\n"
            "  hosts: [echo]\n  http: [{retries: {attempts: 0}, route: [{destination: {host: echo}}]}]\n"
        )
        eventually(
            lambda: Counter(bed.client.get("http://echo/").status for _ in range(40)) == {200: 40},
            what="forty good answers in a row",
        )
        assert sick.popen.poll() is None
    finally:
        assert sick.stop() >= 0


GATEWAY = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: ["*.example.com", plain.org]
---
"""


def at_gateway(http: str, hosts: str = "[shop.example.com]") -> str:
    return GATEWAY + virtual_service(http, hosts=hosts, more="  gateways: [edge]\n")


def test_gateway_routes_by_host_and_path(bed: Bed) -> None:
    bed.mesh.apply(at_gateway(f"  - match: [{{uri: {{prefix: /v2}}}}]\n    route: [{TO_V2}]\n  - route: [{TO_V1}]\n"))
    assert bed.through_gateway("/v2/x", host="shop.example.com").json["version"] == "v2"
    assert bed.through_gateway("/", host="shop.example.com").json["version"] == "v1"
    assert bed.through_gateway("/", host="shop.example.com:80").json["version"] == "v1"
    assert bed.through_gateway("/", host="nobody.example.com").status == 404


def test_gateway_virtual_service_is_not_for_sidecars(bed: Bed) -> None:
    """A VirtualService bound to a gateway only leaves sidecars alone."""
    bed.mesh.apply(
        GATEWAY + virtual_service("  - directResponse: {status: 418}\n", hosts="[echo]", more="  gateways: [edge]\n")
    )
    assert bed.client.get("http://echo/").status == 200


def test_gateway_match_by_gateway(bed: Bed) -> None:
    """One VirtualService for mesh and gateway; a match on `gateways` tells them apart."""
    http = f"  - match: [{{gateways: [edge]}}]\n    route: [{TO_V2}]\n  - route: [{TO_V1}]\n"
    bed.mesh.apply(GATEWAY + virtual_service(http, hosts="[plain.org, echo]", more="  gateways: [edge, mesh]\n"))
    assert versions(bed, 5) == {"v1": 5}
    assert bed.through_gateway("/", host="plain.org").json["version"] == "v2"


def test_gateway_for_another_selector_does_nothing(bed: Bed) -> None:
    bed.mesh.apply(at_gateway(f"  - route: [{TO_V1}]\n").replace("ingressgateway", "someone-else"))
    assert "80" not in bed._listeners()


HTTPS_GATEWAY = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 443, name: https, protocol: HTTPS}
    hosts: [shop.example.com]
    tls: %s
---
"""


def _https(bed: Bed, ca: bytes, tmp_path: Path) -> Answer:
    """Ask the gateway's port 443 as shop.example.com, trusting only this certificate."""
    import http.client
    import socket
    import ssl

    (tmp_path / "trusted.pem").write_bytes(ca)
    context = ssl.create_default_context(cafile=str(tmp_path / "trusted.pem"))
    host, _, port = bed._listeners()["443"].rpartition(":")
    with (
        socket.create_connection((host, int(port)), 30) as plain,
        context.wrap_socket(plain, server_hostname="shop.example.com") as secure,
    ):
        secure.sendall(b"GET /tls HTTP/1.1\r\nhost: shop.example.com\r\nconnection: close\r\n\r\n")
        response = http.client.HTTPResponse(secure)
        response.begin()
        return Answer(response.status, dict(response.getheaders()), response.read(), 0)


@pytest.mark.parametrize("source", ["secret", "files"])
def test_gateway_https_simple(bed: Bed, tmp_path: Path, source: str) -> None:
    """TLS terminates at the gateway with a certificate from a Secret or from files."""
    public, private = key_pair("shop.example.com")
    to_v2 = "{destination: {host: echo, subset: v2, port: {number: 80}}}"  # 443 is no port of it, so it must be named
    routes = virtual_service(f"  - route: [{to_v2}]\n", hosts="[shop.example.com]", more="  gateways: [edge]\n")
    if source == "secret":
        secret = (
            "apiVersion: v1\nkind: Secret\nmetadata: {name: shop-cert}\ntype: kubernetes.io/tls\n"
            f"data: {{tls.crt: {encoded(public)}, tls.key: {encoded(private)}}}\n---\n"
        )
        bed.mesh.apply(secret + HTTPS_GATEWAY % "{mode: SIMPLE, credentialName: shop-cert}" + routes)
    else:
        (tmp_path / "cert.pem").write_bytes(public)
        (tmp_path / "key.pem").write_bytes(private)
        files = f"{{mode: SIMPLE, serverCertificate: {tmp_path}/cert.pem, privateKey: {tmp_path}/key.pem}}"
        bed.mesh.apply(HTTPS_GATEWAY % files + routes)

    def answered() -> bool:
        answer = _https(bed, public, tmp_path)
        return answer.status == 200 and answer.json["version"] == "v2"

    eventually(answered, what="HTTPS through the gateway")
    assert private.decode().splitlines()[1] not in bed.mesh.control_plane.log.read_text()


def test_gateway_https_redirect(bed: Bed) -> None:
    redirecting = GATEWAY.replace(
        'hosts: ["*.example.com", plain.org]', 'hosts: ["*.example.com"]\n    tls: {httpsRedirect: true}'
    )
    bed.mesh.apply(
        redirecting
        + virtual_service(f"  - route: [{TO_V1}]\n", hosts="[shop.example.com]", more="  gateways: [edge]\n")
    )
    answer = bed.through_gateway("/a", host="shop.example.com")
    assert (answer.status, answer.headers["location"]) == (301, "https://shop.example.com/a")


def test_registry_only_refuses_unknown_hosts_and_allow_any_does_not(bed: Bed) -> None:
    """A Sidecar switches its namespace to REGISTRY_ONLY; without it the mesh default is ALLOW_ANY."""
    with outside_app() as port:
        url = f"http://127.0.0.1:{port}/"
        eventually(lambda: bed.client.get(url).status == 200, what="an unknown host under ALLOW_ANY")
        bed.mesh.apply(
            "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: default}\n"
            "spec: {outboundTrafficPolicy: {mode: REGISTRY_ONLY}, egress: [{hosts: ['*/*']}]}\n"
        )
        assert bed.client.get(url).status == 502
        assert bed.client.get("http://echo/").status == 200


def test_service_entry_static(bed: Bed) -> None:
    """A ServiceEntry gives a name to an address outside the mesh."""
    with outside_app() as port:
        bed.mesh.apply(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: outside}\nspec:\n"
            "  hosts: [outside.example.org]\n  ports: [{number: 80, name: http, protocol: HTTP}]\n"
            f"  resolution: STATIC\n  endpoints: [{{address: 127.0.0.1, ports: {{http: {port}}}}}]\n"
        )
        answer = eventually(lambda: good(bed.client.get("http://outside.example.org/x")), what="the ServiceEntry")
        assert answer.json["app"] == "outside"
        assert answer.json["host"] == "outside.example.org"


def test_sidecar_egress_hosts_limit_what_a_workload_sees(bed: Bed) -> None:
    bed.mesh.apply(
        "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: default}\n"
        "spec:\n  outboundTrafficPolicy: {mode: REGISTRY_ONLY}\n"
        "  egress: [{hosts: ['./echo.default.svc.cluster.local']}]\n"
    )
    assert bed.client.get("http://echo/").status == 200
    assert bed.client.get("http://other:9080/").status == 502


def test_sidecar_ingress_says_where_the_application_is(bed: Bed) -> None:
    """The listed port leads to the endpoint that the Sidecar names, and back to the application without it."""
    with outside_app() as port:
        bed.mesh.apply(
            "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: other}\nspec:\n"
            "  workloadSelector: {labels: {app: other}}\n"
            "  ingress:\n  - port: {number: 9080, protocol: HTTP, name: http}\n"
            f"    defaultEndpoint: 127.0.0.1:{port}\n"
        )
        eventually(lambda: bed.client.get("http://other:9080/").json["app"] == "outside", what="the other endpoint")
    bed.mesh.delete_all("sidecars")
    eventually(lambda: bed.client.get("http://other:9080/").json["app"] == "other", what="the application again")


def test_tunnel_goes_through_an_egress_proxy(bed: Bed) -> None:
    """Bytes for a gateway's TCP port reach what the tunnel names, by CONNECT through a proxy: here the client's own."""
    address, port = bed.client.proxy
    bed.mesh.apply(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: egress}\nspec:\n"
        "  hosts: [egress.example.org]\n  ports: [{number: 3128, name: tcp, protocol: TCP}]\n"
        f"  resolution: STATIC\n  endpoints: [{{address: {address}, ports: {{tcp: {port}}}}}]\n"
        "---\napiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: bytes}\nspec:\n"
        "  selector: {istio: ingressgateway}\n"
        "  servers: [{port: {number: 7070, name: tcp, protocol: TCP}, hosts: ['*']}]\n"
        "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: bytes}\nspec:\n"
        "  hosts: ['*']\n  gateways: [bytes]\n"
        "  tcp: [{route: [{destination: {host: egress.example.org, port: {number: 3128}}}]}]\n"
        "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: egress}\nspec:\n"
        "  host: egress.example.org\n  trafficPolicy:\n"
        "    tunnel: {protocol: CONNECT, targetHost: other.default.svc.cluster.local, targetPort: 9080}\n"
    )
    where, bound = bed.gateway_listener(7070)
    answer = eventually(lambda: good(request(bound, "/", address=where)), what="the tunnel")
    assert answer.json["app"] == "other"
