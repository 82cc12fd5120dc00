"""The filter that reads tokens of end users: providers, and what is asked of a request.

Called by `generate.request_authentication`. Source: Envoy's `jwt_authn/v3/config.proto`, and Istio's reference of
RequestAuthentication for what a set of rules means. A token that was accepted is known to later filters and to routes
by its claims, in dynamic metadata.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lateen.config.security import JWTRule
from lateen.envoy.extensions import discovered_filter, filter_settings
from lateen.envoy.messages import Fields, packed
from lateen.envoy.resources import Resource

JWT_FILTER = "envoy.filters.http.jwt_authn"
"""The filter's name in chains and as a resource, and the namespace of its metadata."""
_CONFIG = "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication"
PAYLOAD = "payload"
"""Key in that namespace below which the claims are."""
SPACE_DELIMITED = ("permission", "scope")
"""Claims that are lists written with spaces (RFC 8693 for `scope`); Istio's two."""
NO_KEYS = (
    '{"keys":[{"kty":"EC","crv":"P-256","alg":"ES256","kid":"none",'
    '"x":"nH2hDK3qAzceLkfLL0riQMe-N90lrcZxP_NGI86F6L4",'
    '"y":"L5keQG-Szv1l3KJQBgo07dR1myd6Hc3lcRSkfOjEehQ"}]}'
)
"""A key set that verifies nothing: a point that nobody knows the private key of, since its x is a hash. The hash is
SHA-256 of `lateen: nobody's key 2`, the first number with which it is a point of the curve; y is the smaller one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """A rule with its keys."""

    name: str
    """Says of which policy it is, because the filter's configuration has no room for more."""
    rule: JWTRule
    key_set: str
    """JSON Web Key Set."""


def jwt_filter() -> Fields:
    """Return the HTTP filter that checks tokens. What it asks is a resource of its own, see `token_check`.

    So no request is cut when an issuer changes its keys.
    """
    return discovered_filter(JWT_FILTER, _CONFIG)


def no_token_check() -> Resource:
    """Return the settings of a filter that asks nothing.

    For connections that have the filter still, while a listener without it takes over: without settings it would
    answer 500.
    """
    return filter_settings(JWT_FILTER, packed(_CONFIG, {}))


def token_check(providers: Sequence[Provider], *, chooses_route: bool) -> Resource:
    """Return what the filter asks of requests.

    No token passes, and a valid one; a request with tokens of which none is valid is answered 401 (403 where it is for
    another audience). Headers that the filter writes are taken off every request first, also where they come from a
    provider that is not asked (Envoy's rule, which `tests/e2e` holds it to). `chooses_route`: the route is looked for
    again once the claims are known.
    """
    names = [provider.name for provider in providers]
    fields: Fields = {
        "providers": {
            name: _provider(provider, chooses_route=chooses_route)
            for name, provider in zip(names, providers, strict=True)
        },
        "rules": [{"match": {"prefix": "/"}, "requires": _requirement(names)}],
        "bypass_cors_preflight": True,
    }
    return filter_settings(JWT_FILTER, packed(_CONFIG, fields))


def _provider(provider: Provider, *, chooses_route: bool) -> Fields:
    rule = provider.rule
    fields: Fields = {
        "issuer": rule.issuer,
        "audiences": rule.audiences,
        "forward": rule.forward_original_token,
        "forward_payload_header": rule.output_payload_to_header,
        "payload_in_metadata": PAYLOAD,
        "normalize_payload_in_metadata": {
            "space_delimited_claims": sorted({*SPACE_DELIMITED, *rule.space_delimited_claims})
        },
        "claim_to_headers": [
            {"header_name": item.header, "claim_name": item.claim} for item in rule.output_claim_to_headers
        ],
        "from_headers": [{"name": header.name, "value_prefix": header.prefix} for header in rule.from_headers],
        "from_params": rule.from_params,
        "from_cookies": rule.from_cookies,
        "clear_route_cache": chooses_route,
        "local_jwks": {"inline_string": provider.key_set},
    }
    return {name: value for name, value in fields.items() if value}


def _requirement(names: Sequence[str]) -> Fields:
    """Return what is asked of a request: a token that any provider accepts, or none for any of them.

    The second part is what lets a request without token pass. It is asked of each provider by itself, so that a token
    that is there and bad is refused wherever it stands.
    """
    accepted: list[Fields] = [{"provider_name": name} for name in names]
    or_none: list[Fields] = [{"requires_any": {"requirements": [item, {"allow_missing": {}}]}} for item in accepted]
    if len(names) == 1:
        return or_none[0]
    return {"requires_any": {"requirements": [*accepted, {"requires_all": {"requirements": or_none}}]}}


def claim_matcher(path: Sequence[str], value: Fields, *, inverted: bool = False) -> Fields:
    """Return the MetadataMatcher of a claim with a value, see `claim_value`. A claim that is missing has none."""
    matcher: Fields = {
        "filter": JWT_FILTER,
        "path": [{"key": PAYLOAD}, *({"key": step} for step in path)],
        "value": value,
    }
    return matcher | {"invert": True} if inverted else matcher


def claim_value(string: Fields | None) -> Fields:
    """Return the ValueMatcher of a claim: a string that matches, or a list with one that does. None: that it is there.

    `string` is a StringMatcher.
    """
    if string is None:
        return {"present_match": True}
    exact: Fields = {"string_match": string}
    return {"or_match": {"value_matchers": [exact, {"list_match": {"one_of": exact}}]}}
