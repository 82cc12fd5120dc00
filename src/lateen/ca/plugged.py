"""A CA of the user's, from files with the names that Istio gives them (its `cacerts` secret). Blocking.

`ca-cert.pem` signs, with `ca-key.pem`. `cert-chain.pem` leads from it up to the root; it may begin with ca-cert.pem and
end with the root, and may be missing when a root signed ca-cert.pem itself. `root-cert.pem` is what is trusted, one
root or several. Called by `authority`.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from lateen.ca.files import CaFileError, read_file, read_if_there, read_private
from lateen.ca.generations import Generation
from lateen.ca.issue import Signer
from lateen.ca.keeping import load_key

CERTIFICATE, KEY, CHAIN, ROOTS = "ca-cert.pem", "ca-key.pem", "cert-chain.pem", "root-cert.pem"
_MAX_CHAIN = 8


def plugged_content(folder: Path) -> tuple[bytes | None, ...]:
    """Return what the files hold, to see whether they have changed. CaFileError."""
    return (*(read_if_there(folder / name) for name in (CERTIFICATE, CHAIN, ROOTS)), read_private(folder / KEY))


def load_plugged(folder: Path, now: dt.datetime) -> Generation:
    """Read the CA. CaFileError, with the file and what to do, when it could not sign what agents then accept."""
    certificate = _certificates(folder / CERTIFICATE)[0]
    key = load_key(folder / KEY, certificate)
    roots = _certificates(folder / ROOTS)
    chain = _certificates(folder / CHAIN) if (folder / CHAIN).exists() else ()
    if not _may_sign(certificate):
        raise CaFileError(f"{folder / CERTIFICATE} is not a CA certificate that may sign (basicConstraints, keyUsage)")
    path = _path(certificate, chain, roots)
    if path is None:
        raise CaFileError(f"no root of {folder / ROOTS} signed {folder / CERTIFICATE}, by way of {folder / CHAIN}")
    for each in path:
        if not each.not_valid_before_utc <= now < each.not_valid_after_utc:
            until = f"{each.not_valid_before_utc:%Y-%m-%d} to {each.not_valid_after_utc:%Y-%m-%d}"
            raise CaFileError(f"{each.subject.rfc4514_string()} of {folder} is valid from {until}, not now")
    ends = min(each.not_valid_after_utc for each in path)
    # A self-signed ca-cert.pem is its own path; it goes with each leaf all the same, as with Istio.
    signer = Signer(certificate=certificate, key=key, above=tuple(path[1:-1]), ends=ends)
    return Generation(roots=roots, signer=signer)


def _certificates(path: Path) -> tuple[x509.Certificate, ...]:
    try:
        return tuple(x509.load_pem_x509_certificates(read_file(path)))
    except (ValueError, UnsupportedAlgorithm):
        raise CaFileError(f"{path} is not PEM certificates (-----BEGIN CERTIFICATE-----)") from None


def _may_sign(certificate: x509.Certificate) -> bool:
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound as missing:
        return missing.oid == x509.KeyUsage.oid
    except ValueError:
        return False
    return constraints.ca and usage.key_cert_sign


def _path(
    certificate: x509.Certificate, chain: tuple[x509.Certificate, ...], roots: tuple[x509.Certificate, ...]
) -> list[x509.Certificate] | None:
    """Return the certificates from this one to a root, both included; None when they do not connect."""
    path = [certificate]
    while len(path) <= _MAX_CHAIN:
        if path[-1] in roots:
            return path
        above = next((each for each in (*roots, *chain) if each not in path and _signed(path[-1], each)), None)
        if above is None:
            return None
        path.append(above)
    return None


def _signed(certificate: x509.Certificate, by: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(by)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True
