"""Keys and CSRs of `lateen ca issue`: made and written on this host.

Called by `cli/security.py`. A key is in memory and in its file, readable by its owner only; nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lateen.cli.exits import ExitCode, Failure
from lateen.private_files import write_private

MAX_CSR = 32 * 1024


def new_key() -> tuple[str, str]:
    """Return a new ECDSA P-256 key (PKCS #8, PEM) and a CSR for it (PEM); whose it is the control plane says."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    plain = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return plain.decode(), csr.public_bytes(serialization.Encoding.PEM).decode()


def read_csr(file: Path) -> str:
    """Return the CSR of a file. Raises Failure for anything else: above all a key must not be sent."""
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_CSR + 1)
    except OSError as error:
        raise Failure(f"--csr {file} cannot be read: {error.strerror}", code=ExitCode.USAGE) from error
    if b"PRIVATE KEY" in content:
        raise Failure(f"--csr {file} holds a private key, which must not leave this host", code=ExitCode.USAGE)
    if len(content) > MAX_CSR or b"CERTIFICATE REQUEST-----" not in content or not content.isascii():
        raise Failure(f"--csr {file} is not a CSR in PEM", code=ExitCode.USAGE)
    return content.decode()


def write_files(folder: Path, files: Mapping[str, str]) -> None:
    """Write files that only their owner can read; one that is there is replaced at once. Raises Failure."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, content in files.items():
            write_private(folder / name, content.encode())
    except OSError as error:
        raise Failure(f"--out {folder} cannot be written: {error.strerror}", code=ExitCode.USAGE) from error
