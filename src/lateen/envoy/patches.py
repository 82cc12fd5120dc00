"""Values of EnvoyFilters' patches: JSON as users write it to messages of Envoy, with every mistake and its path.

Called by `generate.envoy_filters` and `analysis.envoy_filters`. The rules are those of protobuf's JSON mapping. An
extension that no descriptor of ours knows is not refused, because Envoy may know it: it becomes a
`xds.type.v3.TypedStruct`, which Envoy reads by the type's name.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from google.protobuf import json_format

from lateen.config.decoding import closest
from lateen.config.envoy_filter import ApplyTo
from lateen.config.positions import Path
from lateen.envoy.messages import Message, extension_names, message_class, whole_pool
from lateen.envoy.resources import CLUSTER, EXTENSION, LISTENER, ROUTE, TYPE_PREFIX, VIRTUAL_HOST

MESSAGES: Mapping[ApplyTo, str] = {
    ApplyTo.LISTENER: LISTENER,
    ApplyTo.FILTER_CHAIN: "envoy.config.listener.v3.FilterChain",
    ApplyTo.LISTENER_FILTER: "envoy.config.listener.v3.ListenerFilter",
    ApplyTo.NETWORK_FILTER: "envoy.config.listener.v3.Filter",
    ApplyTo.HTTP_FILTER: "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter",
    ApplyTo.ROUTE_CONFIGURATION: ROUTE,
    ApplyTo.VIRTUAL_HOST: VIRTUAL_HOST,
    ApplyTo.HTTP_ROUTE: "envoy.config.route.v3.Route",
    ApplyTo.CLUSTER: CLUSTER,
    ApplyTo.EXTENSION_CONFIG: EXTENSION,
    ApplyTo.BOOTSTRAP: "envoy.config.bootstrap.v3.Bootstrap",
}
"""Which message the value of a patch is, whole or in part."""

ANY = "google.protobuf.Any"
_TYPED_STRUCTS = ("xds.type.v3.TypedStruct", "udpa.type.v1.TypedStruct")
_TYPE_LISTS = 20
_MOST_DEPTH = 60
"""How deep a value may be: nobody writes half as much, and what checks it recurses."""


@dataclass(frozen=True, slots=True)
class PatchProblem:
    """What is wrong with a value, or worth knowing of it."""

    path: Path
    """From the value on."""
    message: str
    hint: str = ""
    error: bool = True
    """Whether the value cannot be used."""


@dataclass(frozen=True, slots=True)
class PatchValue:
    """A value as a message; None when it cannot be one."""

    message: Message | None
    problems: tuple[PatchProblem, ...] = ()


def read_value(apply_to: ApplyTo, value: Mapping[str, Any] | None) -> PatchValue:
    """Return the message of a patch's value. An empty one without a value (REMOVE); never raises on any JSON."""
    whole_pool()
    kind = MESSAGES[apply_to]
    if value is None:
        return PatchValue(message_class(kind)())
    found: list[PatchProblem] = []
    plain = _Reading(found).message(message_class(kind).DESCRIPTOR, value, (), 0)
    if any(problem.error for problem in found):
        return PatchValue(None, tuple(found))
    try:
        made = message_class(kind)()
        json_format.ParseDict(plain, made, descriptor_pool=whole_pool())
    except (json_format.ParseError, TypeError, ValueError) as error:
        found.append(PatchProblem((), f"not a {kind.rpartition('.')[2]}: {_reason(error)}"))
        return PatchValue(None, tuple(found))
    settle_order(made)
    return PatchValue(made, (*found, *_untyped(made, ())))


def _reason(error: Exception) -> str:
    return str(error).replace("\n", " ")[:300].rstrip(".")


@dataclass(slots=True)
class _Reading:
    """One walk over a value beside the descriptor of its message."""

    found: list[PatchProblem] = field(default_factory=list)

    def message(self, descriptor: Any, value: Any, path: Path, depth: int) -> Any:
        """Return the value with unknown extensions as TypedStructs; what is wrong with it is noted."""
        if depth > _MOST_DEPTH:
            self.found.append(PatchProblem(path, f"the value is more than {_MOST_DEPTH} levels deep"))
            return value
        if descriptor.full_name == ANY:
            return self._any(value, path, depth)
        if descriptor.full_name.startswith("google.protobuf."):
            # Durations, wrappers, Structs: they have a JSON form of their own.
            return value
        if not isinstance(value, Mapping):
            self.found.append(PatchProblem(path, f"must be a mapping: the fields of {descriptor.full_name}"))
            return value
        known = _names(descriptor)
        plain: dict[str, Any] = {}
        for key, item in value.items():
            member = known.get(key)
            if member is None:
                self.found.append(_unknown(descriptor, key, known, path))
            elif item is not None:
                plain[key] = self._member(member, item, (*path, key), depth)
        return plain

    def _member(self, member: Any, item: Any, path: Path, depth: int) -> Any:
        nested = member.message_type
        if nested is None:
            return item
        if nested.GetOptions().map_entry:
            below = nested.fields_by_name["value"].message_type
            if below is None or not isinstance(item, Mapping):
                return item
            return {key: self.message(below, one, (*path, key), depth + 1) for key, one in item.items()}
        if member.is_repeated:
            if not isinstance(item, Sequence) or isinstance(item, str):
                self.found.append(PatchProblem(path, "must be a list", "begin each item with `- `"))
                return item
            return [self.message(nested, one, (*path, index), depth + 1) for index, one in enumerate(item)]
        return self.message(nested, item, path, depth + 1)

    def _any(self, value: Any, path: Path, depth: int) -> Any:
        url = value.get("@type") if isinstance(value, Mapping) else None
        if not isinstance(url, str) or not url:
            message = "must say its type"
            self.found.append(PatchProblem(path, message, f"add `'@type': {TYPE_PREFIX}envoy.…`"))
            return value
        name = url.rpartition("/")[2]
        try:
            descriptor = whole_pool().FindMessageTypeByName(name)
        except KeyError:
            return self._foreign(url, name, value, path)
        if descriptor.full_name.startswith("google.protobuf."):
            return {**value, "@type": TYPE_PREFIX + name}
        rest = {key: item for key, item in value.items() if key != "@type"}
        plain = self.message(descriptor, rest, path, depth + 1)
        return {"@type": TYPE_PREFIX + name, **plain} if isinstance(plain, Mapping) else plain

    def _foreign(self, url: str, name: str, value: Mapping[str, Any], path: Path) -> Any:
        """Return a TypedStruct of an extension that no descriptor knows."""
        if ".v2." in name or ".v2alpha" in name:
            hint = "Envoy has no v2 API any more: write the v3 type"
            self.found.append(PatchProblem((*path, "@type"), f"the type {name} does not exist", hint))
            return value
        near = closest(name, extension_names())
        hint = f"did you mean {near}?" if near else "Envoy refuses it if it does not know it either"
        text = f"the type {name} is not one that Lateen knows: it is sent unchecked, as a TypedStruct"
        self.found.append(PatchProblem((*path, "@type"), text, hint, error=False))
        rest = {key: copy.deepcopy(item) for key, item in value.items() if key != "@type"}
        full = url if "/" in url else TYPE_PREFIX + url
        return {"@type": TYPE_PREFIX + _TYPED_STRUCTS[0], "typeUrl": full, "value": rest}


def _names(descriptor: Any) -> dict[str, Any]:
    """Return the fields of a message under both of their names."""
    return {name: member for member in descriptor.fields for name in (member.name, member.json_name)}


def _unknown(descriptor: Any, key: str, known: Mapping[str, Any], path: Path) -> PatchProblem:
    names = [member.name for member in descriptor.fields]
    near = closest(key, known)
    hint = f"did you mean `{near}`?" if near else f"known fields are {', '.join(sorted(names)[:_TYPE_LISTS])}"
    return PatchProblem((*path, key), f"{descriptor.full_name} has no field `{key}`", hint)


# --- Any -----------------------------------------------------------------------------------------------------


def unpacked(packed: Message) -> Message | None:
    """Return what an Any holds, None when its type is unknown or it does not hold it."""
    whole_pool()
    try:
        found: Message = message_class(packed.type_url.rpartition("/")[2]).FromString(packed.value)
    except (KeyError, ValueError, TypeError):
        return None
    except Exception as error:
        if type(error).__name__ == "DecodeError":
            return None
        raise
    return found


def pack(packed: Message, message: Message) -> None:
    """Put a message into an Any, byte for byte the same each time."""
    packed.type_url = TYPE_PREFIX + message.DESCRIPTOR.full_name
    packed.value = message.SerializeToString(deterministic=True)


def settle_order(message: Message) -> None:
    """Serialise every Any of a message again: what JSON was read into may have maps in any order."""
    for _, packed in anys(message, ()):
        inner = unpacked(packed)
        if inner is not None:
            settle_order(inner)
            pack(packed, inner)


def anys(message: Message, path: Path) -> Iterator[tuple[Path, Message]]:
    """Yield every Any of a message with its path, not those inside of one."""
    for member, value in message.ListFields():
        nested = member.message_type
        if nested is None:
            continue
        here = (*path, member.name)
        if nested.GetOptions().map_entry:
            below = nested.fields_by_name["value"].message_type
            items = [((*here, key), value[key]) for key in value] if below is not None else []
        elif member.is_repeated:
            items = [((*here, index), one) for index, one in enumerate(value)]
        else:
            items = [(here, value)]
        for where, one in items:
            if one.DESCRIPTOR.full_name == ANY:
                yield where, one
            else:
                yield from anys(one, where)


def _untyped(message: Message, path: Path) -> Iterator[PatchProblem]:
    """Yield extensions that are named without a typed_config: Envoy finds none by its name alone."""
    members = {member.name: member for member in message.DESCRIPTOR.fields}
    given = {member.name for member, _ in message.ListFields()}
    if "typed_config" in members and not {"typed_config", "config_discovery"} & given and given - {"name"} == set():
        name = getattr(message, "name", "")
        if path and name:
            yield PatchProblem(path, f"{name} has no typed_config", "add one with its `@type`", error=False)
    for member, value in message.ListFields():
        nested = member.message_type
        if nested is None or nested.GetOptions().map_entry or nested.full_name.startswith("google.protobuf."):
            continue
        for index, one in enumerate(value if member.is_repeated else [value]):
            yield from _untyped(one, (*path, member.name, index) if member.is_repeated else (*path, member.name))
