"""Regular expressions: RE2's syntax is admitted, what RE2 lacks is refused."""

import pytest

from lateen.config.validation.regexes import regex


@pytest.mark.parametrize(
    "pattern",
    [
        ".*",
        "^(.*?;)?(user=jason)(;.*)?$",
        r"/api/v[0-9]+/.+\.json",
        "(?i)abc",
        "a(?i)b",
        "(?i:abc)d",
        r"(?P<name>\d+)/(?<other>x)",
        r"[[:alpha:]]+\pL\p{Greek}\z",
        r"\(?=x",
        "[*+]+",
        "[[a]x",
        "a{1000}",
        r"\.\*",
        r"\Qa.b\E",
    ],
)
def test_re2_syntax_is_admitted(pattern: str) -> None:
    assert list(regex(("a",), pattern)) == []


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "(",
        "a**",
        "*",
        "[a",
        "(?=x)",
        "(?!x)",
        "(?<=x)y",
        "(?<!x)y",
        r"(a)\1",
        "a++",
        "(?>a)",
        "(?(1)a|b)",
        "a{1001}",
        "x" * 1025,
        "(?P=a)",
        r"foo\Z",
        "(?x) a",
        "(?u)a",
        "(?a)x",
        r"\u0041",
        r"\N{DIGIT ONE}",
        "[[:foo:]]",
        "((a{100}){100}){100}",
        r"\x{10FFFF}",
    ],
)
def test_what_re2_lacks_is_refused(pattern: str) -> None:
    assert len(list(regex(("a",), pattern))) == 1
