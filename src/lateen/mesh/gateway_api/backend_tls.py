"""BackendTLSPolicies as DestinationRules: TLS to a Service, its certificate checked for a name by given CAs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lateen.config.gateway_api import GROUP, BackendTLSPolicy, ParentReference, PolicyTarget
from lateen.config.kubernetes import Secret
from lateen.config.networking import (
    ClientTLSMode,
    ClientTLSSettings,
    DestinationRule,
    PortSelector,
    PortTrafficPolicy,
    TrafficPolicy,
)
from lateen.config.objects import ConfigObject
from lateen.mesh.gateway_api.authorities import certificates, credential_of
from lateen.mesh.gateway_api.made import MARK, made
from lateen.mesh.gateway_api.statuses import Condition, ParentStatus, Status, fails, holds
from lateen.mesh.gateway_api.world import World
from lateen.model.names import Hostname
from lateen.model.services import Service

Policy = ConfigObject[BackendTLSPolicy]
Target = tuple[str, str]
"""Service and name of its port, empty for all its ports."""


def backend_tls(world: World) -> Iterator[tuple[ConfigObject[Any], Status | None]]:
    """Yield what BackendTLSPolicies become, and each policy with its status.

    Of several policies for one target the oldest counts. One that cannot be followed makes connections fail: to call
    the backend without TLS, or unchecked, would be worse (BackendTLSPolicy, "validation").
    """
    taken: dict[tuple[str, str, str], Policy] = {}
    by_service: dict[Hostname, list[tuple[str, Policy, ClientTLSSettings]]] = {}
    for policy in world.tls_policies():
        settings, resolved, secret = _settings(world, policy)
        if secret is not None:
            yield secret, None
        ancestors = []
        for target in policy.spec.target_refs:
            accepted, service = _accepted(world, policy, target, taken, resolved)
            if service is not None:
                by_service.setdefault(service.host, []).append((target.section_name, policy, settings))
            reference = ParentReference(
                group=target.group, kind=target.kind, name=target.name, section_name=target.section_name
            )
            ancestors.append(ParentStatus(reference=reference, conditions=(accepted, resolved)))
        yield policy, Status(ancestors=tuple(ancestors))
    for host, found in by_service.items():
        yield _rule(world.services[host], found), None


def _accepted(
    world: World, policy: Policy, target: PolicyTarget, taken: dict[tuple[str, str, str], Policy], resolved: Condition
) -> tuple[Condition, Service | None]:
    """Return the condition, and the service that the policy is in force for."""
    if (target.group, target.kind) != ("", "Service"):
        return fails("Accepted", "TargetNotFound", f"{target.name!r} is a {target.kind}, not a Service"), None
    namespace = policy.key.namespace
    service = world.service(namespace, target.name)
    if service is None:
        return fails("Accepted", "TargetNotFound", f"there is no Service {namespace}/{target.name}"), None
    if target.section_name and not any(port.name == target.section_name for port in service.ports):
        message = f"the Service {namespace}/{target.name} has no port named {target.section_name}"
        return fails("Accepted", "TargetNotFound", message), None
    place = (namespace, target.name, target.section_name)
    first = taken.setdefault(place, policy)
    if first is not policy:
        return fails("Accepted", "Conflicted", f"{first.key} is older and has the same target"), None
    if resolved.status != "True":
        return fails("Accepted", "NoValidCACertificate", "connections to the target fail"), service
    return holds("Accepted"), service


def _settings(world: World, policy: Policy) -> tuple[ClientTLSSettings, Condition, ConfigObject[Secret] | None]:
    validation, namespace = policy.spec.validation, policy.key.namespace
    names = [one.hostname or one.uri for one in validation.subject_alt_names]
    name = f"{policy.key.name}{MARK}backends-cacert"
    resolved, secret = holds("ResolvedRefs"), None
    if validation.well_known_ca_certificates:
        if validation.well_known_ca_certificates != "System":
            message = f"{validation.well_known_ca_certificates!r} is not known; write System"
            resolved = fails("ResolvedRefs", "InvalidKind", message)
    else:
        refs = [(ref, namespace) for ref in validation.ca_certificate_refs]
        found, problems = certificates(world, "BackendTLSPolicy", namespace, refs)
        resolved = problems[0] if problems else resolved
        if found:
            secret = made("Secret", namespace, name, Secret(string_data={"ca.crt": "\n".join(found)}), policy)
            resolved = holds("ResolvedRefs") if not problems else resolved
    by_name = secret is not None or resolved.status != "True"
    # A credential that is not there lets no handshake pass.
    credential = f"kubernetes-gateway://{namespace}/{name}" if by_name else ""
    assert secret is None or credential == credential_of(secret)
    settings = ClientTLSSettings(
        mode=ClientTLSMode.SIMPLE,
        sni=validation.hostname,
        subject_alt_names=names,
        credential_name=credential,
    )
    return settings, resolved, secret


def _rule(service: Service, found: list[tuple[str, Policy, ClientTLSSettings]]) -> ConfigObject[DestinationRule]:
    """Return the rule of a service: a policy for a port goes before one for all."""
    numbers = {port.name: port.number for port in service.ports}
    policy = TrafficPolicy(
        tls=next((settings for section, _, settings in found if not section), None),
        port_level_settings=[
            PortTrafficPolicy(port=PortSelector(number=numbers[section]), tls=settings)
            for section, _, settings in found
            if section
        ],
    )
    sources = dict.fromkeys(one.key for _, one, _ in found)
    policies = [next(one for _, one, _ in found if one.key == key) for key in sources]
    name = f"{service.name or service.host}{MARK}{GROUP}"
    spec = DestinationRule(host=service.host, traffic_policy=policy, export_to=["*"])
    return made("DestinationRule", service.namespace, name, spec, *policies)
