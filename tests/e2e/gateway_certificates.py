"""The certificates that an agent keeps beside its Envoy, for tests that start an Envoy by themselves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from key_pairs import Authority
from lateen.envoy.bootstrap import CERTIFICATE_SECRET, CERTIFICATES_FOLDER, ROOTS_SECRET

_SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"  # a type's name, not a secret


def write_mesh_certificates(folder: Path, authority: Authority | None = None, identity: str = "") -> Authority:
    """Write what Envoy, started in this folder, takes for its own certificate and the mesh's roots."""
    authority = authority or Authority("mesh")
    chain, key = authority.pair(identity or "spiffe://cluster.local/ns/default/sa/default")
    certificate = {"certificate_chain": _inline(chain), "private_key": _inline(key)}
    (folder / CERTIFICATES_FOLDER).mkdir(exist_ok=True)
    _write(folder, CERTIFICATE_SECRET, {"tls_certificate": certificate})
    _write(folder, ROOTS_SECRET, {"validation_context": {"trusted_ca": _inline(authority.certificate)}})
    return authority


def _inline(pem: bytes) -> dict[str, str]:
    return {"inline_string": pem.decode()}


def _write(folder: Path, name: str, fields: dict[str, Any]) -> None:
    response = {"resources": [{"@type": _SECRET, "name": name, **fields}]}
    (folder / CERTIFICATES_FOLDER / f"{name}.json").write_text(json.dumps(response))
