"""What is this machine, and what only looks like it."""

from __future__ import annotations

import pytest

from lateen.model.loopback import is_loopback


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.64.3.9", "::1", "::1%lo", "::ffff:127.0.0.1", "localhost", "LOCALHOST"]
)
def test_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    ["", "0.0.0.0", "::", "10.0.0.1", "::ffff:10.0.0.1", "localhost.", "a.localhost", "127.0.0.1.example", "127.1"],
)
def test_not_this_machine_as_far_as_one_can_tell(host: str) -> None:
    """Also names below `localhost`: whoever takes them says so."""
    assert not is_loopback(host)
