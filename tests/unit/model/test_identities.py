"""An identity reads back from what it writes, and nothing else is one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lateen.model.identities import Identity

PARTS = st.from_regex(r"[a-z0-9][a-z0-9-]{0,20}", fullmatch=True)


@given(PARTS, PARTS, PARTS)
def test_reads_what_it_writes(trust_domain: str, namespace: str, service_account: str) -> None:
    identity = Identity(trust_domain, namespace, service_account)
    assert Identity.parse(identity.uri) == identity


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "spiffe://",
        "spiffe://a/ns/b",
        "spiffe://a/ns/b/sa/",
        "spiffe://a/ns//sa/c",
        "spiffe://a/ns/b/sa/c/",
        "spiffe://a/ns/b/sa/c/d",
        "spiffe://a/ns/../sa/c",
        "spiffe://a/ns/b/sa/c?x",
        "spiffe://a/ns/b/sa/c#x",
        "spiffe://a/ns/b%2f/sa/c",
        "spiffe://A/ns/b/sa/c",
        "spiffe://a:1/ns/b/sa/c",
        "spiffe://u@a/ns/b/sa/c",
        "SPIFFE://a/ns/b/sa/c",
        "https://a/ns/b/sa/c",
        "spiffe://a/sa/b/ns/c",
        "spiffe://a/ns/b/sa/c\n",
        "spiffe://a/ns/b/sa/" + "c" * 3000,
    ],
)
def test_anything_else_is_refused(uri: str) -> None:
    with pytest.raises(ValueError, match="is not"):
        Identity.parse(uri)


@given(st.text(max_size=100))
def test_no_text_is_read_as_another_one(text: str) -> None:
    try:
        found = Identity.parse(text)
    except ValueError:
        return
    assert found.uri == text
