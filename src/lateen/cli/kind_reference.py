"""Reference pages of the kinds, one a kind, from the structs: docs/reference/kinds/*.md.

    python -m lateen.cli.kind_reference [DOCS]

Run by `make docs`; a test holds the committed pages to what this prints. What a field means is the docstring under it,
whether it acts `config.acting` says, the example is `DOCS/examples/KIND.yaml`, and the guides are those of `DOCS/guide`
that show an object of the kind. A new row of `config.kinds` is a new page. Must not know: what a field does.
"""

from __future__ import annotations

import ast
import inspect as source_code
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
from msgspec import inspect

from lateen.cli.proxy_documents import ProxyDocument, UpstreamDocument
from lateen.config.acting import ACTING, ALL, Acting, Table
from lateen.config.decoding import fields_of
from lateen.config.gateway_api import GROUP
from lateen.config.kinds import KINDS, Kind
from lateen.config.mesh_config import ACTING_MESH, MeshConfig
from lateen.config.reasons import reason_for

DOCS = Path("docs")
FIRST_RELEASE = "0.1"
SINCE: Mapping[tuple[str, str], str] = {}
"""Release from which a field acts, by struct and field (`HTTPRoute`, `mirrors`), where it is not the first one."""

_NOTICE = "<!-- Made by `python -m lateen.cli.kind_reference`; do not edit. -->"
_TABLE: Table = ACTING | ACTING_MESH | {ProxyDocument: ALL, UpstreamDocument: ALL}
_INERT = Acting(fields=frozenset())
_ISTIO = "https://istio.io/latest/docs/reference/config"
_ISTIO_PAGES = {
    "VirtualService": "networking/virtual-service",
    "DestinationRule": "networking/destination-rule",
    "Gateway": "networking/gateway",
    "ServiceEntry": "networking/service-entry",
    "WorkloadEntry": "networking/workload-entry",
    "WorkloadGroup": "networking/workload-group",
    "Sidecar": "networking/sidecar",
    "EnvoyFilter": "networking/envoy-filter",
    "ProxyConfig": "networking/proxy-config",
    "PeerAuthentication": "security/peer_authentication",
    "RequestAuthentication": "security/request_authentication",
    "AuthorizationPolicy": "security/authorization-policy",
    "Telemetry": "telemetry",
    "WasmPlugin": "proxy_extensions/wasm-plugin",
    "MeshConfig": "istio.mesh.v1alpha1",
}
_GATEWAY_API_PAGE = "https://gateway-api.sigs.k8s.io/reference/spec/"
_KUBERNETES_PAGE = "https://kubernetes.io/docs/reference/kubernetes-api/"
_UNITS = {"Duration": "duration, `1.5s`", "Percent": "percent", "Seconds": "seconds", "Bytes": "bytes"}
"""A docstring that begins with one of these words says the unit with it."""
_WORDS: Mapping[type[inspect.Type], str] = {
    inspect.StrType: "string",
    inspect.BoolType: "boolean",
    inspect.FloatType: "number",
    inspect.AnyType: "any",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What one page is about."""

    name: str
    """Name of the file, without its ending."""
    title: str
    struct: type[msgspec.Struct]
    kind: Kind | None = None
    """None for the two files that are not objects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One field of a struct."""

    path: str
    shape: str
    """Its type and unit, in words."""
    default: str
    since: str
    """Release from which it acts, empty when it does not."""
    note: str
    """With which values it acts, or that it has no meaning here."""
    meaning: str
    reason: str
    """Why it does not act, and what to do instead."""
    below: tuple[type[msgspec.Struct], str] | None
    """The struct that it holds and the path of that, if the fields of it matter."""


def pages() -> tuple[Page, ...]:
    """Return every page in the order of the index."""
    kinds = [Page(name=kind.name, title=_title(kind), struct=kind.struct, kind=kind) for kind in KINDS.values()]
    mesh = Page(name="MeshConfig", title="MeshConfig", struct=MeshConfig)
    return (*kinds, mesh, Page(name="PROXY", title="PROXY.yaml", struct=ProxyDocument))


def _title(kind: Kind) -> str:
    return f"{kind.document_kind} ({kind.group})" if kind.written else kind.name


def references(docs: Path = DOCS) -> dict[str, str]:
    """Return the text of every page by file name; examples and guides are read from `docs`."""
    guides = _guides(docs / "guide")
    made = {f"{page.name}.md": _page_text(page, docs, guides.get(page.name, ())) for page in pages()}
    return {"README.md": _index()} | made


# --- fields ----------------------------------------------------------------------------------------------------------


def rows_of(struct: type[msgspec.Struct], prefix: str = "") -> Iterator[Row]:
    """Yield the rows of one struct; the structs below it are named in them, not followed."""
    acting = _TABLE.get(struct, _INERT)
    types = fields_of(struct).types
    meanings = field_meanings(struct)
    for found in msgspec.structs.fields(struct):
        name = found.encode_name
        acts = acting.acts(name)
        inner = _structs(types[name])
        path = prefix + name
        meaning = meanings.get(found.name, "")
        meaning = meaning or _summary_of_type(types[name])
        below = (inner[0], path + _suffix(types[name])) if inner and acts and name not in acting.silent else None
        yield Row(
            path=path,
            shape=_type_text(types[name], meaning),
            default=_default(found),
            since=SINCE.get((struct.__name__, name), FIRST_RELEASE) if acts and name not in acting.silent else "",
            note=_note(acting, name, types[name]),
            meaning=meaning,
            reason="" if acts else _reason(struct, name),
            below=below,
        )


def sections(struct: type[msgspec.Struct]) -> Iterator[tuple[type[msgspec.Struct], list[str], list[Row]]]:
    """Yield each struct of a page once, with every path that leads to it, first that of the page itself."""
    order: dict[type[msgspec.Struct], list[str]] = {struct: [""]}
    known: dict[type[msgspec.Struct], list[Row]] = {}
    waiting = [struct]
    while waiting:
        here = waiting.pop(0)
        first = order[here][0]
        known[here] = list(rows_of(here, f"{first}." if first else ""))
        for below in (row.below for row in known[here] if row.below):
            if below[0] not in order:
                waiting.append(below[0])
            order.setdefault(below[0], []).append(below[1])
    for found, paths in order.items():
        yield found, paths, known[found]


def field_meanings(struct: type[msgspec.Struct]) -> dict[str, str]:
    """Return the docstrings under the fields of a struct and of those it extends."""
    found: dict[str, str] = {}
    for each in reversed(struct.__mro__):
        if issubclass(each, msgspec.Struct) and each is not msgspec.Struct:
            found |= _docstrings(each.__module__).get(each.__name__, {})
    return found


@cache  # a pure function of the code
def _docstrings(module: str) -> dict[str, dict[str, str]]:
    """Return what stands under the fields of each class of a module."""
    found: dict[str, dict[str, str]] = {}
    for node in ast.parse(source_code.getsource(sys.modules[module])).body:
        if isinstance(node, ast.ClassDef):
            for field, under in pairwise(node.body):
                match field, under:
                    case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                        found.setdefault(node.name, {})[name] = " ".join(text.split())
    return found


def _structs(found: inspect.Type) -> list[type[msgspec.Struct]]:
    match found:
        case inspect.StructType():
            return [found.cls]
        case inspect.UnionType():
            return [one for option in found.types for one in _structs(option)]
        case inspect.ListType():
            return _structs(found.item_type)
        case inspect.DictType():
            return _structs(found.value_type)
        case _:
            return []


def _reason(struct: type[msgspec.Struct], name: str) -> str:
    found = reason_for(struct.__name__, name) or reason_for(struct.__name__)
    return str(found) if found else ""


def _summary_of_type(found: inspect.Type) -> str:
    """Return what a struct or an enum says of itself, for a field that says nothing more."""
    types: list[type] = [*_structs(found), *([found.cls] if isinstance(found, inspect.EnumType) else [])]
    return _summary(types[0]) if types else ""


def _suffix(found: inspect.Type) -> str:
    match found:
        case inspect.ListType():
            return "[]"
        case inspect.DictType():
            return ".*"
        case inspect.UnionType():
            return next((mark for mark in map(_suffix, found.types) if mark), "")
        case _:
            return ""


def _type_text(found: inspect.Type, meaning: str) -> str:
    unit = _UNITS.get(re.split(r"[^\w]", meaning, maxsplit=1)[0])
    if unit and not _structs(found):
        return unit
    return _type_word(found)


def _type_word(found: inspect.Type) -> str:
    match found:
        case inspect.UnionType():
            return " or ".join(_type_word(one) for one in found.types if not isinstance(one, inspect.NoneType))
        case inspect.ListType():
            return f"list of {_type_word(found.item_type)}"
        case inspect.DictType():
            return f"map of string to {_type_word(found.value_type)}"
        case inspect.StructType():
            return f"[{found.cls.__name__}](#{found.cls.__name__.lower()})"
        case inspect.EnumType():
            return ", ".join(f"`{member.value}`" for member in found.cls if not _unset(member))
        case inspect.IntType():
            return _integer(found)
        case _:
            return _WORDS.get(type(found), "any")


def _integer(found: inspect.IntType) -> str:
    if found.le is None or found.le > 2**31:
        return "integer"
    return f"integer, {found.ge or 0} to {found.le}"


def _unset(member: Enum) -> bool:
    return str(member.value).endswith("UNSPECIFIED")


def _default(found: msgspec.structs.FieldInfo) -> str:
    if found.required:
        return "required"
    value: Any = found.default_factory() if found.default_factory is not msgspec.NODEFAULT else found.default
    if isinstance(value, Enum):
        return "" if _unset(value) else f"`{value.value}`"
    plain = msgspec.to_builtins(value)
    if plain is False:
        return "`false`"
    return f"`{msgspec.json.encode(plain).decode()}`".replace('`"', "`").replace('"`', "`") if plain else ""


def _note(acting: Acting, name: str, found: inspect.Type) -> str:
    if name in acting.silent:
        return "no meaning here"
    values = {word for word in acting.values.get(name, ()) if word}
    if isinstance(found, inspect.EnumType) and values == {str(member.value) for member in found.cls}:
        return ""
    return f"with {', '.join(f'`{word}`' for word in sorted(values))}" if values else ""


# --- text ------------------------------------------------------------------------------------------------------------


def _page_text(page: Page, docs: Path, guides: tuple[tuple[str, str], ...]) -> str:
    lines = [f"# {page.title}", "", _NOTICE, "", _summary(page.struct), "", *_facts(page, guides)]
    example = docs / "examples" / f"{page.name}.yaml"
    if example.exists():
        lines += ["", "## Example", "", "```yaml", example.read_text(encoding="utf-8").rstrip(), "```"]
    lines += ["", "## Fields"]
    for struct, paths, rows in sections(page.struct):
        if not rows:
            continue
        if paths != [""]:
            lines += ["", f"### {struct.__name__}", "", _summary(struct), "", _places(paths)]
        lines += ["", "| Field | Type | Default | Acts since | Meaning |", "|---|---|---|---|---|"]
        lines += [_row_text(row, page) for row in rows]
    return "\n".join(lines) + "\n"


def _facts(page: Page, guides: tuple[tuple[str, str], ...]) -> Iterator[str]:
    kind = page.kind
    if kind is not None:
        versions = ", ".join(f"`{kind.api_version(version)}`" for version in kind.versions)
        names = ", ".join(f"`{name}`" for name in (kind.plural, *kind.short_names))
        where = f"under `{kind.spec_field}`" if kind.spec_field else "beside `metadata`"
        yield f"- API versions: {versions}; in commands: {names}; its fields stand {where}"
        yield f"- Objects of it {'belong to a namespace' if kind.namespaced else 'belong to no namespace'}"
    if page.name in _ISTIO_PAGES:
        yield f"- In Istio's documentation: [{page.title}]({_ISTIO}/{_ISTIO_PAGES[page.name]}/)"
    elif kind is not None:
        is_gateway = kind.group == GROUP
        place = ("the Gateway API's", _GATEWAY_API_PAGE) if is_gateway else ("Kubernetes'", _KUBERNETES_PAGE)
        yield f"- In {place[0]} documentation: [{kind.document_kind}]({place[1]})"
    if guides:
        yield "- Guides: " + ", ".join(f"[{title}](../../guide/{file})" for file, title in guides)


def _places(paths: list[str]) -> str:
    first, *others = (f"`{path}`" for path in paths)
    return f"At {first}" + (f"; the same at {', '.join(others)}." if others else ".")


def _row_text(row: Row, page: Page) -> str:
    note = f", {row.note}" if row.note and row.since else row.note
    since = f"{row.since}{note}" if row.since or note else f"[not yet](../unsupported.md#{_anchor(page.title)})"
    reason = f"Does not act: {row.reason}." if row.reason and not row.since and not note else ""
    meaning = " ".join(filter(None, (row.meaning, reason)))
    return f"| `{row.path}` | {_cell(row.shape)} | {_cell(row.default)} | {since} | {_cell(meaning)} |"


def _anchor(title: str) -> str:
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def _summary(struct: type) -> str:
    return source_code.cleandoc(struct.__doc__ or "").partition("\n\n")[0].replace("\n", " ")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _guides(folder: Path) -> dict[str, tuple[tuple[str, str], ...]]:
    """Return file and title of the guides that show objects of each kind, by the name of its page."""
    found: dict[str, dict[str, str]] = {}
    for guide in sorted(folder.glob("*.md")):
        text = guide.read_text(encoding="utf-8")
        title = text.partition("\n")[0].removeprefix("# ")
        for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL):
            for group, kind in re.findall(r"^apiVersion: (?:(\S+)/)?\S+\nkind: (\w+)$", block, re.MULTILINE):
                for each in KINDS.values():
                    if (each.group, each.document_kind) == (group, kind):
                        found.setdefault(each.name, {})[guide.name] = title
    return {name: tuple(of.items()) for name, of in found.items()}


def _index() -> str:
    lines = ["# Kinds", "", _NOTICE, "", "| Kind | Group | What it is |", "|---|---|---|"]
    for page in pages():
        group = f"`{page.kind.group or 'v1'}`" if page.kind else "a file"
        lines.append(f"| [{page.title}]({page.name}.md) | {group} | {_cell(_summary(page.struct))} |")
    lines += [
        "",
        "Each page has every field with its type, default, unit, and since when it acts. Fields that do not act",
    ]
    lines += ["yet are [listed](../unsupported.md), and setting one gives a warning."]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write all pages, and take away those of kinds that are gone."""
    docs = Path(sys.argv[1]) if len(sys.argv) > 1 else DOCS
    folder = docs / "reference" / "kinds"
    folder.mkdir(parents=True, exist_ok=True)
    made = references(docs)
    for old in folder.glob("*.md"):
        if old.name not in made:
            old.unlink()
    for name, text in made.items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
