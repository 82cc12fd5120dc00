"""Printing explanations: as text of at most 80 columns where words allow it, as JSON, as YAML.

Called by `cli/explain.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import msgspec

from lateen.cli.explanation_routes import routing_lines, summary
from lateen.cli.options import Output
from lateen.cli.output import print_json, print_yaml
from lateen.cli.wrapped_text import filled, labelled
from lateen.explain.explanations import Check, Explanation, RuleVerdict, WorkloadVerdict


def print_explanation(explanation: Explanation, output: Output) -> None:
    """Print it to stdout."""
    match output:
        case Output.JSON:
            print_json(msgspec.to_builtins(explanation))
        case Output.YAML:
            print_yaml([msgspec.to_builtins(explanation)])
        case Output.TABLE:
            for line in explanation_lines(explanation):
                sys.stdout.write(printable(line) + "\n")


def printable(line: str) -> str:
    """Return a line in which nothing speaks to the terminal."""
    return "".join(char if char.isprintable() else " " for char in line)


def explanation_lines(explanation: Explanation) -> Iterator[str]:
    """Yield the lines of the text form."""
    asked, caller = explanation.request, explanation.caller
    yield from filled("", f"{asked.method} {asked.url}: {explanation.verdict}{_in_short(explanation)}", 4)
    who = caller.proxy + (f" as {caller.identity}" if caller.identity else "")
    yield from labelled(caller.type, who + (f", from {caller.source_ip}" if caller.source_ip else ""))
    if (service := explanation.destination) is not None:
        yield from labelled("service", f"{service.host}:{service.port} ({service.protocol}), {service.origin}")
    if explanation.routing is not None:
        yield from routing_lines(explanation.routing)
    for note in explanation.notes:
        yield from labelled("note", note)
    told: set[tuple[str, ...]] = set()
    for verdict in (explanation.gateway, *explanation.workloads):
        if verdict is None:
            continue
        lines = tuple(_workload_lines(verdict))
        # Several subsets may lead to the same workloads.
        if lines not in told:
            told.add(lines)
            yield ""
            yield from lines


def _in_short(explanation: Explanation) -> str:
    """Return what stands behind the verdict: the shares of several, or what the proxy answers by itself."""
    outcomes = explanation.routing.outcomes if explanation.routing is not None else []
    shares: dict[str, float] = {}
    for outcome in outcomes:
        shares[outcome.verdict] = shares.get(outcome.verdict, 0) + outcome.share
    if len(shares) > 1:
        return f" ({', '.join(f'{share:g} % {verdict}' for verdict, share in shares.items())})"
    if len(explanation.workloads) == 1 and explanation.workloads[0].status is not None:
        return f" (HTTP {explanation.workloads[0].status} by {explanation.workloads[0].workload})"
    if explanation.workloads or len(outcomes) != 1 or outcomes[0].action == "forward":
        return ""
    return f" ({summary(outcomes[0])})"


def _workload_lines(verdict: WorkloadVerdict) -> Iterator[str]:
    status = f", HTTP {verdict.status}" if verdict.status is not None else ""
    yield from filled("", f"{verdict.workload}: {verdict.verdict}{status}", 4)
    yield from filled("  ", verdict.reason, 2)
    proven = f" as {verdict.principal}" if verdict.principal else ""
    chain = f", filter chain {verdict.filter_chain}" if verdict.filter_chain else ""
    yield from labelled("  connection", f"{verdict.transport}{proven}{chain}")
    if (peer := verdict.peer_authentication) is not None:
        yield from labelled("  mutual TLS", f"by PeerAuthentication {peer.policy} ({peer.origin})")
    for check in verdict.checks:
        yield from _check_lines(check)
    if verdict.nearest and any(rule.failed for rule in verdict.nearest):
        nearest = verdict.nearest[0]
        yield from labelled("  nearest", f"rule {nearest.rule} of {nearest.policy}: {_lacks(len(nearest.failed))}")
    if verdict.advice:
        yield from labelled("  to do", verdict.advice)
    if verdict.policy is not None:
        yield ""
        yield from _yaml(verdict.policy)


def _check_lines(check: Check) -> Iterator[str]:
    yield from labelled(f"  {check.action}", f"{check.outcome}: {check.detail}" if check.detail else check.outcome)
    for rule in check.rules:
        yield from _rule_lines(rule)


def _rule_lines(rule: RuleVerdict) -> Iterator[str]:
    number = f" rule {rule.rule}" if rule.rule >= 0 else ", which has no rules"
    place = f" ({rule.origin})" if rule.origin else ""
    yield from filled(" " * 6, f"{'yes' if rule.matched else 'no '} {rule.policy}{number}{place}", 4)
    for condition in rule.failed:
        yield from filled(" " * 12, str(condition), 2)


def _lacks(count: int) -> str:
    return "one condition fails" if count == 1 else f"{count} conditions fail"


def _yaml(document: dict[str, Any]) -> Iterator[str]:
    import yaml

    text: str = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, default_flow_style=False)
    yield from text.rstrip().split("\n")
