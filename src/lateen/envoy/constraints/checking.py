"""A message walked with all rules that are about it.

Called by `preflight/`. What stands packed in a `google.protobuf.Any` is unpacked and checked, where its type is known
here. Violations are rare, so paths are put together on the way back and only for them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lateen.envoy.constraints.compiling import DURATION, FieldPlan, plan_of
from lateen.envoy.constraints.loading import LOADED
from lateen.envoy.constraints.violations import Violation, under
from lateen.envoy.messages import Message, message_class, pool

_ANY = "google.protobuf.Any"
_PATCHED = "envoyFilters"
_MOST_REMEMBERED = 20_000
_LONGEST_REMEMBERED = 8192


class Checker:
    """Checks messages, and remembers what stood packed in them and was right: most of it is everywhere the same."""

    def __init__(self) -> None:
        self._right: set[tuple[str, bytes]] = set()

    def violations(self, full_name: str, body: bytes) -> tuple[Violation, ...]:
        """Return what Envoy refuses in a serialised message, outermost first."""
        return tuple(self._check(message_class(full_name).FromString(body), full_name))

    def _check(self, message: Message, full_name: str) -> list[Violation]:
        if full_name == _ANY:
            return self._unpacked(message)
        plan = plan_of(full_name)
        found: list[Violation] = []
        left = dict(plan.absent) if plan.absent else {}
        for descriptor, value in message.ListFields():
            left.pop(descriptor.number, None)
            asked = plan.fields.get(descriptor.number)
            if asked is not None:
                found += self._field(asked, value)
        found += (Violation(path=name, rule=needed) for name, needed in left.values())
        for oneof, words in plan.oneofs:
            if message.WhichOneof(oneof) is None:
                found.append(Violation(path=oneof, rule=f"must be set: {words}"))
        for rule in LOADED.get(full_name, ()):
            found += rule(message)
        return _placed(found, message) if found else found

    def _field(self, asked: FieldPlan, value: Any) -> list[Violation]:
        found = [Violation(path=asked.name, rule=told) for told in _broken(asked.tests, value, wrapped=asked.wrapped)]
        if asked.is_map:
            for key, item in value.items():
                found += under(f"{asked.name}[{key!r}]", self._item(asked, item, key))
        elif asked.is_list:
            for index, item in enumerate(value):
                found += (
                    under(f"{asked.name}[{index}]", self._item(asked, item)) if asked.child or asked.item_tests else ()
                )
        elif asked.child:
            found += under(asked.name, self._check(value, asked.child))
        return found

    def _item(self, asked: FieldPlan, item: Any, key: Any = None) -> list[Violation]:
        told = [*_broken(asked.item_tests, item), *(_broken(asked.key_tests, key) if key is not None else ())]
        found = [Violation(path="", rule=words) for words in told]
        return found + self._check(item, asked.child) if asked.child else found

    def _unpacked(self, packed: Message) -> list[Violation]:
        name, value = packed.type_url.rpartition("/")[2], packed.value
        if not name:
            return []
        small = len(value) <= _LONGEST_REMEMBERED
        if small and (name, value) in self._right:
            return []
        try:
            pool().FindMessageTypeByName(name)
        except KeyError:
            return []  # of a patch, or of a newer Envoy: Envoy alone knows
        try:
            message = message_class(name).FromString(value)
        except Exception as error:
            if type(error).__name__ != "DecodeError":
                raise
            return [Violation(path="", rule=f"must hold a {name}")]
        found = self._check(message, name)
        if not found and small and len(self._right) < _MOST_REMEMBERED:
            self._right.add((name, value))
        return found


def _broken(tests: Iterable[Any], value: Any, *, wrapped: bool = False) -> list[str]:
    if wrapped:
        value = value.value
    return [told for test in tests if (told := test(value))]


def _placed(found: list[Violation], message: Message) -> list[Violation]:
    """Give the violations the origin that the message's metadata has."""
    metadata = getattr(message, "metadata", None)
    known = getattr(metadata, "filter_metadata", None)
    if known is None or "lateen" not in known:
        return found
    fields = known["lateen"].fields
    origin, config = (fields[name].string_value if name in fields else "" for name in ("origin", "config"))
    if patches := [one.string_value for one in fields[_PATCHED].list_value.values] if _PATCHED in fields else []:
        # What we make by ourselves Envoy takes, so a patch is the likelier cause: `EnvoyFilter default/a (a.yaml:1)`.
        config, _, place = patches[-1].partition(" (")
        origin = place.removesuffix(")")
    return [one.coming_from(origin, config) for one in found]


__all__ = ["DURATION", "Checker"]
