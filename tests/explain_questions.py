"""Random RBACs, requests and policies from a small vocabulary, so that what is wanted and what is there often meet.

Used by the unit tests of `explain` and by the end-to-end test that holds it to real Envoy. Values hold nothing that a
client, a connection manager or a parser changes on the way, but for paths.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

METHODS = ("GET", "POST", "DELETE")
PATHS = ("/", "/a", "/a/b", "/a/b/c", "/A", "/admin", "/admin/x.json", "/items/7", "/items/7/parts", "/a%20b")
ODD_PATHS = (
    "/a/../admin",
    "/a/./b",
    "//a//b",
    "/a/b/..",
    "/%61dmin",
    "/a/b?x=1",
    "/admin?y=/../z",
    "/a%2Fb",
    "/a/",
    "/..",
)
HOSTS = ("reviews", "reviews:9080", "reviews.default", "Reviews", "ratings.example.com")
VALUES = ("", "1", "7", "10", "blue", "Blue", "dark-blue", "b,c")
HEADERS = ("x-user", "x-number", "x-colour")
SOURCES = ("127.0.0.0/8", "127.0.0.2/32", "127.0.0.0/30", "10.0.0.0/8", "::1/128", "0.0.0.0/0")
FORWARDED = ("10.0.0.7", "10.0.0.7, 192.168.1.1", "192.168.1.9")
NAMES = ("spiffe://cluster.local/ns/default/sa/a", "spiffe://cluster.local/ns/web/sa/frontend")
TEMPLATES = ("/*", "/a/*", "/a/**", "/**", "/items/{id}", "/items/{id}/**", "/admin/*", "/{x=a/*}/c", "/**/x.json")
CLAIMS: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("iss",), ("https://issuer.example", "other")),
    (("sub",), ("me", "you")),
    (("groups",), ("dev", "ops", "qa")),
    (("nested", "level"), ("high", "low")),
    (("number",), ("3",)),
    (("missing",), ("x",)),
)


def random_request(chance: Random) -> tuple[str, str, dict[str, str]]:
    """Return a method, a path and headers, `host` among them."""
    headers = {"host": chance.choice(HOSTS)}
    for name in HEADERS:
        if chance.random() < 0.5:
            headers[name] = chance.choice(VALUES)
    if chance.random() < 0.4:
        headers["x-forwarded-for"] = chance.choice(FORWARDED)
    paths = ODD_PATHS if chance.random() < 0.3 else PATHS
    return chance.choice(METHODS), chance.choice(paths), headers


def random_rbac(chance: Random, ports: Sequence[int] = (80, 9080)) -> dict[str, Any]:
    """Return the fields of an RBAC with one to three policies."""
    policies = {}
    for number in range(chance.randint(1, 3)):
        policies[f"p{number}"] = {
            "permissions": [permission(chance, ports) for _ in range(chance.randint(1, 2))],
            "principals": [principal(chance) for _ in range(chance.randint(1, 2))],
        }
    return {"action": chance.choice(("ALLOW", "DENY")), "policies": policies}


def permission(chance: Random, ports: Sequence[int] = (80, 9080), depth: int = 3) -> dict[str, Any]:
    """Return a Permission, a tree of at most so many levels."""
    if depth and chance.random() < 0.5:
        parts = [permission(chance, ports, depth - 1) for _ in range(chance.randint(1, 3))]
        return _joined(chance, parts, "rule", "rules")
    kind = chance.randrange(10)
    if kind == 0:
        return {"destination_port": chance.choice(ports)}
    if kind == 1:
        port = chance.choice(ports)
        return {"destination_port_range": {"start": port - chance.randrange(2), "end": port + chance.randrange(1, 3)}}
    if kind == 2:
        return {"destination_ip": cidr(chance)}
    if kind == 3:
        return {"requested_server_name": string(chance, ("", "reviews.default", "ratings"))}
    if kind == 4:
        return {"uri_template": _template(chance.choice(TEMPLATES))}
    return _either(chance)


def principal(chance: Random, depth: int = 3) -> dict[str, Any]:
    """Return a Principal, likewise."""
    if depth and chance.random() < 0.5:
        parts = [principal(chance, depth - 1) for _ in range(chance.randint(1, 3))]
        return _joined(chance, parts, "id", "ids")
    kind = chance.randrange(8)
    if kind == 0:
        return {"authenticated": {}}
    if kind == 1:
        return {"authenticated": {"principal_name": string(chance, (*NAMES, ""))}}
    if kind == 2:
        return {chance.choice(("direct_remote_ip", "remote_ip")): cidr(chance)}
    return _either(chance)


def _joined(chance: Random, parts: list[dict[str, Any]], one: str, many: str) -> dict[str, Any]:
    kind = chance.choice(("and", "or", "not"))
    return {f"not_{one}": parts[0]} if kind == "not" else {f"{kind}_{many}": {many: parts}}


def _either(chance: Random) -> dict[str, Any]:
    """Return a matcher that both sides have."""
    kind = chance.randrange(6)
    if kind == 0:
        return {"any": True}
    if kind == 1:
        return {"url_path": {"path": string(chance, PATHS)}}
    if kind in (2, 3):
        return {"sourced_metadata": {"metadata_matcher": metadata(chance)}}
    return {"header": header(chance)}


def header(chance: Random) -> dict[str, Any]:
    """Return a HeaderMatcher."""
    name, values = chance.choice(
        (("x-user", VALUES), ("x-number", VALUES), (":authority", HOSTS), (":method", METHODS))
    )
    made: dict[str, Any] = {"name": name}
    match chance.randrange(4):
        case 0:
            made["present_match"] = chance.random() < 0.6
        case 1:
            made["range_match"] = {"start": chance.randrange(8), "end": chance.randrange(5, 12)}
        case _:
            made["string_match"] = string(chance, values)
    if chance.random() < 0.3:
        made["invert_match"] = True
    if chance.random() < 0.2:
        made["treat_missing_header_as_empty"] = True
    return made


def string(chance: Random, values: Sequence[str]) -> dict[str, Any]:
    """Return a StringMatcher that some of the values meet."""
    value = chance.choice(values)
    cut = chance.randrange(1, len(value) + 1) if value else 0
    kind = chance.randrange(6)
    if kind == 0:
        patterns = (".+", ".*", _quoted(value) or "x?", f"{_quoted(value[:cut])}.*", "(?i)REV.*")
        return {"safe_regex": {"regex": chance.choice(patterns)}}
    made: dict[str, Any] = {"exact": value}
    if kind == 1 and value:
        made = {"prefix": value[:cut]}
    elif kind == 2 and value:
        made = {"suffix": value[-cut:]}
    elif kind == 3 and value:
        made = {"contains": value[cut // 2 : cut] or value}
    if chance.random() < 0.3:
        made["ignore_case"] = True
    return made


def _quoted(text: str) -> str:
    return "".join(f"\\{char}" if char in r"\.+*?()|[]{}^$" else char for char in text)


def cidr(chance: Random) -> dict[str, Any]:
    """Return a CidrRange."""
    address, _, length = chance.choice(SOURCES).partition("/")
    return {"address_prefix": address, "prefix_len": {"value": int(length)}}


def metadata(chance: Random) -> dict[str, Any]:
    """Return a MetadataMatcher about a claim."""
    path, values = chance.choice(CLAIMS)
    text = {"string_match": string(chance, values)}
    value: dict[str, Any] = chance.choice(
        (
            text,
            {"list_match": {"one_of": text}},
            {"or_match": {"value_matchers": [text, {"list_match": {"one_of": text}}]}},
            {"present_match": chance.random() < 0.7},
            {"double_match": {"exact": 3.0}},
            {"bool_match": True},
        )
    )
    made = {
        "filter": "envoy.filters.http.jwt_authn",
        "path": [{"key": "payload"}, *({"key": step} for step in path)],
        "value": value,
    }
    return {**made, "invert": True} if chance.random() < 0.3 else made


def _template(text: str) -> dict[str, Any]:
    from lateen.envoy.messages import typed_extension

    name = "envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig"
    return typed_extension("template", name, {"path_template": text})


# --- policies as users write them ----------------------------------------------------------------------------

_SOURCES: dict[str, tuple[str, ...]] = {
    "principals": (
        "cluster.local/ns/default/sa/a",
        "cluster.local/ns/web/sa/frontend",
        "*",
        "*/sa/a",
        "cluster.local/*",
    ),
    "namespaces": ("default", "web", "we*"),
    "serviceAccounts": ("default/a", "web/frontend", "a"),
    "ipBlocks": ("127.0.0.0/8", "127.0.0.2", "10.0.0.0/8"),
    "remoteIpBlocks": ("10.0.0.0/8", "127.0.0.0/30", "192.168.1.1"),
    "requestPrincipals": ("*", "https://issuer.example/me"),
}
_OPERATIONS: dict[str, tuple[str, ...]] = {
    "methods": METHODS,
    "paths": ("/a", "/a/*", "*/b", "/admin", "/items/{*}", "/items/{**}", "*"),
    "hosts": ("reviews", "reviews:9080", "*.example.com", "rev*", "REVIEWS"),
    "ports": ("9080", "80"),
}
_WHEN: dict[str, tuple[str, ...]] = {
    "request.headers[x-user]": ("blue", "7", "dark-*", "*"),
    "source.namespace": ("default", "web"),
    "source.ip": ("127.0.0.0/8", "127.0.0.3"),
    "destination.port": ("9080", "80"),
    "connection.sni": ("reviews.default", "*.default"),
    "request.auth.claims[groups]": ("dev", "*"),
}


def random_policies(chance: Random, labels: dict[str, str]) -> list[dict[str, Any]]:
    """Return one to three AuthorizationPolicies of the namespace `default` for a workload."""
    return [_policy(chance, f"p{number}", labels) for number in range(chance.randint(1, 3))]


def _policy(chance: Random, name: str, labels: dict[str, str]) -> dict[str, Any]:
    spec: dict[str, Any] = {"action": chance.choice(("ALLOW", "ALLOW", "DENY"))}
    if chance.random() < 0.5:
        spec["selector"] = {"matchLabels": labels}
    rules = [_rule(chance) for _ in range(chance.randint(1, 3))]
    spec["rules"] = rules
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": name, "namespace": "default"},
        "spec": spec,
    }


def _rule(chance: Random) -> dict[str, Any]:
    rule: dict[str, Any] = {}
    if chance.random() < 0.6:
        rule["from"] = [{"source": _fields(chance, _SOURCES)} for _ in range(chance.randint(1, 2))]
    if chance.random() < 0.6:
        rule["to"] = [{"operation": _fields(chance, _OPERATIONS)} for _ in range(chance.randint(1, 2))]
    if chance.random() < 0.3 or not rule:
        key = chance.choice(list(_WHEN))
        rule["when"] = [{"key": key, chance.choice(("values", "notValues")): [chance.choice(_WHEN[key])]}]
    return rule


def _fields(chance: Random, known: dict[str, tuple[str, ...]]) -> dict[str, list[str]]:
    made = {}
    # `serviceAccounts` excludes `principals` and `namespaces`.
    identities = {"principals", "namespaces", "serviceAccounts"} & set(known)
    names = [name for name in known if name not in identities]
    if identities:
        names.append(chance.choice(sorted(identities)))
    for name in chance.sample(names, min(len(names), chance.randint(1, 2))):
        values = chance.sample(known[name], chance.randint(1, 2))
        made[name if chance.random() < 0.75 else f"not{name[0].upper()}{name[1:]}"] = values
    return made
