"""Istio's `security.istio.io` kinds as frozen structs: every field of the schema, in its shape.

Field names are Istio's, in snake case. Source: the Istio API reference; `tests/unit/config/test_schema_completeness.py`
holds the two together. Structs without logic, in the order of the reference.
"""

from __future__ import annotations

from enum import Enum

import msgspec

from lateen.config.networking import MatchLabelsSelector, Spec

# --- shared pieces -------------------------------------------------------------------------------------------


class PolicyTargetReference(Spec, frozen=True, kw_only=True):
    """What a policy is attached to, instead of the workloads that a selector selects."""

    group: str = ""
    kind: str = ""
    name: str = ""
    namespace: str = ""


# --- PeerAuthentication --------------------------------------------------------------------------------------


class MutualTLSMode(Enum):
    """Whether a workload asks its callers for mutual TLS."""

    UNSET = "UNSET"
    """As the next wider policy says."""
    DISABLE = "DISABLE"
    PERMISSIVE = "PERMISSIVE"
    """Mutual TLS and plain text."""
    STRICT = "STRICT"


class MutualTLS(Spec, frozen=True, kw_only=True):
    """Settings of mutual TLS."""

    mode: MutualTLSMode = MutualTLSMode.UNSET


class PeerAuthentication(Spec, frozen=True, kw_only=True):
    """How callers of workloads prove who they are."""

    selector: MatchLabelsSelector | None = None
    mtls: MutualTLS | None = None
    port_level_mtls: dict[str, MutualTLS] = {}
    """By the port that the application listens on."""


# --- RequestAuthentication -----------------------------------------------------------------------------------


class JWTHeader(Spec, frozen=True, kw_only=True):
    """A request header that may hold a token."""

    name: str = ""
    prefix: str = ""


class ClaimToHeader(Spec, frozen=True, kw_only=True):
    """A claim that is copied into a request header."""

    header: str = ""
    claim: str = ""


class JWTRule(Spec, frozen=True, kw_only=True):
    """Tokens of one issuer: where they stand, how they are checked, what becomes of them."""

    issuer: str = ""
    audiences: list[str] = []
    jwks_uri: str = ""
    jwks_uri_snake: str = msgspec.field(default="", name="jwks_uri")
    jwks: str = ""
    from_headers: list[JWTHeader] = []
    from_params: list[str] = []
    output_payload_to_header: str = ""
    from_cookies: list[str] = []
    forward_original_token: bool = False
    output_claim_to_headers: list[ClaimToHeader] = []
    timeout: str = ""
    space_delimited_claims: list[str] = []


class RequestAuthentication(Spec, frozen=True, kw_only=True):
    """Which tokens of end users workloads accept."""

    selector: MatchLabelsSelector | None = None
    target_ref: PolicyTargetReference | None = None
    target_refs: list[PolicyTargetReference] = []
    jwt_rules: list[JWTRule] = []


# --- AuthorizationPolicy -------------------------------------------------------------------------------------


class AuthorizationAction(Enum):
    """What becomes of a request that matches."""

    ALLOW = "ALLOW"
    DENY = "DENY"
    AUDIT = "AUDIT"
    CUSTOM = "CUSTOM"


class ExtensionProviderRef(Spec, frozen=True, kw_only=True):
    """An extension provider of MeshConfig, by name."""

    name: str = ""


class Source(Spec, frozen=True, kw_only=True):
    """Who sends a request; fields are ANDed, the values of one ORed."""

    principals: list[str] = []
    not_principals: list[str] = []
    request_principals: list[str] = []
    not_request_principals: list[str] = []
    namespaces: list[str] = []
    not_namespaces: list[str] = []
    service_accounts: list[str] = []
    not_service_accounts: list[str] = []
    trust_domains: list[str] = []
    not_trust_domains: list[str] = []
    ip_blocks: list[str] = []
    not_ip_blocks: list[str] = []
    remote_ip_blocks: list[str] = []
    not_remote_ip_blocks: list[str] = []


class Operation(Spec, frozen=True, kw_only=True):
    """What a request does; fields are ANDed, the values of one ORed."""

    hosts: list[str] = []
    not_hosts: list[str] = []
    ports: list[str] = []
    not_ports: list[str] = []
    methods: list[str] = []
    not_methods: list[str] = []
    paths: list[str] = []
    not_paths: list[str] = []


class RuleFrom(Spec, frozen=True, kw_only=True):
    """One source of a rule."""

    source: Source | None = None


class RuleTo(Spec, frozen=True, kw_only=True):
    """One operation of a rule."""

    operation: Operation | None = None


class Condition(Spec, frozen=True, kw_only=True):
    """A condition on an attribute."""

    key: str = ""
    values: list[str] = []
    not_values: list[str] = []


class Rule(Spec, frozen=True, kw_only=True):
    """Requests that a policy is about: from any of the sources, to any of the operations, under all conditions."""

    from_: list[RuleFrom] | None = msgspec.field(default=None, name="from")
    """None is anybody; an empty list is refused, because it reads as nobody."""
    to: list[RuleTo] | None = None
    """None is anything; likewise."""
    when: list[Condition] = []


class AuthorizationPolicy(Spec, frozen=True, kw_only=True):
    """Who may call workloads."""

    selector: MatchLabelsSelector | None = None
    target_ref: PolicyTargetReference | None = None
    target_refs: list[PolicyTargetReference] = []
    rules: list[Rule] = []
    action: AuthorizationAction = AuthorizationAction.ALLOW
    provider: ExtensionProviderRef | None = None
