"""TLS towards an upstream, as a DestinationRule says and as one proxy can have it.

Called by `clusters`. Source: Istio's DestinationRule reference, ClientTLSSettings: a credential is for gateways, and
for the sidecars that a rule selects by label; other sidecars follow such a rule without its TLS.
"""

from __future__ import annotations

from dataclasses import replace

import msgspec

from lateen.config.networking import ClientTLSMode, ClientTLSSettings, DestinationRule, TrafficPolicy
from lateen.config.objects import ConfigObject
from lateen.envoy import names
from lateen.envoy.transport_sockets import FROM_FILES, ClientSecrets
from lateen.generate.secrets import CredentialSecret, credential
from lateen.generate.view import View
from lateen.mesh.references import BACKEND_CERTIFICATE
from lateen.model.proxies import ProxyType
from lateen.model.services import Service

_OUTSIDE = (ClientTLSMode.SIMPLE, ClientTLSMode.MUTUAL)


def with_known_names(policy: TrafficPolicy | None, service: Service) -> TrafficPolicy | None:
    """Return a policy that checks the names that the ServiceEntry gives, if the rule itself gives none."""
    tls = policy.tls if policy is not None else None
    if policy is None or tls is None or tls.mode not in _OUTSIDE:
        return policy
    if tls.subject_alt_names or tls.insecure_skip_verify or not service.subject_alt_names:
        return policy
    named = msgspec.structs.replace(tls, subject_alt_names=list(service.subject_alt_names))
    return msgspec.structs.replace(policy, tls=named)


def client_secrets(
    view: View, rule: ConfigObject[DestinationRule] | None, policy: TrafficPolicy | None
) -> ClientSecrets:
    """Return what the credential of a policy comes to at this proxy."""
    tls = policy.tls if policy is not None else None
    if tls is None or tls.mode not in _OUTSIDE:
        return FROM_FILES
    # A BackendTLSPolicy is for every caller: its credential is a CA, which nobody need be kept from.
    of_policy = rule is not None and bool(rule.made_of)
    if not tls.credential_name:
        if not of_policy or view.proxy.type is not ProxyType.GATEWAY:
            return FROM_FILES
        own = _of_gateway(view)
        problem = credential(view, own).problem if own else ""
        return ClientSecrets(problem=problem) if problem else ClientSecrets(certificate=own)
    if view.proxy.type is ProxyType.SIDECAR and not of_policy and (rule is None or rule.spec.workload_selector is None):
        return ClientSecrets(ignored=True)
    found = _named(tls)
    if of_policy and view.proxy.type is ProxyType.GATEWAY:
        found = replace(found, certificate=_of_gateway(view))
    problem = next(
        (item for name in (found.certificate, found.ca) if name and (item := credential(view, name).problem)), ""
    )
    return ClientSecrets(problem=problem) if problem else found


def _of_gateway(view: View) -> str:
    """Return the certificate that the oldest Gateway with one shows its backends; proxies share their clusters."""
    named = (one.annotations.get(BACKEND_CERTIFICATE, "") for one in view.gateways() if one.made_of)
    return next((name for name in named if name), "")


def secret_parts(secrets: ClientSecrets) -> tuple[CredentialSecret, ...]:
    """Return the secrets that a cluster needs beside itself."""
    return tuple(CredentialSecret(name) for name in (secrets.certificate, secrets.ca) if name)


def _named(tls: ClientTLSSettings) -> ClientSecrets:
    name = names.secret(tls.credential_name)
    return ClientSecrets(
        certificate=name if tls.mode is ClientTLSMode.MUTUAL else "",
        ca="" if tls.insecure_skip_verify else names.ca_secret(tls.credential_name),
    )
