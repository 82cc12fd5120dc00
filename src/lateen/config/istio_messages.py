"""Istio's analysis messages that Lateen does not give, and why: the rest of `codes`, for the reference page.

Together with `codes.CODES` this is every message of Istio 1.31 (`pkg/config/analysis/msg/messages.yaml`); a test holds
the two apart. Retired numbers are not in either.
"""

from __future__ import annotations

from typing import NamedTuple


class NotGiven(NamedTuple):
    """A message of Istio's that has no meaning here."""

    code: str
    name: str
    reason: str


_INJECTION = "nothing is injected into pods: `lateen run` and `lateen proxy` start proxies"
_PODS = "pods and Deployments are not read"
_CLUSTER = "there is no cluster whose installation could be looked at"

NOT_GIVEN: tuple[NotGiven, ...] = (
    NotGiven("IST0001", "InternalError", "a mistake of Lateen itself ends the command with a report"),
    NotGiven("IST0102", "NamespaceNotInjected", _INJECTION),
    NotGiven("IST0103", "PodMissingProxy", _INJECTION),
    NotGiven("IST0123", "NamespaceMultipleInjectionLabels", _INJECTION),
    NotGiven("IST0126", "UnknownMeshNetworksServiceRegistry", "networks are those that workloads name themselves"),
    NotGiven("IST0136", "AlphaAnnotation", "Istio itself leaves it out unless it is asked for"),
    NotGiven("IST0139", "InvalidWebhook", _CLUSTER),
    NotGiven("IST0141", "InsufficientPermissions", _CLUSTER),
    NotGiven("IST0142", "UnsupportedKubernetesVersion", _CLUSTER),
    NotGiven("IST0143", "LocalhostListener", "applications are reached on loopback, through their proxy"),
    NotGiven("IST0144", "InvalidApplicationUID", _PODS),
    NotGiven("IST0146", "ImageAutoWithoutInjectionWarning", _INJECTION),
    NotGiven("IST0147", "ImageAutoWithoutInjectionError", _INJECTION),
    NotGiven("IST0148", "NamespaceInjectionEnabledByDefault", _INJECTION),
    NotGiven("IST0156", "UnsupportedGatewayAPIVersion", "the Gateway API is built in, there are no CRDs of it"),
    NotGiven("IST0158", "PodsIstioProxyImageMismatchInNamespace", _PODS),
    NotGiven("IST0163", "InvalidExternalControlPlaneConfig", _CLUSTER),
    NotGiven("IST0164", "ExternalControlPlaneAddressIsNotAHostname", _CLUSTER),
    NotGiven("IST0168", "UnknownUpgradeCompatibility", "it is about upgrades of Istio"),
    NotGiven("IST0169", "UpdateIncompatibility", "it is about upgrades of Istio"),
    NotGiven("IST0170", "MultiClusterInconsistentService", "there is one set of services, not one of each cluster"),
    NotGiven("IST0171", "NegativeConditionStatus", "statuses are computed, not read: see LAT0060"),
    NotGiven("IST0172", "FutureUnsupportedGatewayAPIVersion", "the Gateway API is built in, there are no CRDs of it"),
    NotGiven("IST0175", "JwksUriFetchUnrestricted", "it is about a setting of istiod's process"),
    NotGiven("IST0176", "GatewayAPICRDVersionBelowMinimum", "the Gateway API is built in, there are no CRDs of it"),
)
"""Ordered by code."""


def not_given_reference() -> list[str]:
    """Return the lines of the section of the reference page, in Markdown."""
    lines = ["", "## Istio's codes that Lateen does not give", "", "| Code | Istio's name | Why not |", "|---|---|---|"]
    return lines + [f"| {one.code} | {one.name} | {one.reason} |" for one in NOT_GIVEN]
