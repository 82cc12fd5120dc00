"""Random damage to valid documents, of the kinds that people and programs do. Used by the fuzz tests.

The seeds are the golden cases' inputs: every kind, most fields.
"""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st

GOLDENS = Path(__file__).parent / "goldens"


def seeds() -> list[str]:
    """The text of every document of the golden inputs."""
    texts = [path.read_text() for path in sorted(GOLDENS.glob("*/in.yaml"))]
    parts = [part.strip("\n") + "\n" for text in texts for part in re.split(r"(?m)^---.*$", text)]
    return [part for part in parts if re.search(r"(?m)^kind:", part)]


SEEDS = seeds()
TREES: list[dict[str, Any]] = [yaml.load(text, Loader=yaml.BaseLoader) for text in SEEDS]
"""All scalars as text: what they are is decided when they are read again."""

ODD: list[Any] = [
    *(
        "",
        "*",
        "*.",
        "~",
        ".",
        "a b",
        "A",
        "a/b",
        "-1",
        "0",
        "1",
        "65536",
        "1e400",
        "0x10",
        "1.5",
        "true",
        "on",
        "null",
    ),
    *(
        "10.0.0.0/33",
        "::1",
        "fe80::1%eth0",
        "5 sec",
        "99999999999h",
        "(a",
        "%",
        "%A",
        "{{x}}",
        "\x00",
        "\ud800",
        "é" * 99,
    ),
    *(
        "@request.auth.claims.",
        "spiffe://",
        "http://[",
        "x" * 5000,
        "9" * 500,
        "---",
        "...",
        "<<",
        "&a",
        "*a",
        "!!int a",
    ),
    *(None, True, -1, 0, 2**31, 2**64, 1e308, [], {}, [[]], {"": ""}, [None], {"name": None}),
]
FRAGMENTS = (
    "\t",
    "\x00",
    "\r",
    "\ufeff",
    "'",
    '"',
    "{",
    "[",
    "]",
    "}",
    ": ",
    "- ",
    "&a ",
    "*a",
    "!!python/object:os ",
    "? ",
    "| ",
)


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every (parent, key or index) of a tree."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found: list[tuple[Any, Any]] = []
    for key, item in items:
        found += [(value, key), *_places(item)]
    return found


@st.composite
def damaged_trees(draw: st.DrawFn) -> str:
    """A document with one to three values replaced, moved, renamed, doubled or left out, written as YAML."""
    tree = copy.deepcopy(draw(st.sampled_from(TREES)))
    for _ in range(draw(st.integers(1, 3))):
        places = _places(tree)
        if not places:
            break
        parent, key = draw(st.sampled_from(places))
        action = draw(st.sampled_from(("odd", "odd", "other", "rename", "double", "remove", "wrap")))
        if action == "odd":
            parent[key] = copy.deepcopy(draw(st.sampled_from(ODD)))  # the next damage may be inside it
        elif action == "other":
            there, place = draw(st.sampled_from(places))
            parent[key] = copy.deepcopy(there[place])
        elif action == "rename" and isinstance(parent, dict):
            parent[draw(st.sampled_from(("name", "hosts", "spec", "x", "", "port")))] = parent.pop(key)
        elif action == "double" and isinstance(parent, list):
            parent.append(copy.deepcopy(parent[key]))
        elif action == "wrap":
            parent[key] = draw(st.sampled_from(([parent[key]], {"a": parent[key]})))
        else:
            parent.pop(key)
    text = yaml.dump(tree, Dumper=yaml.SafeDumper, default_flow_style=draw(st.booleans()), allow_unicode=False)
    # Scalars lose their quotes, so that numbers are numbers again.
    return text.replace("'", "") if draw(st.booleans()) else text


@st.composite
def damaged_texts(draw: st.DrawFn) -> str:
    """A document with lines moved, doubled, indented or left out, and fragments of YAML put anywhere."""
    lines = draw(st.sampled_from(SEEDS)).splitlines()
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(lines) - 1)))
        action = draw(st.sampled_from(("remove", "double", "indent", "outdent", "swap", "fragment", "fragment", "cut")))
        line = lines[at] if lines else ""
        column = draw(st.integers(0, len(line)))
        match action:
            case "remove":
                del lines[at : at + 1]
            case "double":
                lines.insert(at, line)
            case "swap":
                lines[at : at + 2] = lines[at : at + 2][::-1]
            case "cut":
                lines[at : at + 1] = [line[:column]]
            case "fragment":
                lines[at : at + 1] = [line[:column] + draw(st.sampled_from(FRAGMENTS)) + line[column:]]
            case _:
                lines[at : at + 1] = ["  " + line if action == "indent" else line[1:]]
    return "\n".join(lines) + "\n"


damaged = st.one_of(damaged_trees(), damaged_texts())
