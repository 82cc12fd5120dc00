"""The rules of protoc-gen-validate in the descriptors, compiled once for each kind of message.

Called by `checking`. The rules stand in the options of fields, oneofs and messages as extensions that the default pool
does not know; they are read again with the classes of our own pool, where `validate/validate.proto` is.

Empty fields matter too: a text that must not be empty breaks its rule by its absence. So a plan has two halves: what to
ask of the fields that are set, and which of those that are not break a rule, which is known when the plan is made.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from lateen.envoy.constraints.kinds import Test, tests_of
from lateen.envoy.messages import Message, message_class, pool

_ANY = "google.protobuf.Any"
DURATION = "google.protobuf.Duration"


@dataclass(slots=True, kw_only=True)
class FieldPlan:
    """What to ask of one field that is set."""

    name: str
    tests: tuple[Test, ...] = ()
    """Of the whole value: of a list or a map, of all of it."""
    item_tests: tuple[Test, ...] = ()
    """Of each item of a list, or value of a map."""
    key_tests: tuple[Test, ...] = ()
    is_list: bool = False
    is_map: bool = False
    wrapped: bool = False
    """Whether the tests are about the `value` inside."""
    child: str = ""
    """Full name of the messages in it that are to be walked, empty for none."""

    @property
    def idle(self) -> bool:
        """Whether there is nothing to ask."""
        return not (self.tests or self.item_tests or self.key_tests or self.child)


@dataclass(slots=True, kw_only=True)
class Plan:
    """What to ask of one kind of message."""

    fields: dict[int, FieldPlan] = field(default_factory=dict)
    """By field number; fields with nothing to ask are absent."""
    absent: dict[int, tuple[str, str]] = field(default_factory=dict)
    """By number of a field that must be set: its name, and what it must be."""
    oneofs: tuple[tuple[str, str], ...] = ()
    """Name of each oneof that must be set, and its alternatives."""


@cache
def plan_of(full_name: str) -> Plan:
    """Return what to ask of messages of this name."""
    descriptor = pool().FindMessageTypeByName(full_name)
    options = _options("MessageOptions", descriptor)
    if any(name in options for name in ("disabled", "ignored")):
        return Plan()
    plan = Plan(
        oneofs=tuple(
            (oneof.name, " or ".join(each.name for each in oneof.fields))
            for oneof in descriptor.oneofs
            if _options("OneofOptions", oneof).get("required")
        )
    )
    for each in descriptor.fields:
        rules = _options("FieldOptions", each).get("rules")
        made = _field_plan(each, rules)
        if not made.idle:
            plan.fields[each.number] = made
        if needed := _needed(each, rules, made):
            plan.absent[each.number] = (each.name, needed)
    return plan


@cache
def _extensions() -> dict[str, tuple[tuple[str, Any], ...]]:
    found = (("rules", "Field"), ("required", "Oneof"), ("disabled", "Message"), ("ignored", "Message"))
    made: dict[str, tuple[tuple[str, Any], ...]] = {}
    for name, of in found:
        kind = f"{of}Options"
        made[kind] = (*made.get(kind, ()), (name, pool().FindExtensionByName(f"validate.{name}")))
    return made


def _options(kind: str, descriptor: Any) -> dict[str, Any]:
    """Return the rules among the options of a descriptor, by name of the extension."""
    written = descriptor.GetOptions().SerializeToString()
    if not written:
        return {}
    options = message_class(f"google.protobuf.{kind}").FromString(written)
    return {name: options.Extensions[one] for name, one in _extensions()[kind] if options.HasExtension(one)}


def _field_plan(each: Any, rules: Message | None) -> FieldPlan:
    entry = each.message_type if each.message_type is not None and each.message_type.GetOptions().map_entry else None
    plan = FieldPlan(name=each.name, is_map=entry is not None, is_list=each.is_repeated and entry is None)
    value = entry.fields_by_name["value"] if entry is not None else each
    kind = rules.WhichOneof("type") if rules is not None else None
    if rules is not None and kind is not None:
        _set_tests(plan, each, getattr(rules, kind), kind)
    skipped = rules is not None and rules.message.skip
    if value.message_type is not None and not skipped and has_rules(value.message_type.full_name):
        plan.child = value.message_type.full_name
    plan.wrapped = (
        value.message_type is not None and value.message_type.full_name.endswith("Value") and kind in _SCALARS
    )
    return plan


_SCALARS = frozenset(
    {"float", "double", "int32", "int64", "uint32", "uint64", "sint32", "sint64", "bool", "string", "bytes", "fixed32"}
)


def _set_tests(plan: FieldPlan, each: Any, rules: Message, kind: str) -> None:
    if kind == "repeated":
        plan.tests = tests_of(rules, None)
        plan.item_tests = _item_tests(rules.items, each.enum_type)
    elif kind == "map":
        plan.tests = tests_of(rules, None)
        plan.key_tests, plan.item_tests = _item_tests(rules.keys, None), _item_tests(rules.values, None)
    else:
        plan.tests = _unless_empty(rules, tests_of(rules, each.enum_type))


def _item_tests(rules: Message, enum: Any) -> tuple[Test, ...]:
    kind = rules.WhichOneof("type")
    return tests_of(getattr(rules, kind), enum) if kind is not None else ()


def _unless_empty(rules: Message, tests: tuple[Test, ...]) -> tuple[Test, ...]:
    if not getattr(rules, "ignore_empty", False):
        return tests
    return tuple(lambda value, test=test: test(value) if value else None for test in tests)


def _needed(each: Any, rules: Message | None, plan: FieldPlan) -> str:
    """Return what a field must be that is not set, empty when it may be absent."""
    if rules is None or each.containing_oneof is not None:
        return ""
    if rules.message.required or any(
        getattr(getattr(rules, kind), "required", False) for kind in ("duration", "any", "timestamp")
    ):
        return "must be set"
    if plan.is_list or plan.is_map:
        return _first(plan.tests, ())
    return "" if each.message_type is not None else _first(plan.tests, each.default_value)


def _first(tests: Iterable[Test], value: Any) -> str:
    return next((told for test in tests if (told := test(value))), "")


@cache
def has_rules(full_name: str) -> bool:
    """Whether a message of this name, or one that may be inside, has anything to ask."""
    seen: set[str] = set()
    left = [pool().FindMessageTypeByName(full_name)]
    while left:
        descriptor = left.pop()
        if descriptor.full_name in seen:
            continue
        seen.add(descriptor.full_name)
        if descriptor.full_name in (_ANY, DURATION) or _asks(descriptor):
            return True
        left += [each.message_type for each in descriptor.fields if each.message_type is not None]
    return False


def _asks(descriptor: Any) -> bool:
    from lateen.envoy.constraints.loading import LOADED

    if descriptor.full_name in LOADED:
        return True
    return any(_options("FieldOptions", each) for each in descriptor.fields) or any(
        _options("OneofOptions", each) for each in descriptor.oneofs
    )
