"""One coverage-guided fuzz target: `python fuzz/target.py NAME [libFuzzer options] [corpus or file]`.

Run by `make fuzz`. A target takes any bytes and may refuse them only in the way that its contract says; any other
exception, and a run of more than libFuzzer's time-out, is a finding. Needs atheris, which has no wheel for every system
and is therefore no dependency of the project.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["lateen"]):
    from lateen.config.durations import nanoseconds, to_fields
    from lateen.config.mesh_config import parse_mesh_config
    from lateen.config.metadata import Metadata
    from lateen.config.parsing import parse
    from lateen.config.positions import read_path, render_path
    from lateen.config.scalars import resolve_plain
    from lateen.config.validation import fields
    from lateen.config.validation.formatters import formatter_problem
    from lateen.config.validation.regexes import regex
    from lateen.explain.questions import QuestionError, question, read_headers
    from lateen.model.proxies import Proxy, ProxyType

PROXY = Proxy(type=ProxyType.SIDECAR, name="p", namespace="default", addresses=("10.0.0.1",))


def documents(data: bytes) -> None:
    """The YAML and JSON reader, decoding and every rule: findings, all inside the file."""
    lines = data.count(b"\n") + 1
    for one in parse(data, "f").findings:
        assert 1 <= one.line <= lines, one
        assert one.column >= 0, one
    parse_mesh_config(data, "f")


def paths(data: bytes) -> None:
    """Field paths as findings write them, and plain scalars."""
    text = data.decode("utf-8", errors="replace")
    written = render_path(read_path(text))
    assert render_path(read_path(written)) == written
    if text:
        resolve_plain(text)


def durations(data: bytes) -> None:
    """Durations, addresses, hosts, header values and regular expressions."""
    text = data.decode("utf-8", errors="replace")
    try:
        length = nanoseconds(text)
    except ValueError:
        pass
    else:
        parts = to_fields(text)
        assert parts["seconds"] * 1_000_000_000 + parts["nanos"] == length
    for rule in (fields.subnet, fields.ip_address, fields.fqdn, fields.wildcard_host, fields.unix_path):
        list(rule((), text))
    list(fields.header_value((), text))
    list(fields.labels((), {text: text}))
    list(fields.export_to((), [text], Metadata().namespace))
    list(regex((), text))
    for gateway in (True, False):
        list(fields.host_and_namespace((), text, gateway=gateway))
    formatter_problem(text)


def requests(data: bytes) -> None:
    """What `lateen explain --request` and its options take."""
    request, _, rest = data.decode("utf-8", errors="replace").partition("\n")
    claims, _, header = rest.partition("\n")
    for ask in (
        lambda: question(PROXY, request),
        lambda: question(PROXY, f"GET {request}", claims=claims, source_ip=header, identity=header),
        lambda: read_headers([header]),
    ):
        try:
            ask()
        except QuestionError:
            continue


TARGETS: dict[str, Callable[[bytes], None]] = {
    "documents": documents,
    "paths": paths,
    "durations": durations,
    "requests": requests,
}


def _write_seeds(folder: Path) -> None:
    """Put the golden documents where libFuzzer begins to look."""
    folder.mkdir(parents=True, exist_ok=True)
    goldens = Path(__file__).parents[1] / "tests" / "goldens"
    for path in goldens.glob("*/in.yaml"):
        for number, part in enumerate(path.read_bytes().split(b"\n---\n")):
            (folder / f"{path.parent.name}-{number}").write_bytes(part)


def main() -> None:
    """Fuzz the target that the first argument names."""
    name, *options = sys.argv[1:]
    corpus = Path(".fuzz") / name
    if name == "documents":
        _write_seeds(corpus)
    corpus.mkdir(parents=True, exist_ok=True)
    given = options if any(not option.startswith("-") for option in options) else [*options, str(corpus)]
    atheris.Setup([sys.argv[0], *given], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
