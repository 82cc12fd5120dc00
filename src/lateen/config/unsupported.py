"""The reference page of everything that is read but does not act, made from the tables.

Run as `python -m lateen.config.unsupported > docs/reference/unsupported.md`; a test holds the two together.
"""

from __future__ import annotations

import sys

import msgspec

from lateen.config.acting import ACTING, inert_paths
from lateen.config.kinds import KINDS, NOT_YET, Kind
from lateen.config.mesh_config import ACTING_MESH, MeshConfig


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
        paths = sorted(inert_paths(struct, table=ACTING | ACTING_MESH))
        if paths:
            lines += ["", f"## {name}", "", *(f"- `{path}`" for path in paths)]
    lines += ["", "## Kinds", "", "Documents of these kinds are passed over with the warning LAT0002:", ""]
    lines += [f"- `{group}`: {', '.join(sorted(kinds))}" for group, kinds in NOT_YET.items()]
    return "\n".join(lines) + "\n"


def _heading(kind: Kind) -> str:
    return f"{kind.document_kind} ({kind.group})" if kind.written else kind.name


_INTRODUCTION = (
    "Every field of Istio's schema and of the Gateway API's standard channel is read and checked. The fields below do "
    "not change the proxies' configuration in this version; setting one gives the warning "
    "[LAT0004](findings.md#lat0004)."
)

if __name__ == "__main__":
    sys.stdout.write(unsupported_reference())
