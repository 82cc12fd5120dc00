"""Paths as a connection manager hands them on; e2e holds the same to real Envoy."""

from __future__ import annotations

import pytest

from lateen.explain.paths import normalised_path

BASE, MERGE = {"normalize_path": True}, {"normalize_path": True, "merge_slashes": True}
DECODE = {**MERGE, "path_with_escaped_slashes_action": "UNESCAPE_AND_FORWARD"}


@pytest.mark.parametrize(
    ("manager", "before", "after"),
    [
        ({}, "/a/../b", "/a/../b"),
        (BASE, "/a/../b", "/b"),
        (BASE, "/a/./b/", "/a/b/"),
        (BASE, "/a/b/..", "/a/"),
        (BASE, "/..", "/"),
        (BASE, "/%61\\b", "/a/b"),
        (BASE, "/a%2Fb?x=/../y", "/a%2Fb?x=/../y"),
        (BASE, "//a", "//a"),
        (MERGE, "//a///b", "/a/b"),
        (DECODE, "/a%2f%5Cb", "/a/b"),
    ],
)
def test_normalisation(manager: dict[str, object], before: str, after: str) -> None:
    assert normalised_path(manager, before) == after
