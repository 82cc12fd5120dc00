"""The workload's certificate, key and roots as files from which Envoy reads secrets. Pure.

Each file is a discovery response with one secret, in the JSON form of protobuf. Used by `certificates`. Must not
know: where the files are; their names are in `envoy.bootstrap`, which refers to them.
"""

from __future__ import annotations

import json
from base64 import b64encode
from hashlib import blake2b
from typing import Any

from lateen.envoy.bootstrap import CERTIFICATE_SECRET, ROOTS_SECRET

_TYPE = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"


def certificate_file(chain: str, key: str) -> bytes:
    """Return the file with the workload's own certificate and key."""
    certificate = {"certificate_chain": _inline(chain), "private_key": _inline(key)}
    return _file({"name": CERTIFICATE_SECRET, "tls_certificate": certificate})


def roots_file(roots: str) -> bytes:
    """Return the file with the roots to trust."""
    return _file({"name": ROOTS_SECRET, "validation_context": {"trusted_ca": _inline(roots)}})


def _inline(pem: str) -> dict[str, str]:
    return {"inline_bytes": b64encode(pem.encode()).decode()}


def _file(secret: dict[str, Any]) -> bytes:
    return json.dumps({"resources": [{"@type": _TYPE, **secret}]}).encode()


def kept_secret_file(name: str) -> str:
    """Return where a secret that came from the control plane is, in Envoy's folder, for times without it.

    By a hash: a name has slashes. Envoy takes `.pb` for binary protobuf.
    """
    return f"secrets/{blake2b(name.encode(), digest_size=16).hexdigest()}.pb"
