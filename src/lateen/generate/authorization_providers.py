"""Authorization servers: the extension provider that a CUSTOM policy names, as a proxy can reach it.

Used by `authorization`.
"""

from __future__ import annotations

from dataclasses import dataclass

from lateen.config.extension_providers import ExtensionProvider
from lateen.config.validation.extension_providers import authorization_problems
from lateen.envoy import ext_authz
from lateen.envoy.messages import Fields
from lateen.generate.destinations import Target, exists
from lateen.generate.view import View
from lateen.model.names import Hostname


@dataclass(frozen=True, slots=True)
class Server:
    """An authorization server."""

    provider: ExtensionProvider
    target: Target

    def http_config(self, marked: str) -> Fields:
        """Return the settings of the filter that asks it about requests which policies with this prefix have marked."""
        host, cluster = self.target.host, self.target.cluster
        if self.provider.envoy_ext_authz_http is not None:
            return ext_authz.http_provider_config(self.provider.envoy_ext_authz_http, host, cluster, marked)
        assert self.provider.envoy_ext_authz_grpc is not None
        return ext_authz.grpc_provider_config(self.provider.envoy_ext_authz_grpc, host, cluster, marked)

    def network_config(self, marked: str) -> Fields | None:
        """Return the same for connections; None when it can only be asked about requests."""
        provider = self.provider.envoy_ext_authz_grpc
        if provider is None:
            return None
        return ext_authz.network_provider_config(provider, self.target.host, self.target.cluster, marked)


def server_of(view: View, name: str) -> Server | None:
    """Return the server of a provider; None when there is none that can be asked, and so nothing may pass.

    That is when no provider or several have the name, when its settings are wrong, when it is not for authorization,
    or when this proxy may call no such service or port.
    """
    named = [provider for provider in view.mesh_config.extension_providers if provider.name == name]
    if len(named) != 1 or any(True for _ in authorization_problems((), named[0])):
        return None
    settings = named[0].envoy_ext_authz_http or named[0].envoy_ext_authz_grpc
    if settings is None:
        return None
    namespace, _, host = settings.service.rpartition("/")
    service = view.service(Hostname(host.lower()))
    if service is None or (namespace and service.namespace != namespace):
        return None
    target = Target(service.host, settings.port)
    return Server(named[0], target) if exists(view, target) else None
