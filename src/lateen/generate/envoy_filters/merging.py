"""Merging a patch's message into a generated one, as Istio does it.

Called by the modules that apply patches. Protobuf's own merge, with two differences: a Duration is one value, not two
numbers (`1.5s` merged with `2s` is `2s`), and lists may be replaced. What an extension holds is merged inside of it
(`merge_any`), if both are of one type.
"""

from __future__ import annotations

from lateen.config.envoy_filter import PatchOperation
from lateen.envoy.messages import Message
from lateen.envoy.patches import pack, unpacked
from lateen.generate.envoy_filters.patches import CannotApplyError, FilterPatch

_WHOLE = frozenset(("google.protobuf.Duration",))


def merge_patch(target: Message, patch: FilterPatch) -> None:
    """Merge the value of a patch into a message of its type."""
    merge(target, patch.value, replace_lists=patch.operation is PatchOperation.MERGE_AND_REPLACE_LIST)


def merge(target: Message, source: Message, *, replace_lists: bool = False) -> None:
    """Merge a message into one of the same type."""
    for member, value in source.ListFields():
        name, nested = member.name, member.message_type
        if nested is not None and nested.GetOptions().map_entry:
            _merge_map(
                getattr(target, name), value, of_messages=nested.fields_by_name["value"].message_type is not None
            )
        elif member.is_repeated:
            if replace_lists:
                target.ClearField(name)
            getattr(target, name).extend(value)
        elif nested is None:
            setattr(target, name, value)
        elif nested.full_name in _WHOLE:
            getattr(target, name).CopyFrom(value)
        else:
            getattr(target, name).SetInParent()
            merge(getattr(target, name), value, replace_lists=replace_lists)


def _merge_map(target: Message, source: Message, *, of_messages: bool) -> None:
    for key in source:
        if of_messages:
            target[key].CopyFrom(source[key])
        else:
            target[key] = source[key]


def merge_any(target: Message, source: Message) -> None:
    """Merge what one Any holds into what another one holds."""
    if target.type_url.rpartition("/")[2] != source.type_url.rpartition("/")[2]:
        raise CannotApplyError(f"{_type(source)} cannot be merged into {_type(target)}")
    there, given = unpacked(target), unpacked(source)
    if there is None or given is None:
        raise CannotApplyError(f"the content of {_type(target)} is not known, so nothing can be merged into it")
    merge(there, given)
    pack(target, there)


def _type(packed: Message) -> str:
    return packed.type_url.rpartition("/")[2] or "nothing"
