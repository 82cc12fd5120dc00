"""SDS secrets that a proxy may have.

Called by what names a credential: `gateway_tls` for servers, `client_tls` for upstreams. A proxy is served

- what its own generated configuration names, and nothing else;
- only of the namespace of the *proxy*, whatever namespace the Gateway or DestinationRule is in: it never sees another
  namespace's keys (Istio's rule for credentialName), unless a ReferenceGrant of the Gateway API grants them;
- private keys only when the stream they would travel on allows it (`Proxy.private_keys`). A CA is no secret.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from lateen.config.certificates import ca_of, ca_problem, certificate_of, certificate_problem, crl_of, staple_of
from lateen.config.kubernetes import Secret
from lateen.envoy import names
from lateen.envoy.resources import SECRET, Resource, make_resource
from lateen.envoy.secrets import ca_secret, certificate_secret
from lateen.generate.parts import NOTHING, Made
from lateen.generate.view import View
from lateen.mesh.references import BACKEND_CERTIFICATE, MADE_MARK

_SCHEMES = ("kubernetes", "kubernetes-gateway")
NO_KEYS = "private keys are sent only to a proxy that has proven its identity, and this connection has not"


@dataclass(frozen=True, slots=True)
class Credential:
    """What an SDS name stands for at one proxy: a secret, or why there is none."""

    resource: Resource | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class CredentialSecret:
    """A secret by its SDS name."""

    name: str

    @property
    def key(self) -> Hashable:
        """Its name."""
        return ("secret", self.name)

    def make(self, view: View) -> Made:
        """Return the secret if it exists and may be read; without one Envoy's question stays unanswered."""
        found = credential(view, self.name).resource
        return Made((found,)) if found is not None else NOTHING


def credential(view: View, name: str) -> Credential:
    """Return what an SDS name stands for; looked into once, because reading a key takes its time."""
    return view.piece(("credential", name), lambda: _credential(view, name))


def _credential(view: View, name: str) -> Credential:
    scheme, _, path = name.partition("://")
    namespace, _, short = path.rpartition("/")
    if scheme not in _SCHEMES:
        return Credential(problem=f"credentials of the kind {scheme}:// are not known")
    namespace = namespace or view.proxy.namespace
    if namespace != view.proxy.namespace and not _granted(view, name, short):
        return Credential(problem=f"the Secret {path!r} is in another namespace than the proxy")
    wants_ca = short.endswith(names.CA_SUFFIX)
    if not wants_ca and not view.proxy.private_keys:
        return Credential(problem=NO_KEYS)
    secret = _secret(view, namespace, short)
    if secret is None:
        short = short.removesuffix(names.CA_SUFFIX)
        return Credential(problem=f"there is no Secret {short!r} in namespace {namespace}")
    problem = _ca_problem(secret) if wants_ca else _certificate_problem(secret)
    if problem:
        return Credential(problem=f"the Secret {short!r} cannot be served: {problem}")
    return Credential(make_resource(SECRET, name, (ca_secret if wants_ca else certificate_secret)(name, secret)))


def _granted(view: View, name: str, short: str) -> bool:
    """Whether a Secret of another namespace may be read.

    A Gateway of the Gateway API names what a ReferenceGrant lets it, or what is in its own namespace; the translation
    has seen to that. A Secret that was made there holds nothing but CA certificates.
    """
    if MADE_MARK in short:
        return True
    made = [gateway for gateway in view.gateways() if gateway.made_of]
    if any(gateway.annotations.get(BACKEND_CERTIFICATE) == name for gateway in made):
        return True
    own = name.removesuffix(names.CA_SUFFIX)
    servers = (server for gateway in made for server in gateway.spec.servers)
    return any(server.tls is not None and own in server.tls.credential_names for server in servers)


def _secret(view: View, namespace: str, short: str) -> Secret | None:
    """Return the Secret of a name: a CA is in `NAME-cacert`, or in `NAME` beside the certificate."""
    plain = short.removesuffix(names.CA_SUFFIX)
    for candidate in dict.fromkeys((short, plain)):
        found = view.secret(namespace, candidate)
        if found is not None:
            return found.spec
    return None


def _certificate_problem(secret: Secret) -> str:
    pair = certificate_of(secret)
    return (
        certificate_problem(*pair, staple_of(secret)) if pair is not None else "it has no readable tls.crt and tls.key"
    )


def _ca_problem(secret: Secret) -> str:
    ca = ca_of(secret)
    return ca_problem(ca, crl_of(secret)) if ca is not None else "it has no readable ca.crt"
