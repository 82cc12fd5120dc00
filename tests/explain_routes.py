"""Random meshes with routing rules, and requests that nearly or really match them.

Used by the end-to-end test that holds `lateen explain` to real Envoy, and by unit tests. The vocabulary is small, so
that what a rule wants and what a request has often meet; values hold nothing that a client or a parser changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

PORT = 9080
NETWORK = "127.78"
"""Addresses of everything: loopback, and of no other test."""
STRANGER = f"{NETWORK}.9.9"
"""A server that no document is about."""
SUBSETS = ("v1", "v2")
PATHS = (
    "/",
    "/a",
    "/a/b",
    "/A/b",
    "/api",
    "/api/v1/items",
    "/api/v1",
    "/apis",
    "/old/x.html",
    "/old",
    "/items/7",
    "/static/",
)
PREFIXES = ("/", "/a", "/api", "/api/", "/old", "/items/", "/A")
REGEXES = ("/items/[0-9]+", "/a.*", ".*html", "/(api|old)(/.*)?", "/.*")
QUERIES = ("", "", "?q=1", "?q=2&flag", "?flag", "?q=&x=1", "?x=1&q=1")
METHODS = ("GET", "GET", "GET", "POST", "DELETE", "OPTIONS", "OPTIONS", "PUT")
HEADERS = ("end-user", "x-group", "x-canary")
VALUES = ("jason", "jas", "true", "blue", "a-b", "1")
ORIGINS = ("https://shop.example", "https://evil.example")
REWRITES = ("/", "/new", "/new/", "/v2")
REGEX_REWRITES = (
    {"match": "/api/(.*)", "rewrite": "/\\1/api"},
    {"match": "a", "rewrite": "b"},
    {"match": "[0-9]+", "rewrite": "n\\0"},
    {"match": "x*", "rewrite": "-"},
)
MESH_HOSTS = ("reviews", "ratings", "details.other", "api.example.com", "*.wild.example", "unserved.example")
CALLED = (
    "reviews:9080",
    "reviews.default:9080",
    "Reviews.default.svc.cluster.local:9080",
    "ratings:9080",
    "ratings.default.svc:9080",
    "details.other:9080",
    "details:9080",
    "api.example.com",
    "x.wild.example",
    "x.y.wild.example",
    "unserved.example",
    f"{STRANGER}:9080",
)
GATEWAY_HOSTS = ("shop.example.com", "*.example.com", "a.wild.example", "*.wild.example", "*")
ASKED_AT_GATEWAYS = (
    "shop.example.com",
    "Shop.example.com",
    "other.example.com",
    "a.wild.example",
    "b.a.wild.example",
    "nobody.test",
)
TLS_HOSTS = {"secure.example.com": "one", "*.tls.example": "two"}
ASKED_BY_TLS = ("secure.example.com", "a.tls.example", "b.tls.example", "nobody.test")


@dataclass(frozen=True)
class Asked:
    """One request."""

    method: str
    url: str
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def line(self) -> str:
        return f"{self.method} {self.url}"


def _object(kind: str, name: str, spec: dict[str, Any], namespace: str = "default") -> dict[str, Any]:
    version = "v1" if kind == "Service" else "networking.istio.io/v1"
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": namespace}, "spec": spec}


# --- the mesh ------------------------------------------------------------------------------------------------


def services() -> list[dict[str, Any]]:
    """Services with their workloads, each at an address of its own."""
    made: list[dict[str, Any]] = []
    for number, (name, namespace) in enumerate((("reviews", "default"), ("ratings", "default"), ("details", "other"))):
        ports = [{"name": "http", "port": PORT}]
        made.append(_object("Service", name, {"selector": {"app": name}, "ports": ports}, namespace))
        for version in SUBSETS if name == "reviews" else SUBSETS[:1]:
            labels = {"app": name, "version": version}
            address = f"{NETWORK}.1.{number * 10 + int(version[1:])}"
            made.append(
                _object("WorkloadEntry", f"{name}-{version}", {"address": address, "labels": labels}, namespace)
            )
    http = [{"number": 80, "name": "http", "protocol": "HTTP", "targetPort": PORT}]
    for name, host, last in (("api", "api.example.com", 51), ("wild", "*.wild.example", 52)):
        endpoints = [{"address": f"{NETWORK}.1.{last}"}]
        spec = {
            "hosts": [host],
            "ports": http,
            "resolution": "STATIC",
            "endpoints": endpoints,
            "location": "MESH_EXTERNAL",
        }
        made.append(_object("ServiceEntry", name, spec))
    subsets = [{"name": name, "labels": {"version": name}} for name in (*SUBSETS, "v9")]
    made.append(_object("DestinationRule", "reviews", {"host": "reviews", "subsets": subsets}))
    return made


ADDRESSES = (*(f"{NETWORK}.1.{last}" for last in (1, 2, 11, 21, 51, 52)), STRANGER)
"""Where applications listen, all on `PORT`."""


def random_mesh(chance: Random) -> list[dict[str, Any]]:
    """Documents of a mesh with random rules for sidecars and gateways."""
    made = [*services(), *gateways(chance)]
    for host in MESH_HOSTS:
        if chance.random() < 0.85:
            made += _virtual_services(chance, host.replace("*", "star").replace(".", "-"), [host])
    for number, host in enumerate(chance.sample(GATEWAY_HOSTS, 4)):
        made += _virtual_services(chance, f"gateway-{number}", [host], gateways=["entry"])
    for number, host in enumerate(("secure.example.com", "a.tls.example", "*.tls.example")):
        if chance.random() < 0.8:
            made += _virtual_services(chance, f"tls-{number}", [host], gateways=["secure"])
    return made


def gateways(chance: Random) -> list[dict[str, Any]]:
    """Gateways with several servers: plain, one that redirects, several that end TLS by server name."""
    plain = [{"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}]
    if chance.random() < 0.3:
        plain[0]["hosts"] = ["shop.example.com", "*.wild.example"]
    if chance.random() < 0.4:
        redirecting = {"number": 8080, "name": "redirecting", "protocol": "HTTP"}
        plain.append({"port": redirecting, "hosts": ["*"], "tls": {"httpsRedirect": True}})
    secure = [
        {
            "port": {"number": 443, "name": f"https-{credential}", "protocol": "HTTPS"},
            "hosts": [host],
            "tls": {"mode": "SIMPLE", "credentialName": credential},
        }
        for host, credential in TLS_HOSTS.items()
    ]
    selector = {"istio": "gw"}
    return [
        _object("Gateway", "entry", {"selector": selector, "servers": plain}),
        _object("Gateway", "secure", {"selector": selector, "servers": secure}),
    ]


# --- rules ---------------------------------------------------------------------------------------------------


def _virtual_services(
    chance: Random, name: str, hosts: Sequence[str], gateways: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """A VirtualService, sometimes one that hands over to another."""
    rules = [random_rule(chance) for _ in range(chance.randint(1, 4))]
    made = []
    if chance.random() < 0.25:
        prefix = chance.choice(("/a", "/api", "/items"))
        delegate = f"{name}-delegate"
        inner = [random_rule(chance, under=prefix) for _ in range(chance.randint(1, 2))]
        made.append(_object("VirtualService", delegate, {"http": inner}))
        outer = {"match": [{"uri": {"prefix": prefix}}], "delegate": {"name": delegate, "namespace": "default"}}
        rules.insert(chance.randrange(len(rules) + 1), outer)
    if chance.random() < 0.6:
        last: dict[str, Any] = {}
        _forward(chance, last)
        rules.append(last)
    spec: dict[str, Any] = {"hosts": list(hosts), "http": rules}
    if gateways:
        spec["gateways"] = list(gateways)
    return [_object("VirtualService", name, spec), *made]


def random_rule(chance: Random, under: str = "") -> dict[str, Any]:
    """One HTTP rule. `under`: the prefix that every match must stay below."""
    rule: dict[str, Any] = {}
    if chance.random() < 0.8:
        rule["match"] = [random_match(chance, under) for _ in range(chance.choice((1, 1, 2)))]
    if chance.random() < 0.3:
        rule["name"] = chance.choice(("canary", "main", "old-paths"))
    kind = chance.random()
    if kind < 0.12:
        rule["redirect"] = _redirect(chance)
    elif kind < 0.24:
        rule["directResponse"] = {"status": chance.choice((200, 404, 503, 418)), "body": {"string": "by the proxy"}}
    else:
        _forward(chance, rule)
        if chance.random() < 0.15:
            rule["fault"] = _fault(chance)
    if chance.random() < 0.15:
        rule["corsPolicy"] = _cors(chance)
    if chance.random() < 0.4:
        rule["headers"] = _header_operations(chance)
    return rule


def random_match(chance: Random, under: str = "") -> dict[str, Any]:
    """The conditions of one match, at least one."""
    match: dict[str, Any] = {}
    if under or chance.random() < 0.7:
        match["uri"] = _below(chance, under) if under else _uri(chance)
    if chance.random() < 0.35:
        match["headers"] = {chance.choice(HEADERS): _string(chance)}
    if chance.random() < 0.15:
        match["withoutHeaders"] = {chance.choice(HEADERS): _string(chance)}
    if chance.random() < 0.2:
        match["queryParams"] = {
            chance.choice(("q", "x", "flag")): chance.choice(({"exact": "1"}, {"regex": "[12]"}, {}))
        }
    if chance.random() < 0.2:
        match["method"] = {"exact": chance.choice(METHODS)}
    if chance.random() < 0.08:
        match["authority"] = {"prefix": chance.choice(("reviews", "shop", "a."))}
    if chance.random() < 0.05:
        match["scheme"] = {"exact": chance.choice(("http", "https"))}
    if chance.random() < 0.15 and "uri" in match and "regex" not in match["uri"]:
        match["ignoreUriCase"] = True
    return match or {"uri": _uri(chance)}


def _uri(chance: Random) -> dict[str, str]:
    kind = chance.choice(("exact", "prefix", "prefix", "regex"))
    return {kind: chance.choice({"exact": PATHS, "prefix": PREFIXES, "regex": REGEXES}[kind])}


def _below(chance: Random, prefix: str) -> dict[str, str]:
    return {chance.choice(("exact", "prefix")): prefix + chance.choice(("", "/b", "/v1", "/7"))}


def _string(chance: Random) -> dict[str, str]:
    kind = chance.choice(("exact", "exact", "prefix", "regex", "present"))
    if kind == "present":
        return {}
    return {kind: chance.choice(("jas.*", ".+", "blue|true")) if kind == "regex" else chance.choice(VALUES)}


def _destination(chance: Random) -> dict[str, Any]:
    host = chance.choice(
        ("reviews", "reviews", "ratings", "details.other.svc.cluster.local", "api.example.com", "nowhere")
    )
    made: dict[str, Any] = {"host": host}
    if host == "reviews" and chance.random() < 0.8:
        # v9 has no endpoints, v7 does not exist.
        made["subset"] = chance.choice((*SUBSETS, *SUBSETS, *SUBSETS, "v9", "v7"))
    return made


def _forward(chance: Random, rule: dict[str, Any]) -> None:
    count = chance.choice((1, 1, 1, 2, 3))
    weights = {1: [0], 2: chance.choice(([50, 50], [100, 0], [1, 99])), 3: [20, 30, 50]}[count]
    rule["route"] = []
    for weight in weights:
        entry: dict[str, Any] = {"destination": _destination(chance)}
        if count > 1:
            entry["weight"] = weight
        if chance.random() < 0.3:
            entry["headers"] = _header_operations(chance, host=chance.random() < 0.1)
        rule["route"].append(entry)
    named = any("Host" in entry.get("headers", {}).get("request", {}).get("set", {}) for entry in rule["route"])
    rewrite: dict[str, Any] = {}
    kind = chance.random()
    if kind < 0.2:
        rewrite["uri"] = chance.choice(REWRITES)
    elif kind < 0.35:
        rewrite["uriRegexRewrite"] = chance.choice(REGEX_REWRITES)
    if chance.random() < 0.15 and not named:
        rewrite["authority"] = "rewritten.example"
    if rewrite:
        rule["rewrite"] = rewrite
    if chance.random() < 0.1:
        rule["mirror"] = {"host": "ratings"}
        rule["mirrorPercentage"] = {"value": chance.choice((0, 100))}
    if chance.random() < 0.2:
        rule["timeout"] = "5s"
    if chance.random() < 0.2:
        rule["retries"] = {"attempts": chance.choice((0, 1))}


def _redirect(chance: Random) -> dict[str, Any]:
    made: dict[str, Any] = {}
    if chance.random() < 0.6:
        made["uri"] = chance.choice(("/new", "/new?x=9", "/"))
    if chance.random() < 0.5 or not made:
        made["authority"] = "elsewhere.example"
    if chance.random() < 0.4:
        made["redirectCode"] = chance.choice((301, 302, 307, 308))
    if chance.random() < 0.4:
        made["scheme"] = chance.choice(("http", "https"))
    if chance.random() < 0.3:
        made["port"] = chance.choice((80, 443, 8443))
    elif chance.random() < 0.2:
        made["derivePort"] = chance.choice(("FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"))
    return made


def _fault(chance: Random) -> dict[str, Any]:
    fault: dict[str, Any] = {}
    if chance.random() < 0.8:
        fault["abort"] = {"httpStatus": chance.choice((400, 503)), "percentage": {"value": chance.choice((0, 100, 50))}}
    if chance.random() < 0.2 or not fault:
        fault["delay"] = {"fixedDelay": "0.001s", "percentage": {"value": chance.choice((0, 100))}}
    return fault


def _cors(chance: Random) -> dict[str, Any]:
    made: dict[str, Any] = {"allowOrigins": [{"exact": ORIGINS[0]}], "allowMethods": ["GET", "POST"]}
    if chance.random() < 0.4:
        made |= {"allowHeaders": ["x-a"], "exposeHeaders": ["x-b"], "maxAge": "60s", "allowCredentials": True}
    if chance.random() < 0.4:
        made["unmatchedPreflights"] = chance.choice(("FORWARD", "IGNORE"))
    return made


def _header_operations(chance: Random, *, host: bool = False) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for side in ("request", "response"):
        operations: dict[str, Any] = {}
        if chance.random() < 0.4:
            operations["set"] = {chance.choice(("x-set", "x-group")): chance.choice(("s1", "%REQ(end-user)%"))}
        if chance.random() < 0.4:
            operations["add"] = {chance.choice(("x-add", "x-group", "x-app")): chance.choice(("a1", "a2"))}
        if chance.random() < 0.3:
            operations["remove"] = [chance.choice(("x-canary", "x-app", "x-set"))]
        if side == "request" and host:
            operations.setdefault("set", {})["Host"] = "by-header.example"
        if operations:
            made[side] = operations
    return made


# --- requests ------------------------------------------------------------------------------------------------


def _headers(chance: Random) -> dict[str, str]:
    made = {name: chance.choice(VALUES) for name in HEADERS if chance.random() < 0.4}
    if chance.random() < 0.3:
        made["origin"] = chance.choice(ORIGINS)
        if chance.random() < 0.7:
            made["access-control-request-method"] = "GET"
    return made


def _target(chance: Random) -> str:
    return chance.choice(PATHS) + chance.choice(QUERIES)


def sidecar_request(chance: Random) -> Asked:
    """A request that an application sends to its HTTP proxy."""
    return Asked(chance.choice(METHODS), f"http://{chance.choice(CALLED)}{_target(chance)}", _headers(chance))


def gateway_request(chance: Random) -> Asked:
    """A request from outside, plain or by TLS."""
    method, headers, kind = chance.choice(METHODS), _headers(chance), chance.random()
    if kind < 0.6:
        return Asked(method, f"http://{chance.choice(ASKED_AT_GATEWAYS)}{_target(chance)}", headers)
    if kind < 0.65:
        return Asked(method, f"http://{chance.choice(ASKED_AT_GATEWAYS)}:8080{_target(chance)}", headers)
    if kind > 0.95:
        headers["host"] = chance.choice(ASKED_BY_TLS)
    return Asked(method, f"https://{chance.choice(ASKED_BY_TLS)}{_target(chance)}", headers)
