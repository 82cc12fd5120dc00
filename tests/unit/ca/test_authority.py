"""The authority: what it signs, what a folder keeps of it, a plugged-in CA, and its part in a rotation."""

from __future__ import annotations

import datetime as dt
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store

from ca_requests import NOW, csr_for, new_key
from lateen.ca.authority import Authority
from lateen.ca.files import CaFileError
from lateen.ca.generations import root_signer
from lateen.ca.issue import Issued, Lifetimes, make_intermediate, make_root, pem_of
from lateen.ca.keys import PrivateKey
from lateen.ca.rotation import Facts, Phase, Times
from lateen.ca.values import Reason, Refused
from lateen.model.identities import Identity, control_plane_identity
from lateen.private_files import write_private

REVIEWS = Identity("cluster.local", "default", "reviews")
HOUR = dt.timedelta(hours=1)
DAY = 24 * HOUR


def opened(folder: Path | None = None, now: dt.datetime = NOW, **more: object) -> Authority:
    return Authority.open(folder, "cluster.local", now=now, **more)  # type: ignore[arg-type]


def issued(authority: Authority, now: dt.datetime = NOW, **more: object) -> Issued:
    made = authority.issue(csr_for(REVIEWS.uri), REVIEWS, now=now, **more)  # type: ignore[arg-type]
    assert isinstance(made, Issued)
    return made


def verifies(chain: tuple[str, ...], bundle: tuple[str, ...], at: dt.datetime) -> bool:
    """Whether a client that trusts the bundle accepts the chain, by a verifier that is not ours."""
    leaf, *above = (x509.load_pem_x509_certificate(pem.encode()) for pem in chain)
    store = Store([x509.load_pem_x509_certificate(pem.encode()) for pem in bundle])
    try:
        PolicyBuilder().store(store).time(at).build_client_verifier().verify(leaf, above)
    except x509.verification.VerificationError:
        return False
    return True


def leaf_of(made: Issued) -> x509.Certificate:
    return x509.load_pem_x509_certificate(made.chain[0].encode())


@pytest.mark.parametrize("kind", ["P-256", "P-384", "RSA", "Ed25519"])
def test_a_leaf_is_for_the_key_of_the_csr_and_the_proven_identity_only(kind: str) -> None:
    authority, key = opened(), new_key(kind)
    made = authority.issue(csr_for("", key), REVIEWS, now=NOW)
    assert isinstance(made, Issued)
    leaf = leaf_of(made)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)

    assert leaf.public_key() == key.public_key()
    assert [name.value for name in names.value] == [REVIEWS.uri]
    assert names.critical
    assert list(leaf.subject) == []
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert (leaf.not_valid_before_utc, leaf.not_valid_after_utc) == (NOW - dt.timedelta(minutes=5), NOW + DAY)
    assert leaf.serial_number == made.serial
    assert verifies(made.chain, authority.bundle(), NOW)
    assert not verifies(made.chain, opened().bundle(), NOW)


def test_a_csr_for_another_identity_is_refused() -> None:
    refused = opened().issue(csr_for("spiffe://cluster.local/ns/default/sa/admin"), REVIEWS, now=NOW)

    assert isinstance(refused, Refused)
    assert refused.reason is Reason.DENIED
    assert "sa/admin" in refused.message


def test_an_identity_of_another_trust_domain_is_refused() -> None:
    refused = opened().issue(csr_for(""), Identity("elsewhere", "default", "reviews"), now=NOW)

    assert isinstance(refused, Refused)
    assert refused.reason is Reason.DENIED


@pytest.mark.parametrize(
    ("asked", "given"),
    [(None, DAY), (HOUR, HOUR), (100 * DAY, DAY), (-HOUR, DAY), (dt.timedelta.max, DAY)],
)
def test_the_ttl_is_what_was_asked_within_the_policy(asked: dt.timedelta | None, given: dt.timedelta) -> None:
    assert issued(opened(), ttl=asked).not_after == NOW + given


def test_no_certificate_outlives_those_above_it() -> None:
    authority = opened(lifetimes=Lifetimes(root=10 * HOUR, intermediate=DAY))
    made = issued(authority)

    assert made.not_after == NOW + 10 * HOUR
    assert [each.not_after for each in authority.describe().intermediates] == [NOW + 10 * HOUR]


def test_an_expired_ca_signs_nothing_and_says_so() -> None:
    refused = opened(lifetimes=Lifetimes(root=HOUR)).issue(csr_for(""), REVIEWS, now=NOW + HOUR)

    assert isinstance(refused, Refused)
    assert refused.reason is Reason.UNAVAILABLE
    assert "expired" in refused.message


def test_the_control_planes_own_certificate_has_its_identity_and_its_hosts() -> None:
    authority = opened()
    serving = authority.serving(["localhost", "127.0.0.1"], now=NOW)
    chain = x509.load_pem_x509_certificates(serving.chain.encode())
    names = chain[0].extensions.get_extension_for_class(x509.SubjectAlternativeName).value

    assert [str(name.value) for name in names] == [
        control_plane_identity("cluster.local").uri,
        "localhost",
        "127.0.0.1",
    ]
    assert chain[0].public_key() == serving.key.public
    assert verifies(tuple(pem_of(each) for each in chain), authority.bundle(), NOW)


def test_a_folder_keeps_the_authority(tmp_path: Path) -> None:
    folder = tmp_path / "ca"
    before, after = opened(folder), opened(folder, NOW + DAY)

    assert before.bundle() == after.bundle()
    assert (before.is_new, after.is_new) == (True, False)
    assert verifies(issued(before).chain, after.bundle(), NOW)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}


def test_control_planes_that_start_together_make_one_root(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        bundles = set(pool.map(lambda _: opened(tmp_path / "ca").bundle(), range(8)))

    assert len(bundles) == 1


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    opened(tmp_path / "ca")
    key = next((tmp_path / "ca").glob("root-*-key.pem"))
    key.chmod(0o640)

    with pytest.raises(CaFileError, match=f"chmod 600 {key}"):
        opened(tmp_path / "ca")


def test_a_folder_that_others_can_write_to_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)

    with pytest.raises(CaFileError, match="others can write"):
        opened(tmp_path)


def test_another_trust_domains_folder_is_refused(tmp_path: Path) -> None:
    opened(tmp_path / "ca")

    with pytest.raises(CaFileError, match=r"trust domain 'cluster\.local'"):
        Authority.open(tmp_path / "ca", "elsewhere", now=NOW)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"version": 2, "trust_domain": "cluster.local"}',
        b'{"version": 1, "trust_domain": "cluster.local", "next": null, "current": {"root": "../x"}}',
        b'{"version": 1, "trust_domain": "cluster.local", "current": 3, "next": null, "rotation": {}}',
    ],
)
def test_a_broken_file_is_an_error_that_names_it(tmp_path: Path, content: bytes) -> None:
    opened(tmp_path / "ca")
    (tmp_path / "ca" / "authority.json").write_bytes(content)

    with pytest.raises(CaFileError, match=str(tmp_path)):
        opened(tmp_path / "ca")


def test_a_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    opened(tmp_path / "ca")
    one, other = (next((tmp_path / "ca").glob(f"{role}-*-key.pem")) for role in ("root", "intermediate"))
    one.write_bytes(other.read_bytes())

    with pytest.raises(CaFileError, match="not the key of its certificate"):
        opened(tmp_path / "ca")


def test_the_intermediate_is_renewed_at_half_its_life_and_nobody_notices(tmp_path: Path) -> None:
    authority = opened(tmp_path / "ca")
    old = issued(authority)
    bundle = authority.bundle()

    assert not authority.renew_intermediate(NOW + 182 * DAY)
    assert authority.renew_intermediate(NOW + 183 * DAY)
    assert not authority.renew_intermediate(NOW + 183 * DAY)
    again = opened(tmp_path / "ca", NOW + 183 * DAY)
    assert again.bundle() == bundle
    assert issued(again, NOW + 183 * DAY).chain[1] != old.chain[1]
    assert verifies(issued(again, NOW + 183 * DAY).chain, bundle, NOW + 183 * DAY)
    assert len(list((tmp_path / "ca").glob("*.pem"))) == 4


def test_an_intermediate_that_cannot_be_longer_is_not_renewed_at_every_look() -> None:
    authority = opened(lifetimes=Lifetimes(root=100 * DAY, intermediate=365 * DAY))

    assert not authority.renew_intermediate(NOW + 99 * DAY)


ALL_WELL = Facts(watching_since=NOW, absent=())


def rotate(authority: Authority, now: dt.datetime) -> list[tuple[Phase, dt.datetime]]:
    """Carry a rotation through; return when each phase was reached."""
    assert not isinstance(authority.start_rotation(now), Refused)
    phases = [(authority.rotation.phase, now)]
    while authority.rotation.phase is not Phase.STEADY:
        now += dt.timedelta(minutes=1)
        phases.append((authority.step_rotation(ALL_WELL, now).phase, now))
    return phases


def test_a_rotation_changes_trust_before_it_changes_who_signs(tmp_path: Path) -> None:
    authority = opened(tmp_path / "ca")
    old_bundle, old_leaf = authority.bundle(), issued(authority)
    authority.start_rotation(NOW)
    both = authority.bundle()
    distributing = issued(authority)
    authority.step_rotation(ALL_WELL, NOW + HOUR)
    switching = issued(authority)

    assert both[:1] == old_bundle
    assert len(both) == 2
    assert verifies(distributing.chain, old_bundle, NOW)
    assert not verifies(switching.chain, old_bundle, NOW)
    assert verifies(switching.chain, both, NOW)
    assert verifies(old_leaf.chain, authority.bundle(), NOW)
    assert verifies(
        tuple(pem_of(c) for c in x509.load_pem_x509_certificates(authority.serving(["a"], now=NOW).chain.encode())),
        old_bundle,
        NOW,
    )
    authority.step_rotation(ALL_WELL, NOW + 2 * HOUR)
    authority.step_rotation(ALL_WELL, NOW + 3 * HOUR)
    assert authority.rotation.phase is Phase.STEADY
    assert authority.bundle() == both[1:]
    assert len(list((tmp_path / "ca").glob("*.pem"))) == 4, "the old root's key is gone"


def test_a_restart_goes_on_with_a_rotation_where_it_was(tmp_path: Path) -> None:
    authority = opened(tmp_path / "ca")
    authority.start_rotation(NOW)
    authority.step_rotation(ALL_WELL, NOW + HOUR)
    again = opened(tmp_path / "ca", NOW + 2 * HOUR)

    assert again.rotation == authority.rotation
    assert again.rotation.phase is Phase.SWITCHING
    assert again.bundle() == authority.bundle()
    assert again.issuer_id() == authority.issuer_id()


@pytest.mark.parametrize("survives", range(5))
def test_a_crash_while_a_rotation_starts_leaves_the_state_of_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, survives: int
) -> None:
    """Whichever of the files is the last that is written."""
    authority = opened(tmp_path / "ca")
    before, written = authority.bundle(), 0

    def write(path: Path, content: bytes) -> None:
        nonlocal written
        if written == survives:
            raise OSError("No space left on device")
        written += 1
        write_private(path, content)

    monkeypatch.setattr("lateen.ca.keeping.write_private", write)
    with pytest.raises(CaFileError, match="No space left"):
        authority.start_rotation(NOW)
    monkeypatch.undo()

    assert authority.rotation.phase is Phase.STEADY
    assert authority.bundle() == before == opened(tmp_path / "ca").bundle()
    assert not isinstance(authority.start_rotation(NOW), Refused), "and it can be tried again"


def test_another_control_plane_on_the_folder_follows(tmp_path: Path) -> None:
    one, other = opened(tmp_path / "ca"), opened(tmp_path / "ca")
    one.start_rotation(NOW)

    assert other.refresh(NOW)
    assert not other.refresh(NOW)
    assert other.bundle() == one.bundle()
    assert isinstance(other.start_rotation(NOW), Refused)


def test_a_rotation_says_whom_it_waits_for() -> None:
    authority = opened()
    authority.start_rotation(NOW)
    authority.step_rotation(Facts(watching_since=NOW, distrusting=("a.default",), absent=()), NOW + HOUR)
    shown = authority.describe()

    assert shown.phase is Phase.DISTRIBUTING
    assert shown.waits_for == ("a.default to trust the new root",)
    assert [root.signs for root in shown.roots] == [True, False]
    assert authority.step_rotation(ALL_WELL, NOW + HOUR, force=True).phase is Phase.SWITCHING


def test_two_rotations_one_after_the_other() -> None:
    authority = opened(times=Times(least=dt.timedelta(0)))
    first = authority.bundle()
    rotate(authority, NOW)
    second = authority.bundle()
    rotate(authority, NOW + DAY)

    assert len({first, second, authority.bundle()}) == 3


def plug_in(folder: Path, *, chain: bool = True, roots: int = 1) -> tuple[str, ...]:
    """Write a CA as Istio's users do; return the roots."""
    folder.mkdir(exist_ok=True)
    keys = [PrivateKey.generate() for _ in range(roots + 1)]
    made = [make_root(key, "theirs", now=NOW, serial=n + 1, lifetime=DAY) for n, key in enumerate(keys[1:])]
    signer = make_intermediate(
        keys[0].public, root_signer(made[0], keys[1]), "theirs", now=NOW, serial=9, lifetime=20 * HOUR
    )
    (folder / "ca-cert.pem").write_text(pem_of(signer))
    (folder / "ca-key.pem").write_bytes(keys[0].pem())
    (folder / "ca-key.pem").chmod(0o600)
    (folder / "root-cert.pem").write_text("".join(pem_of(root) for root in made))
    if chain:
        (folder / "cert-chain.pem").write_text(pem_of(signer) + pem_of(made[0]))
    return tuple(pem_of(root) for root in made)


@pytest.mark.parametrize("chain", [True, False])
def test_a_plugged_in_ca_signs(tmp_path: Path, chain: bool) -> None:
    roots = plug_in(tmp_path / "theirs", chain=chain, roots=2)
    authority = opened(plugged=tmp_path / "theirs")
    made = issued(authority)

    assert authority.bundle() == roots
    assert verifies(made.chain, roots[:1], NOW)
    assert len(made.chain) == 2
    assert made.not_after == NOW + 20 * HOUR
    assert [root.signs for root in authority.describe().roots] == [True, False]
    assert not authority.renew_intermediate(NOW + 15 * HOUR)
    refused = authority.start_rotation(NOW)
    assert isinstance(refused, Refused)
    assert "--ca-files" in refused.message


def test_a_plugged_in_ca_is_read_again_when_its_files_change(tmp_path: Path) -> None:
    plug_in(tmp_path / "theirs")
    authority = opened(plugged=tmp_path / "theirs")
    assert not authority.refresh(NOW)
    roots = plug_in(tmp_path / "theirs")

    assert authority.refresh(NOW)
    assert authority.bundle() == roots
    (tmp_path / "theirs" / "root-cert.pem").write_text("nonsense")
    with pytest.raises(CaFileError, match=r"root-cert\.pem is not PEM"):
        authority.refresh(NOW)
    assert authority.bundle() == roots


def test_a_plugged_in_ca_that_could_not_sign_is_refused(tmp_path: Path) -> None:
    def refused_with(words: str) -> None:
        with pytest.raises(CaFileError, match=words):
            opened(plugged=tmp_path)

    refused_with("ca-cert.pem is missing")
    plug_in(tmp_path)
    (tmp_path / "root-cert.pem").write_text(opened().bundle()[0])
    refused_with("no root of")
    plug_in(tmp_path)
    (tmp_path / "ca-key.pem").chmod(0o644)
    refused_with("others can read")
    (tmp_path / "ca-key.pem").chmod(0o600)
    (tmp_path / "ca-key.pem").write_bytes(PrivateKey.generate().pem())
    refused_with("not the key")
    plug_in(tmp_path)
    with pytest.raises(CaFileError, match="not now"):
        opened(plugged=tmp_path, now=NOW + DAY)
    serving = opened().serving(["a"], now=NOW)
    (tmp_path / "ca-cert.pem").write_text(serving.chain)
    (tmp_path / "ca-key.pem").write_bytes(serving.key.pem())
    refused_with("may sign")


def test_a_self_signed_plugged_in_ca_is_its_own_root(tmp_path: Path) -> None:
    key = PrivateKey.generate()
    root = make_root(key, "theirs", now=NOW, serial=1, lifetime=DAY)
    for name in ("ca-cert.pem", "root-cert.pem", "cert-chain.pem"):
        (tmp_path / name).write_text(pem_of(root))
    (tmp_path / "ca-key.pem").write_bytes(key.pem())
    (tmp_path / "ca-key.pem").chmod(0o600)
    authority = opened(plugged=tmp_path)

    assert verifies(issued(authority).chain, (pem_of(root),), NOW)
    assert authority.describe().roots[0].signs
