"""Wrong usage of the administrators' commands, and what they show."""

from __future__ import annotations

import pytest

from lateen.cli.exits import Failure
from lateen.cli.main import run
from lateen.cli.security import short_ids, whole_seconds


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("token create", "either --service-account"),
        ("token create --service-account a/b --role viewer --name x", "either --service-account"),
        ("token create --role viewer", "go together"),
        ("token create --service-account a/b --name x", "go together"),
        ("token create --role viewer --name x --one-time", "--one-time"),
        ("token create --role root --name x", "--role"),
        ("token create --service-account a/b --ttl soon", "--ttl"),
        ("token create --service-account a/b --ttl 10ms", "shorter than a second"),
        ("token create --service-account a/b --ttl=-1h", "shorter than a second"),
        ("token revoke", "ID"),
        ("ca rotate leaf", "leaf"),
        ("ca issue --service-account a/b", "either --csr"),
        ("ca issue --service-account a/b --csr x --out y", "either --csr"),
        ("ca issue --service-account a/b --csr /no/such/file", "/no/such/file"),
        ("ca show --ca-file /no/such/file --server https://127.0.0.1:1", "/no/such/file"),
        ("audit --limit 0", "--limit"),
        ("audit --token-file /no/such/file", "/no/such/file"),
    ],
)
def test_wrong_usage_is_said_before_anything_is_asked(
    words: str, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LATEEN_SERVER", "http://127.0.0.1:1")
    code = run(words.split())
    printed = capsys.readouterr()

    assert code == 2, printed.err
    assert said in printed.err
    assert printed.out == ""


def test_durations_are_whole_seconds() -> None:
    assert whole_seconds("--ttl", "1h30m") == 5400
    with pytest.raises(Failure):
        whole_seconds("--ttl", "0.5s")


def test_ids_are_cut_where_all_still_differ() -> None:
    ids = ["a" * 20 + "1", "a" * 20 + "2", "short"]

    assert short_ids(ids) == {ids[0]: ids[0], ids[1]: ids[1], "short": "short"}
    assert short_ids(["b" * 30]) == {"b" * 30: "b" * 12}
    assert short_ids([]) == {}
