"""Events of a YAML parser to JSON values, the places of their fields, and what is wrong with them.

Called by `config.documents`, which makes the events and knows about files. This is the innermost loop of all reading:
one call for each mapping and list, none for a plain scalar, and a place is one packed number (`config.positions`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

from yaml import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    StreamEndEvent,
)

from lateen.config.codes import DUPLICATE_KEY, LIMIT, SYNTAX, Code
from lateen.config.positions import Path, Placed, moved, pack, unpack
from lateen.config.scalars import resolve_plain, resolve_tagged

MAX_DEPTH = 100
"""Nesting of one document. Istio's deepest legal object has about fifteen levels."""
MAX_NODES = 500_000
"""Nodes of one document after its aliases are expanded."""

_MAP_TAGS = (None, "!", "tag:yaml.org,2002:map")
_SEQUENCE_TAGS = (None, "!", "tag:yaml.org,2002:seq")


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something wrong inside a document that could still be read."""

    code: Code
    path: Path
    message: str
    place: tuple[int, int]


class Unreadable(Exception):  # noqa: N818 (never leaves `config.documents`)
    """Stops reading one document."""

    def __init__(self, code: Code, message: str, place: tuple[int, int]) -> None:
        super().__init__(message)
        self.code = code
        self.place = place


class Node(NamedTuple):
    """A value that was read, its place, and how many nodes it holds with aliases expanded."""

    value: Any
    placed: Placed
    size: int


class Root(NamedTuple):
    """A whole document: its value, the places in it, and what is wrong."""

    value: Any
    placed: Placed
    problems: tuple[Problem, ...]


class NodeReader:
    """Reads the documents of one text. It recurses, but never deeper than MAX_DEPTH."""

    def __init__(self, next_event: Callable[[], Any], first_line: int, last_line: int) -> None:
        self._next = next_event
        self._first_line = first_line + 1
        self._last_line = last_line
        """Of the text, from its own beginning: a parser counts more characters as ends of lines than an editor."""
        self._anchors: dict[str, Node] = {}
        self._problems: list[Problem] = []
        self._newest: Any = None
        """The event that ended the last node; see there for when it is kept."""

    def documents(self) -> Iterator[Root]:
        """Yield the documents in order; raises Unreadable, and whatever the parser raises."""
        while type(event := self._next()) is not StreamEndEvent:
            if type(event) is DocumentStartEvent:
                self._anchors, self._problems = {}, []
                value, placed, _ = self._node(self._next(), ())
                self._next()  # its end: text behind the root is a syntax error of this document
                yield Root(value, placed, tuple(self._problems))

    def _place(self, event: Any) -> int:
        mark = event.start_mark
        line = mark.line
        return pack(self._first_line + (line if line < self._last_line else self._last_line), mark.column + 1)

    def _at(self, event: Any) -> tuple[int, int]:
        return unpack(self._place(event))

    def _node(self, event: Any, path: Path) -> Node:
        """Read the node that an event begins."""
        kind = type(event)
        if kind is MappingStartEvent:
            node = self._mapping(event, path)
        elif kind is ScalarEvent:
            node = Node(self._scalar(event), self._place(event), 1)
        elif kind is AliasEvent:
            return self._aliased(event)
        else:
            node = self._sequence(event, path)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _aliased(self, event: Any) -> Node:
        node = self._anchors.get(event.anchor or "")
        if node is None:
            message = f"undefined alias {event.anchor!r}; it needs its anchor (`&{event.anchor}`) before it"
            raise Unreadable(SYNTAX, message, self._at(event))
        return node

    def _scalar(self, event: Any) -> Any:
        if event.implicit[0]:
            return resolve_plain(event.value)
        if event.tag is None or event.implicit[1]:
            return event.value
        try:
            return resolve_tagged(event.tag, event.value)
        except ValueError as error:
            raise Unreadable(SYNTAX, str(error), self._at(event)) from None

    def _open(self, event: Any, path: Path, tags: tuple[str | None, ...]) -> None:
        if len(path) >= MAX_DEPTH:
            raise Unreadable(LIMIT, f"the document is nested deeper than {MAX_DEPTH} levels", self._at(event))
        if event.tag not in tags:
            message = f"the tag {event.tag!r} has no meaning here; write the value without it"
            raise Unreadable(SYNTAX, message, self._at(event))

    def _sequence(self, start: Any, path: Path) -> Node:
        self._open(start, path, _SEQUENCE_TAGS)
        values: list[Any] = []
        places: list[Placed] = []
        size = 1
        while type(event := self._next()) is not SequenceEndEvent:
            self._newest = event
            value, placed, held = self._node(event, (*path, len(values)))
            size += held
            if size > MAX_NODES:
                self._too_many(self._newest)
            values.append(value)
            places.append(placed)
        self._newest = event
        return Node(values, (self._place(start), places), size)

    def _mapping(self, start: Any, path: Path) -> Node:
        self._open(start, path, _MAP_TAGS)
        values: dict[str, Any] = {}
        places: dict[str, Placed] = {}
        merges: list[Node] = []
        size = 1
        next_event = self._next
        while type(event := next_event()) is not MappingEndEvent:
            # The key's place, not the value's: a value may begin lines below its key.
            place = self._place(event)
            is_plain = type(event) is ScalarEvent and event.anchor is None and event.tag is None
            key = event.value if is_plain else self._unusual_key(event, path)
            size += 1
            if size > MAX_NODES:
                self._too_many(event)
            event = next_event()
            if type(event) is ScalarEvent and event.anchor is None and event.tag is None and key != "<<":
                value = resolve_plain(event.value) if event.implicit[0] else event.value
                placed: Placed = place
                size += 1
            else:
                self._newest = event
                node = self._node(event, (*path, key))
                event = self._newest
                value, placed = node.value, moved(node.placed, place)
                size += node.size
            if size > MAX_NODES:
                self._too_many(event)
            if key == "<<":
                merges += self._merged(node, event)
            elif key in values:
                self._repeated((*path, key), places[key], place)
            else:
                values[key], places[key] = value, placed
        self._newest = event
        for source in merges:
            for key, value in source.value.items():
                if key not in values:
                    values[key], places[key] = value, source.placed[1][key]  # type: ignore[index]
        return Node(values, (self._place(start), places), size)

    def _unusual_key(self, event: Any, path: Path) -> str:
        """Return a key that has an anchor or a tag, or is an alias; raises Unreadable for one that is no text."""
        self._newest = event
        value = self._node(event, (*path, "")).value
        if isinstance(value, dict | list):
            raise Unreadable(SYNTAX, "a key must be text; quote it if it begins with { or [", self._at(self._newest))
        return value if isinstance(value, str) else str(getattr(event, "value", value))

    def _repeated(self, path: Path, first: Placed, place: int) -> None:
        line, _ = unpack(first)
        message = f"the key {path[-1]!r} stands twice in this mapping (first in line {line}); keep one of them"
        self._problems.append(Problem(code=DUPLICATE_KEY, path=path, message=message, place=unpack(place)))

    def _merged(self, node: Node, event: Any) -> list[Node]:
        """Return the values of `<<`, in order; an earlier one wins (YAML 1.1 merge key)."""
        if isinstance(node.value, dict):
            return [node]
        if isinstance(node.value, list) and all(isinstance(value, dict) for value in node.value):
            places = node.placed[1]  # type: ignore[index]
            return [Node(value, placed, 1) for value, placed in zip(node.value, places, strict=True)]
        raise Unreadable(SYNTAX, "`<<` merges a mapping or a list of mappings", self._at(event))

    def _too_many(self, event: Any) -> NoReturn:
        raise Unreadable(LIMIT, f"the document has more than {MAX_NODES} values (aliases expanded)", self._at(event))
