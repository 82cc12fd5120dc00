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
    """API group, `gateway.networking.k8s.io` for a Gateway."""
    kind: str = ""
    """`Gateway`, in this version."""
    name: str = ""
    """Name of the object."""
    namespace: str = ""
    """Its namespace; only that of the policy is allowed."""


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
    """Unset inherits: from the namespace's policy, then the mesh's, then `PERMISSIVE`."""


class PeerAuthentication(Spec, frozen=True, kw_only=True):
    """How callers of workloads prove who they are."""

    selector: MatchLabelsSelector | None = None
    """Workloads of the namespace; unset is all, in the root namespace all of the mesh."""
    mtls: MutualTLS | None = None
    """For all ports."""
    port_level_mtls: dict[str, MutualTLS] = {}
    """By the port that the application listens on."""


# --- RequestAuthentication -----------------------------------------------------------------------------------


class JWTHeader(Spec, frozen=True, kw_only=True):
    """A request header that may hold a token."""

    name: str = ""
    """Name of the header."""
    prefix: str = ""
    """What stands before the token, with its blank: `Bearer `."""


class ClaimToHeader(Spec, frozen=True, kw_only=True):
    """A claim that is copied into a request header."""

    header: str = ""
    """Header to set; what a client sends under this name is removed."""
    claim: str = ""
    """Claim of type string, number or boolean; a `.` steps into an object."""


class JWTRule(Spec, frozen=True, kw_only=True):
    """Tokens of one issuer: where they stand, how they are checked, what becomes of them."""

    issuer: str = ""
    """Value of the claim `iss`."""
    audiences: list[str] = []
    """Values one of which the claim `aud` must have; unset accepts any."""
    jwks_uri: str = ""
    """Where the keys are; the control plane fetches them. Unset asks the issuer's OpenID discovery."""
    jwks_uri_snake: str = msgspec.field(default="", name="jwks_uri")
    """The same field under its protobuf name, which the CRD schema admits too."""
    jwks: str = ""
    """The keys themselves, as JSON."""
    from_headers: list[JWTHeader] = []
    """Headers to look in; unset is `Authorization: Bearer` and the parameter `access_token`."""
    from_params: list[str] = []
    """Query parameters to look in."""
    output_payload_to_header: str = ""
    """Header that gets the payload as base64url."""
    from_cookies: list[str] = []
    """Cookies to look in."""
    forward_original_token: bool = False
    """Whether the application gets the token; unset takes it away."""
    output_claim_to_headers: list[ClaimToHeader] = []
    """Claims that become headers."""
    timeout: str = ""
    """Duration to wait for the keys; unset is 5s."""
    space_delimited_claims: list[str] = []
    """Claims whose value is a list with blanks, beside `scope` and `permission`."""


class RequestAuthentication(Spec, frozen=True, kw_only=True):
    """Which tokens of end users workloads accept."""

    selector: MatchLabelsSelector | None = None
    """Workloads of the namespace; unset is all, in the root namespace all of the mesh."""
    target_ref: PolicyTargetReference | None = None
    """One target. Old form of `targetRefs`."""
    target_refs: list[PolicyTargetReference] = []
    """Gateways of the namespace, in place of a selector."""
    jwt_rules: list[JWTRule] = []
    """Issuers. A request without a token passes; a bad token is answered with 401."""


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
    """Name in MeshConfig's `extensionProviders`."""


class Source(Spec, frozen=True, kw_only=True):
    """Who sends a request; fields are ANDed, the values of one ORed."""

    principals: list[str] = []
    """Identities of callers, `cluster.local/ns/NAMESPACE/sa/ACCOUNT`; needs mutual TLS."""
    not_principals: list[str] = []
    """None of these identities."""
    request_principals: list[str] = []
    """`ISSUER/SUBJECT` of a checked token."""
    not_request_principals: list[str] = []
    """None of these."""
    namespaces: list[str] = []
    """Namespaces of callers; needs mutual TLS."""
    not_namespaces: list[str] = []
    """None of these namespaces."""
    service_accounts: list[str] = []
    """`NAMESPACE/ACCOUNT` or `ACCOUNT` of the own namespace; needs mutual TLS."""
    not_service_accounts: list[str] = []
    """None of these accounts."""
    trust_domains: list[str] = []
    """Trust domains of callers; needs mutual TLS."""
    not_trust_domains: list[str] = []
    """None of these trust domains."""
    ip_blocks: list[str] = []
    """CIDR ranges of the peer of the connection."""
    not_ip_blocks: list[str] = []
    """None of these ranges."""
    remote_ip_blocks: list[str] = []
    """CIDR ranges of the client, from `X-Forwarded-For` as far as that is trusted."""
    not_remote_ip_blocks: list[str] = []
    """None of these ranges."""


class Operation(Spec, frozen=True, kw_only=True):
    """What a request does; fields are ANDed, the values of one ORed."""

    hosts: list[str] = []
    """Hosts asked for, without case; `*` before or after stands for anything."""
    not_hosts: list[str] = []
    """None of these hosts."""
    ports: list[str] = []
    """Ports of the workload, in quotes."""
    not_ports: list[str] = []
    """None of these ports."""
    methods: list[str] = []
    """HTTP methods; gRPC is always `POST`."""
    not_methods: list[str] = []
    """None of these methods."""
    paths: list[str] = []
    """Paths after normalization; `*` before or after, `{*}` and `{**}` as templates."""
    not_paths: list[str] = []
    """None of these paths."""


class RuleFrom(Spec, frozen=True, kw_only=True):
    """One source of a rule."""

    source: Source | None = None
    """Conditions on the sender."""


class RuleTo(Spec, frozen=True, kw_only=True):
    """One operation of a rule."""

    operation: Operation | None = None
    """Conditions on the request."""


class Condition(Spec, frozen=True, kw_only=True):
    """A condition on an attribute."""

    key: str = ""
    """`source.ip`, `request.headers[NAME]`, `request.auth.claims[NAME]` and the like."""
    values: list[str] = []
    """Any of these; `*` alone means that the attribute is there."""
    not_values: list[str] = []
    """None of these."""


class Rule(Spec, frozen=True, kw_only=True):
    """Requests that a policy is about: from any of the sources, to any of the operations, under all conditions."""

    from_: list[RuleFrom] | None = msgspec.field(default=None, name="from")
    """None is anybody; an empty list is refused, because it reads as nobody."""
    to: list[RuleTo] | None = None
    """None is anything; likewise."""
    when: list[Condition] = []
    """All of these conditions."""


class AuthorizationPolicy(Spec, frozen=True, kw_only=True):
    """Who may call workloads."""

    selector: MatchLabelsSelector | None = None
    """Workloads of the namespace; unset is all, in the root namespace all of the mesh."""
    target_ref: PolicyTargetReference | None = None
    """One target. Old form of `targetRefs`."""
    target_refs: list[PolicyTargetReference] = []
    """Gateways of the namespace, in place of a selector."""
    rules: list[Rule] = []
    """Any of these matches. None at all matches nothing: an ALLOW that refuses everybody."""
    action: AuthorizationAction = AuthorizationAction.ALLOW
    """CUSTOM is asked first, then DENY, then ALLOW; AUDIT only notes."""
    provider: ExtensionProviderRef | None = None
    """Who is asked, for CUSTOM only."""
