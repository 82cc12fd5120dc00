"""Settings of TLS: what Envoy refuses beside the rules of its API. Part of `loading`.

Certificates are read here with `cryptography`, Envoy reads them with BoringSSL: both want PEM with the same markers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from lateen.envoy.constraints.violations import Violation
from lateen.envoy.messages import Message

_LONGEST_PROTOCOL = 255
_CURVES = frozenset(
    ("X25519", "P-256", "P-384", "P-521", "X25519MLKEM768", "P-224", "X25519Kyber768Draft00", "MLKEM1024")
)


_KEY_EXCHANGES = ("ECDHE-ECDSA-", "ECDHE-RSA-")
_CIPHERS = frozenset(
    {
        *(f"{one}{cipher}" for one in _KEY_EXCHANGES for cipher in ("AES128-GCM-SHA256", "AES256-GCM-SHA384")),
        *(f"{one}{cipher}" for one in (*_KEY_EXCHANGES, "") for cipher in ("AES128-SHA", "AES256-SHA")),
        *(f"{one}CHACHA20-POLY1305" for one in (*_KEY_EXCHANGES, "ECDHE-PSK-")),
        *("AES128-GCM-SHA256", "AES256-GCM-SHA384", "DES-CBC3-SHA"),
        *(f"{one}PSK-{cipher}-CBC-SHA" for one in ("ECDHE-", "") for cipher in ("AES128", "AES256")),
    }
)
"""Of BoringSSL, as names by themselves; expressions (`[A|B]`, `-ALL`) are left to it."""
_NAME = re.compile(r"[A-Z0-9]+(-[A-Z0-9]+)*")
_STRAY = re.compile(r"[^]A-Za-z0-9_.:|+!@=, ;[-]")


def downstream(message: Message) -> Iterator[Violation]:
    """A server shows a certificate."""
    common = message.common_tls_context
    provided = common.HasField("tls_certificate_provider_instance") or common.HasField(
        "custom_tls_certificate_selector"
    )
    if not (common.tls_certificates or common.tls_certificate_sds_secret_configs or provided):
        yield Violation(path="common_tls_context", rule="must have a certificate: a server shows one")


def upstream(message: Message) -> Iterator[Violation]:
    """A client shows at most one certificate, and names hosts without NUL."""
    common = message.common_tls_context
    if len(common.tls_certificates) + len(common.tls_certificate_sds_secret_configs) > 1:
        yield Violation(path="common_tls_context", rule="must have at most one certificate: it is a client's")
    if "\0" in message.sni:
        yield Violation(path="sni", rule="must not hold NUL")


def common(message: Message) -> Iterator[Violation]:
    """Protocols are offered with their length in one byte."""
    for index, name in enumerate(message.alpn_protocols):
        for each in name.split(","):
            if len(each) > _LONGEST_PROTOCOL:
                yield Violation(path=f"alpn_protocols[{index}]", rule=f"must be at most {_LONGEST_PROTOCOL} bytes long")


def parameters(message: Message) -> Iterator[Violation]:
    """Curves and ciphers are those that BoringSSL has."""
    for index, name in enumerate(message.cipher_suites):
        unknown = "-" in name and _NAME.fullmatch(name) and name not in _CIPHERS
        if unknown or _STRAY.search(name):
            yield Violation(path=f"cipher_suites[{index}]", rule=f"must be a cipher that Envoy has, not {name!r}")
    for index, name in enumerate(message.ecdh_curves):
        if any(each not in _CURVES for each in name.split(":")):
            yield Violation(path=f"ecdh_curves[{index}]", rule=f"must be a curve that Envoy has, not {name!r}")


def names_without_roots(message: Message) -> Iterator[Violation]:
    """A name in a certificate says nothing that nobody vouches for."""
    named = message.match_typed_subject_alt_names or message.match_subject_alt_names
    rooted = message.HasField("trusted_ca") or message.HasField("ca_certificate_provider_instance")
    rooted = rooted or message.HasField("system_root_certs") or message.HasField("custom_validator_config")
    if named and not rooted:
        rule = "must be set where names are checked: a name says nothing that nobody vouches for"
        yield Violation(path="trusted_ca", rule=rule)


def roots(message: Message) -> Iterator[Violation]:
    """Inline roots are certificates in PEM."""
    text = _inline(message.trusted_ca)
    if text is not None and b"-----BEGIN " not in text:
        yield Violation(path="trusted_ca", rule="must be certificates in PEM")


def certificate(message: Message) -> Iterator[Violation]:
    """Inline certificates and keys are PEM."""
    for name, marker in (("certificate_chain", b"CERTIFICATE-----"), ("private_key", b"PRIVATE KEY-----")):
        text = _inline(getattr(message, name))
        if text is not None and marker not in text:
            yield Violation(path=name, rule="must be in PEM")


def _inline(source: Message) -> bytes | None:
    """Return what a DataSource holds itself, None for nothing and for files."""
    match source.WhichOneof("specifier"):
        case "inline_bytes":
            return bytes(source.inline_bytes)
        case "inline_string":
            return str(source.inline_string).encode()
        case _:
            return None


def validation(message: Message) -> Iterator[Violation]:
    """The validation that stands alone, not that which a secret completes."""
    if message.WhichOneof("validation_context_type") == "validation_context":
        for one in names_without_roots(message.validation_context):
            yield one.under("validation_context")


_TLS = "envoy.extensions.transport_sockets.tls.v3."
TLS_RULES = {
    f"{_TLS}DownstreamTlsContext": (downstream,),
    f"{_TLS}UpstreamTlsContext": (upstream,),
    f"{_TLS}CommonTlsContext": (common, validation),
    f"{_TLS}TlsParameters": (parameters,),
    f"{_TLS}CertificateValidationContext": (roots,),
    f"{_TLS}TlsCertificate": (certificate,),
}
