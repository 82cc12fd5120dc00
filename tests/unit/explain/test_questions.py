"""Questions as they are typed: what is understood, and what is said about the rest."""

from __future__ import annotations

import pytest

from lateen.explain.questions import QuestionError, decoded_token, question, without_signatures
from lateen.model.proxies import Proxy, ProxyType

CALLER = Proxy(type=ProxyType.SIDECAR, name="web-1", namespace="default", addresses=("10.0.0.9",))
TOKEN = "eyJhbGciOiJub25lIn0.eyJpc3MiOiJtZSIsInN1YiI6InlvdSJ9.c2lnbmF0dXJl"


def test_a_request_is_understood() -> None:
    asked = question(CALLER, "GET http://Reviews:9080/a?b=c", headers=["X-A=1", "x-a: 2", "x-b==x="])

    assert (asked.method, asked.host, asked.port, asked.path) == ("GET", "reviews", 9080, "/a?b=c")
    assert asked.authority == "Reviews:9080", "as clients send it"
    assert asked.headers == {"x-a": "1,2", "x-b": "=x="}
    assert asked.url == "http://Reviews:9080/a?b=c"


def test_the_default_port_is_not_in_the_host() -> None:
    asked = question(CALLER, "GET http://reviews HTTP/1.1")

    assert (asked.authority, asked.port, asked.path) == ("reviews", 80, "/")


def test_a_host_header_is_what_is_sent() -> None:
    asked = question(CALLER, "GET http://reviews:9080/", headers=["Host=shop.example"])

    assert (asked.host, asked.authority) == ("reviews", "shop.example")
    assert "host" not in asked.headers


@pytest.mark.parametrize(
    ("request_line", "options", "words"),
    [
        ("http://reviews/", {}, "has no method"),
        ("GET reviews", {}, "not an http://, https:// or tcp:// URL"),
        ("GET ftp://reviews/", {}, "not an http://, https:// or tcp:// URL"),
        ("GET http:///x", {}, "not an http://, https:// or tcp:// URL"),
        ("GET http://reviews:99999/", {}, "no port"),
        ("GET http://[::/", {}, "not a URL"),
        ("", {}, "not a method and a URL"),
        ("GET http://a/ b c", {}, "not a method and a URL"),
        ("G@T http://reviews/", {}, "not an HTTP method"),
        ("GET http://reviews/", {"headers": ["nothing"]}, "is not a header"),
        ("GET http://reviews/", {"headers": ["x=a\r\nb: c"]}, "is not a header"),
        ("GET http://reviews/", {"headers": ["=v"]}, "is not a header"),
        ("GET http://reviews/", {"claims": "["}, "not JSON"),
        ("GET http://reviews/", {"claims": "[1]"}, "not a JSON object"),
        ("GET http://reviews/", {"source_ip": "somewhere"}, "not an IP address"),
        ("GET http://reviews/", {"identity": "frontend"}, "not an identity"),
    ],
)
def test_what_is_wrong_is_said_with_how_to_write_it(request_line: str, options: dict[str, str], words: str) -> None:
    with pytest.raises(QuestionError, match=words) as caught:
        question(CALLER, request_line, **options)  # type: ignore[arg-type]

    assert caught.value.usage
    assert caught.value.hint


def test_claims_are_read_without_the_signature() -> None:
    assert decoded_token(TOKEN) == {"iss": "me", "sub": "you"}
    assert decoded_token("a.b") is None
    assert decoded_token("a.!.c") is None


def test_a_token_that_only_shall_be_read_travels_without_its_signature() -> None:
    """It is no credential any more, and says the same."""
    sent = without_signatures(f"authorization=Bearer {TOKEN}")

    assert TOKEN.rpartition(".")[2] not in sent
    assert decoded_token(sent.rpartition(" ")[2]) == decoded_token(TOKEN)
