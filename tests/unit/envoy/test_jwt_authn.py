"""The filter that checks tokens: what is asked of a request, and the keys that are nobody's."""

from __future__ import annotations

import base64
import json
from hashlib import sha256
from typing import Any

from joserfc import jwk

from lateen.config.networking import HTTPMatchRequest, StringMatch
from lateen.config.security import ClaimToHeader, JWTHeader, JWTRule
from lateen.envoy.jwt_authn import NO_KEYS, Provider, token_check
from lateen.envoy.messages import message_class, serialise, to_json
from lateen.envoy.resources import EXTENSION
from lateen.envoy.routes import ROUTE_ENTRY, matches_everything, route_match

FILTER = "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication"


def filter_of(*rules: JWTRule, chooses_route: bool = False) -> Any:
    providers = [Provider(name=f"origins-{number}", rule=rule, key_set="{}") for number, rule in enumerate(rules)]
    made = token_check(providers, chooses_route=chooses_route)
    shown = to_json(EXTENSION, made.body)["typed_config"]
    assert shown.pop("@type").endswith(FILTER)
    return shown


def test_nobody_knows_the_key_of_the_empty_set() -> None:
    """Its x is a hash of a text that was not chosen for it, so its point has no known private key."""
    (key,) = json.loads(NO_KEYS)["keys"]
    x, y = (int.from_bytes(base64.urlsafe_b64decode(key[name] + "=")) for name in "xy")
    prime = 2**256 - 2**224 + 2**192 + 2**96 - 1
    assert jwk.import_key(key).public_key is not None  # on the curve
    assert x == int.from_bytes(sha256(b"lateen: nobody's key 2").digest())
    assert y < prime - y


def test_every_field_of_a_rule() -> None:
    rule = JWTRule(
        issuer="i",
        audiences=["a"],
        from_headers=[JWTHeader(name="x-t", prefix="jwt ")],
        from_params=["p"],
        from_cookies=["c"],
        forward_original_token=True,
        output_payload_to_header="x-p",
        output_claim_to_headers=[ClaimToHeader(header="x-c", claim="a.b")],
        space_delimited_claims=["roles", "scope"],
    )
    made = filter_of(rule, chooses_route=True)
    assert made["bypass_cors_preflight"] is True
    assert made["providers"] == {
        "origins-0": {
            "issuer": "i",
            "audiences": ["a"],
            "from_headers": [{"name": "x-t", "value_prefix": "jwt "}],
            "from_params": ["p"],
            "from_cookies": ["c"],
            "forward": True,
            "forward_payload_header": "x-p",
            "claim_to_headers": [{"header_name": "x-c", "claim_name": "a.b"}],
            "payload_in_metadata": "payload",
            "normalize_payload_in_metadata": {"space_delimited_claims": ["permission", "roles", "scope"]},
            "clear_route_cache": True,
            "local_jwks": {"inline_string": "{}"},
        }
    }


def test_no_token_passes_and_a_bad_one_does_not() -> None:
    """Asked of one provider, and of several."""
    missing: dict[str, Any] = {"allow_missing": {}}
    one, two = {"provider_name": "origins-0"}, {"provider_name": "origins-1"}

    def any_of(*found: dict[str, Any]) -> dict[str, Any]:
        return {"requires_any": {"requirements": list(found)}}

    rule = JWTRule(issuer="i")
    match = {"prefix": "/"}
    assert filter_of(rule)["rules"] == [{"match": match, "requires": any_of(one, missing)}]
    both = {"requires_all": {"requirements": [any_of(one, missing), any_of(two, missing)]}}
    assert filter_of(rule, rule)["rules"] == [{"match": match, "requires": any_of(one, two, both)}]


def test_matches_on_claims() -> None:
    """Become metadata and never headers; a route with one does not match everything."""
    match = HTTPMatchRequest(
        headers={"@request.auth.claims[a.b][c]": StringMatch(exact="v"), "x-a": StringMatch(exact="w")},
        without_headers={"@Request.auth.claims.d": StringMatch()},
    )
    fields = route_match(match)
    string = {"string_match": {"exact": "v"}}
    assert [header["name"] for header in fields["headers"]] == ["x-a"]
    assert fields["dynamic_metadata"] == [
        {
            "filter": "envoy.filters.http.jwt_authn",
            "path": [{"key": "payload"}, {"key": "a.b"}, {"key": "c"}],
            "value": {"or_match": {"value_matchers": [string, {"list_match": {"one_of": string}}]}},
        },
        {
            "filter": "envoy.filters.http.jwt_authn",
            "path": [{"key": "payload"}, {"key": "d"}],
            "value": {"present_match": True},
            "invert": True,
        },
    ]
    claims_only = route_match(HTTPMatchRequest(headers={"@request.auth.claims.d": StringMatch()}))
    assert not matches_everything(claims_only)
    assert serialise(ROUTE_ENTRY, {"match": claims_only})
    assert message_class(ROUTE_ENTRY)
