"""Names: Istio's short-name and wildcard rules."""

from __future__ import annotations

import pytest

from lateen.model.names import ObjectKey, host_matches, resolve_host


@pytest.mark.parametrize(
    ("written", "full"),
    [
        ("reviews", "reviews.shop.svc.cluster.local"),
        ("Reviews", "reviews.shop.svc.cluster.local"),
        ("reviews.prod", "reviews.prod"),
        ("api.example.com", "api.example.com"),
        ("*", "*"),
        ("*.example.com", "*.example.com"),
    ],
)
def test_only_a_name_without_dots_is_completed(written: str, full: str) -> None:
    assert resolve_host(written, "shop") == full


@pytest.mark.parametrize(
    ("pattern", "host", "matches"),
    [
        ("*", "anything", True),
        ("a.b", "a.b", True),
        ("a.b", "x.a.b", False),
        ("*.b", "a.b", True),
        ("*.b", "x.a.b", True),
        ("*.b", ".b", False),
        ("*.b", "b", False),
        ("*.b", "*.a.b", True),
    ],
)
def test_wildcards_cover_what_ends_so(pattern: str, host: str, matches: bool) -> None:
    assert host_matches(pattern, host) is matches


def test_keys_read_like_kubectl() -> None:
    assert str(ObjectKey("VirtualService", "default", "reviews")) == "VirtualService default/reviews"
