"""The generated pages of the documentation are up to date."""

from pathlib import Path

from lateen.config.codes import CODES, findings_reference
from lateen.config.unsupported import unsupported_reference

PAGES = Path(__file__).parents[3] / "docs" / "reference"


def test_the_findings_page_is_the_table() -> None:
    """Otherwise run `python -m lateen.config.codes > docs/reference/findings.md`."""
    assert (PAGES / "findings.md").read_text(encoding="utf-8") == findings_reference()


def test_the_unsupported_page_is_the_table() -> None:
    """Otherwise run `python -m lateen.config.unsupported > docs/reference/unsupported.md`."""
    assert (PAGES / "unsupported.md").read_text(encoding="utf-8") == unsupported_reference()


def test_codes_are_unique() -> None:
    assert len({code.code for code in CODES}) == len(CODES)
