"""AuthorizationPolicies that go by who calls, at gateways that take any client certificate. Called by `references`.

There a client may have made the identity up: an API Gateway with `AllowInsecureFallback`, and a server of Istio's with
`insecureSkipVerify`, ask for a certificate and verify nothing of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from lateen.analysis.reports import Report
from lateen.analysis.workloads import Workloads
from lateen.config.codes import UNVERIFIED_CLIENTS
from lateen.config.networking import Gateway, ServerTLSMode
from lateen.config.objects import ConfigObject
from lateen.config.security import AuthorizationPolicy, Rule
from lateen.mesh.policies import GATEWAY_NAME_LABEL, selector_labels, targets_of
from lateen.mesh.references import MADE_MARK, PROXY_NAMESPACE
from lateen.mesh.state import MeshState
from lateen.model.proxies import labels_match

_Policy: TypeAlias = ConfigObject[AuthorizationPolicy]
_Proxy: TypeAlias = tuple[str, Mapping[str, str]]
"""Namespace and labels. Without the former it is in any, without some of the latter it has more."""
_ASKS_CLIENTS = frozenset((ServerTLSMode.MUTUAL, ServerTLSMode.OPTIONAL_MUTUAL))
_IDENTITY = ("principals", "namespaces", "service_accounts", "trust_domains")
_KEYS = frozenset(("source.principal", "source.namespace", "source.serviceAccount", "source.trustDomain"))


def unverified_clients(
    report: Report, objects: Sequence[ConfigObject[Any]], state: MeshState, workloads: Workloads
) -> None:
    """Find rules that ask for an identity and are surely about a proxy of such a gateway."""
    careless = [(one, tuple(_proxies(one, workloads))) for one in state.gateways if _takes_any_certificate(one.spec)]
    root_namespace = state.mesh_config.root_namespace
    for policy in objects if careless else ():
        if not isinstance(policy.spec, AuthorizationPolicy):
            continue
        asking = [index for index, rule in enumerate(policy.spec.rules) if _asks_who_calls(rule)]
        about = (one for one, proxies in careless if any(_is_about(policy, each, root_namespace) for each in proxies))
        if not asking or (gateway := next(about, None)) is None:
            continue
        for index in asking:
            name = f"{gateway.key.namespace}/{gateway.key.name.partition(MADE_MARK)[0]}"
            message = f"the gateway {name} takes certificates that nobody verified, so who calls there may be made up"
            hint = "have them verified, or go by something else there, such as a token"
            report.add(UNVERIFIED_CLIENTS, policy, ("spec", "rules", index), f"{message}; {hint}")


def _takes_any_certificate(spec: Gateway) -> bool:
    return any(
        server.tls is not None and server.tls.mode in _ASKS_CLIENTS and bool(server.tls.insecure_skip_verify)
        for server in spec.servers
    )


def _asks_who_calls(rule: Rule) -> bool:
    sources = [item.source for item in rule.from_ or () if item.source is not None]
    fields = (*_IDENTITY, *(f"not_{name}" for name in _IDENTITY))
    return any(getattr(source, name) for source in sources for name in fields) or any(
        condition.key in _KEYS for condition in rule.when
    )


def _proxies(gateway: ConfigObject[Gateway], workloads: Workloads) -> Iterator[_Proxy]:
    """Yield the proxies that serve a Gateway: as it asks for them, then those that are known."""
    namespace, labels = gateway.annotations.get(PROXY_NAMESPACE, "") if gateway.made_of else "", gateway.spec.selector
    yield namespace, labels
    for alike in workloads.selected(namespace, labels):
        if alike.declared:
            yield alike.namespace, alike.labels


def _is_about(policy: _Policy, proxy: _Proxy, root_namespace: str) -> bool:
    """As `mesh.policies.is_about`, of a proxy of which not all is known."""
    namespace, labels = proxy
    if targets := targets_of(policy.spec):
        names = {target.name for target in targets if target.kind == "Gateway"}
        return policy.key.namespace == namespace and labels.get(GATEWAY_NAME_LABEL) in names
    return policy.key.namespace in (namespace, root_namespace) and labels_match(selector_labels(policy.spec), labels)
