"""AuthorizationPolicies whose authorization server cannot be asked: whatever they match is refused.

Called by `references`. Generation refuses in the same cases, proxy by proxy; here they are found without one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from lateen.analysis.reports import Report
from lateen.config.codes import REFERENCE_NOT_FOUND, SEVERAL_AUTHORIZATION_SERVERS, UNUSABLE_AUTHORIZATION_SERVER
from lateen.config.decoding import closest
from lateen.config.extension_providers import ExtensionProvider
from lateen.config.objects import ConfigObject
from lateen.config.positions import Path
from lateen.config.security import AuthorizationAction, AuthorizationPolicy
from lateen.mesh.policies import selector_labels, targets_of
from lateen.mesh.state import MeshState
from lateen.model.names import Hostname

_PATH: Path = ("spec", "provider", "name")


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
    service = state.services.get(Hostname(host.lower()))
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
    of_all = custom.get(state.mesh_config.root_namespace, [])
    for policies in custom.values():
        others = policies if policies is of_all else [*of_all, *policies]
        if len({_provider(other) for other in others}) > 1:
            for one in policies:
                _rival(report, one, others)


def _rival(
    report: Report, one: ConfigObject[AuthorizationPolicy], others: Sequence[ConfigObject[AuthorizationPolicy]]
) -> None:
    rival = next((other for other in others if _meet(one, other)), None)
    if rival is not None:
        message = f"{rival.key} names {_provider(rival)!r} for the same workloads"
        report.add(SEVERAL_AUTHORIZATION_SERVERS, one, _PATH, f"{message}; a workload has one provider")


def _provider(policy: ConfigObject[AuthorizationPolicy]) -> str:
    return policy.spec.provider.name if policy.spec.provider is not None else ""


def _meet(one: ConfigObject[AuthorizationPolicy], other: ConfigObject[AuthorizationPolicy]) -> bool:
    """Whether two policies name different providers for what may be the same workload."""
    if _provider(one) == _provider(other):
        return False
    first, second = targets_of(one.spec), targets_of(other.spec)
    if first or second:
        return bool({target.name for target in first} & {target.name for target in second})
    return _compatible(selector_labels(one.spec), selector_labels(other.spec))


def _compatible(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    return all(other.get(key, value) == value for key, value in one.items())
