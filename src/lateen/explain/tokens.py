"""Envoy's jwt_authn filter, evaluated: which claims later filters see, or why a request is answered 401 or 403.

Called by `walking`. Nothing is verified: signatures need keys and time. Tokens are found where the providers look for
them, in any part of the request; claims that the user gave stand wherever they are looked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs

from lateen.envoy.messages import Fields
from lateen.explain.questions import decoded_token
from lateen.explain.requests import Request

Claims = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenVerdict:
    """What the filter makes of a request."""

    request: Request
    """With the claims of the accepted token in its metadata."""
    status: int = 0
    """401 or 403 when it is refused."""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class _Found:
    status: int
    detail: str
    claims: Claims | None = None
    provider: Fields | None = None
    missing: bool = False


_OK = _Found(0, "")
_MISSING = _Found(401, "no token", missing=True)


def check_tokens(config: Fields, request: Request, claims: Claims | None) -> TokenVerdict:
    """Evaluate the filter. `claims`: of a token that stands where it is looked for."""
    if config.get("bypass_cors_preflight") and _is_preflight(request):
        return TokenVerdict(request=request, detail="a CORS preflight is not checked")
    requirement = next(
        (rule.get("requires") for rule in config.get("rules", ()) if _applies(rule.get("match", {}), request)), None
    )
    if requirement is None:
        return TokenVerdict(request=request, detail="no rule is about this path")
    found = _Providers(config, request, claims).meets(requirement)
    if found.status:
        return TokenVerdict(request=request, status=found.status, detail=found.detail)
    if found.claims is None or found.provider is None:
        return TokenVerdict(request=request, detail="no token, and none is required here")
    key = found.provider.get("payload_in_metadata")
    values = {key: _normalised(found.claims, found.provider)} if key else {}
    return TokenVerdict(
        request=request.with_metadata("envoy.filters.http.jwt_authn", values),
        detail=f"a token of {found.claims.get('iss', '')} (its signature was not verified here)",
    )


def _is_preflight(request: Request) -> bool:
    headers = request.headers
    return headers.get(":method") == "OPTIONS" and "origin" in headers and "access-control-request-method" in headers


def _applies(match: Fields, request: Request) -> bool:
    path = request.path or ""
    return path == match["path"] if "path" in match else path.startswith(match.get("prefix", ""))


class _Providers:
    """The providers of one filter, and the tokens of one request."""

    def __init__(self, config: Fields, request: Request, claims: Claims | None) -> None:
        self._providers: dict[str, Fields] = config.get("providers", {})
        self._request = request
        self._claims = claims

    def meets(self, requirement: Fields) -> _Found:
        """Evaluate a JwtRequirement."""
        if not requirement:
            return _OK
        [(kind, value)] = requirement.items()
        match kind:
            case "provider_name" | "provider_and_audiences":
                name = value if kind == "provider_name" else value["provider_name"]
                return self._accepted_by(self._providers[name])
            case "requires_any":
                return self._any(value.get("requirements", ()))
            case "requires_all":
                found = [self.meets(part) for part in value.get("requirements", ())]
                refused = next((part for part in found if part.status), None)
                return refused or next((part for part in found if part.claims is not None), _OK)
            case "allow_missing_or_failed":
                found_any = self._any([{"provider_name": name} for name in self._providers])
                return _OK if found_any.status else found_any
        return self._all_present()

    def _any(self, requirements: Any) -> _Found:
        last = _MISSING
        for part in requirements:
            found = self.meets(part)
            if not found.status:
                return found
            # What is wrong with a token that is there says more than that there is none elsewhere.
            last = found if last.missing or not found.missing else last
        return last

    def _all_present(self) -> _Found:
        """`allow_missing`: no token is fine, but one that is there must be good for the provider of its issuer."""
        accepted = _OK
        for provider in self._providers.values():
            for claims in self._tokens(provider):
                if claims is not None and claims.get("iss") != provider.get("issuer"):
                    if not any(claims.get("iss") == other.get("issuer") for other in self._providers.values()):
                        return _wrong(claims, provider)
                    continue
                found = _wrong(claims, provider)
                if found.status:
                    return found
                accepted = found
        return accepted

    def _accepted_by(self, provider: Fields) -> _Found:
        last = _MISSING
        for claims in self._tokens(provider):
            last = _wrong(claims, provider)
            if not last.status:
                return last
        return last

    def _tokens(self, provider: Fields) -> Iterator[Claims | None]:
        """Yield the claims of each token that a provider finds; None for one that is not readable."""
        if self._claims is not None:
            yield self._claims
        headers = self._request.headers
        places = provider.get("from_headers", [])
        elsewhere = provider.get("from_params", []), provider.get("from_cookies", [])
        if not places and not any(elsewhere):
            places, elsewhere = [{"name": "authorization", "value_prefix": "Bearer "}], (["access_token"], [])
        for place in places:
            value, prefix = headers.get(place["name"].lower()), place.get("value_prefix", "")
            if value is not None and prefix in value:
                yield decoded_token(value.partition(prefix)[2].split()[0] if prefix else value)
        query = parse_qs(headers.get(":path", "").partition("?")[2])
        yield from (decoded_token(query[name][0]) for name in elsewhere[0] if name in query)
        cookies = _cookies(headers.get("cookie", ""))
        yield from (decoded_token(cookies[name]) for name in elsewhere[1] if name in cookies)


def _cookies(header: str) -> dict[str, str]:
    try:
        return {name: morsel.value for name, morsel in SimpleCookie(header).items()}
    except CookieError:
        return {}


def _wrong(claims: Claims | None, provider: Fields) -> _Found:
    """Return why a provider refuses a token, or that it takes it."""
    if claims is None:
        return _Found(401, "the token is no JWT")
    issuer = provider.get("issuer", "")
    if issuer and claims.get("iss") != issuer:
        return _Found(401, f"no issuer {claims.get('iss', '')!r} is known here, only {issuer!r}")
    wanted = provider.get("audiences", [])
    given = claims.get("aud", [])
    if wanted and not set(wanted) & set([given] if isinstance(given, str) else given):
        return _Found(403, f"the token is for {given!r}, wanted one for {' or '.join(wanted)}")
    return _Found(0, "", claims, provider)


def _normalised(claims: Claims, provider: Fields) -> dict[str, Any]:
    spaced = provider.get("normalize_payload_in_metadata", {}).get("space_delimited_claims", [])
    return {
        name: value.split() if name in spaced and isinstance(value, str) else value for name, value in claims.items()
    }
