"""The reviews service in three versions: v1 shows no stars, v2 black ones, v3 red ones.

v2 and v3 ask the ratings service. When that fails they still show the reviews, and say that stars are missing.
"""

from __future__ import annotations

import sys
from typing import Any

from lateen.cli.demo.bookshop.serving import Answer, Request, call, not_found, serve

COLORS = {"v1": "", "v2": "black", "v3": "red"}
REVIEWS = {
    "reader-1": "A small boat, an old captain, a whole ocean. I read it twice before lunch.",
    "reader-2": "Dry as a ship's biscuit and just as hard to put down once you are hungry.",
}


def reviews(version: str, request: Request) -> Answer:
    """`GET /reviews/0`: the reviews, with a `rating` each in the versions that show stars."""
    if request.path != "/reviews/0":
        return not_found(request)
    entries: list[dict[str, Any]] = [{"reviewer": reader, "text": text} for reader, text in REVIEWS.items()]
    body: dict[str, Any] = {"id": 0, "version": version, "reviews": entries}
    color = COLORS[version]
    if color:
        ratings = call("http://ratings:9080/ratings/0", request.headers)
        if ratings.error:
            body["ratings_error"] = f"{ratings.status} {ratings.error}"
        else:
            for entry in entries:
                entry["rating"] = {"stars": ratings.body["ratings"][entry["reviewer"]], "color": color}
    return Answer(body=body)


def main(arguments: list[str]) -> None:
    """Serve the version named by the one argument."""
    if len(arguments) != 1 or arguments[0] not in COLORS:
        sys.exit(f"usage: reviews {'|'.join(COLORS)}")
    version = arguments[0]
    serve(lambda request: reviews(version, request))


if __name__ == "__main__":
    main(sys.argv[1:])
