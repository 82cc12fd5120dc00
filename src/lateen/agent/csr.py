"""`python -m lateen.agent.csr KEY_FILE SPIFFE_ID`: a new key and a request to certify it, in a process of its own.

The library that makes keys takes more memory than the agent itself, and is needed for a moment once a day: so it
lives in a child of `certificates` for that moment. The key goes to a file that only its owner reads, never to stdout;
the request (PEM) goes to stdout. Nothing imports this module.
"""

from __future__ import annotations

import sys
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from lateen.private_files import write_private


def make(uri: str) -> tuple[bytes, bytes]:
    """Return a new P-256 key (PKCS #8) and a request for a certificate with this one name, both PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)])
    # X.509-SVID: the name is the URI; with an empty subject RFC 5280 wants the extension critical.
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).add_extension(names, critical=True)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private, request.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def main(arguments: list[str]) -> int:
    """Make both; return the exit code."""
    if len(arguments) != 2:
        sys.stderr.write("usage: python -m lateen.agent.csr KEY_FILE SPIFFE_ID\n")
        return 2
    path, uri = arguments
    key, request = make(uri)
    write_private(Path(path), key, durable=False)
    sys.stdout.write(request.decode())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
