"""The details service: what is printed inside the book's cover."""

from __future__ import annotations

from lateen.cli.demo.bookshop.serving import Answer, Request, not_found, serve

BOOK = {
    "id": 0,
    "title": "Sailing Alone Around the World",
    "author": "Joshua Slocum",
    "year": 1900,
    "publisher": "The Century Company",
    "pages": 294,
    "language": "English",
}


def answer(request: Request) -> Answer:
    """`GET /details/0`."""
    return Answer(body=BOOK) if request.path == "/details/0" else not_found(request)


if __name__ == "__main__":
    serve(answer)
