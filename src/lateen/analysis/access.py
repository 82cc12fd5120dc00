"""AuthorizationPolicies that refuse everything, allow what never comes, or name what is not there.

Called by `references`. Whether an authorization server can be asked is looked at in `authorization`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any

from lateen.analysis.reports import Report
from lateen.analysis.workloads import Workloads
from lateen.config.codes import DENIES_EVERYTHING, NEVER_ON_TCP, REFERENCE_NOT_FOUND
from lateen.config.decoding import closest
from lateen.config.kubernetes import Namespace
from lateen.config.objects import ConfigObject
from lateen.config.positions import Path
from lateen.config.security import AuthorizationAction, AuthorizationPolicy, Operation, Rule, Source
from lateen.mesh.policies import AUTHORIZATION_POLICY, selector_labels, targets_of
from lateen.mesh.state import MeshState

_Policy = ConfigObject[AuthorizationPolicy]
_PRINCIPAL_PARTS = 5
"""Of `TRUST_DOMAIN/ns/NAMESPACE/sa/SERVICE_ACCOUNT`."""


# --- names ---------------------------------------------------------------------------------------------------


def known_namespaces(objects: Sequence[ConfigObject[Any]], state: MeshState) -> frozenset[str]:
    """Return the namespaces there are; none when nobody wrote down any Namespace, so that nobody can say."""
    written = {one.key.name for one in objects if isinstance(one.spec, Namespace)}
    if not written:
        return frozenset()
    used = {one.key.namespace for one in objects if one.key.namespace and not isinstance(one.spec, AuthorizationPolicy)}
    return frozenset(written | used | {one.namespace for one in state.workloads} | {state.mesh_config.root_namespace})


def namespaces(report: Report, one: _Policy, known: frozenset[str]) -> None:
    """Find namespaces in sources that do not exist."""
    if not known:
        return
    for rule, place in _rules(one.spec):
        for index, item in enumerate(rule.from_ or ()):
            if item.source is not None:
                for path, written, name in _named(item.source):
                    if not any(fnmatchcase(each.lower(), name.lower()) for each in known):
                        near = closest(name, known)
                        hint = f"did you mean {near}?" if near else "add the Namespace, or correct the name"
                        message = f"the namespace {name!r} does not exist{written}; {hint}"
                        report.add(REFERENCE_NOT_FOUND, one, (*place, "from", index, "source", *path), message)


def _named(source: Source) -> Iterator[tuple[Path, str, str]]:
    """Yield where a source names a namespace, in what, and the name; it may have `*` at one end."""
    for field, values in (("namespaces", source.namespaces), ("notNamespaces", source.not_namespaces)):
        for index, value in enumerate(values):
            yield (field, index), "", value
    for field, values in (("principals", source.principals), ("notPrincipals", source.not_principals)):
        for index, value in enumerate(values):
            parts = value.split("/")
            if len(parts) == _PRINCIPAL_PARTS and parts[1] == "ns":
                yield (field, index), f" (in {value})", parts[2]
    for field, values in (
        ("serviceAccounts", source.service_accounts),
        ("notServiceAccounts", source.not_service_accounts),
    ):
        for index, value in enumerate(values):
            namespace, slash, _ = value.partition("/")
            if slash:
                yield (field, index), f" (in {value})", namespace


def _rules(spec: AuthorizationPolicy) -> Iterator[tuple[Rule, Path]]:
    for index, rule in enumerate(spec.rules):
        yield rule, ("spec", "rules", index)


# --- everything ----------------------------------------------------------------------------------------------


def denies_everything(report: Report, state: MeshState, workloads: Workloads) -> None:
    """Find policies that let nothing through, unless others of the namespace are there to allow something.

    An ALLOW policy without rules beside others is how one writes "deny by default", and no mistake.
    """
    policies: Sequence[_Policy] = state.policies.get(AUTHORIZATION_POLICY, ())
    allowing: defaultdict[str, int] = defaultdict(int)
    for policy in policies:
        if policy.spec.action is AuthorizationAction.ALLOW and policy.spec.rules:
            allowing[policy.key.namespace] += 1
    root = state.mesh_config.root_namespace
    for policy in policies:
        spec = policy.spec
        namespace = "" if policy.key.namespace == root else policy.key.namespace
        if targets_of(spec) or not _is_wide(policy, workloads, namespace):
            continue
        allowed = sum(allowing.values()) if not namespace else allowing[namespace] + allowing[root]
        if spec.action is AuthorizationAction.ALLOW and not spec.rules and not allowed:
            message = "an ALLOW policy without rules allows nothing, and no other policy allows something here"
            report.add(DENIES_EVERYTHING, policy, ("spec",), f"{message}; to allow everything write `rules: [{{}}]`")
        for rule, place in _rules(spec) if spec.action is AuthorizationAction.DENY else ():
            if rule == Rule():
                report.add(DENIES_EVERYTHING, policy, place, "a DENY rule without conditions refuses every request")


def _is_wide(policy: _Policy, workloads: Workloads, namespace: str) -> bool:
    """Whether it is about more than one workload."""
    labels = selector_labels(policy.spec)
    return not labels or len({frozenset(one.labels.items()) for one in workloads.selected(namespace, labels)}) > 1


# --- HTTP on TCP ---------------------------------------------------------------------------------------------


def http_rules_on_tcp(report: Report, one: _Policy, workloads: Workloads, root_namespace: str) -> None:
    """Find ALLOW rules that ask for attributes of requests where there are only connections."""
    asking = [(rule, place) for rule, place in _rules(one.spec) if _asks_for_http(rule)]
    if one.spec.action is not AuthorizationAction.ALLOW or not asking or targets_of(one.spec):
        return
    if one.key.namespace in workloads.unlabelled:
        return
    namespace = "" if one.key.namespace == root_namespace else one.key.namespace
    chosen = workloads.selected(namespace, selector_labels(one.spec))
    for rule, place in asking:
        wanted = _ports(rule)
        found = {
            port: protocols
            for alike in chosen
            for port, protocols in alike.ports.items()
            if wanted is None or port in wanted
        }
        complete = found and (wanted is None or wanted <= found.keys())
        if complete and all(protocols and all(kind.is_tcp for kind in protocols) for protocols in found.values()):
            ports = ", ".join(map(str, sorted(found)))
            message = f"the rule asks for attributes of HTTP, but port {ports} carries TCP, so it never matches"
            report.add(NEVER_ON_TCP, one, place, f"{message}; allow by `from` and `ports`, or declare the port as HTTP")


def _ports(rule: Rule) -> frozenset[int] | None:
    """Return the ports that a rule names; None when an operation of it names none."""
    operations = [item.operation for item in rule.to or () if item.operation is not None]
    if not operations or any(not operation.ports for operation in operations):
        return None
    return frozenset(int(port) for operation in operations for port in operation.ports if port.isdecimal())


def _asks_for_http(rule: Rule) -> bool:
    """Whether each way to match the rule needs an attribute of requests."""
    operations = [item.operation for item in rule.to or () if item.operation is not None]
    sources = [item.source for item in rule.from_ or () if item.source is not None]
    return (
        (bool(operations) and all(_of_request(operation) for operation in operations))
        or (bool(sources) and all(source.request_principals or source.not_request_principals for source in sources))
        or any(condition.key.startswith("request.") for condition in rule.when)
    )


def _of_request(operation: Operation) -> bool:
    fields = (operation.hosts, operation.methods, operation.paths)
    denied = (operation.not_hosts, operation.not_methods, operation.not_paths)
    return any((*fields, *denied))
