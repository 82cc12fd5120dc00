"""The product page: asks details and reviews, and shows both as HTML or as JSON.

`GET /` and `/productpage` answer a page, `/api/v1/products/0` the same as JSON, `/reviews` only the reviews, with
their own status. The user is the `end-user` header, or `?user=` for a browser that cannot set one.
"""

from __future__ import annotations

from typing import Any

from lateen.cli.demo.bookshop.page import render_page
from lateen.cli.demo.bookshop.serving import Answer, Called, Request, call, not_found, serve


def answer(request: Request) -> Answer:
    """Route a request to its page."""
    headers = dict(request.headers)
    if user := request.query.get("user", ""):
        headers["end-user"] = user
    match request.path:
        case "/" | "/productpage":
            return Answer(body=render_page(product(headers)))
        case "/api/v1/products/0":
            return Answer(body=product(headers))
        case "/reviews":
            reviews = call("http://reviews:9080/reviews/0", headers)
            return Answer(status=reviews.status, body=_part(reviews))
        case _:
            return not_found(request)


def product(headers: dict[str, str]) -> dict[str, Any]:
    """Ask the neighbours; a part that failed carries `status` and `error`, and the rest of the page stands."""
    return {
        "id": 0,
        "user": headers.get("end-user", ""),
        "details": _part(call("http://details:9080/details/0", headers)),
        "reviews": _part(call("http://reviews:9080/reviews/0", headers)),
    }


def _part(called: Called) -> dict[str, Any]:
    if called.error:
        return {"status": called.status, "error": called.error}
    return {"status": called.status, **called.body}


if __name__ == "__main__":
    serve(answer)
