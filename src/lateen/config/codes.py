"""The codes of findings: what each means, how bad it is, what to do about it.

Called by everything that makes a finding, and by `python -m lateen.config.codes`, which writes the reference page
(`docs/reference/findings.md`). Codes `ISTnnnn` and their meaning are those of Istio's analysis messages, so that
habits and dashboards carry over; `LATnnnn` are ours. A code is never reused for something else.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

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
    "this version. The rest of the object acts. The list of such fields is in [unsupported.md](unsupported.md).",
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

GATEWAY_API_CONDITION = Code(
    code="LAT0060",
    severity=Severity.WARNING,
    title="Condition of a Gateway API object does not hold",
    explanation="A listener, a route or a policy is not in force, or only in part. The condition, its reason and the "
    "message are those of the object's status, which `lateen get KIND NAME -o yaml` shows.",
)

DEPRECATED = Code(
    code="IST0002",
    severity=Severity.WARNING,
    title="Deprecated",
    explanation="The field still works; its successor is named in the message.",
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
    explanation="An earlier rule without conditions, or with the same conditions, takes all requests.",
)
INEFFECTIVE_MATCH = Code(
    code="IST0131",
    severity=Severity.INFO,
    title="Match is never used",
    explanation="An earlier rule has the same match.",
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
    DEPRECATED,
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
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(findings_reference())
