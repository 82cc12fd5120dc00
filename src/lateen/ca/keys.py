"""Private keys, in a type that shows nothing of itself: not in a log, a traceback, a dump or a pickle."""

from __future__ import annotations

from typing import NoReturn

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

SigningKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
"""What a CA may sign with."""
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey

MIN_RSA_BITS = 2048
MAX_RSA_BITS = 8192
"""Larger ones cost more to check than they are worth."""


class KeyProblemError(ValueError):
    """Something that is not a private key we can use. Its message quotes nothing of it."""


class PrivateKey:
    """A private key. Whoever wants its bytes says so, with `pem`."""

    __slots__ = ("_key",)

    def __init__(self, key: SigningKey) -> None:
        self._key = key

    @classmethod
    def generate(cls) -> PrivateKey:
        """Make a new key: ECDSA on P-256."""
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def load(cls, pem: bytes) -> PrivateKey:
        """Read an unencrypted PEM key: EC (P-256, P-384) or RSA (2048 bits or more). KeyProblemError."""
        try:
            key = serialization.load_pem_private_key(pem, password=None)
        except TypeError:
            raise KeyProblemError("the key is encrypted: give it without a passphrase, readable by us only") from None
        except (ValueError, UnsupportedAlgorithm):
            # Without its cause, whose text is about the key's content.
            raise KeyProblemError("not a private key in PEM form (-----BEGIN PRIVATE KEY-----)") from None
        if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1):
            return cls(key)
        if isinstance(key, rsa.RSAPrivateKey) and MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
            return cls(key)
        raise KeyProblemError(f"a key must be EC (P-256, P-384) or RSA ({MIN_RSA_BITS} to {MAX_RSA_BITS} bits)")

    @property
    def signing(self) -> SigningKey:
        """The key itself, to sign with."""
        return self._key

    @property
    def public(self) -> PublicKey:
        """The public half."""
        return self._key.public_key()

    def pem(self) -> bytes:
        """Return the secret: PKCS #8, PEM, not encrypted. For a file of ours, or a TLS server of ours."""
        return self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def __repr__(self) -> str:
        return "PrivateKey(...)"

    __str__ = __repr__

    def __format__(self, form: str) -> str:
        return repr(self)

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a private key is not copied or pickled")
