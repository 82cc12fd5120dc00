"""Names and keys: hosts, namespaces, object keys.

A host is always a full name once it is past `config` (`reviews.default.svc.cluster.local`, `*.example.com`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NewType

Hostname = NewType("Hostname", str)
"""A fully qualified, lower-case host name; may begin with the wildcard label `*`."""

DEFAULT_NAMESPACE = "default"
ROOT_NAMESPACE = "istio-system"
"""Where mesh-wide configuration lives (MeshConfig.rootNamespace)."""
CLUSTER_DOMAIN = "cluster.local"


@dataclass(frozen=True, slots=True, order=True)
class ObjectKey:
    """What identifies a configuration object: no two objects of a mesh share a key.

    The API version is not part of it: `v1` and `v1beta1` of one name are the same object, as in Kubernetes.
    """

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        """`VirtualService default/reviews`, the form messages use."""
        return f"{self.kind} {self.namespace}/{self.name}"


def service_host(name: str, namespace: str, domain: str = CLUSTER_DOMAIN) -> Hostname:
    """Return the full host of a Kubernetes-style service, `name.namespace.svc.domain`."""
    return Hostname(f"{name}.{namespace}.svc.{domain}")


def resolve_host(host: str, namespace: str, domain: str = CLUSTER_DOMAIN) -> Hostname:
    """Return the full name of a host as written in an object of `namespace`.

    Istio's rule (VirtualService reference, "host"): a name without a dot is a service of the object's own
    namespace; anything with a dot, and a wildcard, is taken as it is.
    """
    host = host.lower()
    if "." in host or host.startswith("*"):
        return Hostname(host)
    return service_host(host, namespace, domain)


def host_matches(pattern: str, host: str) -> bool:
    """Whether `pattern` (exact, `*.suffix` or `*`) covers `host` (which may itself be a wildcard)."""
    if pattern in ("*", host):
        return True
    return pattern.startswith("*") and host.endswith(pattern[1:]) and len(host) > len(pattern) - 1
