"""SDS secrets that a gateway may have.

A credential is served only when its Secret is in the namespace of the gateway *proxy*, whatever namespace the
Gateway object is in: a proxy never sees another namespace's keys (Istio's rule for credentialName).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lateen.envoy import names
from lateen.envoy.resources import SECRET, Resource, make_resource
from lateen.envoy.secrets import ca_secret, certificate_secret
from lateen.generate.view import View


def secret_resources(view: View, sds_names: Iterable[str]) -> Iterator[Resource]:
    """Yield the secrets of these SDS names that exist and are readable; the others stay unanswered."""
    for name in sorted(set(sds_names)):
        credential = name.removeprefix(names.SECRET_SCHEME)
        wants_ca = credential.endswith(names.CA_SUFFIX)
        for candidate in _candidates(credential):
            found = view.state.secrets.get((view.proxy.namespace, candidate))
            if found is None:
                continue
            fields = ca_secret(name, found.spec) if wants_ca else certificate_secret(name, found.spec)
            if fields is not None:
                yield make_resource(SECRET, name, fields)
                break


def _candidates(credential: str) -> tuple[str, ...]:
    """Return the Secrets that may hold it: a client CA is in `NAME-cacert`, or in `NAME` beside the certificate."""
    plain = credential.removesuffix(names.CA_SUFFIX)
    return (credential,) if plain == credential else (credential, plain)
