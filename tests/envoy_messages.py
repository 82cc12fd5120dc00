"""A small Envoy configuration and ways to break it, for the tests of `envoy/constraints` with Envoy and without."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import Any

from google.protobuf import json_format

from lateen.envoy.constraints.checking import Checker
from lateen.envoy.constraints.tls import _CIPHERS
from lateen.envoy.constraints.violations import Violation
from lateen.envoy.messages import message_class, pool

Json = Any
TYPE = "type.googleapis.com/envoy"
HCM = f"{TYPE}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
TCP = {
    "name": "tcp",
    "typed_config": {
        "@type": f"{TYPE}.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "t",
        "cluster": "c",
    },
}
ROUTER = {"name": "r", "typed_config": {"@type": f"{TYPE}.extensions.filters.http.router.v3.Router"}}
CORS = {"name": "c", "typed_config": {"@type": f"{TYPE}.extensions.filters.http.cors.v3.Cors"}}
ROUTE = {"match": {"prefix": "/"}, "route": {"cluster": "c"}}
CLUSTER: Json = {
    "name": "c",
    "type": "STATIC",
    "connect_timeout": "1s",
    "load_assignment": {
        "cluster_name": "c",
        "endpoints": [
            {"lb_endpoints": [{"endpoint": {"address": {"socket_address": {"address": "10.0.0.1", "port_value": 80}}}}]}
        ],
    },
}
LISTENER: Json = {
    "name": "l",
    "address": {"socket_address": {"address": "127.0.0.1", "port_value": 19999}},
    "filter_chains": [
        {
            "filters": [
                {
                    "name": "h",
                    "typed_config": {
                        "@type": HCM,
                        "stat_prefix": "h",
                        "http_filters": [ROUTER],
                        "route_config": {
                            "name": "r",
                            "validate_clusters": False,
                            "virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [ROUTE]}],
                        },
                    },
                }
            ]
        }
    ],
}
KINDS = {"listener": "envoy.config.listener.v3.Listener", "cluster": "envoy.config.cluster.v3.Cluster"}
BASES = {"listener": LISTENER, "cluster": CLUSTER}
_STEPS = {
    "CHAIN": "filter_chains.0",
    "HCM": "filter_chains.0.filters.0.typed_config",
    "CONFIG": "filter_chains.0.filters.0.typed_config.route_config",
    "HOST": "filter_chains.0.filters.0.typed_config.route_config.virtual_hosts.0",
    "ROUTE": "filter_chains.0.filters.0.typed_config.route_config.virtual_hosts.0.routes.0",
    "ENDPOINT": "load_assignment.endpoints.0.lb_endpoints.0.endpoint",
}
GONE = object()
"""As a value: the field is taken away."""


def edited(which: str, edits: dict[str, Json]) -> Json:
    """Return the base with fields replaced, by dotted path; the first word may be one of `_STEPS`."""
    document = copy.deepcopy(BASES[which])
    for path, value in edits.items():
        first, _, rest = path.partition(".")
        steps = [
            int(word) if word.isdigit() else word for word in f"{_STEPS.get(first, first)}.{rest}".strip(".").split(".")
        ]
        at: Any = document
        for step, following in pairwise(steps):
            if isinstance(at, dict) and step not in at:
                at[step] = [{}] if isinstance(following, int) else {}
            at = at[step]
        if value is GONE:
            del at[steps[-1]]
        else:
            at[steps[-1]] = copy.deepcopy(value)
    return document


def judged(which: str, document: Json) -> tuple[Violation, ...]:
    """Return what we find wrong. json_format.ParseError for what is no such message at all."""
    message = json_format.ParseDict(document, message_class(KINDS[which])(), descriptor_pool=pool())
    return Checker().violations(KINDS[which], message.SerializeToString())


def bootstrap(which: str, document: Json) -> Json:
    """Return what Envoy is to load: the document, and what it speaks of."""
    resources = {"clusters": [CLUSTER], "listeners": []}
    if which == "cluster":
        resources["clusters"] = [document]
    else:
        resources["listeners"] = [document]
    return {"node": {"id": "n", "cluster": "n"}, "static_resources": resources}


def tls(**common: Json) -> Json:
    """A server's TLS."""
    return {
        "name": "t",
        "typed_config": {
            "@type": f"{TYPE}.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": common,
        },
    }


def client_tls(common: Json | None = None, **more: Json) -> Json:
    """A client's TLS."""
    kind = f"{TYPE}.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
    return {"name": "t", "typed_config": {"@type": kind, "common_tls_context": common or {}, **more}}


def add(key: str, value: str) -> Json:
    """A header to add."""
    return [{"header": {"key": key, "value": value}}]


def weighted(*weights: int, **first: Json) -> Json:
    """A route action with shares."""
    clusters: list[Json] = [{"name": f"c{index}", "weight": weight} for index, weight in enumerate(weights)]
    clusters[0] |= first
    return {"weighted_clusters": {"clusters": clusters}}


MOST = (1 << 32) - 1
REGEX = {"safe_regex": {"regex": "(a"}}
LONG = "x" * 4097
JWT = f"{TYPE}.extensions.filters.http.jwt_authn.v3.JwtAuthentication"
FAULT = f"{TYPE}.extensions.filters.http.fault.v3.HTTPFault"
RBAC = f"{TYPE}.extensions.filters.http.rbac.v3.RBAC"
FILE_LOG = f"{TYPE}.extensions.access_loggers.file.v3.FileAccessLog"


def log(text: str) -> Json:
    """An access log with a line of this format."""
    return [
        {
            "name": "f",
            "typed_config": {
                "@type": FILE_LOG,
                "path": "/dev/null",
                "log_format": {"text_format_source": {"inline_string": text}},
            },
        }
    ]


def rbac(**principal: Json) -> Json:
    """Filters with rules about who may."""
    policy = {"permissions": [{"any": True}], "principals": [principal]}
    return [{"name": "rbac", "typed_config": {"@type": RBAC, "rules": {"policies": {"p": policy}}}}, ROUTER]


def chains(*matches: Json) -> Json:
    """Filter chains with these matches."""
    return [{"filter_chain_match": match, "filters": [TCP]} for match in matches]


def jwt(provider: str) -> Json:
    """Filters with a check of tokens."""
    keys = {"local_jwks": {"inline_string": '{"keys": []}'}}
    rules = [{"match": {"prefix": "/"}, "requires": {"provider_name": provider}}]
    return [
        {"name": "j", "typed_config": {"@type": JWT, "providers": {"p": {"issuer": "i", **keys}}, "rules": rules}},
        ROUTER,
    ]


def fault(**settings: Json) -> Json:
    """Filters with a fault."""
    return [{"name": "f", "typed_config": {"@type": FAULT, **settings}}, ROUTER]


LISTENERS: dict[str, dict[str, Json]] = {
    "nothing": {},
    "no address": {"address": GONE},
    "name for an address": {"address.socket_address.address": "example.com"},
    "empty address": {"address.socket_address.address": ""},
    "port too high": {"address.socket_address.port_value": 70000},
    "highest port": {"address.socket_address.port_value": 65535},
    "long socket path": {"address": {"pipe": {"path": "/" + "p" * 150}}},
    "no chains": {"filter_chains": []},
    "two chains alike": {"filter_chains": chains({"server_names": ["a.test"]}, {"server_names": ["a.test"]})},
    "two chains with a name in common": {
        "filter_chains": chains({"server_names": ["a.test", "b.test"]}, {"server_names": ["c.test", "b.test"]})
    },
    "two chains with an address in common": {
        "filter_chains": chains(
            {"prefix_ranges": [{"address_prefix": "10.0.0.1", "prefix_len": 32}]},
            {
                "prefix_ranges": [
                    {"address_prefix": "10.0.0.1", "prefix_len": 32},
                    {"address_prefix": "10.0.0.2", "prefix_len": 32},
                ]
            },
        )
    },
    "a range within another": {
        "filter_chains": chains(
            {"prefix_ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}]},
            {"prefix_ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 24}]},
        )
    },
    "two chains without match": {"filter_chains": chains({}, {})},
    "two chains apart": {"filter_chains": chains({"server_names": ["a.test"]}, {"server_names": ["b.test"]})},
    "wildcard label": {"filter_chains": chains({"server_names": ["*.a.test"]})},
    "part of a label": {"filter_chains": chains({"server_names": ["*a.test"]})},
    "wildcard inside": {"filter_chains": chains({"server_names": ["a.*.test"]})},
    "chain port zero": {"filter_chains": chains({"destination_port": 0})},
    "chain port too high": {"filter_chains": chains({"destination_port": 65536})},
    "range without address": {
        "filter_chains": chains({"prefix_ranges": [{"address_prefix": "nine", "prefix_len": 8}]})
    },
    "range too long": {"filter_chains": chains({"prefix_ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 129}]})},
    "terminal filter first": {"CHAIN.filters": [TCP, LISTENER["filter_chains"][0]["filters"][0]]},
    "no router": {"HCM.http_filters": [CORS]},
    "no HTTP filters": {"HCM.http_filters": []},
    "router first": {"HCM.http_filters": [ROUTER, CORS]},
    "cors before the router": {"HCM.http_filters": [CORS, ROUTER]},
    "no stat prefix": {"HCM.stat_prefix": ""},
    "no routes at all": {"HCM.route_config": GONE},
    "negative stream timeout": {"HCM.stream_idle_timeout": "-1s"},
    "no stream timeout": {"HCM.stream_idle_timeout": "0s"},
    "headers too large": {"HCM.max_request_headers_kb": 9000},
    "largest headers": {"HCM.max_request_headers_kb": 8192},
    "headers of zero": {"HCM.max_request_headers_kb": 0},
    "small window": {"HCM.http2_protocol_options": {"initial_stream_window_size": 100}},
    "frames of none": {"HCM.http2_protocol_options": {"max_concurrent_streams": 0}},
    "unknown command in the log": {"HCM.access_log": log("%NO_SUCH_THING%")},
    "broken command in the log": {"HCM.access_log": log("%REQ(:PATH")},
    "stray percent in the log": {"HCM.access_log": log("100% sure")},
    "escaped percent in the log": {"HCM.access_log": log("100%% sure %RESPONSE_CODE% %REQ(:PATH):10%\n")},
    "two commands in the log": {"HCM.access_log": log("%REQ(a)%%RESP(b)%%DYNAMIC_METADATA(a:b(c))%")},
    "REQ of nothing": {"HCM.access_log": log("%REQ%")},
    "log without path": {"HCM.access_log": [{"name": "f", "typed_config": {"@type": FILE_LOG}}]},
    "unknown provider": {"HCM.http_filters": jwt("q")},
    "abort status 99": {"HCM.http_filters": fault(abort={"http_status": 99, "percentage": {"numerator": 1}})},
    "abort status 600": {"HCM.http_filters": fault(abort={"http_status": 600, "percentage": {"numerator": 1}})},
    "abort status 200": {"HCM.http_filters": fault(abort={"http_status": 200, "percentage": {"numerator": 1}})},
    "delay of zero": {"HCM.http_filters": fault(delay={"fixed_delay": "0s", "percentage": {"numerator": 1}})},
    "expression in RBAC": {"HCM.http_filters": rbac(authenticated={"principal_name": REGEX})},
    "empty principal": {"HCM.http_filters": rbac()},
    "range in RBAC": {"HCM.http_filters": rbac(direct_remote_ip={"address_prefix": "nine", "prefix_len": 1})},
    "no domains": {"HOST.domains": []},
    "empty domain": {"HOST.domains": [""]},
    "host without name": {"HOST.name": ""},
    "domain twice": {"HOST.domains": ["a.test", "A.test"]},
    "wildcard twice": {"HOST.domains": ["*", "*"]},
    "wildcard in the middle": {"HOST.domains": ["a.*.test"]},
    "domain of two hosts": {"CONFIG.virtual_hosts": [{"name": "a", "domains": ["x"]}, {"name": "b", "domains": ["X"]}]},
    "two hosts of one name": {
        "CONFIG.virtual_hosts": [{"name": "a", "domains": ["x"]}, {"name": "a", "domains": ["y"]}]
    },
    "removes Host": {"CONFIG.request_headers_to_remove": ["Host"]},
    "removes the path": {"HOST.request_headers_to_remove": [":path"]},
    "removes a header": {"ROUTE.request_headers_to_remove": ["x-a"]},
    "removes nothing": {"ROUTE.request_headers_to_remove": [""]},
    "removes with a line break": {"ROUTE.response_headers_to_remove": ["a\nb"]},
    "no match": {"ROUTE.match": GONE},
    "empty match": {"ROUTE.match": {}},
    "no action": {"ROUTE.route": GONE},
    "no cluster": {"ROUTE.route": {"timeout": "1s"}},
    "empty cluster": {"ROUTE.route.cluster": ""},
    "expression of a path": {"ROUTE.match": REGEX},
    "expression of a header": {"ROUTE.match.headers": [{"name": "a", "string_match": REGEX}]},
    "expression with a look ahead": {"ROUTE.match": {"safe_regex": {"regex": "a(?=b)"}}},
    "empty expression": {"ROUTE.match": {"safe_regex": {"regex": ""}}},
    "header without name": {"ROUTE.match.headers": [{"name": "", "present_match": True}]},
    "header with a blank": {"ROUTE.match.headers": [{"name": "a b", "present_match": True}]},
    "query without name": {"ROUTE.match.query_parameters": [{"name": "", "present_match": True}]},
    "prefix with a slash": {"ROUTE.match": {"path_separated_prefix": "/a/"}},
    "prefix of a path": {"ROUTE.match": {"path_separated_prefix": "/a"}},
    "weights of zero": {"ROUTE.route": weighted(0, 0)},
    "weights of one": {"ROUTE.route": weighted(1, 0)},
    "weights too great": {"ROUTE.route": weighted(MOST, 1)},
    "weights just right": {"ROUTE.route": weighted(MOST - 1, 1)},
    "no shares": {"ROUTE.route": {"weighted_clusters": {"clusters": []}}},
    "share of nobody": {"ROUTE.route": weighted(1, name="")},
    "share named twice": {"ROUTE.route": weighted(1, cluster_header="x")},
    "negative timeout": {"ROUTE.route.timeout": "-1s"},
    "timeout of zero": {"ROUTE.route.timeout": "0s"},
    "two rewrites": {
        "ROUTE.route.prefix_rewrite": "/x",
        "ROUTE.route.regex_rewrite": {"pattern": {"regex": "a"}, "substitution": "b"},
    },
    "rewrite to an unknown group": {"ROUTE.route.regex_rewrite": {"pattern": {"regex": "(a)"}, "substitution": "\\2"}},
    "rewrite to a group": {"ROUTE.route.regex_rewrite": {"pattern": {"regex": "(a)"}, "substitution": "\\1"}},
    "rewrite with a backslash": {"ROUTE.route.regex_rewrite": {"pattern": {"regex": "(a)"}, "substitution": "\\x"}},
    "back off too short": {
        "ROUTE.route.retry_policy": {"retry_on": "5xx", "retry_back_off": {"base_interval": "0.0001s"}}
    },
    "back off of nothing": {"ROUTE.route.retry_policy": {"retry_on": "5xx", "retry_back_off": {"base_interval": "0s"}}},
    "back off upside down": {
        "ROUTE.route.retry_policy": {"retry_on": "5xx", "retry_back_off": {"base_interval": "2s", "max_interval": "1s"}}
    },
    "retry on nonsense": {"ROUTE.route.retry_policy": {"retry_on": "nonsense"}},
    "mirror to nobody": {"ROUTE.route.request_mirror_policies": [{}]},
    "hash of nothing": {"ROUTE.route.hash_policy": [{}]},
    "hash of a header without name": {"ROUTE.route.hash_policy": [{"header": {"header_name": ""}}]},
    "hash of a cookie without name": {"ROUTE.route.hash_policy": [{"cookie": {"name": "", "ttl": "1s"}}]},
    "host rewrite with a line break": {"ROUTE.route.host_rewrite_literal": "a\nb"},
    "adds a header": {"ROUTE.request_headers_to_add": add("x-a", "1")},
    "adds a header with a blank": {"ROUTE.request_headers_to_add": add("x a", "1")},
    "adds a header without name": {"ROUTE.request_headers_to_add": add("", "1")},
    "adds to Host": {"ROUTE.request_headers_to_add": add("Host", "1")},
    "adds to the path": {"ROUTE.request_headers_to_add": add(":path", "1")},
    "adds to the status": {"ROUTE.response_headers_to_add": add(":status", "1")},
    "adds a line": {"ROUTE.request_headers_to_add": add("x-a", "1\n2")},
    "adds a stray percent": {"ROUTE.request_headers_to_add": add("x-a", "100%")},
    "adds an escaped percent": {"ROUTE.request_headers_to_add": add("x-a", "100%%")},
    "adds an unknown command": {"ROUTE.request_headers_to_add": add("x-a", "%NOPE%")},
    "adds a command": {"ROUTE.response_headers_to_add": add("x-a", "%DOWNSTREAM_REMOTE_ADDRESS% %REQ(x-b)%")},
    "answers at length": {
        "ROUTE.route": GONE,
        "ROUTE.direct_response": {"status": 200, "body": {"inline_string": LONG}},
    },
    "answers": {"ROUTE.route": GONE, "ROUTE.direct_response": {"status": 200, "body": {"inline_string": LONG[1:]}}},
    "answers 99": {"ROUTE.route": GONE, "ROUTE.direct_response": {"status": 99}},
    "redirects with 200": {"ROUTE.route": GONE, "ROUTE.redirect": {"response_code": 200}},
    "redirects with a line break": {"ROUTE.route": GONE, "ROUTE.redirect": {"path_redirect": "/a\nb"}},
    "TLS without certificate": {"CHAIN.transport_socket": tls()},
    "TLS with nonsense": {
        "CHAIN.transport_socket": tls(
            tls_certificates=[{"certificate_chain": {"inline_string": "x"}, "private_key": {"inline_string": "y"}}]
        )
    },
}

CLUSTERS: dict[str, dict[str, Json]] = {
    "nothing": {},
    "no name": {"name": ""},
    "no time to connect": {"connect_timeout": "0s"},
    "negative time to connect": {"connect_timeout": "-1s"},
    "name in a static cluster": {"ENDPOINT.address.socket_address.address": "example.com"},
    "no address": {"ENDPOINT.address": GONE},
    "port too high": {"ENDPOINT.address.socket_address.port_value": 65536},
    "static without endpoints": {"load_assignment": GONE},
    "assignment without name": {"load_assignment.cluster_name": ""},
    "original destination": {"type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED", "load_assignment": GONE},
    "original destination by turns": {"type": "ORIGINAL_DST", "load_assignment": GONE},
    "original destination with endpoints": {"type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED"},
    "provided by nobody": {"lb_policy": "CLUSTER_PROVIDED"},
    "logical DNS of one": {"type": "LOGICAL_DNS"},
    "logical DNS of none": {"type": "LOGICAL_DNS", "load_assignment.endpoints": []},
    "logical DNS of two": {
        "type": "LOGICAL_DNS",
        "load_assignment.endpoints": [CLUSTER["load_assignment"]["endpoints"][0]] * 2,
    },
    "EDS without source": {"type": "EDS", "load_assignment": GONE},
    "DNS refresh of zero": {"type": "STRICT_DNS", "dns_refresh_rate": "0s"},
    "ring upside down": {
        "lb_policy": "RING_HASH",
        "ring_hash_lb_config": {"minimum_ring_size": 10, "maximum_ring_size": 5},
    },
    "ring above the default": {"lb_policy": "RING_HASH", "ring_hash_lb_config": {"minimum_ring_size": 8388608}},
    "ring too large": {"lb_policy": "RING_HASH", "ring_hash_lb_config": {"minimum_ring_size": 8388609}},
    "table not prime": {"lb_policy": "MAGLEV", "maglev_lb_config": {"table_size": 10}},
    "table too large": {"lb_policy": "MAGLEV", "maglev_lb_config": {"table_size": 5000027}},
    "table prime": {"lb_policy": "MAGLEV", "maglev_lb_config": {"table_size": 11}},
    "one choice": {"lb_policy": "LEAST_REQUEST", "least_request_lb_config": {"choice_count": 1}},
    "two choices": {"lb_policy": "LEAST_REQUEST", "least_request_lb_config": {"choice_count": 2}},
    "ejected too long": {"outlier_detection": {"base_ejection_time": "10s", "max_ejection_time": "5s"}},
    "ejected by default": {"outlier_detection": {"base_ejection_time": "400s"}},
    "ejected over 100 percent": {"outlier_detection": {"max_ejection_percent": 101}},
    "ejection interval of zero": {"outlier_detection": {"interval": "0s"}},
    "panic at 101 percent": {"common_lb_config": {"healthy_panic_threshold": {"value": 101}}},
    "panic at 100 percent": {"common_lb_config": {"healthy_panic_threshold": {"value": 100}}},
    "endpoint weight zero": {"load_assignment.endpoints.0.lb_endpoints.0.load_balancing_weight": 0},
    "priority 129": {"load_assignment.endpoints.0.priority": 129},
    "priority 2 alone": {"load_assignment.endpoints.0.priority": 2},
    "overprovisioned by nothing": {"load_assignment.policy": {"overprovisioning_factor": 0}},
    "keepalive": {"upstream_connection_options": {"tcp_keepalive": {"keepalive_time": 10}}},
    "health check without interval": {
        "health_checks": [{"timeout": "1s", "unhealthy_threshold": 1, "healthy_threshold": 1, "tcp_health_check": {}}]
    },
    "health check without kind": {
        "health_checks": [{"timeout": "1s", "interval": "1s", "unhealthy_threshold": 1, "healthy_threshold": 1}]
    },
    "health check without threshold": {"health_checks": [{"timeout": "1s", "interval": "1s", "tcp_health_check": {}}]},
    "breaker priority": {"circuit_breakers": {"thresholds": [{"priority": "HIGH", "max_connections": 0}]}},
    "TLS": {"transport_socket": client_tls()},
    "TLS with NUL": {"transport_socket": client_tls(sni="a\0b")},
    "TLS name too long": {"transport_socket": client_tls(sni="a" * 256)},
    "TLS names without roots": {
        "transport_socket": client_tls(
            {"validation_context": {"match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": "a"}}]}}
        )
    },
    "TLS roots not PEM": {
        "transport_socket": client_tls({"validation_context": {"trusted_ca": {"inline_string": "x"}}})
    },
    "TLS hash not hex": {"transport_socket": client_tls({"validation_context": {"verify_certificate_hash": ["zz"]}})},
    "TLS curve": {"transport_socket": client_tls({"tls_params": {"ecdh_curves": ["P-999"]}})},
    "TLS curve known": {"transport_socket": client_tls({"tls_params": {"ecdh_curves": ["X25519"]}})},
    "TLS protocol empty": {"transport_socket": client_tls({"alpn_protocols": [""]})},
    "TLS protocol too long": {"transport_socket": client_tls({"alpn_protocols": ["x" * 256]})},
    "TLS cipher": {"transport_socket": client_tls({"tls_params": {"cipher_suites": ["NO-SUCH-CIPHER"]}})},
    "TLS ciphers of long ago": {"transport_socket": client_tls({"tls_params": {"cipher_suites": ["DES-CBC3-SHA"]}})},
    "TLS ciphers": {"transport_socket": client_tls({"tls_params": {"cipher_suites": sorted(_CIPHERS)}})},
    "TLS name of no kind": {
        "transport_socket": client_tls(
            {"validation_context": {"match_typed_subject_alt_names": [{"matcher": {"exact": "a"}}]}}
        )
    },
}
CASES = [("listener", name, edits) for name, edits in LISTENERS.items()]
CASES += [("cluster", name, edits) for name, edits in CLUSTERS.items()]
