"""Envoy's RBAC, evaluated: which policies match a request, and what the others lack.

Called by `walking` and by tests that hold it to real Envoy. Knows messages in protobuf's JSON form (`Fields`), no
policies of Istio. Source: `envoy.config.rbac.v3`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from lateen.envoy.messages import Fields
from lateen.explain.explanations import Condition
from lateen.explain.identities import identity_condition
from lateen.explain.matchers import (
    UnknownMatcherError,
    header_matches,
    header_text,
    in_range,
    metadata_matches,
    metadata_value,
    range_text,
    string_matches,
    string_text,
    template_matches,
    value_text,
    value_texts,
)
from lateen.explain.requests import Request


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Whether a matcher matches, and if not, which conditions of the nearest alternative failed."""

    matched: bool
    failed: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """What an RBAC says of a request."""

    allowed: bool
    effective: str
    """Name of the first policy that matches; empty when none does."""
    policies: dict[str, Evaluation] = field(default_factory=dict)
    """Every policy, in Envoy's order."""


MATCHED: Final = Evaluation(True)
ANYTHING: Final = "anything"


def decide(rbac: Fields, request: Request) -> Decision:
    """Evaluate every policy of an RBAC. With ALLOW one must match, with DENY none may, LOG lets everything pass."""
    found = {name: evaluate_policy(policy, request) for name, policy in sorted(rbac.get("policies", {}).items())}
    effective = next((name for name, evaluation in found.items() if evaluation.matched), "")
    match rbac.get("action", "ALLOW"):
        case "DENY":
            allowed = not effective
        case "LOG":
            allowed = True
        case _:
            allowed = bool(effective)
    return Decision(allowed, effective, found)


def evaluate_policy(policy: Fields, request: Request) -> Evaluation:
    """Evaluate a policy: one of its principals and one of its permissions must match."""
    if "condition" in policy or "checked_condition" in policy:
        raise UnknownMatcherError("a condition in CEL")
    who = _any_of(policy.get("principals", ()), request)
    what = _any_of(policy.get("permissions", ()), request)
    return Evaluation(who.matched and what.matched, who.failed + what.failed)


def evaluate(matcher: Fields, request: Request) -> Evaluation:
    """Evaluate a Permission or a Principal: both are trees of the same form."""
    [(kind, value)] = matcher.items()
    match kind:
        case "any":
            return MATCHED
        case "and_rules" | "and_ids":
            parts = [evaluate(part, request) for part in _members(value)]
            failed = tuple(condition for part in parts for condition in part.failed)
            return Evaluation(all(part.matched for part in parts), failed)
        case "or_rules" | "or_ids":
            return _any_of(_members(value), request)
        case "not_rule" | "not_id":
            if not evaluate(value, request).matched:
                return MATCHED
            return Evaluation(False, (_unwanted(value, request),))
    matched, condition = _leaf(kind, value, request)
    return MATCHED if matched else Evaluation(False, (condition(),))


def _members(value: Fields) -> list[Fields]:
    found: list[Fields] = value.get("rules") or value.get("ids") or []
    return found


def _any_of(matchers: Iterable[Fields], request: Request) -> Evaluation:
    """Evaluate alternatives: of those that fail, the one that lacks least is told, values of one attribute together."""
    found = []
    for matcher in matchers:
        evaluation = evaluate(matcher, request)
        if evaluation.matched:
            return MATCHED
        found.append(evaluation.failed)
    if not found:
        return Evaluation(False, (Condition(attribute="rule", wanted=[ANYTHING], actual="an empty list"),))
    nearest = min(found, key=len)
    if len(nearest) != 1:
        return Evaluation(False, nearest)
    return Evaluation(False, (_together(nearest[0], found),))


def _together(nearest: Condition, found: Iterable[tuple[Condition, ...]]) -> Condition:
    same = [
        failed[0]
        for failed in found
        if len(failed) == 1 and (failed[0].attribute, failed[0].unwanted) == (nearest.attribute, nearest.unwanted)
    ]
    if nearest.unwanted or len(same) == 1:
        return nearest
    wanted = list(dict.fromkeys(text for condition in same for text in condition.wanted))
    return Condition(attribute=nearest.attribute, wanted=wanted, actual=nearest.actual)


# --- what must not match -------------------------------------------------------------------------------------


def _unwanted(matcher: Fields, request: Request) -> Condition:
    """Return the condition that fails because `matcher` matches."""
    [(kind, value)] = matcher.items()
    match kind:
        case "any":
            return Condition(attribute="rule", wanted=[ANYTHING], actual=ANYTHING, unwanted=True)
        case "not_rule" | "not_id":
            # What is wanted twice the other way round is wanted: it matches, so it fails nothing else.
            inner = _unwanted(value, request)
            return Condition(attribute=inner.attribute, wanted=inner.wanted, actual=inner.actual)
        case "and_rules" | "and_ids" | "or_rules" | "or_ids":
            together = kind.startswith("and")
            parts = [part for part in _members(value) if together or evaluate(part, request).matched]
            conditions = [_unwanted(part, request) for part in parts]
            if not conditions:
                return Condition(attribute="rule", wanted=[ANYTHING], actual=ANYTHING, unwanted=True)
            if len({condition.attribute for condition in conditions}) == 1 and not together:
                wanted = list(dict.fromkeys(text for condition in conditions for text in condition.wanted))
                return Condition(
                    attribute=conditions[0].attribute, wanted=wanted, actual=conditions[0].actual, unwanted=True
                )
            text = " and ".join(f"{one.attribute} {' or '.join(one.wanted)}" for one in conditions)
            return Condition(attribute="rule", wanted=[text], actual="so", unwanted=True)
    condition = _leaf(kind, value, request)[1]()
    return Condition(attribute=condition.attribute, wanted=condition.wanted, actual=condition.actual, unwanted=True)


# --- leaves --------------------------------------------------------------------------------------------------

_WORDS = {":method": "method", ":authority": "host", ":path": "path with query"}
_ADDRESSES = {
    "source_ip": "source IP",
    "direct_remote_ip": "source IP",
    "remote_ip": "remote IP",
    "destination_ip": "destination IP",
}


def _leaf(kind: str, value: Fields, request: Request) -> tuple[bool, Callable[[], Condition]]:
    """Return whether a condition is met, and a way to tell it when it is not."""
    match kind:
        case "header":
            name = value["name"].lower()
            attribute = _WORDS.get(name, f"header {name}")
            actual = request.headers.get(name, "")
            matched, texts = header_matches(value, request.headers), [header_text(value)]
            if value.get("invert_match"):
                return matched, lambda: Condition(attribute=attribute, wanted=texts, actual=actual, unwanted=True)
        case "url_path":
            attribute, actual, string = "path", request.path or "", value["path"]
            matched, texts = request.path is not None and string_matches(string, request.path), [string_text(string)]
        case "uri_template":
            template = value["typed_config"]["path_template"]
            attribute, actual = "path", request.path or ""
            matched, texts = request.path is not None and template_matches(template, request.path), [template]
        case "destination_port":
            attribute, actual = "port", str(request.destination_port)
            matched, texts = str(request.destination_port) == str(value), [str(value)]
        case "destination_port_range":
            first, end = int(value.get("start", 0)), int(value.get("end", 0))
            attribute, actual = "port", str(request.destination_port)
            matched, texts = first <= request.destination_port < end, [f"{first}-{end - 1}"]
        case "requested_server_name":
            attribute, actual = "SNI", request.server_name
            matched, texts = string_matches(value, request.server_name), [string_text(value)]
        case "authenticated":
            return _authenticated(value, request)
        case "metadata" | "sourced_metadata":
            return _metadata(value if kind == "metadata" else _dynamic(value), request)
        case "source_ip" | "direct_remote_ip" | "remote_ip" | "destination_ip":
            attribute, actual = _ADDRESSES[kind], _address(kind, request)
            matched, texts = in_range(value, actual), [range_text(value)]
        case _:
            raise UnknownMatcherError(f"the matcher {kind}")
    return matched, lambda: Condition(attribute=attribute, wanted=texts, actual=actual)


def _address(kind: str, request: Request) -> str:
    if kind == "destination_ip":
        return request.destination_ip
    return request.remote_ip if kind == "remote_ip" else request.source_ip


def _authenticated(value: Fields, request: Request) -> tuple[bool, Callable[[], Condition]]:
    string = value.get("principal_name")
    names = request.names
    matched = names is not None and (string is None or any(string_matches(string, name) for name in names))
    return matched, lambda: identity_condition(string, names)


def _dynamic(value: Fields) -> Fields:
    if value.get("metadata_source", "DYNAMIC") != "DYNAMIC":
        raise UnknownMatcherError("metadata of the route")
    matcher: Fields = value["metadata_matcher"]
    return matcher


_CLAIMS = ("envoy.filters.http.jwt_authn", "payload")


def _metadata(matcher: Fields, request: Request) -> tuple[bool, Callable[[], Condition]]:
    matched = metadata_matches(matcher, request.metadata)
    steps = [step["key"] for step in matcher.get("path", ())]
    if (matcher["filter"], *steps[:1]) == _CLAIMS:
        attribute = "claim " + "".join(f"[{step}]" if number else step for number, step in enumerate(steps[1:]))
    else:
        attribute = ".".join(["metadata", matcher["filter"], *steps])
    return matched, lambda: Condition(
        attribute=attribute,
        wanted=value_texts(matcher["value"]),
        actual=value_text(metadata_value(matcher, request.metadata)),
        unwanted=bool(matcher.get("invert")),
    )
