"""AuthorizationPolicies whose authorization server cannot be asked: whatever they match is refused.

Called by `references`. Generation refuses in the same cases, proxy by proxy; here they are found without one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from lateen.analysis.reports import Report
from lateen.config.codes import REFERENCE_NOT_FOUND, SEVERAL_AUTHORIZATION_SERVERS, UNUSABLE_AUTHORIZATION_SERVER
from lateen.config.decoding import closest
from lateen.config.extension_providers import ExtensionProvider
from lateen.config.objects import ConfigObject
from lateen.config.positions import Path
from lateen.config.security import AuthorizationAction, AuthorizationPolicy
from lateen.mesh.policies import selector_labels, targets_of
from lateen.mesh.queries import service_of
from lateen.mesh.state import MeshState
from lateen.model.names import Hostname

_PATH: Path = ("spec", "provider", "name")
_Policy: TypeAlias = ConfigObject[AuthorizationPolicy]
_Values: TypeAlias = frozenset[tuple[str, str]]


def authorization_policy(report: Report, one: ConfigObject[AuthorizationPolicy], state: MeshState) -> None:
    """Look at one policy: the extension provider that it names."""
    if one.spec.action is not AuthorizationAction.CUSTOM or one.spec.provider is None:
        return
    name = one.spec.provider.name
    providers = {provider.name: provider for provider in state.mesh_config.extension_providers}
    provider = providers.get(name)
    if provider is None:
        near = closest(name, providers)
        hint = f"did you mean {near}?" if near else "add it to MeshConfig's extensionProviders"
        message = f"the extension provider {name!r} does not exist, so all that the policy matches is refused; {hint}"
        report.add(REFERENCE_NOT_FOUND, one, _PATH, message)
    elif problem := _problem(provider, state):
        message = f"the extension provider {name!r} cannot be asked, so all that the policy matches is refused"
        report.add(UNUSABLE_AUTHORIZATION_SERVER, one, _PATH, f"{message}: {problem}")


def _problem(provider: ExtensionProvider, state: MeshState) -> str:
    settings = provider.envoy_ext_authz_http or provider.envoy_ext_authz_grpc
    if settings is None:
        return "it is not for authorization; use one with envoyExtAuthzHttp or envoyExtAuthzGrpc"
    namespace, _, host = settings.service.rpartition("/")
    service = service_of(state, Hostname(host.lower()), namespace)
    if service is None:
        near = closest(host, state.services)
        hint = f"did you mean {near}?" if near else "add the Service or ServiceEntry"
        return f"the service {host} is unknown; {hint}"
    if namespace and service.namespace != namespace:
        return f"the service {host} is in namespace {service.namespace}, not {namespace}"
    port = service.port(settings.port)
    if port is None:
        known = ", ".join(str(each.number) for each in service.ports) or "none"
        return f"{host} has no port {settings.port}; its ports are {known}"
    return ""


def authorization_servers(report: Report, objects: Sequence[ConfigObject[Any]], state: MeshState) -> None:
    """Find workloads that several providers are named for, as far as selectors show them."""
    custom: defaultdict[str, list[ConfigObject[AuthorizationPolicy]]] = defaultdict(list)
    for one in objects:
        if isinstance(one.spec, AuthorizationPolicy) and one.spec.action is AuthorizationAction.CUSTOM:
            custom[one.key.namespace].append(one)
    tables = {namespace: _Providers(policies) for namespace, policies in custom.items()}
    root_namespace = state.mesh_config.root_namespace
    for namespace, policies in custom.items():
        near = [tables[name] for name in dict.fromkeys((root_namespace, namespace)) if name in tables]
        for one in policies if len(set().union(*(table.names for table in near))) > 1 else ():
            rival = next((found for table in near if (found := table.rival(one)) is not None), None)
            if rival is not None:
                message = f"{rival.key} names {_provider(rival)!r} for the same workloads"
                report.add(SEVERAL_AUTHORIZATION_SERVERS, one, _PATH, f"{message}; a workload has one provider")


def _provider(policy: _Policy) -> str:
    return policy.spec.provider.name if policy.spec.provider is not None else ""


class _Providers:
    """Policies of one namespace by what they are about, so that nobody compares each with each."""

    def __init__(self, policies: Sequence[_Policy]) -> None:
        self.names = {_provider(policy) for policy in policies}
        self._by_target: defaultdict[str, dict[str, _Policy]] = defaultdict(dict)
        self._by_keys: defaultdict[frozenset[str], list[_Policy]] = defaultdict(list)
        self._by_values: dict[tuple[frozenset[str], frozenset[str]], dict[_Values, dict[str, _Policy]]] = {}
        for policy in policies:
            targets = targets_of(policy.spec)
            for target in targets:
                self._by_target[target.name].setdefault(_provider(policy), policy)
            if not targets:
                self._by_keys[frozenset(selector_labels(policy.spec))].append(policy)

    def rival(self, one: _Policy) -> _Policy | None:
        """Return a policy that names another provider for what may be the same workload."""
        for alternatives in self._meeting(one):
            for provider, policy in alternatives.items():
                if provider != _provider(one):
                    return policy
        return None

    def _meeting(self, one: _Policy) -> Iterator[Mapping[str, _Policy]]:
        """Yield policies by provider: of the same target, or with a selector that does not contradict this one's."""
        if targets := targets_of(one.spec):
            yield from (self._by_target[target.name] for target in targets if target.name in self._by_target)
            return
        labels = selector_labels(one.spec)
        for keys in self._by_keys:
            shared = keys.intersection(labels)
            yield self._values(keys, shared).get(frozenset((key, labels[key]) for key in shared), {})

    def _values(self, keys: frozenset[str], shared: frozenset[str]) -> dict[_Values, dict[str, _Policy]]:
        if (keys, shared) not in self._by_values:
            table: defaultdict[_Values, dict[str, _Policy]] = defaultdict(dict)
            for policy in self._by_keys[keys]:
                labels = selector_labels(policy.spec)
                table[frozenset((key, labels[key]) for key in shared)].setdefault(_provider(policy), policy)
            self._by_values[keys, shared] = dict(table)
        return self._by_values[keys, shared]
