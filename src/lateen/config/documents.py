"""YAML and JSON text to documents: plain JSON values with the line and column of every field.

Called by `config.parsing` and `config.mesh_config`; knows nothing of kinds. The text may be hostile (it arrives over
the API too), so this module does not use a YAML library's constructor: it walks libyaml's event stream itself, with
its own stack. That bounds what usual readers do not: nesting (libyaml's composer recurses in C and takes the
process down with it), aliases that multiply ("billion laughs"), and size. It also keeps what they lose: places,
duplicate keys and, after a syntax error, the other documents of the file. JSON is a subset of YAML and takes the
same way.
"""

from __future__ import annotations

import codecs
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from lateen.config.codes import DUPLICATE_KEY, LIMIT, SYNTAX, WRONG_TYPE, Code, Subject
from lateen.config.limits import MAX_BYTES
from lateen.config.positions import Path, Place, Positions, render_path
from lateen.config.scalars import resolve_plain, resolve_tagged
from lateen.model.findings import Finding

MAX_DEPTH = 100
"""Nesting of one document. Istio's deepest legal object has about fifteen levels."""
MAX_NODES = 500_000
"""Nodes of one document after its aliases are expanded."""

MAX_DOCUMENTS = 100_000
"""Documents of one input. Each costs a parser of its own, and each broken one a finding."""

_SEPARATOR = re.compile(r"^---(?=[ \t\r\n]|$)", re.MULTILINE)
"""`---` at the start of a line ends a document wherever it stands (YAML 1.2, 9.1.2), even in a block scalar."""
_NOTHING = re.compile(r"(?:---)?(?:[ \t]*+(?:[#%][^\n]*+)?+(?:\n|$))*+")
"""Possessive, as a line is read in one way only: to remember all ways costs 200 bytes for each line."""
_SURROGATES = re.compile(r"((?<!\\)(?:\\\\)*)\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")
_CONTROLS = re.compile("[\x7f-\x84\x86-\x9f\ufffe\uffff]")
_NOT_UTF_8 = re.compile("[\udc80-\udcff]")
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_LEFT_OUT = re.compile(r"^[ \t]*\.\.\.[ \t]*$", re.MULTILINE)
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something wrong inside a document that could still be read."""

    code: Code
    path: Path
    message: str
    place: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One object as written: a JSON value and where its fields stand. Items of a List are documents too."""

    value: dict[str, Any]
    positions: Positions
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Documents:
    """What a file holds. `findings` are about text that could not be read as documents at all."""

    documents: tuple[Document, ...] = ()
    findings: tuple[Finding, ...] = ()


class _Unreadable(Exception):  # noqa: N818 (never leaves this module)
    """Stops reading one document."""

    def __init__(self, code: Code, message: str, place: tuple[int, int]) -> None:
        super().__init__(message)
        self.code = code
        self.place = place


def read_documents(content: bytes, file: str) -> Documents:
    """Read every document of a file; never raises on any content.

    Empty documents are passed over, `kind: List` is flattened. After a syntax error reading goes on with the next
    document.
    """
    if len(content) > MAX_BYTES:
        message = f"the input is larger than {MAX_BYTES >> 20} MiB; split it into several files"
        return Documents(findings=(LIMIT.finding(message, file=file),))
    if content[:2] in _UTF_16:
        return Documents(
            findings=(SYNTAX.finding("the text is UTF-16; save the file as UTF-8", file=file, place=(1, 1)),)
        )
    # Bytes that are not UTF-8 become lone surrogates, which the document that has them is refused for.
    text = content.decode("utf-8-sig", errors="surrogateescape")
    text = text.replace("\r\n", "\n")
    if text.lstrip()[:1] in ("{", "["):
        text = _yaml_of_json(text)
    documents: list[Document] = []
    findings: list[Finding] = []
    for count, (first_line, chunk) in enumerate(_chunks(text)):
        if count == MAX_DOCUMENTS:
            message = f"the input has more than {MAX_DOCUMENTS} documents; what follows is not read"
            findings.append(LIMIT.finding(message, file=file, place=(first_line + 1, 1)))
            break
        broken: list[_Unreadable] = []
        try:
            for document in _read_chunk(chunk, first_line):
                documents.extend(_flattened(document, 0, broken))
        except _Unreadable as error:
            broken.append(error)
        findings += [error.code.finding(str(error), file=file, place=error.place) for error in broken]
    return Documents(documents=tuple(documents), findings=tuple(findings))


def _yaml_of_json(text: str) -> str:
    """Rewrite the two things of JSON that libyaml does not read: pairs of surrogate escapes, and raw DEL and C1."""
    if "\\u" in text:
        text = _SURROGATES.sub(lambda match: f"{match[1]}\\U{_joined(match[2], match[3]):08X}", text)
    return _CONTROLS.sub(lambda match: f"\\u{ord(match[0]):04X}", text)


def _joined(high: str, low: str) -> int:
    """Return the character of a surrogate pair."""
    return 0x10000 + ((int(high, 16) - 0xD800) << 10) + (int(low, 16) - 0xDC00)


def _chunks(text: str) -> Iterator[tuple[int, str]]:
    """Split at document separators; yields the 0-based line of each part and its text."""
    starts = [0, *(match.start() for match in _SEPARATOR.finditer(text)), len(text)]
    line = 0
    for begin, end in itertools.pairwise(starts):
        chunk = text[begin:end]
        if not _NOTHING.fullmatch(chunk):
            yield line, chunk
        line += chunk.count("\n")


def _read_chunk(chunk: str, first_line: int) -> Iterator[Document]:
    if stray := _NOT_UTF_8.search(chunk):
        before = chunk[: stray.start()]
        place = (first_line + before.count("\n") + 1, stray.start() - (before.rfind("\n") + 1) + 1)
        raise _Unreadable(SYNTAX, "the text is not UTF-8; save the file as UTF-8", place)
    reader = _Reader(first_line, chunk.rstrip().count("\n"))
    try:
        for event in _events(chunk):
            done = reader.take(event)
            if done is not None:
                yield from done
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = _inside(chunk, mark.line, mark.column) if mark else (0, 0)
        place = (first_line + line + 1, column + 1)
        raise _Unreadable(SYNTAX, _syntax_message(error, chunk), place) from None
    except yaml.reader.ReaderError as error:
        before = chunk[: error.position]
        place = (first_line + before.count("\n") + 1, error.position - (before.rfind("\n") + 1) + 1)
        raise _Unreadable(SYNTAX, "a control character stands in the text; remove it", place) from None
    except yaml.YAMLError as error:
        raise _Unreadable(SYNTAX, str(error).split("\n", 1)[0], (first_line + 1, 1)) from None


def _events(chunk: str) -> Iterator[Any]:
    """Yield the events of a text (`yaml.parse`, with half the calls: this is the innermost loop of all reading)."""
    loader = _LOADER(chunk)
    try:
        while type(event := loader.get_event()) is not yaml.StreamEndEvent:
            yield event
    finally:
        loader.dispose()


def _inside(chunk: str, line: int, column: int) -> tuple[int, int]:
    """Return a place, or the end of the text when it is behind that: what is not closed is missed at the end.

    libyaml counts NEL, LS, PS and a lone CR as ends of lines; editors, and we, do not.
    """
    text = chunk.rstrip()
    last = text.count("\n")
    return (line, column) if line <= last else (last, len(text) - text.rfind("\n") - 1)


def _syntax_message(error: yaml.MarkedYAMLError, chunk: str) -> str:
    problem = error.problem or "the text is not YAML"
    if _LEFT_OUT.search(chunk):
        return f"{problem}; `...` does not stand for what is left out: remove that line"
    if "cannot start any token" in problem:
        return "a tab or a reserved character begins a value; indent with spaces and quote such text"
    if "undefined alias" in problem:
        return f"{problem}; an alias (`*name`) needs its anchor (`&name`) before it"
    context = f" ({error.context})" if error.context else ""
    return f"{problem}{context}; check indentation, colons and quotes"


@dataclass(slots=True)
class _Node:
    """A value that was read, its place, and how many nodes it holds with aliases expanded."""

    value: Any
    place: Place
    size: int = 1


@dataclass(slots=True)
class _Frame:
    """An open mapping or list."""

    node: _Node
    anchor: str | None
    path: Path
    key: str | None = None
    key_place: tuple[int, int] = (0, 0)
    expects_key: bool = False
    merges: list[_Node] = field(default_factory=list)
    """Values of `<<`, in order; an earlier one wins (YAML 1.1 merge key)."""


class _Reader:
    """Builds documents out of parse events, one event at a time."""

    def __init__(self, first_line: int, last_line: int) -> None:
        self._first_line = first_line
        self._last_line = last_line
        """Of the text, from its own beginning: see `_inside`."""
        self._reset()

    def _reset(self) -> None:
        self._frames: list[_Frame] = []
        self._anchors: dict[str, _Node] = {}
        self._problems: list[Problem] = []
        self._root: _Node | None = None
        self._size = 0

    def take(self, event: Any) -> tuple[Document, ...] | None:
        """Take one event; returns the document when it ends (nothing for an empty one)."""
        # Chains of types, the frequent ones first: `match` asks each for its class pattern, at twice the time.
        kind = type(event)
        if kind is yaml.ScalarEvent:
            self._add(_Node(self._scalar(event), self._place(event)), event.anchor, event)
        elif kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
            self._open(event)
        elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
            self._close(event)
        elif kind is yaml.AliasEvent:
            node = self._anchors.get(event.anchor or "")
            if node is None:
                message = f"undefined alias {event.anchor!r}; it needs its anchor (`&{event.anchor}`) before it"
                raise _Unreadable(SYNTAX, message, self._at(event))
            self._add(node, None, event)
        elif kind is yaml.DocumentEndEvent:
            return self._finish(event)
        return None

    def _finish(self, event: Any) -> tuple[Document, ...]:
        root, problems = self._root, tuple(self._problems)
        self._reset()
        if root is None or root.value is None:
            return ()
        if not isinstance(root.value, dict):
            place = (root.place.line, root.place.column)
            message = "a document must be a mapping with apiVersion, kind and metadata"
            raise _Unreadable(WRONG_TYPE, message, place if place != (0, 0) else self._at(event))
        return (Document(value=root.value, positions=Positions(root.place), problems=problems),)

    def _at(self, event: Any) -> tuple[int, int]:
        place = self._place(event)
        return place.line, place.column

    def _place(self, event: Any) -> Place:
        mark = event.start_mark
        return Place(self._first_line + min(mark.line, self._last_line) + 1, mark.column + 1)

    def _scalar(self, event: Any) -> Any:
        if event.implicit[0]:
            return resolve_plain(event.value)
        if event.tag is None or event.implicit[1]:
            return event.value
        try:
            return resolve_tagged(event.tag, event.value)
        except ValueError as error:
            raise _Unreadable(SYNTAX, str(error), self._at(event)) from None

    def _open(self, event: Any) -> None:
        if len(self._frames) >= MAX_DEPTH:
            raise _Unreadable(LIMIT, f"the document is nested deeper than {MAX_DEPTH} levels", self._at(event))
        is_map = isinstance(event, yaml.MappingStartEvent)
        if event.tag not in (None, "!", "tag:yaml.org,2002:map" if is_map else "tag:yaml.org,2002:seq"):
            message = f"the tag {event.tag!r} has no meaning here; write the value without it"
            raise _Unreadable(SYNTAX, message, self._at(event))
        node = _Node({} if is_map else [], self._place(event))
        self._frames.append(_Frame(node, event.anchor, self._next_path(), expects_key=is_map))

    def _next_path(self) -> Path:
        if not self._frames:
            return ()
        parent = self._frames[-1]
        if isinstance(parent.node.value, list):
            return (*parent.path, len(parent.node.value))
        return (*parent.path, parent.key or "")

    def _close(self, event: Any) -> None:
        frame = self._frames.pop()
        for source in frame.merges:
            for key, value in source.value.items():
                if key not in frame.node.value:
                    frame.node.value[key] = value
                    frame.node.place.children[key] = source.place.children[key]
        self._add(frame.node, frame.anchor, event)

    def _add(self, node: _Node, anchor: str | None, event: Any) -> None:
        """Put a finished node into the open mapping or list, or make it the root."""
        if anchor is not None:
            self._anchors[anchor] = node
        if not self._frames:
            self._root = node
            return
        frame = self._frames[-1]
        frame.node.size += node.size
        if frame.node.size > MAX_NODES:
            raise _Unreadable(
                LIMIT, f"the document has more than {MAX_NODES} values (aliases expanded)", self._at(event)
            )
        if isinstance(frame.node.value, list):
            frame.node.place.children[len(frame.node.value)] = node.place
            frame.node.value.append(node.value)
        elif frame.expects_key:
            self._take_key(frame, node, event)
        else:
            self._take_value(frame, node, event)

    def _take_key(self, frame: _Frame, node: _Node, event: Any) -> None:
        if isinstance(node.value, dict | list):
            raise _Unreadable(SYNTAX, "a key must be text; quote it if it begins with { or [", self._at(event))
        is_text = isinstance(node.value, str)
        frame.key = node.value if is_text else str(getattr(event, "value", node.value))
        frame.key_place = self._at(event)
        frame.expects_key = False

    def _take_value(self, frame: _Frame, node: _Node, event: Any) -> None:
        key = frame.key or ""
        frame.expects_key = True
        frame.key = None
        if key == "<<":
            self._merge(frame, node, event)
            return
        if key in frame.node.value:
            first = frame.node.place.children[key]
            message = f"the key {key!r} stands twice in this mapping (first in line {first.line}); keep one of them"
            self._problems.append(
                Problem(code=DUPLICATE_KEY, path=(*frame.path, key), message=message, place=frame.key_place)
            )
            return
        frame.node.value[key] = node.value
        # The key's place, not the value's: a value may begin lines below its key.
        frame.node.place.children[key] = Place(*frame.key_place, node.place.children)

    def _merge(self, frame: _Frame, node: _Node, event: Any) -> None:
        if isinstance(node.value, dict):
            frame.merges.append(node)
        elif isinstance(node.value, list) and all(isinstance(value, dict) for value in node.value):
            frame.merges += [_Node(value, node.place.children[index]) for index, value in enumerate(node.value)]
        else:
            raise _Unreadable(SYNTAX, "`<<` merges a mapping or a list of mappings", self._at(event))


def _flattened(document: Document, depth: int, broken: list[_Unreadable]) -> Iterator[Document]:
    """Yield the items of a List (of Lists), or the document itself; items that are no objects go to `broken`."""
    kind, items = document.value.get("kind"), document.value.get("items")
    if not isinstance(kind, str) or not kind.endswith("List") or not isinstance(items, list) or depth > MAX_DEPTH:
        yield document
        return
    places = document.positions.root.children["items"].children
    outside = tuple(problem for problem in document.problems if problem.path[:1] != ("items",))
    for index, item in enumerate(items):
        place = places[index]
        if not isinstance(item, dict):
            message = f"items[{index}] is not an object; every item of a List is one"
            broken.append(_Unreadable(WRONG_TYPE, message, (place.line, place.column)))
            continue
        inside = tuple(
            Problem(code=problem.code, path=problem.path[2:], message=problem.message, place=problem.place)
            for problem in document.problems
            if problem.path[:2] == ("items", index)
        )
        yield from _flattened(
            Document(value=item, positions=Positions(place), problems=inside + outside), depth + 1, broken
        )


def problem_findings(document: Document, file: str, subject: Subject) -> Iterator[Finding]:
    """Yield the findings of a document's own problems, now that its kind and name are known."""
    for problem in document.problems:
        about = Subject(
            kind=subject.kind, namespace=subject.namespace, name=subject.name, path=render_path(problem.path)
        )
        yield problem.code.finding(problem.message, file=file, place=problem.place, subject=about)
