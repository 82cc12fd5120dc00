"""What Envoy would refuse in a TLS Secret."""

from __future__ import annotations

import pytest

from key_pairs import encoded, key_pair
from lateen.config.certificates import ca_of, certificate_of, certificate_problem
from lateen.config.kubernetes import Secret


def test_a_good_pair_is_read_under_both_names() -> None:
    chain, key = key_pair()
    assert certificate_of(Secret(data={"tls.crt": encoded(chain), "tls.key": encoded(key)})) == (chain, key)
    assert certificate_of(Secret(string_data={"cert": chain.decode(), "key": key.decode()})) == (chain, key)
    assert certificate_problem(chain, key) == ""
    assert ca_of(Secret(data={"ca.crt": encoded(chain)})) == chain


@pytest.mark.parametrize(
    ("chain", "key", "problem"),
    [
        (b"junk", key_pair()[1], "the certificate is not PEM"),
        (b"", key_pair()[1], "the certificate is not PEM"),
        (key_pair()[0], b"junk", "not an unencrypted PEM private key"),
        (key_pair()[0], key_pair("other.example.com")[1], "not that of the certificate"),
    ],
)
def test_what_envoy_would_refuse_is_named_and_never_quoted(chain: bytes, key: bytes, problem: str) -> None:
    found = certificate_problem(chain, key)
    assert problem in found
    assert "junk" not in found
