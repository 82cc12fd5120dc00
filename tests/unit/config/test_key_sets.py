"""Key sets that others wrote: whatever they hold, public keys that Envoy can use are kept, or an error is said."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lateen.api.answers import hide_private
from lateen.config.key_sets import (
    KeySetError,
    is_discovery,
    key_set_problem,
    key_source,
    key_sources,
    read_discovery,
    read_key_set,
    without_private_members,
)
from lateen.config.redaction import redacted
from lateen.config.security import JWTRule
from tokens import key_set, signing_key

RSA, EC = signing_key("rsa"), signing_key("ec", "ES256")
PUBLIC = {"kty", "kid", "alg", "use", "n", "e", "crv", "x", "y"}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
members = st.sampled_from(("kty", "kid", "alg", "use", "n", "e", "crv", "x", "y", "d", "k"))
values = (
    st.sampled_from(("RSA", "EC", "OKP", "oct", "P-256", "Ed25519", "AQAB", "", "AA", "!", "sig", "enc")) | json_values
)
keys = st.dictionaries(members, values) | json_values
documents = st.builds(lambda found: {"keys": found}, st.lists(keys, max_size=4) | json_values) | json_values


def read(document: Any) -> Any:
    return json.loads(read_key_set(json.dumps(document).encode()))


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_read_or_refused(content: bytes) -> None:
    """Nothing but KeySetError comes out of either reader."""
    for reader in (read_key_set, read_discovery):
        with suppress(KeySetError):
            assert reader(content)


@given(documents)
def test_arbitrary_documents_are_read_or_refused(document: Any) -> None:
    """What is kept of any JSON is public members of keys."""
    content = json.dumps(document).encode()
    key_set_problem(content.decode())
    try:
        kept = json.loads(read_key_set(content))
    except KeySetError:
        return
    assert kept["keys"]
    assert all(key.keys() <= PUBLIC for key in kept["keys"])


def test_deep_and_large_documents_are_refused() -> None:
    """As an error of the document, not of the control plane."""
    for content in (b"[" * 100_000, b'{"keys":' * 50_000, b'{"keys":[' + b"{}," * 1000 + b"{}]}"):
        with pytest.raises(KeySetError):
            read_key_set(content)


def test_private_and_foreign_members_are_dropped() -> None:
    """A server that publishes its private key by mistake does not have it copied to every proxy."""
    private = {**RSA.as_dict(private=True), "x5c": ["MIIB"], "internal": "s3cret"}

    (kept,) = read({"keys": [private], "more": "s3cret"})["keys"]

    assert kept == RSA.as_dict(private=False)


def test_equal_keys_give_equal_text() -> None:
    """Members in another order, spaces, or foreign members are no change of the keys."""
    one = RSA.as_dict(private=False)
    other = dict(reversed(one.items())) | {"x5t": "a"}

    assert read_key_set(json.dumps({"keys": [one]}).encode()) == read_key_set(
        json.dumps({"keys": [other]}, indent=2).encode()
    )


def test_unusable_keys_are_passed_over() -> None:
    """Keys of unknown kinds, for encryption, symmetric or broken do not hide those that can be used."""
    good = EC.as_dict(private=False)
    others = [
        {"kty": "AKP", "pub": "AA"},
        {"kty": "oct", "k": "c2VjcmV0"},
        {**RSA.as_dict(private=False), "use": "enc"},
        {"kty": "RSA", "n": "AQAB"},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
        {"kty": "EC", "crv": "secp256k1", "x": good["x"], "y": good["y"]},
        {"kty": ["RSA"]},
        "key",
        None,
    ]

    assert read({"keys": [*others, good]})["keys"] == [good]
    with pytest.raises(KeySetError, match="no public"):
        read({"keys": others})


def test_inline_key_sets() -> None:
    """Keys that stand in a document must all be right; symmetric ones may stand there."""
    assert key_set_problem(key_set(RSA, EC)) == ""
    assert key_set_problem('{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}') == ""
    assert "key 1" in key_set_problem(json.dumps({"keys": [RSA.as_dict(private=False), {"kty": "RSA"}]}))
    assert key_set_problem("") == "the answer is not JSON"


def test_private_members_of_inline_keys() -> None:
    """What only a signer needs goes nowhere; a secret that both share goes to proxies, and is not shown."""
    shared = {"kty": "oct", "k": "c2VjcmV0", "kid": "s"}
    text = json.dumps({"keys": [RSA.as_dict(private=True), EC.as_dict(private=False), shared]})

    served = json.loads(without_private_members(text))["keys"]
    shown = json.loads(without_private_members(text, hidden="-"))["keys"]

    assert served == [RSA.as_dict(private=False), EC.as_dict(private=False), shared]
    assert shown[1] == EC.as_dict(private=False)
    assert shown[2] == {"kty": "oct", "k": "-", "kid": "s"}
    assert {shown[0][name] for name in ("d", "p", "q", "dp", "dq", "qi")} == {"-"}
    assert without_private_members(key_set(RSA)) == key_set(RSA)
    assert without_private_members("nonsense", hidden="-") == "-"


def test_documents_are_shown_without_secrets() -> None:
    """Also not in the copy that kubectl keeps of them."""
    rule = {"issuer": "a", "jwks": '{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}'}
    note = {"kubectl.kubernetes.io/last-applied-configuration": json.dumps(rule)}
    document = {
        "kind": "RequestAuthentication",
        "metadata": {"name": "a", "annotations": note},
        "spec": {"jwtRules": [rule]},
    }
    assert "c2VjcmV0" not in str(redacted(document))
    assert "c2VjcmV0" in str(document)
    rule["jwks"] = key_set(RSA)
    assert redacted(document) is document
    shown = hide_private(
        {"origins-0": {"local_jwks": {"inline_string": '{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}'}}}
    )
    assert "c2VjcmV0" not in str(shown)


def test_sources() -> None:
    """Inline keys need none; a URI is one; else the issuer's discovery document is."""
    assert key_source(JWTRule(issuer="a", jwks="{}")) == ""
    assert key_source(JWTRule(issuer="a", jwks_uri="https://a/k")) == "https://a/k"
    assert key_source(JWTRule(issuer="a", jwks_uri_snake="https://a/k")) == "https://a/k"
    for issuer in ("https://a/realm", "https://a/realm/"):
        source = key_source(JWTRule(issuer=issuer))
        assert source == "https://a/realm/.well-known/openid-configuration"
        assert is_discovery(source)
    assert not is_discovery("https://a/k")


def test_rules_of_one_source_share_it() -> None:
    """It is fetched with the longest of their time-outs; the default is Istio's 5 s."""
    rules = [
        JWTRule(issuer="a", jwks_uri="https://a/k", timeout="2s"),
        JWTRule(issuer="b", jwks_uri="https://a/k", timeout="30s"),
        JWTRule(issuer="https://c"),
        JWTRule(issuer="d", jwks="{}"),
    ]

    assert key_sources(rules) == {"https://a/k": 30.0, "https://c/.well-known/openid-configuration": 5.0}


@pytest.mark.parametrize("document", ["", "{}", '{"jwks_uri": 1}', '{"jwks_uri": ""}', "[]"])
def test_discovery_documents_without_keys(document: str) -> None:
    with pytest.raises(KeySetError):
        read_discovery(document.encode())
