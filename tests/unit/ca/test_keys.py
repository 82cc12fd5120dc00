"""Keys and their files: what is read, who may read it, and that nothing shows one."""

from __future__ import annotations

import copy
import logging
import os
import pickle
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from lateen.ca.files import CaFileError, open_private_folder, read_file, read_private
from lateen.ca.keys import KeyProblemError, PrivateKey
from lateen.private_files import write_private


def pem(
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey, passphrase: bytes = b""
) -> bytes:
    lock = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, lock)


def test_a_key_survives_its_pem() -> None:
    key = PrivateKey.generate()

    assert PrivateKey.load(key.pem()).public == key.public


@pytest.mark.parametrize(
    "key",
    [ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)],
    ids=["EC", "RSA"],
)
def test_a_plugged_in_key_may_be_ec_or_rsa(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> None:
    assert PrivateKey.load(pem(key)).public == key.public_key()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a private key"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "not a private key"),
        (pem(ec.generate_private_key(ec.SECP256R1()), b"secret"), "encrypted"),
        (pem(ec.generate_private_key(ec.SECP521R1())), "must be"),
        (pem(rsa.generate_private_key(65537, 1024)), "must be"),
    ],
)
def test_what_is_no_usable_key_is_refused_without_quoting_it(content: bytes, words: str) -> None:
    with pytest.raises(KeyProblemError, match=words) as raised:
        PrivateKey.load(content)

    assert raised.value.__cause__ is None


def test_a_key_shows_nothing_of_itself(caplog: pytest.LogCaptureFixture) -> None:
    key = PrivateKey.generate()
    logging.getLogger().warning("%s %r", key, key)

    assert {repr(key), str(key), f"{key}", f"{key!r}", f"{key:>10}"} == {"PrivateKey(...)"}
    assert caplog.messages == ["PrivateKey(...) PrivateKey(...)"]
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="not copied or pickled"):
            leak(key)
    with pytest.raises(TypeError):
        vars(key)


def test_a_private_file_is_ours_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write_private(tmp_path / "key", b"one")
        write_private(tmp_path / "key", b"two")
        folder = open_private_folder(tmp_path / "a" / "b")
    finally:
        os.umask(before)

    assert (tmp_path / "key").read_bytes() == b"two"
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["key"]


def test_a_folder_of_another_user_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever made it before us, where all may make folders, could put his own keys into it."""
    open_private_folder(tmp_path / "ca")
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    if tmp_path.stat().st_uid != 0:
        with pytest.raises(CaFileError, match="belongs to another user"):
            open_private_folder(tmp_path / "ca")
    else:  # root may be anybody
        os.chown(tmp_path / "ca", 4712, -1)
        with pytest.raises(CaFileError, match="belongs to another user"):
            open_private_folder(tmp_path / "ca")


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "key").mkdir()

    with pytest.raises(OSError, match="key"):
        write_private(tmp_path / "key", b"one")
    assert [file.name for file in tmp_path.iterdir()] == ["key"]


def test_a_file_is_written_through_no_link(tmp_path: Path) -> None:
    """A link that somebody put there is replaced, not followed."""
    (tmp_path / "victim").write_bytes(b"theirs")
    (tmp_path / "key").symlink_to(tmp_path / "victim")
    write_private(tmp_path / "key", b"ours")

    assert (tmp_path / "victim").read_bytes() == b"theirs"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    (tmp_path / "key").write_bytes(b"key")
    (tmp_path / "key").chmod(mode)

    with pytest.raises(CaFileError, match=f"chmod 600 {tmp_path}/key"):
        read_private(tmp_path / "key")
    assert read_file(tmp_path / "key") == b"key"


def test_a_key_file_for_us_only_is_read(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"key")
    (tmp_path / "key").chmod(0o400)

    assert read_private(tmp_path / "key") == b"key"
    assert read_private(tmp_path / "none") is None
