"""Reference pages from the code: docs/reference/cli.md and docs/reference/api.md.

    python -m lateen.cli.reference [FOLDER]

Run by `make docs`; a test holds the committed pages to what this prints, so they cannot drift. Must not know: what
a command does, only what it says of itself.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec
import typer

from lateen.api import schemas
from lateen.api.application import ENDPOINTS, Endpoint
from lateen.cli.commands import application
from lateen.cli.exits import ExitCode
from lateen.explain import explanations

FOLDER = Path("docs/reference")
_NOTICE = "<!-- Made by `python -m lateen.cli.reference`; do not edit. -->"
_API_NOTES = (
    "JSON on the control plane's HTTP port (15080) and its Unix socket. Callers show a token, `Authorization: Bearer "
    "TOKEN`, or come through the Unix socket as the control plane's own user or root "
    "([how](../guide/api-access.md)); `viewer` < `editor` < `admin`. Without: 401, with too small a role: 403, after "
    "many wrong tokens: 429. On a loopback bind a Host header that names anything else gets 403, and so does a change "
    "with a foreign Origin. Bodies are limited to 8 MiB (64 KiB for tokens and certificates). Errors have one shape, "
    "[ErrorAnswer](#erroranswer)."
)


def cli_reference() -> str:
    """Return the page of all commands."""
    root = typer.main.get_command(application())
    lines = ["# Command line", "", _NOTICE, "", "## Exit codes", "", "| Code | Meaning |", "|---|---|"]
    lines += [f"| {code.value} | {meaning} |" for code, meaning in _exit_codes()]
    lines += [
        "",
        "Every command that prints a table takes `-o table|json|yaml`. JSON goes to stdout alone, messages to stderr.",
    ]
    for path, command in _commands("lateen", root):
        lines += ["", f"## {path}", "", str(command.help or "").strip(), "", "```", _usage(path, command), "```"]
        lines += _parameters(command)
    return "\n".join(lines) + "\n"


def _exit_codes() -> Iterator[tuple[ExitCode, str]]:
    # An enum keeps no docstrings of its members: they are read from its source, where people read them too.
    source = inspect.getsource(ExitCode)
    meanings = dict(re.findall(r'(\w+) = \d+\n\s+"""(.*?)"""', source))
    for code in ExitCode:
        yield code, meanings[code.name]


def _commands(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    children = getattr(command, "commands", {})
    if not children:
        yield path, command
    for name, child in children.items():
        yield from _commands(f"{path} {name}", child)


def _usage(path: str, command: Any) -> str:
    arguments = [_metavar(one) for one in command.params if one.param_type_name == "argument"]
    return " ".join([path, "[OPTIONS]", *arguments])


def _metavar(parameter: Any) -> str:
    return str(parameter.metavar or parameter.name.upper())


def _parameters(command: Any) -> Iterator[str]:
    shown = [one for one in command.params if getattr(one, "help", None) and not getattr(one, "hidden", False)]
    if not shown:
        return
    yield from ("", "| Option | Meaning | Default |", "|---|---|---|")
    for one in shown:
        yield f"| {_names(one)} | {_cell(one.help)} | {_default(one)} |"


def _names(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{_cell(_metavar(parameter))}`"
    choices = [str(getattr(one, "value", one)) for one in getattr(parameter.type, "choices", ())]
    value = "" if parameter.is_flag else " " + ("|".join(choices) or _metavar(parameter))
    names = ", ".join((*parameter.opts, *parameter.secondary_opts))
    return f"`{_cell(names + value)}`"


def _default(parameter: Any) -> str:
    default = parameter.default
    if parameter.required:
        return "required"
    if default in (None, "", False, (), []) or callable(default):
        return ""
    if default is True and parameter.secondary_opts:
        default = parameter.opts[0]
    variable = f" (`{parameter.envvar}`)" if parameter.envvar else ""
    return f"`{getattr(default, 'value', default)}`{variable}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def api_reference() -> str:
    """Return the page of the HTTP API."""
    lines = [
        "# HTTP API",
        "",
        _NOTICE,
        "",
        _API_NOTES,
        "",
        "| Method | Path | Needs | Does | Query | Answer |",
        "|---|---|---|---|---|---|",
    ]
    lines += [_endpoint_row(endpoint) for endpoint in ENDPOINTS]
    lines += ["", "## Schemas"]
    for schema in _schemas():
        lines += ["", f"### {schema.__name__}", "", inspect.cleandoc(schema.__doc__ or ""), ""]
        lines += ["| Field | Type | Meaning |", "|---|---|---|"]
        meanings = _field_meanings(schema)
        for field in msgspec.structs.fields(schema):
            lines.append(
                f"| `{field.encode_name}` | {_type_text(field.type)} | {_cell(meanings.get(field.name, ''))} |"
            )
    return "\n".join(lines) + "\n"


def _endpoint_row(endpoint: Endpoint) -> str:
    summary = inspect.cleandoc(endpoint.serve.__doc__ or "").split("\n\n")[0].replace("\n", " ").partition(": ")[2]
    query = ", ".join(f"`{name}`" for name in endpoint.query)
    name = endpoint.answer.__name__
    does = _cell(summary[:1].upper() + summary[1:])
    needs = endpoint.needs.value if endpoint.needs else ""
    return f"| {endpoint.method} | `{endpoint.path}` | {needs} | {does} | {query} | [{name}](#{name.lower()}) |"


def _schemas() -> Iterator[type[msgspec.Struct]]:
    for module, base in ((schemas, schemas.Answer), (explanations, explanations.Part)):
        for found in vars(module).values():
            if inspect.isclass(found) and issubclass(found, base) and found is not base:
                yield found


def _field_meanings(schema: type[msgspec.Struct]) -> dict[str, str]:
    """Return the docstrings under the fields."""
    pairs = re.findall(r'^    (\w+): [^\n]+\n    """(.*?)"""', inspect.getsource(schema), re.MULTILINE | re.DOTALL)
    return {name: " ".join(text.split()) for name, text in pairs}


def _type_text(found: Any) -> str:
    if get_origin(found) is Literal:
        return ", ".join(f"`{word}`" for word in get_args(found) if word)
    if get_origin(found) is Annotated:
        found = get_args(found)[0]
    text = found if isinstance(found, str) else getattr(found, "__name__", None)
    if not isinstance(text, str) or text in ("list", "dict"):
        text = str(found)
    text = re.sub(r"\b(?:lateen\.api\.schemas|lateen\.explain\.explanations|typing)\.", "", text)
    return re.sub(
        r"\b([A-Z]\w+)\b", lambda match: f"[{match[1]}](#{match[1].lower()})" if match[1] != "Any" else "Any", text
    )


def main() -> None:
    """Write both pages."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cli.md").write_text(cli_reference())
    (folder / "api.md").write_text(api_reference())


if __name__ == "__main__":
    main()
