"""The pages of the kinds are what the structs say, and their examples are good."""

from __future__ import annotations

from pathlib import Path

import pytest

from lateen.cli.kind_reference import SINCE, Page, pages, references, sections
from lateen.cli.proxy_documents import read_proxy
from lateen.config import networking
from lateen.config.acting import inert_paths
from lateen.config.codes import NO_EFFECT
from lateen.config.kinds import KINDS
from lateen.config.mesh_config import parse_mesh_config
from lateen.config.parsing import parse

UNAVOIDABLE = {NO_EFFECT.code, "IST0133"}
"""Of kinds that do not act, and of any EnvoyFilter."""
DOCS = Path(__file__).parents[3] / "docs"


def test_the_pages_are_current() -> None:
    """Otherwise run `python -m lateen.cli.kind_reference`."""
    folder = DOCS / "reference" / "kinds"
    written = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.md")}

    assert written == references(DOCS)


def test_every_kind_has_a_page() -> None:
    assert {page.name for page in pages()} == {*KINDS, "MeshConfig", "PROXY"}


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_every_field_says_what_it_means(page: Page) -> None:
    """Its docstring gives unit, default and reason; a field that holds a struct may leave that to the struct.

    What does not act may go without: it says why not.
    """
    silent = [row.path for _, _, rows in sections(page.struct) for row in rows if row.since and not row.meaning]

    assert not silent


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_every_kind_has_a_good_example(page: Page) -> None:
    """It stands in docs/examples, and nothing is wrong with it."""
    content = (DOCS / "examples" / f"{page.name}.yaml").read_bytes()
    if page.name == "PROXY":
        assert read_proxy(content, "proxy.yaml").name
        return
    if page.kind is None:
        assert not parse_mesh_config(content, "mesh.yaml")[1]
        return
    parsed = parse(content, f"{page.name}.yaml")

    assert [found.key.kind for found in parsed.objects] == [page.name]
    assert not [str(finding) for finding in parsed.findings if finding.code not in UNAVOIDABLE]


def test_what_does_not_act_has_no_release() -> None:
    """The column says the same as docs/reference/unsupported.md."""
    for page in (page for page in pages() if page.kind):
        rows = [row for _, _, rows in sections(page.struct) for row in rows]
        inert = {path for path in inert_paths(page.struct) if ":" not in path}
        without = {row.path for row in rows if not row.since and not row.note}

        # `*` stands for all of a kind.
        assert without <= inert or inert == {"*"}


def test_releases_are_of_fields_that_exist() -> None:
    assert all(field in getattr(networking, struct).__struct_encode_fields__ for struct, field in SINCE)
