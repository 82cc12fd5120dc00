"""The ratings service: how many stars each reader gave."""

from __future__ import annotations

from lateen.cli.demo.bookshop.serving import Answer, Request, not_found, serve

RATINGS = {"id": 0, "ratings": {"reader-1": 5, "reader-2": 4}}


def answer(request: Request) -> Answer:
    """`GET /ratings/0`."""
    return Answer(body=RATINGS) if request.path == "/ratings/0" else not_found(request)


if __name__ == "__main__":
    serve(answer)
