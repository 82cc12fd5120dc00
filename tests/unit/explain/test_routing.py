"""Where requests go: explicit, intercepted and through gateways, by what proxies are really served."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml

from lateen.config.mesh_config import MeshConfig, parse_mesh_config
from lateen.config.parsing import parse
from lateen.envoy.messages import typed_extension
from lateen.envoy.resources import LISTENER, make_resource, make_snapshot
from lateen.explain.explaining import explain
from lateen.explain.explanations import Explanation, NearMiss, Outcome, Routing
from lateen.explain.questions import QuestionError, question
from lateen.mesh.build import build_state
from lateen.model.findings import has_errors
from lateen.model.proxies import Interception, Proxy, ProxyType, Upstream

MESH = """
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {clusterIP: 10.96.0.10, selector: {app: reviews}, ports: [{name: http, port: 9080}]}
---
apiVersion: v1
kind: Service
metadata: {name: bank}
spec: {clusterIP: 10.96.0.11, selector: {app: bank}, ports: [{name: tcp, port: 7070}, {name: tls, port: 443}]}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: reviews-v1}
spec: {address: 10.0.0.5, labels: {app: reviews, version: v1}, serviceAccount: reviews}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: reviews-v2}
spec: {address: 10.0.0.6, labels: {app: reviews, version: v2}, serviceAccount: reviews}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: bank}
spec: {address: 10.0.0.7, labels: {app: bank}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  trafficPolicy:
    connectionPool: {http: {http1MaxPendingRequests: 10}}
    outlierDetection: {consecutive5xxErrors: 3}
    loadBalancer: {consistentHash: {httpHeaderName: x-user}}
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}, {name: v9, labels: {version: v9}}]
"""
RULES = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - name: canary
    match: [{headers: {end-user: {exact: jason}}, uri: {prefix: /reviews}}]
    route: [{destination: {host: reviews, subset: v2}}]
  - match: [{uri: {prefix: /gone}}]
    route: [{destination: {host: reviews, subset: v9}}]
  - match: [{uri: {prefix: /old}}]
    redirect: {uri: /reviews}
  - match: [{uri: {prefix: /reviews}}]
    rewrite: {uri: /v1/reviews}
    timeout: 3s
    route:
    - {destination: {host: reviews, subset: v1}, weight: 90, headers: {request: {set: {x-from: web}}}}
    - {destination: {host: reviews, subset: v2}, weight: 10}
"""
INTERCEPTED = Proxy(
    type=ProxyType.SIDECAR,
    name="web-1",
    namespace="default",
    service_account="web",
    addresses=("10.0.0.9",),
    certificates=True,
)
EXPLICIT = replace(INTERCEPTED, addresses=("127.0.0.9",), interception=Interception.NONE)
BOTH = pytest.mark.parametrize("proxy", [INTERCEPTED, EXPLICIT], ids=["intercepted", "explicit"])


def ask(
    line: str, *documents: str, proxy: Proxy = INTERCEPTED, mesh: MeshConfig | None = None, **options: Any
) -> Explanation:
    parsed = parse("\n---\n".join((MESH, *documents)).encode(), "mesh.yaml")
    assert not has_errors(parsed.findings), [str(finding) for finding in parsed.findings]
    state = build_state(parsed.objects, (), mesh or MeshConfig())
    return explain(state, question(proxy, line, assumed_sidecars=True, **options))


def routed(explanation: Explanation) -> Routing:
    assert explanation.routing is not None
    return explanation.routing


def only(explanation: Explanation) -> Outcome:
    [outcome] = routed(explanation).outcomes
    return outcome


def nearest(explanation: Explanation) -> NearMiss:
    return routed(explanation).near_misses[0]


REVIEWS = "GET http://reviews:9080/reviews/1"


@BOTH
def test_every_destination_is_told_with_its_share(proxy: Proxy) -> None:
    found = routed(ask(REVIEWS, RULES, proxy=proxy)).outcomes

    assert [(one.share, one.cluster and one.cluster.subset) for one in found] == [(90, "v1"), (10, "v2")]
    assert [one.request and (one.request.path, one.request.headers.get("x-from")) for one in found] == [
        ("/v1/reviews/1", "web"),
        ("/v1/reviews/1", None),
    ]
    assert found[0].cluster is not None
    assert [endpoint.address for endpoint in found[0].cluster.endpoints] == ["10.0.0.5:9080"]


@BOTH
def test_the_route_that_nearly_took_it_is_told_with_its_place(proxy: Proxy) -> None:
    missed = nearest(ask(REVIEWS, RULES, proxy=proxy))

    assert (missed.what, missed.origin) == ("route", f"mesh.yaml:{MESH.count(chr(10)) + 4}")
    assert "(canary)" in missed.name
    assert missed.reason == "needs header end-user jason; the request has none"


def test_what_decided_is_told_in_order() -> None:
    steps = routed(ask(REVIEWS, RULES)).steps

    assert [step.what for step in steps] == ["listener", "filter chain", "virtual host", "route"]
    assert steps[-1].config == "VirtualService default/reviews"


def test_what_a_route_asks_not_to_be_is_told_as_that() -> None:
    match = "withoutHeaders: {x-a: {regex: '*'}}, queryParams: {q: {exact: '1'}}, headers: {x-b: {}}"
    rule = RULES.partition("  http:\n")[0] + f"  http: [{{match: [{{{match}}}], directResponse: {{status: 200}}}}]\n"
    step = routed(ask(f"{REVIEWS}?q=1", rule, headers=["x-b=1"])).steps[-1]
    assert step.why.endswith("path /* and not x-a, x-b, query q")


def test_limits_of_the_destination_rule_are_in_force() -> None:
    outcome = routed(ask(REVIEWS, RULES)).outcomes[0]
    cluster = outcome.cluster
    assert cluster is not None

    assert outcome.timeout == "3s"
    assert outcome.hash_policy == ["header x-user"]
    assert cluster.circuit_breakers == {"max_pending_requests": 10}
    assert cluster.outlier_detection["consecutive_5xx"] == 3
    assert [(one.mode, one.endpoints) for one in cluster.transports] == [("ISTIO_MUTUAL", 1)]
    assert cluster.config == "DestinationRule default/reviews"


def test_workloads_are_asked_about_the_request_as_it_was_rewritten() -> None:
    """And only those of the subsets that the route leads to."""
    policy = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: v2}
spec: {selector: {matchLabels: {version: v2}}, rules: [{to: [{operation: {paths: [/reviews/*]}}]}]}
"""
    split = ask(REVIEWS, RULES, policy)
    canary = ask(REVIEWS, RULES, policy, headers=["end-user=jason"])

    assert {one.workload: one.verdict for one in split.workloads} == {
        "reviews-v1.default": "allowed",
        "reviews-v2.default": "denied",
    }
    assert [one.verdict for one in routed(split).outcomes] == ["allowed", "denied"]
    assert split.verdict == "mixed"
    assert [(one.workload, one.verdict) for one in canary.workloads] == [("reviews-v2.default", "allowed")]


def test_what_the_proxy_answers_itself_reaches_nobody() -> None:
    redirected, gone = ask("GET http://reviews:9080/old?x=1", RULES), ask("GET http://reviews:9080/gone", RULES)
    lost = ask("GET http://reviews:9080/", RULES)

    assert (redirected.verdict, only(redirected).location) == ("answered", "http://reviews:9080/reviews?x=1")
    assert (gone.verdict, only(gone).status, only(gone).flag) == ("refused", 503, "UH")
    assert (lost.verdict, only(lost).status, only(lost).flag) == ("refused", 404, "NR")
    assert not redirected.workloads + gone.workloads + lost.workloads
    assert [miss.what for miss in routed(lost).near_misses] == ["route"] * 4


@BOTH
@pytest.mark.parametrize(
    ("mode", "verdict", "action"), [("ALLOW_ANY", "allowed", "pass through"), ("REGISTRY_ONLY", "refused", "blocked")]
)
def test_unknown_hosts_meet_the_outbound_traffic_policy(proxy: Proxy, mode: str, verdict: str, action: str) -> None:
    mesh, _ = parse_mesh_config(f"outboundTrafficPolicy: {{mode: {mode}}}".encode(), "mesh.yaml")
    found = ask("GET http://unknown.example:9080/", proxy=proxy, mesh=mesh)

    assert (found.verdict, only(found).action) == (verdict, action)
    if action == "blocked":
        assert only(found).status == 502
        assert "REGISTRY_ONLY" in only(found).reason


def test_an_unknown_port_is_caught_by_the_catch_all() -> None:
    found = ask("GET http://unknown.example:1234/")

    assert [step.name for step in routed(found).steps][:1] == ["virtualOutbound"]
    assert only(found).action == "pass through"


@pytest.mark.parametrize(
    ("line", "listener", "action"),
    [
        ("tcp://bank:7070", "10.96.0.11_7070", "forward"),
        ("tcp://10.96.0.11:7070", "10.96.0.11_7070", "forward"),
        ("GET https://bank/", "10.96.0.11_443", "forward"),
        ("tcp://reviews:9080", "0.0.0.0_9080", "pass through"),
    ],
)
def test_bytes_are_told_by_address_and_by_what_they_are(line: str, listener: str, action: str) -> None:
    found = ask(line)

    assert routed(found).steps[0].name == listener
    assert (only(found).action, only(found).request) == (action, None)


def test_explicit_bytes_take_a_tunnel() -> None:
    found = ask("tcp://bank:7070", proxy=EXPLICIT)

    assert only(found).action == "tunnel"
    assert found.destination is not None
    assert found.destination.host == "bank.default.svc.cluster.local"
    assert [one.workload for one in found.workloads] == ["bank.default"]


def test_an_http_proxy_goes_by_the_url() -> None:
    found = ask(REVIEWS, proxy=EXPLICIT, headers=["host=bank"])

    assert only(found).request is not None
    assert found.destination is not None
    assert found.destination.host == "reviews.default.svc.cluster.local"
    assert any("does not count" in note for note in found.notes)


def test_a_declared_upstream_has_a_listener_of_its_own() -> None:
    proxy = replace(EXPLICIT, upstreams=(Upstream(host="reviews", port=9080, local_port=19080),))
    found = ask("GET http://localhost:19080/reviews", RULES, proxy=proxy, headers=["end-user=jason"])

    assert routed(found).steps[0].name == "127.0.0.9_19080"
    assert [one.workload for one in found.workloads] == ["reviews-v2.default"]


@BOTH
def test_a_proxy_that_asks_on_demand_gets_the_same(proxy: Proxy) -> None:
    """Its virtual hosts and clusters are sent when somebody calls them."""
    told, asking = ask(REVIEWS, RULES, proxy=proxy), ask(REVIEWS, RULES, proxy=replace(proxy, asks_on_demand=True))

    assert routed(told).outcomes == routed(asking).outcomes


def test_no_host_matches_by_a_port_alone() -> None:
    missed = [
        one for one in routed(ask("GET http://reviews:9081/", proxy=EXPLICIT)).near_misses if one.what == "virtual host"
    ]

    assert "is for reviews:9080" in missed[0].reason


# --- gateways ------------------------------------------------------------------------------------------------

ENTRY = Proxy(type=ProxyType.GATEWAY, name="gw-1", namespace="default", labels={"istio": "gw"}, addresses=("10.0.0.8",))
GATEWAY = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: entry}
spec:
  selector: {istio: gw}
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}
  - {port: {number: 8080, name: redirecting, protocol: HTTP}, hosts: ["*"], tls: {httpsRedirect: true}}
  - {port: {number: 443, name: tls, protocol: TLS}, hosts: [bank.example], tls: {mode: PASSTHROUGH}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: [shop.example]
  gateways: [entry]
  http:
  - match: [{headers: {"@request.auth.claims.groups": {exact: dev}}}]
    route: [{destination: {host: reviews, subset: v2}}]
  - route: [{destination: {host: reviews, subset: v1}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: bank}
spec:
  hosts: [bank.example]
  gateways: [entry]
  tls: [{match: [{sniHosts: [bank.example]}], route: [{destination: {host: bank, port: {number: 443}}}]}]
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: tokens}
spec:
  selector: {matchLabels: {istio: gw}}
  jwtRules: [{issuer: me, jwks: '{"keys": [{"kty": "oct", "kid": "1", "k": "c2VjcmV0"}]}'}]
"""


def test_claims_of_a_token_choose_a_route() -> None:
    with_claims = ask("GET http://shop.example/", GATEWAY, proxy=ENTRY, claims='{"iss": "me", "groups": ["dev"]}')
    without = ask("GET http://shop.example/", GATEWAY, proxy=ENTRY)

    assert [one.workload for one in with_claims.workloads] == ["reviews-v2.default"]
    assert [one.workload for one in without.workloads] == ["reviews-v1.default"]
    assert nearest(without).reason == "needs claim groups dev; the request has none"


def test_a_server_that_redirects_to_https() -> None:
    found = ask("GET http://shop.example:8080/x", GATEWAY, proxy=ENTRY)

    assert (only(found).status, only(found).location) == (301, "https://shop.example:8080/x")


def test_tls_is_told_by_its_server_name() -> None:
    through, closed = (
        ask("GET https://bank.example/", GATEWAY, proxy=ENTRY),
        ask("GET https://shop.example/", GATEWAY, proxy=ENTRY),
    )

    assert [one.workload for one in through.workloads] == ["bank.default"]
    assert (closed.verdict, only(closed).action) == ("refused", "no filter chain")
    assert nearest(closed).reason == "needs server name bank.example; the connection has shop.example"
    assert closed.gateway is not None
    assert closed.gateway.verdict == "refused"


def test_tls_where_http_is_spoken_is_closed() -> None:
    found = ask("GET https://shop.example:80/", GATEWAY, proxy=ENTRY)

    assert (found.verdict, only(found).action) == ("refused", "no filter chain")


def test_a_port_may_be_named_as_it_is_declared_or_as_it_is_bound() -> None:
    shifted = replace(ENTRY, privileged=False)

    assert ask("GET http://shop.example/", GATEWAY, proxy=shifted).verdict == "allowed"


# --- what is told of secrets ---------------------------------------------------------------------------------


def test_a_token_is_not_repeated_in_the_request_as_it_was_sent_on() -> None:
    token = "eyJhbGciOiJub25lIn0.eyJpc3MiOiJtZSJ9.c2lnbmF0dXJl"
    found = only(ask(REVIEWS, headers=[f"authorization=Bearer {token}"]))

    assert found.request is not None
    assert "c2lnbmF0dXJl" not in yaml.safe_dump(found.request.headers)


# --- what an EnvoyFilter may have made -----------------------------------------------------------------------


def test_a_matcher_that_nobody_knows_is_no_bug() -> None:
    """Nothing is guessed: it says what it met."""
    match = {"prefix": "/", "headers": [{"name": "x", "string_match": {"custom": {"name": "c"}}}]}
    domains = [{"name": "all", "domains": ["*"], "routes": [{"match": match, "direct_response": {"status": 200}}]}]
    listener = {"name": "http_proxy", "filter_chains": [{"filters": [http_filter({"virtual_hosts": domains})]}]}
    served = make_snapshot([make_resource(LISTENER, "http_proxy", listener)])
    state = build_state((), (), MeshConfig())

    with pytest.raises(QuestionError, match="a string matcher with custom") as caught:
        explain(state, question(EXPLICIT, REVIEWS, headers=["x=1"]), served)
    assert "EnvoyFilter" in caught.value.hint


def http_filter(routes: dict[str, Any]) -> dict[str, Any]:
    return typed_extension(
        "envoy.filters.network.http_connection_manager",
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        {"stat_prefix": "x", "route_config": routes},
    )
