"""Which mode of mutual TLS a workload's port has, by the PeerAuthentications that are about it.

Called by `generate` for a proxy's own ports, and for the endpoints that it calls. Pure: knows no state. Source of the
rules: Istio's PeerAuthentication reference. Port before workload before namespace before mesh; UNSET inherits; of
several of one width the oldest counts; without any, PERMISSIVE. A policy of the root namespace that has a selector
counts for nobody, and settings of ports count only beside a selector.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lateen.config.objects import ConfigObject
from lateen.config.security import MutualTLS, MutualTLSMode, PeerAuthentication
from lateen.mesh.policies import selector_labels
from lateen.model.services import Endpoint

ISTIO_TLS_MODE = "istio"
"""`Endpoint.tls_mode` of a workload that takes mutual TLS."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MutualTLSModes:
    """The modes of one workload's ports; none of them UNSET."""

    mode: MutualTLSMode = MutualTLSMode.PERMISSIVE
    by_port: Mapping[int, MutualTLSMode] = field(default_factory=dict)
    """Ports with a mode of their own."""
    policy: ConfigObject[Any] | None = None
    """The narrowest policy that is about the workload and says something; None when nobody does."""

    def at(self, port: int, app_port: int = 0) -> MutualTLSMode:
        """Return the mode of a port.

        Istio counts the port that the application listens on. With a proxy in front that is intercepted both are one;
        otherwise a policy may mean either number, so both are looked up, the one that others call first.
        """
        if port in self.by_port:
            return self.by_port[port]
        return self.by_port.get(app_port, self.mode)


def modes_of(policies: Iterable[ConfigObject[Any]], root_namespace: str) -> MutualTLSModes:
    """Return the modes of a workload from the PeerAuthentications that are about it.

    `policies`: of the root namespace and of the workload's own, oldest first in each, as `mesh.queries` returns them.
    """
    widths: dict[int, ConfigObject[Any]] = {}
    for policy in policies:
        width = _width(policy, root_namespace)
        if width is not None:
            widths.setdefault(width, policy)
    mode, source = MutualTLSMode.PERMISSIVE, None
    by_port: dict[int, MutualTLSMode] = {}
    for width, policy in sorted(widths.items(), reverse=True):
        spec: PeerAuthentication = policy.spec
        mode = _or(spec.mtls, mode)
        if _says_something(spec):
            source = policy
        if width == _WORKLOAD:
            by_port = {int(port): _or(setting, mode) for port, setting in spec.port_level_mtls.items()}
    return MutualTLSModes(mode=mode, by_port=by_port, policy=source)


def mode_of(policies: Iterable[ConfigObject[Any]], root_namespace: str, port: int) -> MutualTLSMode:
    """Return the mode of one port of a workload; see `modes_of`."""
    return modes_of(policies, root_namespace).at(port)


def can_disable(policies: Iterable[ConfigObject[Any]]) -> bool:
    """Whether one of these policies switches mutual TLS off for anything: mostly none does."""
    return any(
        setting.mode is MutualTLSMode.DISABLE
        for policy in policies
        for setting in (policy.spec.mtls, *policy.spec.port_level_mtls.values())
        if setting is not None
    )


def service_accounts(endpoints: Iterable[Endpoint]) -> tuple[tuple[str, str], ...]:
    """Return namespace and service account of the workloads behind a service, sorted.

    Only of those that take mutual TLS if there are any: what others say of themselves nobody has proven.
    """
    known = [item for item in endpoints if item.service_account]
    proven = [item for item in known if item.tls_mode == ISTIO_TLS_MODE]
    return tuple(sorted({(item.namespace, item.service_account) for item in proven or known}))


_WORKLOAD, _NAMESPACE, _MESH = range(3)


def _width(policy: ConfigObject[Any], root_namespace: str) -> int | None:
    in_root = policy.key.namespace == root_namespace
    if selector_labels(policy.spec):
        return None if in_root else _WORKLOAD
    return _MESH if in_root else _NAMESPACE


def _or(setting: MutualTLS | None, inherited: MutualTLSMode) -> MutualTLSMode:
    return inherited if setting is None or setting.mode is MutualTLSMode.UNSET else setting.mode


def _says_something(spec: PeerAuthentication) -> bool:
    settings = (spec.mtls, *spec.port_level_mtls.values())
    return any(setting is not None and setting.mode is not MutualTLSMode.UNSET for setting in settings)
