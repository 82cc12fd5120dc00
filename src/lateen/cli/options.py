"""Options that several commands share, as annotated types. Imported by every command module, so it stays light."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

DEFAULT_SERVER = "http://127.0.0.1:15080"


class Output(StrEnum):
    """Formats of `-o`."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


OutputOption = Annotated[Output, typer.Option("--output", "-o", help="Format of the output.")]
FilesOption = Annotated[
    list[str],
    typer.Option("--filename", "-f", metavar="PATH", help="File, folder (recursive) or - for stdin; repeatable."),
]
OptionalFilesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--filename", "-f", metavar="PATH", help="File, folder (recursive) or - for stdin; repeatable. None: the mesh."
    ),
]
MorePaths = Annotated[list[str] | None, typer.Argument(metavar="[PATH]...", help="More files and folders.")]
MeshConfigOption = Annotated[
    Path | None, typer.Option("--mesh-config", metavar="FILE", help="File with Istio's MeshConfig.")
]
ServerOption = Annotated[
    str,
    typer.Option(
        "--server",
        envvar="LATEEN_SERVER",
        metavar="URL",
        help="HTTP API of the control plane: http, https or unix URL.",
    ),
]
TokenFileOption = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        metavar="FILE",
        help="Token for the API; else of LATEEN_TOKEN, of the file LATEEN_TOKEN_FILE, or of the control plane's own "
        "user on its machine.",
    ),
]
CaFileOption = Annotated[
    Path | None,
    typer.Option(
        "--ca-file",
        envvar="LATEEN_CA_FILE",
        metavar="FILE",
        help="Roots (PEM) to know the control plane by, for https.",
    ),
]
NamespaceOption = Annotated[str, typer.Option("--namespace", "-n", metavar="NS", help="Namespace.")]
