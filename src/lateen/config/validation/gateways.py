"""Rules of a Gateway: its servers, their ports, hosts and TLS."""

from __future__ import annotations

from collections.abc import Iterator

from lateen.config.metadata import DNS_LABEL, Metadata
from lateen.config.networking import ConfigPort, Gateway, Server, ServerTLSMode, ServerTLSSettings, TLSProtocolVersion
from lateen.config.positions import Path
from lateen.config.validation import fields
from lateen.config.violations import Violation, warning
from lateen.model.protocols import Protocol, protocol_named

CIPHER_SUITES = frozenset(
    (
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "ECDHE-RSA-CHACHA20-POLY1305",
        "ECDHE-PSK-CHACHA20-POLY1305",
        "ECDHE-ECDSA-AES128-SHA",
        "ECDHE-RSA-AES128-SHA",
        "ECDHE-PSK-AES128-CBC-SHA",
        "ECDHE-ECDSA-AES256-SHA",
        "ECDHE-RSA-AES256-SHA",
        "ECDHE-PSK-AES256-CBC-SHA",
        "AES128-GCM-SHA256",
        "AES256-GCM-SHA384",
        "AES128-SHA",
        "AES256-SHA",
        "PSK-AES128-CBC-SHA",
        "PSK-AES256-CBC-SHA",
        "DES-CBC3-SHA",
    )
)
"""What BoringSSL knows, by OpenSSL's names."""

MAX_CERTIFICATES = 2
"""Of one server: one for each kind of key."""
_CERTIFICATE_MODES = frozenset((ServerTLSMode.SIMPLE, ServerTLSMode.MUTUAL, ServerTLSMode.OPTIONAL_MUTUAL))
_PASSTHROUGH_MODES = frozenset((ServerTLSMode.PASSTHROUGH, ServerTLSMode.AUTO_PASSTHROUGH))
_OWN_CERTIFICATE = (
    "serverCertificate",
    "privateKey",
    "caCertificates",
    "tlsCertificates",
    "credentialName",
    "credentialNames",
)


def gateway(spec: Gateway, metadata: Metadata) -> Iterator[Violation]:
    """The whole object."""
    if not DNS_LABEL.fullmatch(metadata.name):
        hint = "use lower-case letters, digits and `-`"
        yield Violation((), f"{metadata.name!r} is not a name for a Gateway, which may have no dots", hint)
    if not spec.servers:
        yield Violation((), "the Gateway has no servers", "add `servers: [{port: …, hosts: …}]`")
    names: dict[str, int] = {}
    for index, server in enumerate(spec.servers):
        here: Path = ("servers", index)
        yield from _server(here, server)
        if server.port is None:
            continue
        if server.port.name and server.port.name in names:
            message = f"the port name {server.port.name!r} stands twice (also in server {names[server.port.name]})"
            yield Violation((*here, "port", "name"), message, "give each server's port its own name")
        names.setdefault(server.port.name, index)
    # Istio takes any selector; one with a wildcard selects nothing, as no label has one.
    for found in fields.selector(("selector",), spec.selector):
        yield warning(found.path, found.message, found.hint)


def _server(path: Path, server: Server) -> Iterator[Violation]:
    if not server.hosts:
        yield Violation(path, "the server has no hosts", 'add `hosts: ["*"]`')
    for index, host in enumerate(server.hosts):
        yield from fields.host_and_namespace((*path, "hosts", index), host, gateway=True)
    yield from _bind((*path, "bind"), server)
    yield from default_endpoint((*path, "defaultEndpoint"), server.default_endpoint)
    yield from server_tls((*path, "tls"), server.tls)
    if server.port is None:
        yield Violation(path, "the field `port` is required", "add `port: {number: 80, name: http, protocol: HTTP}`")
        return
    yield from _port((*path, "port"), server.port, server.bind)
    yield from _tls_fits(path, server, protocol_named(server.port.protocol))


def _port(path: Path, port: ConfigPort, bind: str) -> Iterator[Violation]:
    if not port.protocol:
        yield Violation(path, "the field `protocol` is required", "add `protocol: HTTP`")
    yield from fields.protocol((*path, "protocol"), port.protocol)
    if port.number or not bind.startswith(fields.UNIX_PREFIX):
        yield from fields.port_number((*path, "number"), port.number)
    if port.target_port:
        yield Violation((*path, "targetPort"), "has no meaning in a Gateway", "remove it")
    if not port.name:
        yield Violation(path, "the field `name` is required", "add `name: http`")


_LOOPBACK = frozenset(("", "127.0.0.1", "0.0.0.0", "[::1]", "[::]"))


def default_endpoint(path: Path, endpoint: str) -> Iterator[Violation]:
    """An address of the proxy's own host, or a Unix socket; empty is none."""
    if not endpoint:
        return
    if endpoint.startswith(fields.UNIX_PREFIX):
        yield from fields.unix_path(path, endpoint)
        return
    host, _, port = endpoint.rpartition(":")
    if host not in _LOOPBACK or not port.isascii() or not port.isdigit() or not 1 <= int(port[:6]) <= 65535:
        yield Violation(path, f"{endpoint!r} is not an address of this workload", "write 127.0.0.1:8080")


def _bind(path: Path, server: Server) -> Iterator[Violation]:
    if server.bind.startswith(fields.UNIX_PREFIX):
        yield from fields.unix_path(path, server.bind)
        if server.port is not None and server.port.number:
            yield Violation(path, "a Unix socket has no port", "set `port.number: 0`")
    elif server.bind:
        yield from fields.ip_address(path, server.bind)


def _tls_fits(path: Path, server: Server, protocol: Protocol | None) -> Iterator[Violation]:
    """HTTPS and TLS need `tls`; plain HTTP admits only its redirect; the rest has none."""
    if protocol is None:
        return
    tls = server.tls
    if protocol.is_tls and tls is None:
        yield Violation(path, f"a server of protocol {protocol.value} needs `tls`", "add `tls: {mode: SIMPLE, …}`")
    elif tls is not None and not protocol.is_tls:
        if not protocol.is_http:
            yield Violation((*path, "tls"), f"protocol {protocol.value} takes no TLS settings", "write protocol TLS")
        elif tls.mode not in _PASSTHROUGH_MODES or tls.private_key or tls.server_certificate or tls.ca_certificates:
            hint = "write protocol HTTPS, or keep only httpsRedirect"
            yield Violation((*path, "tls"), f"protocol {protocol.value} takes no certificates", hint)
    if tls is not None and tls.https_redirect and not protocol.is_http:
        yield warning((*path, "tls", "httpsRedirect"), "only a plain HTTP server can redirect to HTTPS", "remove it")


def server_tls(path: Path, tls: ServerTLSSettings | None) -> Iterator[Violation]:
    """TLS of a port; Sidecars use the same struct."""
    if tls is None:
        return
    yield from _versions(path, tls)
    given = [name for name in _OWN_CERTIFICATE if _setting(tls, name)]
    if tls.mode is ServerTLSMode.ISTIO_MUTUAL:
        for name in given:
            yield Violation((*path, name), f"mode ISTIO_MUTUAL uses the mesh's certificates, not `{name}`", "remove it")
        yield from _not_of_the_mesh(path, tls)
        return
    if tls.mode in _PASSTHROUGH_MODES and (given or tls.ca_crl):
        unused = [*given, *(["caCrl"] if tls.ca_crl else [])]
        yield warning(path, f"mode {tls.mode.value} uses no certificates: {', '.join(unused)}", "use mode SIMPLE")
    sources = [
        bool(tls.server_certificate and tls.private_key),
        bool(tls.credential_name),
        bool(tls.credential_names),
        bool(tls.tls_certificates),
    ]
    if sum(sources) > 1:
        message = "credentialName, credentialNames, tlsCertificates and serverCertificate exclude each other"
        yield Violation(path, message, "keep one of them")
    yield from _clients(path, tls)
    if tls.mode in _CERTIFICATE_MODES and (tls.credential_name or tls.credential_names):
        if len(tls.credential_names) > MAX_CERTIFICATES:
            here = (*path, "credentialNames")
            yield Violation(here, f"has more than {MAX_CERTIFICATES} entries", "keep one RSA and one ECDSA certificate")
        if tls.ca_crl:
            hint = "put the list beside the CA, under ca.crl of the Secret"
            yield warning((*path, "caCrl"), "a file acts only with caCertificates, not with a credential", hint)
        return
    if tls.mode in _CERTIFICATE_MODES:
        yield from _files(path, tls)
    if tls.ca_crl and tls.credential_name:
        yield Violation((*path, "caCrl"), "excludes credentialName", "put the list under ca.crl of the Secret")
    if tls.ca_crl and tls.mode is ServerTLSMode.SIMPLE:
        yield Violation((*path, "caCrl"), "mode SIMPLE checks no client certificates", "use mode MUTUAL")


def _not_of_the_mesh(path: Path, tls: ServerTLSSettings) -> Iterator[Violation]:
    """How members of the mesh prove themselves to each other is not a Gateway's to choose."""
    auto = TLSProtocolVersion.TLS_AUTO
    for name, value in (
        ("minProtocolVersion", tls.min_protocol_version is not auto),
        ("maxProtocolVersion", tls.max_protocol_version is not auto),
        ("cipherSuites", tls.cipher_suites),
        ("caCertCredentialName", tls.ca_cert_credential_name),
        ("verifyCertificateSpki", tls.verify_certificate_spki),
        ("verifyCertificateHash", tls.verify_certificate_hash),
        ("insecureSkipVerify", tls.insecure_skip_verify),
    ):
        if value:
            yield warning((*path, name), "has no effect in mode ISTIO_MUTUAL", "remove it, or use mode MUTUAL")


def _clients(path: Path, tls: ServerTLSSettings) -> Iterator[Violation]:
    """What is said of client certificates acts only where they are asked for, or something else overrides it."""
    checks = {
        "subjectAltNames": tls.subject_alt_names,
        "verifyCertificateSpki": tls.verify_certificate_spki,
        "verifyCertificateHash": tls.verify_certificate_hash,
    }
    asks = tls.mode in (ServerTLSMode.MUTUAL, ServerTLSMode.OPTIONAL_MUTUAL)
    others = {"caCertCredentialName": tls.ca_cert_credential_name, "insecureSkipVerify": tls.insecure_skip_verify}
    for name, value in {**checks, **others}.items():
        if value and not asks:
            hint = "use mode MUTUAL, or remove it"
            yield warning((*path, name), f"mode {tls.mode.value} checks no client certificates", hint)
        elif value and tls.insecure_skip_verify and name in checks:
            hint = "remove it or insecureSkipVerify"
            yield warning((*path, name), "has no effect when client certificates are not verified", hint)


def _setting(tls: ServerTLSSettings, name: str) -> object:
    """Return a setting by its JSON name."""
    return {
        "serverCertificate": tls.server_certificate,
        "privateKey": tls.private_key,
        "caCertificates": tls.ca_certificates,
        "tlsCertificates": tls.tls_certificates,
        "credentialName": tls.credential_name,
        "credentialNames": tls.credential_names,
    }[name]


def _files(path: Path, tls: ServerTLSSettings) -> Iterator[Violation]:
    mode = tls.mode.value
    named = dict.fromkeys((tls.ca_certificates, *(item.ca_certificates for item in tls.tls_certificates)))
    files = [file for file in named if file]
    if len(files) > 1:
        yield warning(path, f"only the first CA file counts, {files[0]}", "put all CAs into one file")
    if tls.mode is not ServerTLSMode.SIMPLE and not files:
        yield Violation(path, f"mode {mode} needs a CA for the clients' certificates", "add caCertificates")
    if len(tls.tls_certificates) > MAX_CERTIFICATES:
        message = f"has more than {MAX_CERTIFICATES} entries"
        yield Violation((*path, "tlsCertificates"), message, "keep one RSA and one ECDSA certificate")
    if not tls.tls_certificates:
        for name, value in (("serverCertificate", tls.server_certificate), ("privateKey", tls.private_key)):
            if not value:
                yield Violation(path, f"mode {mode} needs `{name}`", f"add credentialName, or `{name}: /path`")
    for index, certificate in enumerate(tls.tls_certificates):
        here = (*path, "tlsCertificates", index)
        pair = (("serverCertificate", certificate.server_certificate), ("privateKey", certificate.private_key))
        for name, value in pair:
            if not value:
                yield Violation(here, f"the field `{name}` is required", f"add `{name}: /path`")


def _versions(path: Path, tls: ServerTLSSettings) -> Iterator[Violation]:
    old = (TLSProtocolVersion.TLSV1_0, TLSProtocolVersion.TLSV1_1)
    if tls.min_protocol_version in old and not tls.cipher_suites:
        message = f"{tls.min_protocol_version.value} has no ciphers in common with the default list"
        yield warning((*path, "minProtocolVersion"), message, "add cipherSuites, or TLSV1_2")
    order = list(TLSProtocolVersion)
    lowest, highest = order.index(tls.min_protocol_version), order.index(tls.max_protocol_version)
    if highest and lowest > highest:
        yield Violation((*path, "maxProtocolVersion"), "is lower than minProtocolVersion", "swap them")
    seen: set[str] = set()
    for index, suite in enumerate(tls.cipher_suites):
        here = (*path, "cipherSuites", index)
        if suite not in CIPHER_SUITES:
            yield warning(here, f"{suite!r} is not a cipher suite and is ignored", "use OpenSSL's names")
        elif suite in seen:
            yield warning(here, f"the cipher suite {suite} stands twice", "keep one of them")
        seen.add(suite)
