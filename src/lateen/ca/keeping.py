"""What an authority is, in a folder: `authority.json`, and a certificate and a key file for each CA that it names.

Called by `authority`, under the folder's lock. The JSON is written last and read first, so a crash leaves the state of
before, and at worst files that nothing names. Files have the fingerprint of their certificate in their name: none is
ever overwritten by another content. Blocking.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from lateen.ca.files import CaFileError, read_file, read_if_there, read_private
from lateen.ca.generations import CaState, Generation
from lateen.ca.issue import Signer, fingerprint, pem_of
from lateen.ca.keys import KeyProblemError, PrivateKey
from lateen.ca.rotation import Phase, Rotation
from lateen.private_files import write_private

FILE = "authority.json"
VERSION = 1


def stored(folder: Path) -> bytes | None:
    """Return the JSON as it is, to see whether another process changed it; None when there is no authority yet."""
    return read_if_there(folder / FILE)


def load(folder: Path, content: bytes, trust_domain: str) -> CaState:
    """Read a state. CaFileError when it is broken, newer than we are, or another trust domain's."""
    path = folder / FILE
    try:
        document = json.loads(content)
        version, domain = document["version"], document["trust_domain"]
    except (ValueError, KeyError, TypeError) as error:
        raise CaFileError(f"{path} is broken: restore it, or move the folder away to begin with a new root") from error
    if version != VERSION:
        raise CaFileError(f"{path} has version {version!r}; this Lateen reads version {VERSION}")
    if domain != trust_domain:
        raise CaFileError(f"the CA in {folder} is that of trust domain {domain!r}, not of {trust_domain!r}")
    try:
        following = document["next"]
        return CaState(
            current=_load_generation(folder, document["current"]),
            next=None if following is None else _load_generation(folder, following),
            rotation=_rotation(document["rotation"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise CaFileError(f"{path} is broken: restore it, or move the folder away to begin with a new root") from error


def save(folder: Path, state: CaState, trust_domain: str, *, before: CaState | None) -> bytes:
    """Write a state, then remove the files of what `before` had and this one has not; return the JSON. OSError."""
    for generation in state.generations:
        for name, content in _files(generation).items():
            if not (folder / name).exists():
                write_private(folder / name, content)
    rotation = state.rotation
    document = {
        "version": VERSION,
        "trust_domain": trust_domain,
        "current": _names(state.current),
        "next": None if state.next is None else _names(state.next),
        "rotation": {
            "phase": rotation.phase.value,
            "since": _written(rotation.since),
            "old_leaves_end": _written(rotation.old_leaves_end),
        },
    }
    content = json.dumps(document, indent=2).encode() + b"\n"
    write_private(folder / FILE, content)
    if before is not None:
        kept = {name for generation in state.generations for name in _files(generation)}
        for name in {name for generation in before.generations for name in _files(generation)} - kept:
            (folder / name).unlink(missing_ok=True)
    return content


def _names(generation: Generation) -> dict[str, str]:
    return {"root": _stem("root", generation.roots[0]), "intermediate": _stem("intermediate", _certificate(generation))}


def _certificate(generation: Generation) -> x509.Certificate:
    return generation.signer.certificate


def _stem(role: str, certificate: x509.Certificate) -> str:
    return f"{role}-{fingerprint(certificate)[:16]}"


def _files(generation: Generation) -> dict[str, bytes]:
    assert generation.root_key is not None, "a plugged-in CA is not ours to keep"
    names = _names(generation)
    return {
        f"{names['root']}-key.pem": generation.root_key.pem(),
        f"{names['root']}.pem": pem_of(generation.roots[0]).encode(),
        f"{names['intermediate']}-key.pem": generation.signer.key.pem(),
        f"{names['intermediate']}.pem": pem_of(_certificate(generation)).encode(),
    }


def _load_generation(folder: Path, names: Mapping[str, str]) -> Generation:
    root, root_key = _load_pair(folder, names["root"])
    certificate, key = _load_pair(folder, names["intermediate"])
    try:
        certificate.verify_directly_issued_by(root)
    except (ValueError, TypeError, InvalidSignature) as error:
        raise CaFileError(f"{folder / names['intermediate']}.pem is not signed by {names['root']}") from error
    ends = min(certificate.not_valid_after_utc, root.not_valid_after_utc)
    return Generation(roots=(root,), root_key=root_key, signer=Signer(certificate=certificate, key=key, ends=ends))


def _load_pair(folder: Path, stem: str) -> tuple[x509.Certificate, PrivateKey]:
    if Path(stem).name != stem:
        raise CaFileError(f"{folder / FILE} names a file outside of the folder")
    certificate = x509.load_pem_x509_certificate(read_file(folder / f"{stem}.pem"))
    return certificate, load_key(folder / f"{stem}-key.pem", certificate)


def load_key(path: Path, certificate: x509.Certificate) -> PrivateKey:
    """Read the private key of a certificate. CaFileError when it is missing, open to others, or another's."""
    content = read_private(path)
    if content is None:
        raise CaFileError(f"{path} is missing")
    try:
        key = PrivateKey.load(content)
    except KeyProblemError as problem:
        raise CaFileError(f"{path}: {problem}") from None
    if key.public != certificate.public_key():
        raise CaFileError(f"{path} is not the key of its certificate")
    return key


def _rotation(document: Mapping[str, str]) -> Rotation:
    return Rotation(
        phase=Phase(document["phase"]), since=_time(document["since"]), old_leaves_end=_time(document["old_leaves_end"])
    )


def _written(time: dt.datetime | None) -> str | None:
    return None if time is None else time.isoformat()


def _time(text: str | None) -> dt.datetime | None:
    if text is None:
        return None
    time = dt.datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError("a time without its zone")
    return time
