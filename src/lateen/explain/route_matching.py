"""Whether a route matches a request, condition by condition: all of them are asked, so that a near miss can be told.

Called by `routing`. Source: RouteMatch in `envoy.config.route.v3`; observed in Envoy 1.40 by
tests/e2e/test_explain_routes.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from lateen.envoy.messages import Fields
from lateen.explain.explanations import Condition
from lateen.explain.matchers import (
    full_match,
    header_matches,
    header_text,
    metadata_matches,
    metadata_value,
    string_matches,
    string_text,
    template_matches,
    value_text,
    value_texts,
)
from lateen.explain.requests import Request

_DENOMINATORS = {"HUNDRED": 100, "TEN_THOUSAND": 10_000, "MILLION": 1_000_000}
_PSEUDO = {":method": "method", ":authority": "host", ":scheme": "scheme", ":path": "path"}


@dataclass(frozen=True, slots=True)
class Match:
    """How a route and a request agree."""

    failed: tuple[Condition, ...] = ()
    share: float = 1.0
    """Of the requests that meet all conditions, how many the route takes."""

    @property
    def matched(self) -> bool:
        """Whether any such request takes the route."""
        return not self.failed and self.share > 0


def match_route(match: Fields, request: Request) -> Match:
    """Compare a RouteMatch with a request."""
    failed = (
        *_path(match, request),
        *_headers(match, request.headers),
        *_query(match, request.headers.get(":path", "")),
        *_metadata(match, request),
        *_grpc(match, request.headers),
    )
    fraction = match.get("runtime_fraction", {}).get("default_value")
    return Match(tuple(failed), 1.0 if fraction is None else share_of(fraction))


def share_of(fraction: Fields) -> float:
    """Return a FractionalPercent as a share, 0 to 1."""
    whole = _DENOMINATORS[fraction.get("denominator", "HUNDRED")]
    return min(1.0, float(fraction.get("numerator", 0)) / whole)


# --- path ----------------------------------------------------------------------------------------------------


def _path(match: Fields, request: Request) -> Iterator[Condition]:
    method = request.headers.get(":method", "")
    if "connect_matcher" in match:
        if method != "CONNECT":
            yield Condition(attribute="method", wanted=["CONNECT"], actual=method)
        return
    if method == "CONNECT":
        yield Condition(attribute="method", wanted=["any but CONNECT"], actual=method)
        return
    path = request.path or ""
    if not path_matches(match, path):
        yield Condition(attribute="path", wanted=[path_text(match)], actual=path)


def path_matches(match: Fields, path: str) -> bool:
    """Whether the path of a RouteMatch matches a path without query."""
    if "safe_regex" in match:
        return full_match(match["safe_regex"]["regex"], path)
    if "path_match_policy" in match:
        return template_matches(match["path_match_policy"]["typed_config"]["path_template"], path)
    kind = next((kind for kind in ("path", "path_separated_prefix", "prefix") if kind in match), "prefix")
    wanted = match.get(kind, "")
    if match.get("case_sensitive") is False:
        wanted, path = wanted.lower(), path.lower()
    match kind:
        case "path":
            return bool(path == wanted)
        case "path_separated_prefix":
            return bool(path == wanted or path.startswith(f"{wanted}/"))
        case _:
            return path.startswith(wanted)


def path_text(match: Fields) -> str:
    """Return the path of a RouteMatch as people write it."""
    if "connect_matcher" in match:
        return "CONNECT"
    if "safe_regex" in match:
        return f"regex {match['safe_regex']['regex']}"
    if "path_match_policy" in match:
        return f"template {match['path_match_policy']['typed_config']['path_template']}"
    case = " (any case)" if match.get("case_sensitive") is False else ""
    if "path" in match:
        return f"{match['path']}{case}"
    if "path_separated_prefix" in match:
        return f"{match['path_separated_prefix']}[/*]{case}"
    return f"{match.get('prefix', '')}*{case}"


# --- the rest ------------------------------------------------------------------------------------------------


def _headers(match: Fields, headers: Mapping[str, str]) -> Iterator[Condition]:
    known = {"host": headers.get(":authority", ""), **headers}
    for matcher in match.get("headers", ()):
        if not header_matches(matcher, known):
            name = matcher["name"].lower()
            text = header_text(matcher)
            inverted = bool(matcher.get("invert_match"))
            if text == "absent" or (text == "*" and inverted):
                text, inverted = "absent" if text == "*" else "*", False
            yield Condition(
                attribute=_PSEUDO.get(name, f"header {name}"),
                wanted=[text],
                actual=known.get(name, ""),
                unwanted=inverted,
            )


def _query(match: Fields, path: str) -> Iterator[Condition]:
    matchers = match.get("query_parameters", ())
    given = query_parameters(path) if matchers else {}
    for matcher in matchers:
        name, value = matcher["name"], given.get(matcher["name"])
        if "string_match" in matcher:
            holds, text = value is not None and string_matches(matcher["string_match"], value), ""
            text = string_text(matcher["string_match"])
        else:
            wanted = bool(matcher.get("present_match", True))
            holds, text = (value is not None) == wanted, "*" if wanted else "absent"
        if not holds:
            yield Condition(attribute=f"query parameter {name}", wanted=[text], actual=value or "")


def query_parameters(path: str) -> dict[str, str]:
    """Return the first value of each query parameter, nothing decoded: so Envoy compares them."""
    _, _, query = path.partition("#")[0].partition("?")
    found: dict[str, str] = {}
    for part in query.split("&") if query else ():
        name, _, value = part.partition("=")
        found.setdefault(name, value)
    return found


def _metadata(match: Fields, request: Request) -> Iterator[Condition]:
    for matcher in match.get("dynamic_metadata", ()):
        if not metadata_matches(matcher, request.metadata):
            path = [step["key"] for step in matcher.get("path", ())]
            yield Condition(
                attribute=f"claim {'.'.join(path[1:] or path)}",
                wanted=value_texts(matcher["value"]),
                actual=value_text(metadata_value(matcher, request.metadata)),
                unwanted=bool(matcher.get("invert")),
            )


def _grpc(match: Fields, headers: Mapping[str, str]) -> Iterator[Condition]:
    if "grpc" in match and not is_grpc(headers):
        yield Condition(
            attribute="header content-type", wanted=["application/grpc"], actual=headers.get("content-type", "")
        )


def is_grpc(headers: Mapping[str, str]) -> bool:
    """Whether a request is a gRPC call."""
    kind = headers.get("content-type", "")
    return kind == "application/grpc" or kind.startswith("application/grpc+")
