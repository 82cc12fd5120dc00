"""What a route makes of path and host: rewrites for the server, the Location of a redirect.

Called by `route_actions`. Source: RouteAction and RedirectAction in `envoy.config.route.v3`; observed in Envoy 1.40 by
tests/e2e/test_explain_routes.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lateen.envoy.messages import Fields
from lateen.explain.matchers import compiled

_CODES = {
    "MOVED_PERMANENTLY": 301,
    "FOUND": 302,
    "SEE_OTHER": 303,
    "TEMPORARY_REDIRECT": 307,
    "PERMANENT_REDIRECT": 308,
}


def rewritten_path(match: Fields, action: Fields, path: str) -> str:
    """Return the path (with query) as a RouteAction or RedirectAction passes it on."""
    if "regex_rewrite" in action:
        rewrite = action["regex_rewrite"]
        bare = re.split(r"[?#]", path, maxsplit=1)[0]
        return replaced(rewrite["pattern"]["regex"], rewrite.get("substitution", ""), bare) + path[len(bare) :]
    if not action.get("prefix_rewrite"):
        return path
    return str(action["prefix_rewrite"]) + path[_matched_length(match, path) :]


def _matched_length(match: Fields, path: str) -> int:
    """Return how much of a path the match was about: a prefix, or the whole of it but the query."""
    for kind in ("prefix", "path_separated_prefix", "path"):
        if kind in match:
            return len(match[kind])
    return len(re.split(r"[?#]", path, maxsplit=1)[0]) if "safe_regex" in match else 0


def replaced(pattern: str, substitution: str, text: str) -> str:
    """Return the text with every match replaced, `\\1` standing for a group, as RE2's GlobalReplace does."""
    expression, source = compiled(pattern), text.encode("latin-1", "replace")
    made, at, last = bytearray(), 0, -1
    while at <= len(source):
        found: Any = expression.search(source, at)
        if found is None:
            break
        start, end = found.span()
        made += source[at:start]
        if start == end == last:
            # An empty match right after another: go on by one character.
            made += source[start : start + 1]
            at = start + 1
            continue
        made += _expanded(substitution, found)
        at = last = end
        if start == end:
            made += source[end : end + 1]
            at = end + 1
    made += source[at:]
    return made.decode("latin-1")


def _expanded(substitution: str, found: Any) -> bytes:
    def group(match: re.Match[str]) -> str:
        number = match[1]
        return "\\" if number == "\\" else (found.group(int(number)) or b"").decode("latin-1")

    return re.sub(r"\\([0-9\\])", group, substitution).encode("latin-1", "replace")


def rewritten_host(action: Fields, headers: Mapping[str, str]) -> str:
    """Return the authority as a RouteAction passes it on."""
    authority = headers.get(":authority", "")
    if action.get("host_rewrite_literal"):
        return str(action["host_rewrite_literal"])
    if name := action.get("host_rewrite_header"):
        return headers.get(name.lower(), "") or authority
    return authority


# --- redirects -----------------------------------------------------------------------------------------------


def redirect_status(redirect: Fields) -> int:
    """Return the status of a RedirectAction."""
    return _CODES[redirect.get("response_code", "MOVED_PERMANENTLY")]


def location(match: Fields, redirect: Fields, headers: Mapping[str, str]) -> str:
    """Return where a RedirectAction sends a request that has `:scheme`, `:authority`, `:path` and x-forwarded-proto."""
    scheme = "https" if redirect.get("https_redirect") else redirect.get("scheme_redirect") or headers[":scheme"]
    port = f":{redirect['port_redirect']}" if redirect.get("port_redirect") else ""
    host = redirect.get("host_redirect") or _kept_host(headers, scheme, port)
    return f"{scheme}://{host}{port}{_new_path(match, redirect, headers[':path'])}"


def _new_path(match: Fields, redirect: Fields, path: str) -> str:
    bare, mark, query = path.partition("?")
    kept = "" if redirect.get("strip_query") else mark + query
    if wanted := redirect.get("path_redirect"):
        return str(wanted) if "?" in wanted else f"{wanted}{kept}"
    return rewritten_path(match, redirect, bare + kept)


def _kept_host(headers: Mapping[str, str], scheme: str, port: str) -> str:
    """Return the host of the request; without its port when that is another's, or the default of the old scheme."""
    host = headers.get(":authority", "")
    at = host.rfind("]:") + 1 if host.startswith("[") else host.rfind(":")
    if at <= 0:
        return host
    before, there = headers.get("x-forwarded-proto", "http"), host[at:]
    default = {"https": ":443", "http": ":80"}.get(before)
    return host[:at] if port or (scheme != before and there == default) else host
