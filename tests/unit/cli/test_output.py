"""Tables that fit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lateen.cli.output import print_table, table_lines


def test_a_narrow_table_is_as_wide_as_its_cells() -> None:
    assert table_lines(["NAME", "N"], [["web", "1"], ["reviews", "20"]]) == ["NAME     N", "web      1", "reviews  20"]


def test_the_widest_column_gives_way() -> None:
    lines = table_lines(["NAME", "ABOUT"], [["web", "x" * 200]])

    assert lines[1].startswith("web   xxx")
    assert lines[1].endswith("...")
    assert len(lines[1]) == 80


@pytest.mark.parametrize(("columns", "length"), [(None, 206), ("", 206), ("40", 40), ("120", 120)])
def test_names_are_whole_in_a_pipe_unless_columns_is_set(
    columns: str | None, length: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns is not None:
        monkeypatch.setenv("COLUMNS", columns)
    print_table(["NAME", "ABOUT"], [["web", "x" * 200]])

    assert len(capsys.readouterr().out.splitlines()[1]) == length


def test_a_cell_stays_one_line_and_says_nothing_to_the_terminal() -> None:
    assert table_lines(["A"], [["one\ntwo\x1b[31m"]])[1] == "one two [31m"


@given(st.lists(st.lists(st.text(max_size=120), min_size=4, max_size=4), max_size=6))
def test_no_table_of_four_columns_is_wider_than_80(rows: list[list[str]]) -> None:
    lines = table_lines(["A", "B", "C", "D"], rows)

    assert all(len(line) <= 80 for line in lines)
    assert len(lines) == len(rows) + 1
