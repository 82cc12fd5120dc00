"""The bookshop's programs, as far as they are functions."""

from __future__ import annotations

import sys
from subprocess import run
from typing import Any

import pytest

from lateen.cli.demo.bookshop import details, productpage, ratings, reviews
from lateen.cli.demo.bookshop.page import render_page
from lateen.cli.demo.bookshop.serving import Called, Request


def ask(path: str, **headers: str) -> Request:
    return Request(path=path, query={}, headers=headers)


@pytest.fixture
def neighbours(monkeypatch: pytest.MonkeyPatch) -> dict[str, Called]:
    """What the neighbours answer, by URL; everything else fails."""
    answers = {
        "http://ratings:9080/ratings/0": Called(status=200, body=ratings.RATINGS),
        "http://details:9080/details/0": Called(status=200, body=details.BOOK),
        "http://reviews:9080/reviews/0": Called(status=200, body={"version": "v1", "reviews": []}),
    }

    def call(url: str, headers: dict[str, str]) -> Called:
        return answers[url]

    monkeypatch.setattr(reviews, "call", call)
    monkeypatch.setattr(productpage, "call", call)
    return answers


@pytest.mark.parametrize(("version", "color"), [("v1", None), ("v2", "black"), ("v3", "red")])
def test_each_version_of_reviews_shows_its_stars(
    neighbours: dict[str, Called], version: str, color: str | None
) -> None:
    body = reviews.reviews(version, ask("/reviews/0")).body
    assert body["version"] == version
    assert [entry.get("rating", {}).get("color") for entry in body["reviews"]] == [color, color]


def test_reviews_stand_without_ratings(neighbours: dict[str, Called]) -> None:
    neighbours["http://ratings:9080/ratings/0"] = Called(status=500, error="fault filter abort")
    answer = reviews.reviews("v3", ask("/reviews/0"))
    assert answer.status == 200
    assert answer.body["ratings_error"] == "500 fault filter abort"
    assert all("rating" not in entry for entry in answer.body["reviews"])


def test_the_page_stands_when_a_part_fails(neighbours: dict[str, Called]) -> None:
    neighbours["http://reviews:9080/reviews/0"] = Called(status=504, error="upstream request timeout")
    answer = productpage.answer(ask("/api/v1/products/0"))
    assert answer.status == 200
    assert answer.body["reviews"] == {"status": 504, "error": "upstream request timeout"}
    assert productpage.answer(ask("/reviews")).status == 504
    assert "upstream request timeout" in productpage.answer(ask("/")).body


def test_unknown_paths_are_not_found() -> None:
    assert details.answer(ask("/")).status == ratings.answer(ask("/")).status == 404
    assert productpage.answer(ask("/x")).status == reviews.reviews("v1", ask("/x")).status == 404


def test_nothing_from_outside_reaches_the_page_unescaped() -> None:
    evil = "<script>alert(1)</script>"
    product: dict[str, Any] = {
        "user": evil,
        "details": {"status": 500, "error": evil},
        "reviews": {
            "version": evil,
            "ratings_error": evil,
            "reviews": [{"reviewer": evil, "text": evil, "rating": {"stars": 3, "color": evil}}],
        },
    }
    assert evil not in render_page(product)
    assert evil not in render_page({**product, "reviews": {"status": 500, "error": evil}})


def test_the_page_needs_nothing_from_elsewhere(neighbours: dict[str, Called]) -> None:
    page = productpage.answer(ask("/", **{"end-user": "jason"})).body
    assert "http://" not in page
    assert "https://" not in page
    assert "jason" in page


def test_a_program_imports_only_the_standard_library() -> None:
    """A sidecar's app must be small: under 25 MB, started in 0.2 s."""
    code = (
        "import sys; import lateen.cli.demo.bookshop.productpage\n"
        "print(*{name.split('.')[0] for name in sys.modules} - set(sys.stdlib_module_names))"
    )
    done = run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {name for name in done.stdout.split() if not name.startswith("_")} <= {"lateen", "sitecustomize"}
