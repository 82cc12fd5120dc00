"""Collections that follow a change are what they would be without a history."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lateen.mesh.sharing import Ordered, changed_keys, patched, patched_in_order, turnover

_keys = st.integers(0, 20)
_changes = st.lists(st.dictionaries(_keys, st.one_of(st.none(), st.text(max_size=1)), max_size=8), max_size=6)
ITEMS = [object() for _ in range(6)]
_items = st.lists(st.sampled_from(ITEMS), max_size=12)


@given(_items, _items)
def test_turnover_is_a_difference_of_multisets(old: list[object], new: list[object]) -> None:
    gone, come = turnover(old, new)
    assert Counter(old) - Counter(new) == Counter(gone)
    assert Counter(new) - Counter(old) == Counter(come)


@given(_changes)
@pytest.mark.parametrize("large", [1024, 3])
def test_a_mapping_follows_its_changes(large: int, steps: list[dict[int, str | None]]) -> None:
    """Also when it is kept in parts; earlier versions stay as they were."""
    with mock.patch("lateen.mesh.sharing.LARGE", large):
        version: Mapping[int, str] = patched({}, {})
        plain: dict[int, str] = {}
        for changes in steps:
            before, frozen = version, dict(version)
            version = patched_in_order(version, changes)
            plain = {key: value for key, value in sorted((plain | changes).items()) if value is not None}
            assert version == plain
            assert list(version) == list(plain)
            assert len(version) == len(plain)
            assert before == frozen
            differing = {key for key in frozen.keys() | plain.keys() if frozen.get(key) is not plain.get(key)}
            assert changed_keys(before, version) == differing
            assert (version is before) == (not differing)
            assert all((key in version) == (key in plain) and version.get(key) == plain.get(key) for key in range(21))


@given(_changes)
@pytest.mark.parametrize("few", [64, 0])
def test_an_order_follows_its_changes(few: int, steps: list[dict[int, str | None]]) -> None:
    with mock.patch("lateen.mesh.sharing.FEW", few):
        version: Ordered[str] = Ordered()
        plain: dict[int, str] = {}
        for changes in steps:
            version = version.patched({(key,): value for key, value in changes.items()})
            plain = {key: value for key, value in sorted((plain | changes).items()) if value is not None}
            assert version.keys == tuple((key,) for key in plain)
            assert version.values == tuple(plain.values())
            assert [version.get((key,)) for key in range(21)] == [plain.get(key) for key in range(21)]
