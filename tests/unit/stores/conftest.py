"""Text of small configuration documents."""

from __future__ import annotations

from collections.abc import Callable

import pytest


@pytest.fixture
def rule() -> Callable[[str, str], str]:
    """A valid DestinationRule by name and host."""

    def text(name: str, host: str = "x") -> str:
        return (
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\n"
            f"metadata: {{name: {name}, namespace: default}}\nspec: {{host: {host}.example.com}}\n---\n"
        )

    return text
