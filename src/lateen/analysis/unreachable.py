"""Rules of one VirtualService that no request can reach, because an earlier one takes all of theirs."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from lateen.analysis.reports import Report
from lateen.analysis.shadowing import Earlier, any_path
from lateen.config.codes import INEFFECTIVE_MATCH, UNREACHABLE_RULE
from lateen.config.networking import (
    HTTPMatchRequest,
    HTTPRoute,
    L4MatchAttributes,
    TCPRoute,
    TLSMatchAttributes,
    TLSRoute,
    VirtualService,
)
from lateen.config.objects import ConfigObject
from lateen.config.positions import Path

_Route = HTTPRoute | TLSRoute | TCPRoute
_Match = HTTPMatchRequest | TLSMatchAttributes | L4MatchAttributes


def unreachable(report: Report, one: ConfigObject[VirtualService]) -> None:
    """Report the rules after one that takes everything, and matches of which an earlier one takes all.

    A rule of a delegate, which has no hosts, falls away where the root contradicts it: then it hides none after it.
    """
    is_delegate = not one.spec.hosts
    rules: dict[str, Sequence[_Route]] = {"http": one.spec.http, "tls": one.spec.tls, "tcp": one.spec.tcp}
    for field, routes in rules.items():
        taken_by = ""
        seen: dict[bytes, str] = {}
        earlier = Earlier()
        for index, route in enumerate(routes):
            here: Path = ("spec", field, index)
            name = _name(route, index)
            if taken_by:
                report.add(UNREACHABLE_RULE, one, here, f"rule {taken_by} has no conditions, so this one is never used")
                continue
            if not is_delegate:
                _matches(report, one, here, (route, name), seen, earlier)
            anything = not is_delegate and any(is_anything(match) for match in route.match)
            if not _delegates(route) and (anything or not route.match):
                taken_by = name


def _matches(
    report: Report,
    one: ConfigObject[VirtualService],
    path: Path,
    rule: tuple[_Route, str],
    seen: dict[bytes, str],
    earlier: Earlier,
) -> None:
    """Look at the matches of a rule; those of one rule may cover each other.

    What a rule with a delegate takes is its delegate's to say, so it hides none after it.
    """
    route, name = rule
    repeated = 0
    matches: Sequence[_Match] = route.match
    for index, match in enumerate(matches):
        if _delegates(route) and _may_widen(match):
            continue
        content = msgspec.json.encode(condition(match))
        if content in seen:
            repeated += 1
            message = f"rule {seen[content]} has the same match, so this one is never used"
            report.add(INEFFECTIVE_MATCH, one, (*path, "match", index), message)
        elif isinstance(match, HTTPMatchRequest) and (taker := earlier.covering(match)):
            repeated += 1
            message = f"rule {taker} before it takes every request of this match, so it is never used; put it first"
            report.add(INEFFECTIVE_MATCH, one, (*path, "match", index), message)
        if not _delegates(route):
            seen.setdefault(content, name)
    for match in matches if not _delegates(route) else ():
        if isinstance(match, HTTPMatchRequest):
            earlier.add(match, name)
    if route.match and repeated == len(route.match):
        report.add(UNREACHABLE_RULE, one, path, "earlier rules take all of its matches, so it is never used")


def _delegates(route: _Route) -> bool:
    return isinstance(route, HTTPRoute) and route.delegate is not None


def _may_widen(match: _Match) -> bool:
    """Whether a delegate may take more than the match of the root (`mesh.delegates`): what it excludes replaces what
    the root excludes, and gateways that it names stand in place of the root's conditions on who calls.
    """
    if not isinstance(match, HTTPMatchRequest):
        return False
    return bool(match.without_headers or match.source_labels or match.source_namespace)


def condition(match: _Match) -> _Match:
    """Return the match without its name, which is a label and no condition."""
    return msgspec.structs.replace(match, name="") if isinstance(match, HTTPMatchRequest) else match


def is_anything(match: _Match) -> bool:
    """Whether every request satisfies the match: it has no conditions, or only one that every path fulfils."""
    if not isinstance(match, HTTPMatchRequest):
        return match == type(match)()
    bare = msgspec.structs.replace(match, name="", stat_prefix="", ignore_uri_case=False, uri=None)
    return any_path(match.uri) and bare == HTTPMatchRequest()


def _name(route: _Route, index: int) -> str:
    """Return the rule's name, or its number counted from 0 as in paths."""
    return repr(route.name) if isinstance(route, HTTPRoute) and route.name else f"[{index}]"
