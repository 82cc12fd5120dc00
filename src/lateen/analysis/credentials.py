"""Secrets that Gateways and DestinationRules name: whether they are there, and whether Envoy would take them.

Called by `references`. A proxy reads Secrets of its own namespace, which need not be that of the object; so a Secret is
looked for where the proxies are that the object is for. What this says is what `generate.secrets` does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from lateen.analysis.reports import Report
from lateen.analysis.traffic_policies import traffic_policies
from lateen.config.certificates import (
    ca_of,
    ca_problem,
    certificate_of,
    certificate_problem,
    crl_of,
    staple_of,
    staple_problem,
)
from lateen.config.codes import (
    INVALID_CREDENTIAL,
    NO_VERIFICATION,
    NO_VERIFICATION_AT_PORT,
    REFERENCE_NOT_FOUND,
    TLS_OF_GATEWAYS,
)
from lateen.config.decoding import closest
from lateen.config.kubernetes import Secret
from lateen.config.networking import (
    ClientTLSMode,
    ClientTLSSettings,
    DestinationRule,
    Gateway,
    ServerTLSMode,
    ServerTLSSettings,
)
from lateen.config.objects import ConfigObject
from lateen.config.positions import Path
from lateen.mesh.state import MeshState
from lateen.model.proxies import labels_match

_CA_SUFFIX = "-cacert"
_SCHEMES = ("kubernetes", "kubernetes-gateway")
_ASKS_CLIENTS = frozenset((ServerTLSMode.MUTUAL, ServerTLSMode.OPTIONAL_MUTUAL))
_ENDS_TLS = _ASKS_CLIENTS | {ServerTLSMode.SIMPLE}


class _Named(NamedTuple):
    """A credential, where it stands, and what it is for."""

    path: Path
    name: str
    ca: bool = False
    beside: bool = False
    """Whether it is the CA beside a certificate of the same name: if the Secret is missing, that is said once."""


def gateway_credentials(report: Report, one: ConfigObject[Gateway], state: MeshState) -> None:
    """Check what the servers of a Gateway show, and whom they trust."""
    matching = {each.namespace for each in state.workloads if labels_match(one.spec.selector, each.labels)}
    namespaces = matching or {one.key.namespace, state.mesh_config.root_namespace}
    for index, server in enumerate(one.spec.servers):
        if server.tls is not None and server.tls.mode in _ENDS_TLS:
            for named in _of_server(("spec", "servers", index, "tls"), server.tls):
                _check(report, one, named, state, namespaces)


def rule_credentials(report: Report, one: ConfigObject[DestinationRule], state: MeshState) -> None:
    """Check what proxies show to upstreams, and whom they trust.

    Without a selector the rule is for gateways, wherever they are: then nobody can say which Secret is meant.
    """
    for path, tls in _client_settings(one.spec):
        if one.spec.workload_selector is not None:
            for named in _of_client(path, tls):
                _check(report, one, named, state, {one.key.namespace})
        elif tls.credential_name and tls.mode in (ClientTLSMode.SIMPLE, ClientTLSMode.MUTUAL):
            message = f"sidecars call {one.spec.host} without this TLS: a credential is for gateways"
            hint = "add a workloadSelector if it is for them too"
            report.add(TLS_OF_GATEWAYS, one, (*path, "credentialName"), f"{message}; {hint}")


def rule_verification(report: Report, one: ConfigObject[DestinationRule]) -> None:
    """Find TLS to servers whose certificate nobody checks; without `caCertificates` the system's roots count."""
    for path, tls in _client_settings(one.spec):
        if tls.mode in (ClientTLSMode.SIMPLE, ClientTLSMode.MUTUAL) and tls.insecure_skip_verify:
            code = NO_VERIFICATION_AT_PORT if "portLevelSettings" in path else NO_VERIFICATION
            message = f"with insecureSkipVerify whoever answers for {one.spec.host} is believed"
            hint = "remove it, and name the roots in caCertificates or credentialName if they are not the system's"
            report.add(code, one, (*path, "insecureSkipVerify"), f"{message}; {hint}")


def _of_server(path: Path, tls: ServerTLSSettings) -> Iterator[_Named]:
    own: list[_Named] = []
    if tls.credential_names:
        own = [_Named((*path, "credentialNames", index), name) for index, name in enumerate(tls.credential_names)]
    elif tls.credential_name:
        own = [_Named((*path, "credentialName"), tls.credential_name)]
    yield from own
    if tls.mode in _ASKS_CLIENTS and tls.ca_cert_credential_name:
        yield _Named((*path, "caCertCredentialName"), tls.ca_cert_credential_name, ca=True)
    elif tls.mode in _ASKS_CLIENTS and own:
        yield own[0]._replace(ca=True, beside=True)


def _client_settings(spec: DestinationRule) -> Iterator[tuple[Path, ClientTLSSettings]]:
    for path, policy, _ in traffic_policies(spec):
        if policy.tls is not None:
            yield (*path, "tls"), policy.tls
        for index, setting in enumerate(policy.port_level_settings):
            if setting.tls is not None:
                yield (*path, "portLevelSettings", index, "tls"), setting.tls


def _of_client(path: Path, tls: ClientTLSSettings) -> Iterator[_Named]:
    if not tls.credential_name or tls.mode not in (ClientTLSMode.SIMPLE, ClientTLSMode.MUTUAL):
        return
    here = (*path, "credentialName")
    if tls.mode is ClientTLSMode.MUTUAL:
        yield _Named(here, tls.credential_name)
    if not tls.insecure_skip_verify:
        yield _Named(here, tls.credential_name, ca=True, beside=tls.mode is ClientTLSMode.MUTUAL)


def _check(report: Report, one: ConfigObject[Any], named: _Named, state: MeshState, namespaces: set[str]) -> None:
    scheme, colon, rest = named.name.partition("://")
    if colon and scheme not in _SCHEMES:
        return
    own, slash, short = (rest if colon else named.name).rpartition("/")
    searched = sorted({own} if slash else namespaces)
    found = [secret for place in searched if (secret := _secret(state, place, short, ca=named.ca)) is not None]
    if not found and not named.beside:
        near = closest(short, (secret for _, secret in state.secrets))
        keys = "ca.crt" if named.ca else "tls.crt and tls.key"
        hint = f"did you mean {near}?" if near and near != short else f"add it, with {keys}"
        message = f"the Secret {short!r} is not in namespace {' or '.join(searched)}; {hint}"
        report.add(REFERENCE_NOT_FOUND, one, named.path, message)
    for secret in found:
        problem = _ca_problem(secret.spec) if named.ca else _certificate_problem(secret.spec)
        if problem:
            report.add(INVALID_CREDENTIAL, one, named.path, f"the {secret.key} {problem}")


def _secret(state: MeshState, namespace: str, short: str, *, ca: bool) -> ConfigObject[Secret] | None:
    """Return the Secret of a name; a CA may be in one of its own, `NAME-cacert`."""
    plain = short.removesuffix(_CA_SUFFIX)
    candidates = (f"{plain}{_CA_SUFFIX}", plain) if ca else (short,)
    return next((state.secrets[key] for name in candidates if (key := (namespace, name)) in state.secrets), None)


def _certificate_problem(secret: Secret) -> str:
    pair = certificate_of(secret)
    if pair is None:
        return "cannot be served: it has no readable tls.crt and tls.key"
    staple = staple_of(secret)
    if problem := certificate_problem(*pair, staple):
        return f"cannot be served: {problem}"
    unusable = staple_problem(pair[0], staple) if staple is not None else ""
    return f"is served without its staple: {unusable}" if unusable else ""


def _ca_problem(secret: Secret) -> str:
    ca = ca_of(secret)
    problem = ca_problem(ca, crl_of(secret)) if ca is not None else "it has no readable ca.crt"
    return f"cannot be served: {problem}" if problem else ""
