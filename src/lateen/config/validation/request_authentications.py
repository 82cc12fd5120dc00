"""Rules of RequestAuthentication, as Istio's validation has them. Called by `validation.rules`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from urllib.parse import SplitResult, urlsplit

from lateen.config.key_sets import jwks_uri, key_set_problem
from lateen.config.metadata import Metadata
from lateen.config.positions import Path
from lateen.config.security import JWTRule, RequestAuthentication
from lateen.config.validation import fields
from lateen.config.validation.policy_targets import attachment
from lateen.config.violations import Violation, warning

MAX_URI = 2048
MAX_RULES = 4096

_OUTPUT_HEADER = re.compile(r"[-_A-Za-z0-9]+")
_LOOPBACK = re.compile(r"localhost|127\.\d+\.\d+\.\d+|::1")


def request_authentication(spec: RequestAuthentication, metadata: Metadata) -> Iterator[Violation]:
    """Yield what is wrong with a RequestAuthentication."""
    yield from attachment(spec.selector, spec.target_ref, spec.target_refs, metadata.namespace)
    if len(spec.jwt_rules) > MAX_RULES:
        yield Violation(("jwtRules",), f"{len(spec.jwt_rules)} rules are more than the {MAX_RULES} that are allowed")
    for index, rule in enumerate(spec.jwt_rules):
        here: Path = ("jwtRules", index)
        yield from _keys(here, rule)
        yield from _locations(here, rule)
        yield from _outputs(here, rule)
        for number, audience in enumerate(rule.audiences):
            yield from _not_empty((*here, "audiences", number), audience, "an audience")
        for number, claim in enumerate(rule.space_delimited_claims):
            yield from _not_empty((*here, "spaceDelimitedClaims", number), claim, "a claim")
        yield from fields.optional_duration((*here, "timeout"), rule.timeout)


def _keys(path: Path, rule: JWTRule) -> Iterator[Violation]:
    """Whose tokens, and where the keys come from: in the rule, by URI, or by the issuer's discovery document."""
    if not rule.issuer and not jwks_uri(rule):
        message = "a rule needs the issuer of its tokens, or a jwksUri"
        yield Violation((*path, "issuer"), message, "write what the claim `iss` of the tokens says")
    named = {"jwks": rule.jwks, "jwksUri": rule.jwks_uri, "jwks_uri": rule.jwks_uri_snake}
    given = [name for name, value in named.items() if value]
    for name in given[1:]:
        yield Violation((*path, name), f"`{given[0]}` and `{name}` exclude each other", "keep one of them")
    if rule.jwks:
        if problem := key_set_problem(rule.jwks):
            yield Violation((*path, "jwks"), problem, "write a JSON Web Key Set: '{\"keys\": [...]}'")
    elif uri := jwks_uri(rule):
        yield from _uri((*path, "jwksUri" if rule.jwks_uri else "jwks_uri"), uri)
    elif rule.issuer and _split(rule.issuer) is None:
        message = f"the keys of {rule.issuer!r} cannot be found: it is not an http or https URI"
        yield warning((*path, "issuer"), message, "add jwks or jwksUri; until then every token of it is refused")


def _uri(path: Path, uri: str) -> Iterator[Violation]:
    if len(uri) > MAX_URI:
        yield Violation(path, f"a URI of {len(uri)} characters is longer than the {MAX_URI} that are allowed")
        return
    split = _split(uri)
    if split is None:
        yield Violation(path, f"{uri[:80]!r} is not an http or https URI", "write https://example.com/keys.json")
    elif split.username or split.password:
        yield Violation(path, "a URI of keys must not hold a password", "keys are public: leave `user:password@` out")
    elif split.scheme == "http" and not _LOOPBACK.fullmatch(split.hostname or ""):
        message = "keys that come over plain http can be replaced on their way, so they are taken from loopback only"
        yield warning(path, message, "use https, or allow the host where the control plane is started")


def _split(uri: str) -> SplitResult | None:
    """Return the parts of an http or https URI, None when it is none."""
    try:
        split = urlsplit(uri)
        usable = split.scheme in ("http", "https") and bool(split.hostname) and split.port != 0
    except ValueError:
        return None
    return split if usable and uri.isprintable() and " " not in uri else None


def _locations(path: Path, rule: JWTRule) -> Iterator[Violation]:
    for index, header in enumerate(rule.from_headers):
        here = (*path, "fromHeaders", index, "name")
        if not header.name:
            yield Violation(here, "a header needs a name", "write the header that holds the token")
        else:
            yield from fields.header_name(here, header.name)
    for index, name in enumerate(rule.from_params):
        yield from _not_empty((*path, "fromParams", index), name, "a query parameter")
    for index, name in enumerate(rule.from_cookies):
        yield from _not_empty((*path, "fromCookies", index), name, "a cookie")


def _outputs(path: Path, rule: JWTRule) -> Iterator[Violation]:
    payload = rule.output_payload_to_header
    if payload:
        yield from _output((*path, "outputPayloadToHeader"), payload)
    times = Counter(item.header.lower() for item in rule.output_claim_to_headers)
    times.update([payload.lower()])
    for index, item in enumerate(rule.output_claim_to_headers):
        here = (*path, "outputClaimToHeaders", index)
        yield from _not_empty((*here, "claim"), item.claim, "a claim")
        if not item.header:
            yield Violation((*here, "header"), "a header must not be empty", "write the header to set")
            continue
        yield from _output((*here, "header"), item.header)
        if times[item.header.lower()] > 1:
            yield warning((*here, "header"), f"the header {item.header} is written more than once", "keep one of them")


def _output(path: Path, name: str) -> Iterator[Violation]:
    if not _OUTPUT_HEADER.fullmatch(name):
        yield Violation(path, f"{name!r} is not a header that can be written", "use letters, digits, `-` and `_`")


def _not_empty(path: Path, text: str, what: str) -> Iterator[Violation]:
    if not text:
        yield Violation(path, f"{what} must not be empty", "write its name, or remove the entry")
