"""The committed reference pages are what the code says today."""

from __future__ import annotations

from pathlib import Path

import pytest

from lateen.cli.reference import api_reference, cli_reference

FOLDER = Path(__file__).parents[3] / "docs" / "reference"


@pytest.mark.parametrize(("file", "made"), [("cli.md", cli_reference), ("api.md", api_reference)])
def test_a_page_is_current(file: str, made: object) -> None:
    """`make docs` writes them."""
    assert callable(made)
    assert (FOLDER / file).read_text() == made()


def test_every_command_and_every_endpoint_is_described() -> None:
    for command in ("lateen validate", "lateen proxy gateway", "lateen proxy-config", "lateen demo"):
        assert f"## {command}\n" in cli_reference()
    assert "| POST | `/v1/config` |" in api_reference()


def test_a_flag_that_is_on_by_default_is_shown_with_the_one_that_turns_it_off() -> None:
    assert "| `--dns, --no-dns` |" in cli_reference()
