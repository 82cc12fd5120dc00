"""The token of the control plane's own user, for tests that speak raw HTTP to a control plane of their own."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote


def proof(token_file: str | None) -> dict[str, str]:
    """Return the headers that open the API, given a 401's header `Lateen-Token-File`."""
    return {"authorization": f"Bearer {Path(unquote(token_file)).read_text().strip()}"} if token_file else {}
