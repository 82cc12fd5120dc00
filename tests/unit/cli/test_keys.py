"""Keys and CSRs that are made on this host."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from lateen.cli.exits import Failure
from lateen.cli.keys import MAX_CSR, new_key, read_csr, write_files


def test_the_csr_is_of_the_key() -> None:
    key, csr = new_key()
    made = x509.load_pem_x509_csr(csr.encode())

    assert made.is_signature_valid
    assert made.public_key() == load_pem_private_key(key.encode(), None).public_key()


def test_files_are_their_owners_only_and_replaced_whole(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    write_files(folder, {"key.pem": "old", "cert-chain.pem": "old"})
    write_files(folder, {"key.pem": "new", "cert-chain.pem": "new"})

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert sorted(path.name for path in folder.iterdir()) == ["cert-chain.pem", "key.pem"]
    for path in folder.iterdir():
        assert path.read_text() == "new"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_link_is_replaced_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "key.pem").symlink_to(tmp_path / "precious")
    write_files(tmp_path, {"key.pem": "new"})

    assert (tmp_path / "precious").read_text() == "precious"
    assert (tmp_path / "key.pem").read_text() == "new"


def test_a_folder_that_cannot_be_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Failure, match="--out"):
        write_files(tmp_path / "file", {"key.pem": "new"})


def test_a_csr_is_read(tmp_path: Path) -> None:
    _, csr = new_key()
    (tmp_path / "csr.pem").write_text(csr)

    assert read_csr(tmp_path / "csr.pem") == csr


@pytest.mark.parametrize("content", ["", "x" * (MAX_CSR + 1), "-----BEGIN CERTIFICATE-----", "\xe9"])
def test_what_is_no_csr_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "csr.pem").write_text(content)
    with pytest.raises(Failure, match="not a CSR"):
        read_csr(tmp_path / "csr.pem")


def test_a_key_is_not_sent(tmp_path: Path) -> None:
    key, csr = new_key()
    (tmp_path / "csr.pem").write_text(key + csr)
    with pytest.raises(Failure, match="private key, which must not leave") as raised:
        read_csr(tmp_path / "csr.pem")

    assert key.splitlines()[1] not in str(raised.value)
