"""YAML and JSON text to documents: plain JSON values with the line and column of every field.

Called by `config.parsing` and `config.mesh_config`; knows nothing of kinds. The text may be hostile (it arrives over
the API too), so this module does not use a YAML library's constructor: `config.yaml_nodes` walks libyaml's event
stream itself. That bounds what usual readers do not: nesting (libyaml's composer recurses in C and takes the
process down with it), aliases that multiply ("billion laughs"), and size. It also keeps what they lose: places,
duplicate keys and, after a syntax error, the other documents of the file. JSON is a subset of YAML and takes the
same way.
"""

from __future__ import annotations

import codecs
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from lateen.config.codes import LIMIT, SYNTAX, WRONG_TYPE, Subject
from lateen.config.limits import MAX_BYTES
from lateen.config.positions import Positions, below, render_path, unpack
from lateen.config.yaml_nodes import MAX_DEPTH, NodeReader, Problem, Root, Unreadable
from lateen.model.findings import Finding

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
        broken: list[Unreadable] = []
        try:
            for document in _read_chunk(chunk, first_line):
                documents.extend(_flattened(document, 0, broken))
        except Unreadable as error:
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
        raise Unreadable(SYNTAX, "the text is not UTF-8; save the file as UTF-8", place)
    try:
        for root in _roots(chunk, first_line):
            if root.value is not None:
                yield _document(root)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = _inside(chunk, mark.line, mark.column) if mark else (0, 0)
        place = (first_line + line + 1, column + 1)
        raise Unreadable(SYNTAX, _syntax_message(error, chunk), place) from None
    except yaml.reader.ReaderError as error:
        before = chunk[: error.position]
        place = (first_line + before.count("\n") + 1, error.position - (before.rfind("\n") + 1) + 1)
        raise Unreadable(SYNTAX, "a control character stands in the text; remove it", place) from None
    except yaml.YAMLError as error:
        raise Unreadable(SYNTAX, str(error).split("\n", 1)[0], (first_line + 1, 1)) from None


def _roots(chunk: str, first_line: int) -> Iterator[Root]:
    loader = _LOADER(chunk)
    try:
        yield from NodeReader(loader.get_event, first_line, chunk.rstrip().count("\n")).documents()
    finally:
        loader.dispose()


def _document(root: Root) -> Document:
    if not isinstance(root.value, dict):
        message = "a document must be a mapping with apiVersion, kind and metadata"
        raise Unreadable(WRONG_TYPE, message, unpack(root.placed))
    return Document(value=root.value, positions=Positions(root.placed), problems=root.problems)


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


def _flattened(document: Document, depth: int, broken: list[Unreadable]) -> Iterator[Document]:
    """Yield the items of a List (of Lists), or the document itself; items that are no objects go to `broken`."""
    kind, items = document.value.get("kind"), document.value.get("items")
    if not isinstance(kind, str) or not kind.endswith("List") or not isinstance(items, list) or depth > MAX_DEPTH:
        yield document
        return
    listed = below(document.positions.root, "items") or document.positions.root
    outside = tuple(problem for problem in document.problems if problem.path[:1] != ("items",))
    for index, item in enumerate(items):
        place = below(listed, index) or listed
        if not isinstance(item, dict):
            message = f"items[{index}] is not an object; every item of a List is one"
            broken.append(Unreadable(WRONG_TYPE, message, unpack(place)))
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
