"""What certificates and tokens cost the control plane.

    python bench/ca.py [--quick]

A certificate is what a join takes of the event loop: the token is verified, the CSR read and its signature checked, the
leaf signed. The network and the agent's own key are not in it.
"""

from __future__ import annotations

import argparse
import datetime as dt
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from lateen.ca.authority import Authority
from lateen.ca.issue import Issued
from lateen.ca.tokens import Audience, Tokens
from lateen.ca.values import Grant
from lateen.model.identities import Identity
from report import Figure, figure, write

BENCHMARK = "certificates"
IDENTITY = Identity("cluster.local", "default", "reviews")
NOW = dt.datetime.now(dt.UTC)


def request(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    name = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(IDENTITY.uri)])
    builder = x509.CertificateSigningRequestBuilder(subject_name=x509.Name([])).add_extension(name, critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def timed(case: str, call: Callable[[], object], *, times: int, runs: int) -> Figure:
    """Return how long so many calls take."""
    seconds = []
    for _ in range(runs):
        begun = time.perf_counter()
        for _ in range(times):
            call()
        seconds.append(time.perf_counter() - begun)
    return figure(BENCHMARK, f"{times} {case}", "s", seconds)


def measure(*, quick: bool) -> list[Figure]:
    times, runs = (100, 1) if quick else (1000, 5)
    with tempfile.TemporaryDirectory() as folder:
        authority = Authority.open(Path(folder) / "ca", "cluster.local", now=NOW)
        tokens = Tokens.open(Path(folder) / "ca", "cluster.local")
        token, _ = tokens.create_join("*", "*", now=NOW, ttl=dt.timedelta(hours=1), roots=authority.bundle())
        once = iter(
            [tokens.create_join("*", "*", now=NOW, ttl=dt.timedelta(hours=1), once=True)[0] for _ in range(100 * runs)]
        )

        def certificate(csr: bytes) -> None:
            assert isinstance(authority.issue(csr, IDENTITY, now=NOW), Issued)

        def verify(found: str) -> None:
            assert isinstance(tokens.verify(found, Audience.JOIN, NOW), Grant)

        keys: dict[str, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey]
        keys = {"P-256": ec.generate_private_key(ec.SECP256R1()), "RSA 2048": rsa.generate_private_key(65537, 2048)}
        csrs = {kind: request(key) for kind, key in keys.items()}
        figures = [
            timed(f"certificates of {kind} keys", lambda csr=csr: certificate(csr), times=times, runs=runs)  # type: ignore[misc]
            for kind, csr in csrs.items()
        ]
        return [
            *figures,
            timed("join tokens verified", lambda: verify(token), times=times, runs=runs),
            timed("one-time join tokens used up", lambda: verify(next(once)), times=100, runs=runs),
            timed("serving certificates", lambda: authority.serving(["localhost"], now=NOW), times=times, runs=runs),
        ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    print(write(measure(quick=parser.parse_args().quick)))
