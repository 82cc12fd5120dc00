"""Printing explanations: as text of at most 80 columns where words allow it, as JSON, as YAML.

Called by `cli/explain.py`.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from typing import Any

import msgspec

from lateen.cli.options import Output
from lateen.cli.output import WIDTH, print_json, print_yaml
from lateen.explain.explanations import Check, Explanation, RuleVerdict, WorkloadVerdict

_LABEL = 13


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
    yield from _filled("", f"{asked.method} {asked.url}: {explanation.verdict}", 4)
    who = caller.proxy + (f" as {caller.identity}" if caller.identity else "")
    yield from _labelled(caller.type, who + (f", from {caller.source_ip}" if caller.source_ip else ""))
    if (service := explanation.destination) is not None:
        yield from _labelled("service", f"{service.host}:{service.port} ({service.protocol}), {service.origin}")
    for note in explanation.notes:
        yield from _labelled("note", note)
    for verdict in (explanation.gateway, *explanation.workloads):
        if verdict is not None:
            yield ""
            yield from _workload_lines(verdict)


def _workload_lines(verdict: WorkloadVerdict) -> Iterator[str]:
    status = f", HTTP {verdict.status}" if verdict.status is not None else ""
    yield from _filled("", f"{verdict.workload}: {verdict.verdict}{status}", 4)
    yield from _filled("  ", verdict.reason, 2)
    proven = f" as {verdict.principal}" if verdict.principal else ""
    chain = f", filter chain {verdict.filter_chain}" if verdict.filter_chain else ""
    yield from _labelled("  connection", f"{verdict.transport}{proven}{chain}")
    if (peer := verdict.peer_authentication) is not None:
        yield from _labelled("  mutual TLS", f"by PeerAuthentication {peer.policy} ({peer.origin})")
    for check in verdict.checks:
        yield from _check_lines(check)
    if verdict.nearest and any(rule.failed for rule in verdict.nearest):
        nearest = verdict.nearest[0]
        yield from _labelled("  nearest", f"rule {nearest.rule} of {nearest.policy}: {_lacks(len(nearest.failed))}")
    if verdict.advice:
        yield from _labelled("  to do", verdict.advice)
    if verdict.policy is not None:
        yield ""
        yield from _yaml(verdict.policy)


def _check_lines(check: Check) -> Iterator[str]:
    yield from _labelled(f"  {check.action}", f"{check.outcome}: {check.detail}" if check.detail else check.outcome)
    for rule in check.rules:
        yield from _rule_lines(rule)


def _rule_lines(rule: RuleVerdict) -> Iterator[str]:
    number = f" rule {rule.rule}" if rule.rule >= 0 else ", which has no rules"
    place = f" ({rule.origin})" if rule.origin else ""
    yield from _filled(" " * 6, f"{'yes' if rule.matched else 'no '} {rule.policy}{number}{place}", 4)
    for condition in rule.failed:
        yield from _filled(" " * 12, str(condition), 2)


def _lacks(count: int) -> str:
    return "one condition fails" if count == 1 else f"{count} conditions fail"


def _yaml(document: dict[str, Any]) -> Iterator[str]:
    import yaml

    text: str = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, default_flow_style=False)
    yield from text.rstrip().split("\n")


def _labelled(label: str, text: str) -> Iterator[str]:
    yield from _filled(f"{label:{_LABEL}} ", text, 0, after=" " * (_LABEL + 1))


def _filled(before: str, text: str, indent: int, *, after: str | None = None) -> Iterator[str]:
    """Yield a text in lines of 80 columns; a word that is longer stays whole, so that it can be copied."""
    following = before + " " * indent if after is None else after
    yield from textwrap.wrap(
        text,
        WIDTH,
        initial_indent=before,
        subsequent_indent=following,
        break_long_words=False,
        break_on_hyphens=False,
    ) or [before.rstrip()]
