"""The codes of findings: what each means, how bad it is, what to do about it.

Called by everything that makes a finding, and by `python -m lateen.config.codes`, which writes the reference page
(`docs/reference/findings.md`). Codes `ISTnnnn` and their meaning are those of Istio's analysis messages, so that
habits and dashboards carry over; `LATnnnn` are ours. A code is never reused for something else.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

from lateen.config.istio_messages import not_given_reference
from lateen.model.findings import Finding, Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """One kind of problem."""

    code: str
    severity: Severity
    title: str
    explanation: str
    """What it means and what to do, for the reference page."""

    def finding(
        self, message: str, *, file: str = "", place: tuple[int, int] = (0, 0), subject: Subject | None = None
    ) -> Finding:
        """Make a finding of this code at a place (line, column; both 1-based) about a subject."""
        about = subject or Subject()
        return Finding(
            code=self.code,
            severity=self.severity,
            message=message,
            file=file,
            line=place[0],
            column=place[1],
            kind=about.kind,
            namespace=about.namespace,
            name=about.name,
            path=about.path,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What a finding is about, as far as it is known."""

    kind: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""


SYNTAX = Code(
    code="LAT0001",
    severity=Severity.ERROR,
    title="Syntax error",
    explanation="The text is not YAML or JSON. Other documents of the same file are still read.",
)
UNKNOWN_KIND = Code(
    code="LAT0002",
    severity=Severity.WARNING,
    title="Unknown kind",
    explanation="The document is of a kind that this version does not read. It is passed over and changes nothing.",
)
UNKNOWN_FIELD = Code(
    code="LAT0003",
    severity=Severity.ERROR,
    title="Unknown field",
    explanation="The schema has no such field: a misspelling, or a field at the wrong depth. Nothing is guessed, so "
    "the object is refused.",
)
NO_EFFECT = Code(
    code="LAT0004",
    severity=Severity.WARNING,
    title="No effect yet",
    explanation="The field is part of Istio's schema and is read, but does not change the proxies' configuration in "
    "this version. The rest of the object acts, unless the finding is about the object itself. The list of such fields "
    "with reasons and alternatives is in [unsupported.md](unsupported.md).",
)
WRONG_TYPE = Code(
    code="LAT0005",
    severity=Severity.ERROR,
    title="Wrong type",
    explanation="A value has another type than the field: a number where text stands, text where a list stands. "
    'Numbers and `true` in labels must be quoted (`version: "1"`).',
)
INVALID_VALUE = Code(
    code="LAT0006",
    severity=Severity.ERROR,
    title="Invalid value",
    explanation="The type is right but the value is not one that the field admits: a name with forbidden characters, "
    "a word that is not one of the listed ones, a number out of range.",
)
DUPLICATE_OBJECT = Code(
    code="LAT0007",
    severity=Severity.ERROR,
    title="Duplicate object",
    explanation="Two documents have the same kind, namespace and name. The first counts. The API version does not "
    "make a difference: `v1` and `v1beta1` of one name are one object.",
)
MISSING_FIELD = Code(
    code="LAT0008",
    severity=Severity.ERROR,
    title="Missing field",
    explanation="A field that the schema requires is not set (`null` means not set).",
)
DUPLICATE_KEY = Code(
    code="LAT0009",
    severity=Severity.ERROR,
    title="Duplicate key",
    explanation="A mapping has the same key twice. Most YAML readers keep one of them in silence; which one "
    "is an accident, so the object is refused.",
)
UNKNOWN_VERSION = Code(
    code="LAT0010",
    severity=Severity.ERROR,
    title="Unknown version",
    explanation="The kind is known but not in this API version.",
)
LIMIT = Code(
    code="LAT0011",
    severity=Severity.ERROR,
    title="Too large or too deep",
    explanation="The input is beyond what a hand-written document can need (file size, nesting, or aliases that "
    "multiply). Such input is refused before it can use up memory or time.",
)
UNREADABLE = Code(
    code="LAT0012",
    severity=Severity.ERROR,
    title="File cannot be read",
    explanation="The file does not exist, or may not be read.",
)
KEYS_MISSING = Code(
    code="LAT0020",
    severity=Severity.WARNING,
    title="Keys of tokens are missing",
    explanation="A RequestAuthentication names keys that are to be fetched, and they are not there: the message says "
    "why. Until they come every token of that issuer is refused with 401; requests without token pass. The control "
    "plane tries again by itself, at least once a minute. Offline commands fetch nothing, so they always say this.",
)
SEVERAL_AUTHORIZATION_SERVERS = Code(
    code="LAT0030",
    severity=Severity.ERROR,
    title="Several authorization servers for one workload",
    explanation="CUSTOM policies that are about the same workload name different extension providers. A workload has "
    "one: everything that any of these policies matches is refused there. Name one provider, or narrow the selectors.",
)
UNUSABLE_AUTHORIZATION_SERVER = Code(
    code="LAT0031",
    severity=Severity.ERROR,
    title="Authorization server cannot be asked",
    explanation="The extension provider that a CUSTOM policy names is not one for authorization, or its service or "
    "port is not there. Everything that the policy matches is refused, whatever `failOpen` says.",
)

AUTO_MTLS_OFF = Code(
    code="LAT0040",
    severity=Severity.WARNING,
    title="Mutual TLS is required, but nobody offers it",
    explanation="MeshConfig has `enableAutoMtls: false`, so sidecars offer mutual TLS only where a DestinationRule "
    "says `ISTIO_MUTUAL`. The workloads of this policy take nothing else, and not all of their services have one.",
)
NEVER_ON_TCP = Code(
    code="LAT0041",
    severity=Severity.WARNING,
    title="Rule asks a TCP port for attributes of HTTP",
    explanation="The rule allows requests by method, path, host, header or token, but all ports that it is about carry "
    "TCP, where there are none of these: it never matches, and allows nothing. Allow by `from` and `ports`, or declare "
    "the ports as HTTP.",
)
DENIES_EVERYTHING = Code(
    code="LAT0042",
    severity=Severity.INFO,
    title="Policy denies everything",
    explanation="No request to the selected workloads can pass: an ALLOW policy without rules and no other that allows "
    "something there, or a DENY policy with a rule without conditions.",
)
SERVER_FIRST = Code(
    code="LAT0043",
    severity=Severity.INFO,
    title="Server speaks first under PERMISSIVE",
    explanation="The proxy waits for the first bytes of the client to tell mutual TLS from plain text. A client "
    "without proxy waits for the server, so each of its connections begins with that delay. Callers in the mesh are "
    "not affected. With mode STRICT or DISABLE for this port nobody waits.",
)
UNUSED_WEIGHT = Code(
    code="LAT0050",
    severity=Severity.WARNING,
    title="Weights that do not add up",
    explanation="Weights are shares of their sum. Reported are a destination without a weight beside others that have "
    "one, which gets nothing, and weights that look like percentages but add up to something near 100.",
)
RETRIES_CUT = Code(
    code="LAT0051",
    severity=Severity.WARNING,
    title="Timeout shorter than its retries",
    explanation="The route's timeout includes all tries: the first, and as many more as `attempts` says. It ends "
    "before they can each use their `perTryTimeout`, so the last ones do not happen. Raise the timeout, or lower one "
    "of the others.",
)
UNUSED_OBJECT = Code(
    code="LAT0052",
    severity=Severity.INFO,
    title="Object that nobody uses",
    explanation="A Gateway that no VirtualService is bound to, or a delegate that no VirtualService delegates to. "
    "It does no harm, and does nothing.",
)
SEEN_BY_NOBODY = Code(
    code="LAT0053",
    severity=Severity.WARNING,
    title="Exported to nobody",
    explanation="`exportTo` names no namespace that exists, so no proxy is told of the object. Namespaces are known "
    "where Namespace objects are among the documents.",
)
CONFLICTING_LISTENERS = Code(
    code="LAT0054",
    severity=Severity.WARNING,
    title="Conflicting listeners",
    explanation="Two services have one address and port, or two servers of a Gateway's proxies give one port two "
    "meanings, and a connection does not tell which of them it wants. The oldest is served. Of a Sidecar: a listener "
    "of plain TCP is for several services, of which the first is served, or is where another or the application is.",
)
COMPETING_RULES = Code(
    code="LAT0055",
    severity=Severity.WARNING,
    title="Part of a DestinationRule without effect",
    explanation="Several DestinationRules are about one host. Subsets of all count; of two with one name, and of the "
    "policies for the whole host, only the oldest does.",
)
INEFFECTIVE_INGRESS_TLS = Code(
    code="LAT0056",
    severity=Severity.WARNING,
    title="TLS of a Sidecar's ingress without effect",
    explanation="`tls` of an ingress listener acts only where mutual TLS is DISABLE at the port: a caller cannot be "
    "asked for both.",
)
HIDDEN_RULE = Code(
    code="LAT0057",
    severity=Severity.WARNING,
    title="Rule hidden by an older VirtualService",
    explanation="VirtualServices for one host at one gateway are merged: the rules of the oldest are asked first, "
    "those that everything matches last. The rule has only matches that an older VirtualService has too.",
)
TLS_OF_GATEWAYS = Code(
    code="LAT0058",
    severity=Severity.INFO,
    title="TLS that sidecars do not use",
    explanation="`credentialName` of a DestinationRule acts at gateways, and at the sidecars that its "
    "`workloadSelector` names. Other sidecars follow the rule without its TLS, as in Istio, so they call the host in "
    "plain text. Add a selector, or name files, if it is not for gateways only.",
)
NOTHING_TAKES_IT = Code(
    code="LAT0059",
    severity=Severity.WARNING,
    title="About what is not there",
    explanation="Rules for a protocol that no port of the host carries (`http` where the names of all ports say TCP), "
    "settings of a port that the host does not have, conditions on the destination's address at a gateway, or hosts of "
    "a Sidecar's `egress` that no service has. They change nothing.",
)
GATEWAY_API_CONDITION = Code(
    code="LAT0060",
    severity=Severity.WARNING,
    title="Condition of a Gateway API object does not hold",
    explanation="A listener, a route or a policy is not in force, or only in part. The condition, its reason and the "
    "message are those of the object's status, which `lateen get KIND NAME -o yaml` shows.",
)
UNVERIFIED_CLIENTS = Code(
    code="LAT0061",
    severity=Severity.WARNING,
    title="Identity of clients that nobody verifies",
    explanation="The rule goes by the caller's identity (`principals`, `namespaces`, `serviceAccounts`), and is about "
    "a gateway that takes any client certificate: a listener of the Gateway API with `AllowInsecureFallback`, or a "
    "server with `insecureSkipVerify`. There a caller may sign a certificate with any identity in it. Have clients "
    "verified, or let the policy ask for something else at the gateway, such as a token.",
)
REJECTED_BY_ENVOY = Code(
    code="LAT0070",
    severity=Severity.ERROR,
    title="Envoy would reject this",
    explanation="What the object makes breaks a rule of Envoy's own, so proxies would keep what they had before. The "
    "message names the proxies, the resource, the field in it and the rule. It is found by generating for imagined "
    "proxies: of each sort one, and in a large mesh one service of each sort.",
)

DEPRECATED = Code(
    code="IST0002",
    severity=Severity.WARNING,
    title="Deprecated",
    explanation="The field still works; its successor is named in the message.",
)
PATCH_WITHOUT_EFFECT = Code(
    code="LAT0080",
    severity=Severity.WARNING,
    title="EnvoyFilter patch matches nothing",
    explanation="No proxy that is known has an object that the patch matches, so it does nothing. Compare the match "
    "with the names that `lateen proxy-config` or `lateen generate` show.",
)
PATCH_NOT_APPLIED = Code(
    code="LAT0081",
    severity=Severity.WARNING,
    title="EnvoyFilter patch cannot be applied",
    explanation="The patch matches, but its value does not fit what it finds (another type of filter, a name that is "
    "taken). It is skipped; the object stays as generated, and other patches are applied.",
)
UNCHECKED_EXTENSION = Code(
    code="LAT0082",
    severity=Severity.WARNING,
    title="Extension of Envoy that is not known here",
    explanation="The `@type` of an extension is not one whose fields Lateen knows, so its settings go to Envoy "
    "unchecked (as a TypedStruct). If Envoy does not know it either, it refuses the whole resource.",
)
REFERENCE_NOT_FOUND = Code(
    code="IST0101",
    severity=Severity.ERROR,
    title="Referenced resource not found",
    explanation="A host, subset, Gateway, Secret or VirtualService that the object names does not exist or is not "
    "visible from its namespace. The object stays: requests to what is missing fail.",
)
SCHEMA_VALIDATION = Code(
    code="IST0106",
    severity=Severity.ERROR,
    title="Schema validation error",
    explanation="The object breaks a rule of Istio's validation and is refused, as Istio refuses it.",
)
CONFLICTING_MESH_HOSTS = Code(
    code="IST0109",
    severity=Severity.ERROR,
    title="Conflicting hosts of VirtualServices on the mesh gateway",
    explanation="Several VirtualServices for sidecars define the same host. Only the oldest acts; merge them.",
)
MISPLACED_ANNOTATION = Code(
    code="IST0107",
    severity=Severity.WARNING,
    title="Misplaced annotation",
    explanation="The annotation acts on objects of another kind; here it has no effect.",
)
INVALID_ANNOTATION = Code(
    code="IST0125",
    severity=Severity.WARNING,
    title="Invalid annotation",
    explanation="The annotation has a value that means nothing, so it has no effect.",
)
CONFLICTING_SIDECARS = Code(
    code="IST0110",
    severity=Severity.ERROR,
    title="Conflicting Sidecar selectors",
    explanation="Several Sidecars select the same workload. Only one can act; which one is an accident.",
)
SEVERAL_DEFAULT_SIDECARS = Code(
    code="IST0111",
    severity=Severity.ERROR,
    title="Several Sidecars without a selector",
    explanation="A namespace has more than one Sidecar without a workload selector. Only one can act.",
)
PORT_REQUIRED = Code(
    code="IST0112",
    severity=Severity.ERROR,
    title="Destination port required",
    explanation="The service has several ports, so the destination must name one.",
)
UNREACHABLE_RULE = Code(
    code="IST0130",
    severity=Severity.WARNING,
    title="Rule is never used",
    explanation="An earlier rule takes all of its requests: one without conditions, with the same ones, or with wider "
    "ones, as the prefix `/a` is wider than `/a/b`. Rules are asked in order: put the narrower one first.",
)
INEFFECTIVE_MATCH = Code(
    code="IST0131",
    severity=Severity.INFO,
    title="Match is never used",
    explanation="An earlier rule has the same match, or one that takes all of its requests.",
)
HOST_NOT_IN_GATEWAY = Code(
    code="IST0132",
    severity=Severity.WARNING,
    title="Host not found in Gateway",
    explanation="The VirtualService is bound to a Gateway that does not serve its host.",
)
SCHEMA_WARNING = Code(
    code="IST0133",
    severity=Severity.WARNING,
    title="Schema validation warning",
    explanation="Legal, but hardly what was meant.",
)
CONFLICTING_GATEWAYS = Code(
    code="IST0145",
    severity=Severity.ERROR,
    title="Conflicting Gateways",
    explanation="Two Gateways with the same selector serve the same host on the same port.",
)
INVALID_CREDENTIAL = Code(
    code="IST0161",
    severity=Severity.ERROR,
    title="Invalid credential of a Gateway",
    explanation=(
        "The Secret has no certificate and key (`tls.crt` and `tls.key`, or `cert` and `key`), they are not PEM, or "
        "the key is not that of the certificate. The server's port stays closed until it does."
    ),
)
EMPTY_SUBSET = Code(
    code="IST0173",
    severity=Severity.WARNING,
    title="Subset selects no workload",
    explanation=(
        "The service has endpoints, but none with the subset's labels: requests to it get 503. A warning, where Istio "
        "has an error: a workload may yet come."
    ),
)
UNKNOWN_RULE_HOST = Code(
    code="IST0174",
    severity=Severity.WARNING,
    title="Unknown host of a DestinationRule",
    explanation="No service has this host, so the rule changes nothing.",
)
MTLS_CONFLICT = Code(
    code="IST0113",
    severity=Severity.ERROR,
    title="Conflict about mutual TLS",
    explanation="A DestinationRule makes callers use another kind of TLS than the workloads take by their "
    "PeerAuthentication, or offers the mesh's mutual TLS to workloads that take none. These calls fail.",
)
SEVERAL_SERVICES = Code(
    code="IST0137",
    severity=Severity.WARNING,
    title="Services with the same target port",
    explanation="Services that select the same workloads have the same target port under different ports. Policies "
    "and statistics of the port are those of one of them; which one is an accident.",
)
PORT_NAME = Code(
    code="IST0118",
    severity=Severity.INFO,
    title="Port name says no protocol",
    explanation="Neither the port's name nor `appProtocol` says which protocol it carries, so the proxy looks at the "
    "first bytes of each connection. Name it `http-…`, `grpc-…`, `tcp-…`.",
)
NO_MATCHING_WORKLOADS = Code(
    code="IST0127",
    severity=Severity.WARNING,
    title="No matching workloads",
    explanation="The selector matches no workload that is known, and no service selects such workloads either. Said "
    "only where workloads are known: a mesh that runs, or files with WorkloadEntries.",
)
NO_VERIFICATION = Code(
    code="IST0128",
    severity=Severity.WARNING,
    title="Server certificate is not verified",
    explanation="A DestinationRule has TLS mode SIMPLE or MUTUAL with `insecureSkipVerify`, so whoever answers is "
    "believed. Without it, and without `caCertificates` or a credential, servers are verified by the system's roots, "
    "where Istio's analyzer fears that they are not at all.",
)
NO_VERIFICATION_AT_PORT = Code(
    code="IST0129",
    severity=Severity.WARNING,
    title="Server certificate is not verified at a port",
    explanation="As IST0128, in the settings of a port.",
)
ADDRESSES_REQUIRED = Code(
    code="IST0134",
    severity=Severity.WARNING,
    title="ServiceEntry without addresses",
    explanation="A TCP port has no host name on the wire, so without `addresses` the whole port number is taken for "
    "this service: two such entries with the same port cannot be told apart.",
)
DUPLICATE_CERTIFICATE = Code(
    code="IST0138",
    severity=Severity.WARNING,
    title="Same certificate in several Gateways",
    explanation="Browsers reuse an HTTP/2 connection for every host of its certificate. When the hosts are in several "
    "Gateways, the connection leads to the routes of one of them: others answer 404. Put the servers into "
    "one Gateway, or give each its own certificate.",
)
CLAIMS_WITHOUT_AUTHENTICATION = Code(
    code="IST0149",
    severity=Severity.ERROR,
    title="Routing by claims without RequestAuthentication",
    explanation="A VirtualService on a Gateway matches claims of tokens (`@request.auth.claims`), but no "
    "RequestAuthentication is about the gateway's proxies: the match never holds.",
)
UNKNOWN_ANNOTATION = Code(
    code="IST0108",
    severity=Severity.WARNING,
    title="Unknown annotation",
    explanation="The annotation has a name of Istio's domain, but Istio has none of this name.",
)
SEVERAL_PROTOCOLS = Code(
    code="IST0116",
    severity=Severity.WARNING,
    title="Services with one port and two protocols",
    explanation="Services that select the same workloads have a port of the same number, one for TCP and one for UDP.",
)
DEPRECATED_ANNOTATION = Code(
    code="IST0135",
    severity=Severity.INFO,
    title="Deprecated annotation",
    explanation="Istio will drop the annotation; the message names its successor, if there is one.",
)
NOT_FOR_GATEWAYS = Code(
    code="IST0140",
    severity=Severity.WARNING,
    title="Rules that gateways do not take",
    explanation="A VirtualService of a gateway leads to a host for which another one, for sidecars, chooses subsets. "
    "A gateway routes by its own rules only, so its requests go to all of the host's endpoints.",
)
NO_PROVIDER = Code(
    code="IST0157",
    severity=Severity.WARNING,
    title="Telemetry without provider",
    explanation="Access logs are switched on, but neither the Telemetry nor the MeshConfig says who writes them.",
)
CONFLICTING_TELEMETRIES = Code(
    code="IST0159",
    severity=Severity.ERROR,
    title="Conflicting Telemetry selectors",
    explanation="Several Telemetry objects select the same workload. Only one can act; which one is an accident.",
)
SEVERAL_DEFAULT_TELEMETRIES = Code(
    code="IST0160",
    severity=Severity.ERROR,
    title="Several Telemetry objects without a selector",
    explanation="A namespace has more than one Telemetry without a selector. Only one can act.",
)
INEFFECTIVE_SELECTOR = Code(
    code="IST0166",
    severity=Severity.WARNING,
    title="Selector of a Gateway API gateway",
    explanation="Policies are about such a gateway when they name it in `targetRefs`; a selector of its labels does "
    "not act.",
)
EXTERNAL_NAME_PORT = Code(
    code="IST0150",
    severity=Severity.WARNING,
    title="Port name of an ExternalName service",
    explanation="The port of a Service of type ExternalName has no protocol, or is named `tcp`: it then takes all "
    "connections to its port number. Name it `http`, `https` or `tls`.",
)
RELATIVE_OPERATION = Code(
    code="IST0151",
    severity=Severity.WARNING,
    title="EnvoyFilter with a relative operation and no priority",
    explanation="INSERT_BEFORE, INSERT_AFTER, REPLACE and REMOVE need what they name to be there, which may depend on "
    "other EnvoyFilters. Without a `priority` their order is by age and name. Set one, or use INSERT_FIRST or ADD.",
)
REPLACE_WITHOUT_EFFECT = Code(
    code="IST0152",
    severity=Severity.ERROR,
    title="EnvoyFilter replaces what cannot be replaced",
    explanation="REPLACE is for HTTP_FILTER, NETWORK_FILTER, LISTENER_FILTER and VIRTUAL_HOST. Elsewhere it does "
    "nothing: use MERGE, or REMOVE and ADD.",
)
ADD_WITHOUT_EFFECT = Code(
    code="IST0153",
    severity=Severity.ERROR,
    title="EnvoyFilter adds a route configuration",
    explanation="Route configurations belong to listeners and cannot be added; the patch does nothing. Istio says the "
    "same of routes (HTTP_ROUTE), though there as here adding one works.",
)
REMOVE_WITHOUT_EFFECT = Code(
    code="IST0154",
    severity=Severity.ERROR,
    title="EnvoyFilter removes a route configuration",
    explanation="A listener needs its route configuration, so it cannot be removed; the patch does nothing. Istio says "
    "the same of routes (HTTP_ROUTE), though there as here removing one works.",
)
RELATIVE_OPERATION_OF_VERSION = Code(
    code="IST0155",
    severity=Severity.WARNING,
    title="EnvoyFilter with a relative operation beside one for some versions",
    explanation="As IST0151, and another patch about the same filter is for some versions of the proxy only "
    "(`proxyVersion`): after an upgrade this one may find nothing. Set a `priority`.",
)
GATEWAY_PORT_NOT_ON_SERVICE = Code(
    code="IST0162",
    severity=Severity.WARNING,
    title="Gateway port is not on its Service",
    explanation="The Services that select the gateway's proxies do not have the port of the Gateway's server, so it "
    "cannot be reached through them.",
)
INTERNAL_GATEWAY = Code(
    code="IST0165",
    severity=Severity.WARNING,
    title="Internal Gateway",
    explanation="The VirtualService names a Gateway that is made from a Gateway API one. Attach an HTTPRoute to that "
    "instead.",
)
INEFFECTIVE_POLICY = Code(
    code="IST0167",
    severity=Severity.WARNING,
    title="Policy without effect",
    explanation="The policy, or a part of it, changes nothing: an older one of the same width counts, it stands where "
    "its kind of selector does not act, or it is about a port that nobody has.",
)
CONFLICTING_ENTRY_PROTOCOLS = Code(
    code="IST0177",
    severity=Severity.WARNING,
    title="ServiceEntries with conflicting protocols",
    explanation="Several ServiceEntries give the same host and port different protocols. The oldest counts.",
)
TOO_MANY_NAMES = Code(
    code="LAT0090",
    severity=Severity.WARNING,
    title="More names than DNS answers",
    explanation="A sidecar whose app's DNS is intercepted is told 50,000 names at most: those of its own namespace, "
    "then the first of the alphabet. For the others its app is answered what the machine's resolvers know. Narrow what "
    "the namespace imports by a Sidecar, or what others export to it by `exportTo`.",
)

CODES: tuple[Code, ...] = (
    SYNTAX,
    UNKNOWN_KIND,
    UNKNOWN_FIELD,
    NO_EFFECT,
    WRONG_TYPE,
    INVALID_VALUE,
    DUPLICATE_OBJECT,
    MISSING_FIELD,
    DUPLICATE_KEY,
    UNKNOWN_VERSION,
    LIMIT,
    UNREADABLE,
    KEYS_MISSING,
    SEVERAL_AUTHORIZATION_SERVERS,
    UNUSABLE_AUTHORIZATION_SERVER,
    GATEWAY_API_CONDITION,
    UNVERIFIED_CLIENTS,
    REJECTED_BY_ENVOY,
    DEPRECATED,
    PATCH_WITHOUT_EFFECT,
    PATCH_NOT_APPLIED,
    UNCHECKED_EXTENSION,
    REFERENCE_NOT_FOUND,
    SCHEMA_VALIDATION,
    CONFLICTING_MESH_HOSTS,
    MISPLACED_ANNOTATION,
    INVALID_ANNOTATION,
    CONFLICTING_SIDECARS,
    SEVERAL_DEFAULT_SIDECARS,
    PORT_REQUIRED,
    UNREACHABLE_RULE,
    INEFFECTIVE_MATCH,
    HOST_NOT_IN_GATEWAY,
    SCHEMA_WARNING,
    CONFLICTING_GATEWAYS,
    INVALID_CREDENTIAL,
    EMPTY_SUBSET,
    UNKNOWN_RULE_HOST,
    AUTO_MTLS_OFF,
    NEVER_ON_TCP,
    DENIES_EVERYTHING,
    SERVER_FIRST,
    UNUSED_WEIGHT,
    RETRIES_CUT,
    UNUSED_OBJECT,
    SEEN_BY_NOBODY,
    CONFLICTING_LISTENERS,
    COMPETING_RULES,
    INEFFECTIVE_INGRESS_TLS,
    HIDDEN_RULE,
    TLS_OF_GATEWAYS,
    NOTHING_TAKES_IT,
    MTLS_CONFLICT,
    SEVERAL_SERVICES,
    PORT_NAME,
    NO_MATCHING_WORKLOADS,
    NO_VERIFICATION,
    NO_VERIFICATION_AT_PORT,
    ADDRESSES_REQUIRED,
    DUPLICATE_CERTIFICATE,
    CLAIMS_WITHOUT_AUTHENTICATION,
    TOO_MANY_NAMES,
    EXTERNAL_NAME_PORT,
    RELATIVE_OPERATION,
    REPLACE_WITHOUT_EFFECT,
    ADD_WITHOUT_EFFECT,
    REMOVE_WITHOUT_EFFECT,
    RELATIVE_OPERATION_OF_VERSION,
    GATEWAY_PORT_NOT_ON_SERVICE,
    INTERNAL_GATEWAY,
    INEFFECTIVE_POLICY,
    CONFLICTING_ENTRY_PROTOCOLS,
    UNKNOWN_ANNOTATION,
    SEVERAL_PROTOCOLS,
    DEPRECATED_ANNOTATION,
    NOT_FOR_GATEWAYS,
    NO_PROVIDER,
    CONFLICTING_TELEMETRIES,
    SEVERAL_DEFAULT_TELEMETRIES,
    INEFFECTIVE_SELECTOR,
)


_INTRODUCTION = (
    "`lateen validate` and `lateen analyze` report findings with a code. Codes that begin with `IST` are Istio's own "
    "and mean the same here. An error makes the exit code 1; a warning and an info do not."
)


def findings_reference() -> str:
    """Return the reference page of all codes, in Markdown."""
    lines = [
        "# Findings",
        "",
        "<!-- Made by `python -m lateen.config.codes`; do not edit. -->",
        "",
        _INTRODUCTION,
        "",
        "| Code | Severity | Title |",
        "|---|---|---|",
    ]
    ordered = sorted(CODES, key=lambda code: code.code)
    lines += [f"| [{code.code}](#{code.code.lower()}) | {code.severity.value} | {code.title} |" for code in ordered]
    for code in ordered:
        lines += ["", f"## {code.code}", "", f"**{code.title}** ({code.severity.value}). {code.explanation}"]
    return "\n".join(lines + not_given_reference()) + "\n"


if __name__ == "__main__":
    sys.stdout.write(findings_reference())
