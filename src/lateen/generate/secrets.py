"""SDS secrets that a gateway may have.

A credential is served only when its Secret is in the namespace of the gateway *proxy*, whatever namespace the
Gateway object is in: a proxy never sees another namespace's keys (Istio's rule for credentialName).
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from lateen.envoy import names
from lateen.envoy.resources import SECRET, Resource, make_resource
from lateen.envoy.secrets import ca_secret, certificate_secret
from lateen.generate.parts import NOTHING, Made
from lateen.generate.view import View


@dataclass(frozen=True, slots=True)
class GatewaySecret:
    """A secret by its SDS name."""

    name: str

    @property
    def key(self) -> Hashable:
        """Its name."""
        return ("secret", self.name)

    def make(self, view: View) -> Made:
        """Return the secret if it exists and may be read; without one Envoy's question stays unanswered."""
        found = secret_resource(view, self.name)
        return Made((found,)) if found is not None else NOTHING


def secret_resource(view: View, name: str) -> Resource | None:
    """Return the secret of an SDS name; None when the proxy may not have one."""
    credential = name.removeprefix(names.SECRET_SCHEME)
    wants_ca = credential.endswith(names.CA_SUFFIX)
    for candidate in _candidates(credential):
        found = view.secret(view.proxy.namespace, candidate)
        if found is None:
            continue
        fields = ca_secret(name, found.spec) if wants_ca else certificate_secret(name, found.spec)
        if fields is not None:
            return make_resource(SECRET, name, fields)
    return None


def _candidates(credential: str) -> tuple[str, ...]:
    """Return the Secrets that may hold it: a client CA is in `NAME-cacert`, or in `NAME` beside the certificate."""
    plain = credential.removesuffix(names.CA_SUFFIX)
    return (credential,) if plain == credential else (credential, plain)
