"""Tokens: what is granted, what is refused and why, what a folder keeps, and that no bytes crash the verifier."""

from __future__ import annotations

import base64
import datetime as dt
import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt as jose
from joserfc.jwk import ECKey, OctKey

from ca_requests import NOW
from lateen.ca.authority import Authority
from lateen.ca.files import CaFileError
from lateen.ca.keys import PrivateKey
from lateen.ca.local import LocalProofs
from lateen.ca.tokens import MAX_RECORDS, Audience, Tokens
from lateen.ca.values import Grant, Reason, Refused
from lateen.model.identities import Identity

HOUR = dt.timedelta(hours=1)
DAY = 24 * HOUR
SECOND = dt.timedelta(seconds=1)
TOKENS = Tokens.open(None, "cluster.local")


def join_token(tokens: Tokens = TOKENS, **more: object) -> str:
    fields: dict[str, object] = {"now": NOW, "ttl": HOUR, **more}
    return tokens.create_join("default", "reviews", **fields)[0]  # type: ignore[arg-type]


def reason(token: str, *, now: dt.datetime = NOW, tokens: Tokens = TOKENS, audience: Audience = Audience.JOIN) -> str:
    refused = tokens.verify(token, audience, now)
    assert isinstance(refused, Refused), "it was taken"
    assert refused.reason is Reason.UNPROVEN
    assert len(token) < 40 or token not in refused.message
    return refused.message


def forged(**claims: object) -> str:
    """A token with other claims, signed by the real key: what must be refused for its claims alone."""
    found = {**jose.decode(join_token(), TOKENS._key, algorithms=["ES256"]).claims, **claims}
    kept = {name: value for name, value in found.items() if value is not None}
    return jose.encode({"alg": "ES256", "kid": TOKENS._kid}, kept, TOKENS._key)


def test_a_join_token_grants_its_identity() -> None:
    token, record = TOKENS.create_join("default", "*", now=NOW, ttl=HOUR)
    grant = TOKENS.verify(token, Audience.JOIN, NOW)

    assert isinstance(grant, Grant)
    assert (grant.namespace, grant.service_account, grant.role) == ("default", "*", "")
    assert grant.token == record.id
    assert grant.allows(Identity("cluster.local", "default", "anything"))
    assert not grant.allows(Identity("cluster.local", "other", "anything"))


def test_an_api_token_grants_its_role_and_no_identity() -> None:
    token, record = TOKENS.create_api("editor", "ci", now=NOW, ttl=HOUR)
    grant = TOKENS.verify(token, Audience.API, NOW)

    assert isinstance(grant, Grant)
    assert (grant.role, grant.who, grant.names_one) == ("editor", "ci", False)
    assert not grant.allows(Identity("cluster.local", "default", "reviews"))
    assert record.role == "editor"


def test_a_join_token_says_where_to_join_and_whom_to_trust() -> None:
    roots = Authority.open(None, "cluster.local", now=NOW).bundle()
    claims = TOKENS.read(join_token(roots=roots, join_port=15013), Audience.JOIN, NOW)

    assert not isinstance(claims, Refused)
    assert claims.join_port == 15013
    der = base64.b64decode(claims.roots[0])
    assert base64.b64encode(der).decode() in roots[0].replace("\n", "")


def test_a_token_is_valid_until_it_expires() -> None:
    token = join_token()

    assert isinstance(TOKENS.verify(token, Audience.JOIN, NOW + HOUR - SECOND), Grant)
    assert "expired" in reason(token, now=NOW + HOUR)


def test_a_token_of_a_clock_that_is_ahead_is_taken_within_a_minute() -> None:
    token = join_token(now=NOW + 61 * SECOND)

    assert isinstance(TOKENS.verify(token, Audience.JOIN, NOW + SECOND), Grant)
    assert "future" in reason(token, now=NOW)


def test_a_token_of_one_audience_is_not_taken_for_another() -> None:
    assert "for lateen-join" in reason(join_token(), audience=Audience.API)
    assert "for lateen-api" in reason(TOKENS.create_api("admin", "me", now=NOW, ttl=HOUR)[0])


def test_a_token_of_another_control_plane_or_trust_domain_is_refused(tmp_path: Path) -> None:
    assert "not made by this" in reason(join_token(), tokens=Tokens.open(None, "cluster.local"))
    elsewhere = join_token(Tokens.open(tmp_path, "elsewhere"))
    assert "another trust domain" in reason(elsewhere, tokens=Tokens.open(tmp_path, "cluster.local"))


def test_a_token_for_one_use_is_used_up_for_good(tmp_path: Path) -> None:
    tokens = Tokens.open(tmp_path, "cluster.local")
    token = join_token(tokens, once=True)

    assert isinstance(tokens.verify(token, Audience.JOIN, NOW), Grant)
    assert "was used" in reason(token, tokens=tokens)
    assert "was used" in reason(token, tokens=Tokens.open(tmp_path, "cluster.local"))
    assert [record.state(NOW) for record in tokens.records(NOW)] == ["used"]


def test_of_many_at_once_one_uses_a_token(tmp_path: Path) -> None:
    """In one process or in several."""
    planes = [Tokens.open(tmp_path, "cluster.local") for _ in range(4)]
    token = join_token(planes[0], once=True)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: planes[n % 4].verify(token, Audience.JOIN, NOW), range(16)))

    assert sum(isinstance(answer, Grant) for answer in answers) == 1


def test_a_revoked_token_is_refused_by_all_control_planes(tmp_path: Path) -> None:
    one, other = (Tokens.open(tmp_path, "cluster.local") for _ in range(2))
    token, record = one.create_join("default", "reviews", now=NOW, ttl=HOUR)
    assert isinstance(other.verify(token, Audience.JOIN, NOW), Grant), "made by another, found by looking"
    revoked = one.revoke(record.id, NOW)
    other.refresh()

    assert revoked is not None
    assert revoked.state(NOW) == "revoked"
    assert "revoked" in reason(token, tokens=one)
    assert "revoked" in reason(token, tokens=other)
    assert one.revoke("nonsense", NOW) is None


def test_records_are_listed_and_forgotten_a_day_after_their_end(tmp_path: Path) -> None:
    tokens = Tokens.open(tmp_path, "cluster.local")
    _, record = tokens.create_join("default", "reviews", now=NOW, ttl=HOUR)

    assert tokens.records(NOW) == (record,)
    assert [each.state(NOW + DAY) for each in tokens.records(NOW + DAY)] == ["expired"]
    assert tokens.records(NOW + HOUR + DAY) == ()
    tokens.create_api("viewer", "me", now=NOW + 2 * DAY, ttl=HOUR)
    assert record.id not in (tmp_path / "tokens.json").read_text()


def test_a_token_whose_record_is_gone_is_refused(tmp_path: Path) -> None:
    tokens = Tokens.open(tmp_path, "cluster.local")
    token = join_token(tokens)
    (tmp_path / "tokens.json").unlink()

    assert "not known" in reason(token, tokens=Tokens.open(tmp_path, "cluster.local"))


def test_the_folder_holds_no_token_and_nothing_for_others(tmp_path: Path) -> None:
    tokens = Tokens.open(tmp_path, "cluster.local")
    token = join_token(tokens)

    for file in tmp_path.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert token.encode() not in file.read_bytes()
        assert token.split(".")[2].encode() not in file.read_bytes()


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"version": 9}', b'{"version": 1, "tokens": [{"id": 1}]}'])
def test_a_broken_file_of_records_is_an_error_that_names_it(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tokens.json").write_bytes(content)

    with pytest.raises(CaFileError, match=r"tokens\.json"):
        Tokens.open(tmp_path, "cluster.local")


@pytest.mark.parametrize(
    ("namespace", "account", "ttl"),
    [("a b", "c", HOUR), ("", "c", HOUR), ("a", "b/c", HOUR), ("*", "*", -HOUR), ("*", "*", 5000 * DAY)],
)
def test_what_is_no_token_to_join_is_not_made(namespace: str, account: str, ttl: dt.timedelta) -> None:
    with pytest.raises(ValueError, match=r"is not a namespace|a token lasts"):
        TOKENS.create_join(namespace, account, now=NOW, ttl=ttl)


def test_what_is_no_token_for_the_api_is_not_made() -> None:
    with pytest.raises(ValueError, match="not a role"):
        TOKENS.create_api("root", "me", now=NOW, ttl=HOUR)
    with pytest.raises(ValueError, match="the name says"):
        TOKENS.create_api("admin", "a\nb", now=NOW, ttl=HOUR)
    roots = Authority.open(None, "cluster.local", now=NOW).bundle() * 12
    with pytest.raises(ValueError, match="roots are too many"):
        join_token(roots=roots)


def test_there_is_an_end_to_tokens() -> None:
    tokens = Tokens.open(None, "cluster.local")
    _, record = tokens.create_join("default", "reviews", now=NOW, ttl=HOUR)
    tokens._records._known = dict.fromkeys(map(str, range(MAX_RECORDS)), record)

    with pytest.raises(ValueError, match="let some expire"):
        join_token(tokens)


def segment(document: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")


def public_pem(tokens: Tokens) -> bytes:
    return PrivateKey.load(tokens._key.as_pem(private=True)).public.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


@pytest.mark.filterwarnings("ignore")  # of the library that is asked to do what nobody should
def test_other_algorithms_are_refused_whatever_the_key_says() -> None:
    """RFC 8725, 2.1: `none`, and the public key as a shared secret."""
    _, payload, signature = join_token().split(".")
    for algorithm in ("none", "None", "HS256", "RS256", "ES384", "", None, 5, ["ES256"]):
        header = segment({"alg": algorithm, "kid": TOKENS._kid})
        for signed in ("", signature):
            assert "not made by this" in reason(f"{header}.{payload}.{signed}") or not signed
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    secret = OctKey.import_key(base64.b64encode(public_pem(TOKENS)))
    symmetric = jose.encode({"alg": "HS256", "kid": TOKENS._kid}, claims, secret, algorithms=["HS256"])
    assert "not made by this" in reason(symmetric)


def test_another_key_is_refused_whether_it_says_so_or_not() -> None:
    other = ECKey.generate_key("P-256")
    claims = dict(jose.decode(join_token(), TOKENS._key, algorithms=["ES256"]).claims)

    assert "not made by this" in reason(jose.encode({"alg": "ES256", "kid": "other"}, claims, other))
    assert "not made by this" in reason(jose.encode({"alg": "ES256"}, claims, TOKENS._key))
    assert "not ours" in reason(jose.encode({"alg": "ES256", "kid": TOKENS._kid}, claims, other))
    given = {"alg": "ES256", "kid": TOKENS._kid, "jwk": other.as_dict(private=False)}
    assert "not ours" in reason(jose.encode(given, claims, other)), "a token does not bring its own key"


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "somebody"}, {"iss": None}, {"aud": "x"}, {"aud": ["lateen-join"]}, {"aud": None}, {"td": None},
        {"td": ["cluster.local"]}, {"exp": None}, {"exp": "9999999999"}, {"exp": 9e9}, {"exp": True}, {"exp": -1},
        {"exp": 1 << 70}, {"iat": None}, {"iat": "0"}, {"iat": 1 << 39}, {"jti": None}, {"jti": 5},
        {"jti": "unknown"}, {"sub": "default"}, {"sub": "a/b/c"}, {"sub": None}, {"once": None}, {"once": "yes"},
        {"exp": int(NOW.timestamp())},
    ],
    ids=str,
)  # fmt: skip
def test_claims_that_are_not_ours_are_refused_even_if_signed(claims: dict[str, object]) -> None:
    assert reason(forged(**claims))


@pytest.mark.parametrize(
    "token",
    ["", ".", "..", "...", "a.b.c", "é.é.é", "\x00", "e30.e30.e30", "W10.W10.W10", "." * 9000, "A" * 8193,
     base64.urlsafe_b64encode(b"[" * 6000).decode().rstrip("=")[:8000] + ".e30.AAAA"],
)  # fmt: skip
def test_what_is_no_jwt_is_refused(token: str) -> None:
    assert "not a JWT" in reason(token) or "not made by this" in reason(token)


GOOD = join_token(ttl=DAY)


@given(st.text(max_size=300))
def test_no_text_crashes_it(text: str) -> None:
    header, payload, signature = GOOD.split(".")
    for token in (text, f"{text}.{payload}.{signature}", f"{header}.{text}.{signature}", f"{header}.{payload}.{text}"):
        if token != GOOD:
            assert reason(token)


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 127), st.sampled_from(["replace", "insert", "delete"]))
def test_no_change_to_a_good_token_is_taken(at: int, byte: int, how: str) -> None:
    middle = {"replace": chr(byte), "insert": chr(byte) + GOOD[at], "delete": ""}[how]
    changed = GOOD[:at] + middle + GOOD[at + 1 :]
    if changed != GOOD:
        assert reason(changed)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    ),
    st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jku", "x5c", "zip", "cty", "other"]),
)
def test_no_header_crashes_it(value: object, name: str) -> None:
    _, payload, signature = GOOD.split(".")
    header = {"alg": "ES256", "kid": TOKENS._kid, "typ": "JWT", name: value}

    assert reason(f"{segment(header)}.{payload}.{signature}x")


def test_the_local_proofs_are_for_our_user_only_and_are_taken(tmp_path: Path) -> None:
    tokens = Tokens.open(tmp_path, "cluster.local")
    proofs = LocalProofs(tokens, tmp_path)
    roots = Authority.open(None, "cluster.local", now=NOW).bundle()

    assert proofs.refresh(NOW, roots=roots, join_port=15013)
    join, admin = proofs.join_token, proofs.admin_token
    assert (join, admin) == (tmp_path / "local" / "join-token", tmp_path / "local" / "admin-token")
    assert {stat.S_IMODE(file.stat().st_mode) for file in (join, admin)} == {0o600}
    assert stat.S_IMODE(join.parent.stat().st_mode) == 0o700
    joins = tokens.verify(join.read_text(), Audience.JOIN, NOW)
    administers = tokens.verify(admin.read_text(), Audience.API, NOW)
    assert isinstance(joins, Grant)
    assert isinstance(administers, Grant)
    assert (joins.namespace, joins.service_account, administers.role) == ("*", "*", "admin")


def test_the_local_proofs_are_made_anew_when_they_have_to_be(tmp_path: Path) -> None:
    tokens = Tokens.open(tmp_path, "cluster.local")
    roots = Authority.open(None, "cluster.local", now=NOW).bundle()
    proofs = LocalProofs(tokens, tmp_path)
    proofs.refresh(NOW, roots=roots, join_port=1)

    assert not proofs.refresh(NOW + 11 * HOUR, roots=roots, join_port=1)
    assert not LocalProofs(Tokens.open(tmp_path, "cluster.local"), tmp_path).refresh(NOW, roots=roots, join_port=1)
    assert LocalProofs(tokens, tmp_path).refresh(NOW, roots=roots, join_port=2)
    assert proofs.refresh(NOW, roots=(), join_port=2)
    assert proofs.refresh(NOW + 12 * HOUR, join_port=2)
    proofs.join_token.chmod(0o644)
    assert proofs.refresh(NOW + 12 * HOUR, join_port=2), "somebody may have read it"
    proofs.join_token.write_bytes(b"\xff nonsense")
    assert proofs.refresh(NOW + 12 * HOUR, join_port=2)
    assert not proofs.refresh(NOW + 12 * HOUR, roots=roots * 20, join_port=2), "too many roots: none"
