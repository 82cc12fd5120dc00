"""Commands that work on files alone: validate, analyze, generate. Only `analyze` without files asks a control plane.

Registered by `cli/commands.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from lateen.cli.exits import ExitCode, Failure
from lateen.cli.finding_formats import FindingOutput, FindingOutputOption
from lateen.cli.options import (
    DEFAULT_SERVER,
    CaFileOption,
    FilesOption,
    MeshConfigOption,
    MorePaths,
    OptionalFilesOption,
    Output,
    OutputOption,
    ServerOption,
    TokenFileOption,
)

if TYPE_CHECKING:
    from lateen.analysis.suppression import Suppression
    from lateen.cli.files import ParsedFiles
    from lateen.config.mesh_config import MeshConfig
    from lateen.envoy.resources import Snapshot
    from lateen.mesh.state import MeshState
    from lateen.model.findings import Finding


SuppressOption = Annotated[
    list[str] | None,
    typer.Option(
        "--suppress",
        "-S",
        metavar="CODE=OBJECT",
        help="Do not report a code for an object, `KIND NAME.NAMESPACE`; `*` matches anything; repeatable.",
    ),
]


class Checked(NamedTuple):
    """What offline commands start from."""

    parsed: ParsedFiles
    mesh_config: MeshConfig
    findings: tuple[Finding, ...]
    """Of the documents and of the MeshConfig."""


def validate(
    filename: FilesOption,
    more: MorePaths = None,
    mesh_config: MeshConfigOption = None,
    output: FindingOutputOption = FindingOutput.TABLE,
    suppress: SuppressOption = None,
) -> int:
    """Parse and check each document by itself."""
    from lateen.analysis.envoy_filters import value_findings
    from lateen.cli.findings import note_summary, print_findings
    from lateen.model.findings import has_errors

    rules = _suppressions(suppress)
    parsed, _, findings = checked(filename, more, mesh_config)
    findings = _unsuppressed(findings + value_findings(parsed.objects, parsed.positions), parsed, rules)
    print_findings(findings, output)
    note_summary(len(parsed.objects), findings)
    return ExitCode.REJECTED if has_errors(findings) else ExitCode.DONE


def analyze(
    filename: OptionalFilesOption = None,
    more: MorePaths = None,
    mesh_config: MeshConfigOption = None,
    output: FindingOutputOption = FindingOutput.TABLE,
    suppress: SuppressOption = None,
    server: ServerOption = DEFAULT_SERVER,
    token_file: TokenFileOption = None,
    ca_file: CaFileOption = None,
) -> int:
    """Validate, and look for problems between objects: dangling hosts and subsets, conflicts, shadowed rules.

    Without files it is the running mesh that is looked at, as the control plane at --server sees it.
    """
    from lateen.cli.findings import note_summary, print_findings
    from lateen.model.findings import has_errors

    rules = _suppressions(suppress)
    count = None
    if not filename and not more:
        findings = _of_the_mesh(server, token_file, ca_file, mesh_config, rules)
    else:
        parsed, mesh, findings = checked(filename or [], more, mesh_config)
        state, count = state_of(parsed, mesh), len(parsed.objects)
        findings += analyse(state, parsed) + _left_open(parsed) + _preflight(state, parsed)
        findings = _unsuppressed(findings, parsed, rules)
    print_findings(findings, output)
    note_summary(count, findings)
    return ExitCode.REJECTED if has_errors(findings) else ExitCode.DONE


def analyse(state: MeshState, parsed: ParsedFiles) -> tuple[Finding, ...]:
    """Return the findings between the objects of files."""
    from lateen.analysis.references import analyse as between

    return between(state, parsed.objects, parsed.positions)


def _of_the_mesh(
    server: str,
    token_file: Path | None,
    ca_file: Path | None,
    mesh_config: Path | None,
    rules: list[Suppression],
) -> tuple[Finding, ...]:
    """Return what a control plane finds in its mesh."""
    from lateen.analysis.suppression import without_suppressed
    from lateen.api.schemas import FindingList
    from lateen.cli.client import Client
    from lateen.cli.findings import finding_of

    if mesh_config is not None:
        hint = "leave it out, or name files with -f"
        raise Failure("--mesh-config is for files: a control plane has its own", code=ExitCode.USAGE, hint=hint)
    answer = Client(server, token_file, ca_file).get(FindingList, "v1", "findings")
    return without_suppressed([finding_of(view) for view in answer.items], rules)


def _preflight(state: MeshState, parsed: ParsedFiles) -> tuple[Finding, ...]:
    """Return what Envoy would reject; what was not tried is said."""
    from lateen.cli.output import note
    from lateen.preflight.flight import preflight

    flown = preflight(state, parsed.objects, parsed.positions)
    if flown.passed_over:
        note(f"note: not tried whether Envoy would reject something: {flown.passed_over}")
    return flown.findings


def _suppressions(texts: list[str] | None) -> list[Suppression]:
    """Read --suppress; a code that nobody knows is said, as it suppresses nothing."""
    from lateen.analysis.suppression import Suppression
    from lateen.cli.output import note
    from lateen.config.codes import CODES

    known = {"*"} | {code.code for code in CODES}
    rules = []
    for text in texts or ():
        try:
            rules.append(Suppression.parse(text))
        except ValueError as error:
            hint = 'for example --suppress "IST0101=VirtualService reviews.default"'
            raise Failure(str(error), code=ExitCode.USAGE, hint=hint) from error
        if rules[-1].code not in known:
            note(f"warning: there is no code {rules[-1].code}, so this suppresses nothing")
    return rules


def _unsuppressed(findings: tuple[Finding, ...], parsed: ParsedFiles, rules: list[Suppression]) -> tuple[Finding, ...]:
    from lateen.analysis.suppression import without_annotated, without_suppressed

    return without_suppressed(without_annotated(findings, parsed.objects), rules)


def generate(
    filename: FilesOption,
    more: MorePaths = None,
    proxy: Annotated[
        Path | None,
        typer.Option(
            "--proxy", metavar="PROXY.yaml", help="The proxy to generate for; its keys are in docs/guide/offline.md."
        ),
    ] = None,
    static: Annotated[
        bool, typer.Option("--static", help="Print a whole bootstrap for a bare Envoy; it holds private keys.")
    ] = False,
    status: Annotated[bool, typer.Option("--status", help="Print Gateway API statuses instead.")] = False,
    mesh_config: MeshConfigOption = None,
    output: OutputOption = Output.JSON,
) -> int:
    """Print the Envoy resources that a proxy would get.

    Without `interception` in PROXY.yaml a sidecar on a loopback address gets NONE, any other REDIRECT. Without
    `certificates` it has a certificate of the mesh, but with --static it has none.
    """
    from lateen.cli.output import note
    from lateen.model.findings import Severity, has_errors

    parsed, mesh, findings = checked(filename, more, mesh_config)
    for finding in findings:
        if finding.severity is not Severity.INFO:
            note(str(finding))
    if has_errors(findings):
        return ExitCode.REJECTED
    if status:
        _print_statuses(state_of(parsed, mesh), output)
        return ExitCode.DONE
    if proxy is None:
        raise Failure(
            "no proxy to generate for: add --proxy PROXY.yaml",
            code=ExitCode.USAGE,
            hint="it holds {type: sidecar|gateway, name, namespace, labels, addresses}",
        )
    for finding in _left_open(parsed):
        note(str(finding))
    _generate(state_of(parsed, mesh), proxy, static=static, output=output)
    return ExitCode.DONE


def _print_statuses(state: MeshState, output: Output) -> None:
    from lateen.cli.output import print_json, print_yaml
    from lateen.mesh.gateway_api.statuses import status_list

    statuses = status_list(state.statuses)
    if output is Output.YAML:
        print_yaml(statuses)
    else:
        print_json(statuses)


def _generate(state: MeshState, proxy_file: Path, *, static: bool, output: Output) -> None:
    from lateen.cli.files import read_inputs
    from lateen.cli.output import print_json, print_yaml
    from lateen.cli.proxy_documents import read_proxy
    from lateen.cli.resources import print_resource_tables
    from lateen.generate.snapshot import generate as generate_snapshot

    [file] = read_inputs([str(proxy_file)])
    proxy = read_proxy(file.content, file.name, bare=static)
    snapshot = generate_snapshot(state, proxy)
    if static:
        from lateen.generate.envoy_filters.bootstrap import bootstrap_patches, patched_bootstrap
        from lateen.generate.static import static_bootstrap

        made: dict[str, Any] = patched_bootstrap(static_bootstrap(snapshot, proxy), bootstrap_patches(state, proxy))
    else:
        made = shown_snapshot(snapshot)
    match output:
        case Output.YAML:
            print_yaml([made])
        case Output.TABLE if not static:
            print_resource_tables(made)
        case _:
            print_json(made)


def shown_snapshot(snapshot: Snapshot) -> dict[str, list[dict[str, Any]]]:
    """Return a snapshot as lists of protobuf JSON by the words of the command line, private keys hidden."""
    from lateen.api.answers import TYPES, resource_view

    shown = {}
    for word, kind in TYPES.items():
        resources = snapshot.resources.get(kind, {})
        shown[word] = [resource_view(resources[name]).resource for name in sorted(resources)]
    return shown


def state_of(parsed: ParsedFiles, mesh_config: MeshConfig) -> MeshState:
    """Return the state that the objects of files make."""
    from lateen.mesh.build import build_state

    return build_state(parsed.objects, (), mesh_config)


def _left_open(parsed: ParsedFiles) -> tuple[Finding, ...]:
    """Return what is different with a control plane, which fetches keys."""
    from lateen.analysis.missing_keys import OFFLINE, missing_keys
    from lateen.config.key_sets import key_sources
    from lateen.config.security import RequestAuthentication

    specs = [one.spec for one in parsed.objects if isinstance(one.spec, RequestAuthentication)]
    sources = key_sources(rule for spec in specs for rule in spec.jwt_rules)
    return missing_keys(parsed.objects, {}, dict.fromkeys(sources, OFFLINE), parsed.positions)


def checked(filename: list[str], more: list[str] | None, file: Path | None) -> Checked:
    """Parse the files and the MeshConfig, be it a file of its own or Istio's ConfigMap among the documents."""
    from lateen.app.mesh_configs import MeshConfigs
    from lateen.cli.files import parse_inputs, read_inputs

    parsed = parse_inputs(read_inputs([*filename, *(more or ())]))
    given, findings = _mesh_config(file)
    configs = MeshConfigs(given)
    in_force = configs.in_force({found.key: found for found in parsed.objects})
    return Checked(parsed, in_force, (*parsed.findings, *findings, *configs.findings))


def _mesh_config(file: Path | None) -> tuple[MeshConfig | None, tuple[Finding, ...]]:
    from lateen.cli.files import read_inputs
    from lateen.config.mesh_config import parse_mesh_config

    if file is None:
        return None, ()
    [content] = read_inputs([str(file)])
    return parse_mesh_config(content.content, content.name)
