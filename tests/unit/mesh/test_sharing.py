"""Collections that follow a change are what they would be without a history."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lateen.mesh.sharing import (
    Ordered,
    Parted,
    changed_keys,
    lasting,
    patched,
    patched_in_order,
    turnover,
)

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
@pytest.mark.parametrize("run", [256, 2])
def test_an_order_follows_its_changes(run: int, steps: list[dict[int, str | None]]) -> None:
    """Also when it is kept in many parts; earlier versions stay as they were."""
    with mock.patch("lateen.mesh.sharing.RUN", run):
        version: Ordered[str] = Ordered()
        plain: dict[int, str] = {}
        for changes in steps:
            before, frozen = version, tuple(version)
            version = version.patched({(key,): value for key, value in changes.items()})
            after = {key: value for key, value in sorted((plain | changes).items()) if value is not None}
            assert (version is before) == (after == plain)
            assert tuple(version) == version.values == tuple(after.values())
            assert [version.get((key,)) for key in range(-1, 21)] == [after.get(key) for key in range(-1, 21)]
            assert (len(version), bool(version)) == (len(after), bool(after))
            assert all((text in version) == (text in after.values()) for text in ("", "a", "0"))
            assert list(reversed(version)) == [version[place] for place in reversed(range(len(version)))]
            assert (version == before) == (tuple(after.values()) == frozen)
            assert version == Ordered.of([((key,), value) for key, value in after.items()])
            assert all(0 < len(part) <= 2 * run for part in version.parts)
            assert tuple(before) == frozen
            plain = after


def test_an_order_that_shrinks_is_not_left_in_many_small_parts() -> None:
    with mock.patch("lateen.mesh.sharing.RUN", 4):
        version = Ordered.of([((number,), number) for number in range(400)])
        assert len(version.parts) == 100
        for number in range(400):
            if number % 100:
                version = version.patched({(number,): None})
    assert list(version) == [0, 100, 200, 300]
    assert len(version.parts) <= 6


def _versions(
    items: dict[int, object], changes: dict[int, object | None]
) -> Iterator[tuple[Collection[object], Collection[object]]]:
    order = Ordered.of([((key,), value) for key, value in items.items()])
    yield order, order.patched({(key,): value for key, value in changes.items()})
    mapping = Parted.of(items)
    yield mapping.values(), mapping.patched(changes).values()


@given(
    st.dictionaries(_keys, st.sampled_from(ITEMS), max_size=12),
    st.dictionaries(_keys, st.one_of(st.none(), st.sampled_from(ITEMS)), max_size=8),
)
def test_the_turnover_of_two_versions_is_that_of_their_items(
    items: dict[int, object], changes: dict[int, object | None]
) -> None:
    """Whether they share parts, or are collections of two kinds that share nothing."""
    before = tuple(items.values())
    after = tuple(value for value in (items | changes).values() if value is not None)
    with mock.patch("lateen.mesh.sharing.RUN", 2):
        for old, new in _versions(items, changes):
            for pair in ((old, new), (old, after), (before, new)):
                gone, come = turnover(*pair)
                assert Counter(before) - Counter(after) == Counter(gone)
                assert Counter(after) - Counter(before) == Counter(come)


def test_versions_are_told_apart_without_a_look_at_what_they_share() -> None:
    """One in ten thousand changes: the others are not compared, nor even asked for their identity."""
    looked: list[object] = []

    class Item:
        def __eq__(self, other: object) -> bool:
            looked.append(other)
            return self is other

        def __hash__(self) -> int:
            return id(self)

    items = {number: Item() for number in range(10_000)}
    order, mapping = Ordered.of([((key,), value) for key, value in items.items()]), Parted.of(items)
    new = Item()
    newer_order, newer_mapping = order.patched({(5000,): new}), mapping.patched({5000: new})
    assert order != newer_order
    assert mapping != newer_mapping
    assert len(looked) <= 4
    assert turnover(order, newer_order) == turnover(mapping.values(), newer_mapping.values()) == ([items[5000]], [new])
    assert sum(one is not other for one, other in zip(order.parts, newer_order.parts, strict=True)) == 1
    assert lasting(order) is order
    assert lasting([1, 2]) == (1, 2)
