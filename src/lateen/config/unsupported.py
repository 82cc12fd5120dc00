"""The reference page of everything that is read but does not act, made from the tables.

Run as `python -m lateen.config.unsupported > docs/reference/unsupported.md`; a test holds the two together.
"""

from __future__ import annotations

import sys

import msgspec

from lateen.config.acting import ACTING, Inert, inert_parts
from lateen.config.kinds import KINDS, NOT_YET, Kind
from lateen.config.mesh_config import ACTING_MESH, MeshConfig
from lateen.config.reasons import REASONS, Reason


def unsupported_reference() -> str:
    """Return the page in Markdown."""
    lines = [
        "# Read, but without effect yet",
        "",
        "<!-- Made by `python -m lateen.config.unsupported`; do not edit. -->",
        "",
        _INTRODUCTION,
    ]
    structs: dict[str, type[msgspec.Struct]] = {_heading(kind): kind.struct for kind in KINDS.values()}
    for name, struct in (structs | {"MeshConfig": MeshConfig}).items():
        found = sorted(inert_parts(struct, table=ACTING | ACTING_MESH), key=lambda part: part.path)
        if found:
            lines += ["", f"## {name}", "", "| Field | Reason | Instead |", "|---|---|---|", *map(_row, found)]
    lines += ["", "## Kinds", "", "Documents of these kinds are passed over with the warning LAT0002:", ""]
    lines += [f"- `{group}`: {', '.join(sorted(kinds))}" for group, kinds in NOT_YET.items()]
    return "\n".join(lines) + "\n"


def _row(part: Inert) -> str:
    reason = REASONS.get(part.row, Reason("", ""))
    field = "every field" if part.path == "*" else f"`{part.path}`"
    return f"| {field} | {_cell(reason.why)} | {_cell(reason.instead)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _heading(kind: Kind) -> str:
    return f"{kind.document_kind} ({kind.group})" if kind.written else kind.name


_INTRODUCTION = (
    "Every field of Istio's schema and of the Gateway API's standard channel is read and checked. The fields below do "
    "not change the proxies' configuration in this version; setting one gives the warning "
    "[LAT0004](findings.md#lat0004), with the reason and the nearest alternative that stand here."
)

if __name__ == "__main__":
    sys.stdout.write(unsupported_reference())
