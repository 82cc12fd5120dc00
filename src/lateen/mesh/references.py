"""Resolve the names that objects use for each other. Called by `mesh`, `generate` and `analysis`."""

from __future__ import annotations

MESH_GATEWAY = "mesh"
"""The reserved gateway name that means every sidecar (VirtualService reference, "gateways")."""

NO_BACKEND = "no-backend.invalid"
"""Host of the destination of a Gateway API route that leads nowhere; requests for it are answered with 500."""
MADE_MARK = "~"
"""In names of objects that are made of Gateway API ones: no user's object can have it, so none is taken for another."""
PROXY_NAMESPACE = "lateen.io/proxy-namespace"
"""Annotation of Gateways that are made of Gateway API ones: only proxies of this namespace serve them."""
BACKEND_CERTIFICATE = "lateen.io/backend-certificate"
"""Annotation of the same: SDS name of the certificate that its proxies show backends which are called with TLS."""


def resolve_gateway(name: str, namespace: str) -> str:
    """Return `namespace/name` of a Gateway as written in an object of `namespace`; `mesh` stays `mesh`.

    Istio's forms: `name`, `namespace/name`, `./name`, and the old `name.namespace.svc.cluster.local`.
    """
    if name == MESH_GATEWAY:
        return name
    owner, slash, rest = name.partition("/")
    if slash:
        return f"{namespace}/{rest}" if owner == "." else name
    if "." not in name:
        return f"{namespace}/{name}"
    short, owner, *_ = name.split(".")
    return f"{owner}/{short}"
