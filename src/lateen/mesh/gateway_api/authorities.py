"""CA certificates that Gateway API objects refer to: of a Gateway's clients, and of backends.

They stand in ConfigMaps or Secrets under `ca.crt`. Proxies are served Secrets, so one is made that holds them: a CA is
no secret, and may be sent to a proxy of any namespace.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lateen.config.certificates import ca_of, ca_problem
from lateen.config.gateway_api import (
    ClientValidationMode,
    FrontendTLSValidation,
    KubernetesGateway,
    Listener,
    LocalObjectReference,
    ObjectReference,
)
from lateen.config.kubernetes import Secret
from lateen.config.objects import ConfigObject
from lateen.mesh.gateway_api.made import MARK, made
from lateen.mesh.gateway_api.statuses import Condition, fails, holds
from lateen.mesh.gateway_api.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientAuthority:
    """Who signs the certificates of the clients of a listener."""

    secret: ConfigObject[Secret] | None = None
    problem: Condition | None = None
    """Why the listener cannot be accepted."""
    references: tuple[Condition, ...] = ()
    """What is wrong with its references."""
    required: bool = True
    """Whether a client needs a valid certificate; otherwise it may have none, or any."""

    @property
    def credential(self) -> str:
        """SDS name."""
        assert self.secret is not None
        return credential_of(self.secret)


def credential_of(secret: ConfigObject[Secret]) -> str:
    """Return the name by which proxies ask for a Secret that was made here."""
    return f"kubernetes-gateway://{secret.key.namespace}/{secret.key.name}"


def client_authority(
    world: World, gateway: ConfigObject[KubernetesGateway], listener: Listener, name: str
) -> ClientAuthority | None:
    """Return who signs the certificates of a listener's clients, None when it does not ask for any.

    That is the Gateway's to say, of listeners of its ListenerSets too. `name` tells the listener from its others.
    """
    validation = _validation(gateway.spec, listener)
    if validation is None or listener.protocol != "HTTPS":
        return None
    namespace = gateway.key.namespace
    refs = [(ref, ref.namespace or namespace) for ref in validation.ca_certificate_refs]
    found, problems = certificates(world, "Gateway", namespace, refs)
    if not found:
        problem = fails("Accepted", "NoValidCACertificate", "no CA certificate to check clients with")
        return ClientAuthority(problem=problem, references=tuple(problems))
    secret = made(
        "Secret", namespace, f"{name}{MARK}clients-cacert", Secret(string_data={"ca.crt": "\n".join(found)}), gateway
    )
    return ClientAuthority(secret=secret, references=tuple(problems), required=not _is_insecure(validation))


def insecure_condition(gateway: KubernetesGateway) -> Condition | None:
    """Return the condition of a Gateway that lets clients in without a valid certificate; None of another."""
    frontend = gateway.tls.frontend if gateway.tls is not None else None
    if frontend is None:
        return None
    settings = (frontend.default, *(item.tls for item in frontend.per_port))
    if not any(item.validation is not None and _is_insecure(item.validation) for item in settings):
        return None
    message = "clients get in without a certificate, and with one that nobody has signed"
    return holds("InsecureFrontendValidationMode", "ConfigurationChanged", message)


def _is_insecure(validation: FrontendTLSValidation) -> bool:
    return validation.mode is ClientValidationMode.ALLOW_INSECURE_FALLBACK


def _validation(gateway: KubernetesGateway, listener: Listener) -> FrontendTLSValidation | None:
    frontend = gateway.tls.frontend if gateway.tls is not None else None
    if frontend is None:
        return None
    of_port = next((item.tls for item in frontend.per_port if item.port == listener.port), None)
    return (of_port or frontend.default).validation


def certificates(
    world: World, kind: str, owner: str, refs: Sequence[tuple[ObjectReference | LocalObjectReference, str]]
) -> tuple[list[str], list[Condition]]:
    """Return the CA certificates (PEM) that references of an object lead to, and what is wrong with the others.

    `owner`: namespace of the object, which is of `kind`. Each reference comes with its namespace.
    """
    found: list[str] = []
    problems: list[Condition] = []
    for ref, namespace in refs:
        if ref.group or ref.kind not in ("ConfigMap", "Secret"):
            reason = "InvalidCACertificateKind" if kind == "Gateway" else "InvalidKind"
            problems.append(fails("ResolvedRefs", reason, f"{ref.name!r} is a {ref.kind}, not a ConfigMap or Secret"))
            continue
        if not world.permits(kind, owner, "", ref.kind, (namespace, ref.name)):
            message = f"no ReferenceGrant of namespace {namespace} lets {kind}s of {owner} use {ref.name}"
            problems.append(fails("ResolvedRefs", "RefNotPermitted", message))
            continue
        text = _text(world, ref.kind, namespace, ref.name)
        problem = ca_problem(text) if text else "there is no such object with ca.crt"
        if problem:
            message = f"{ref.kind} {namespace}/{ref.name}: {problem}"
            problems.append(fails("ResolvedRefs", "InvalidCACertificateRef", message))
        else:
            found.append(text.decode("ascii", "replace"))
    return found, problems


def _text(world: World, kind: str, namespace: str, name: str) -> bytes:
    if kind == "ConfigMap":
        held = world.config_map(namespace, name)
        return held.data.get("ca.crt", "").encode() if held is not None else b""
    secret = world.secret(namespace, name)
    return (ca_of(secret) or b"") if secret is not None else b""
