"""`lateen explain`: what would happen to a request and why, on files or by the control plane's state.

Registered by `cli/commands.py`. `explain` has the answers; here is how they are asked for and printed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lateen.cli.exits import ExitCode, Failure
from lateen.cli.options import (
    DEFAULT_SERVER,
    CaFileOption,
    MeshConfigOption,
    MorePaths,
    Output,
    OutputOption,
    ServerOption,
    TokenFileOption,
)

if TYPE_CHECKING:
    from lateen.cli.client import Client
    from lateen.explain.explanations import Explanation


def explain(
    proxy: Annotated[
        str,
        typer.Option(
            "--proxy",
            metavar="PROXY",
            help="Who calls, or the gateway that the request comes in by: PROXY.yaml with -f, else NAME.NAMESPACE.",
        ),
    ],
    request: Annotated[
        str, typer.Option("--request", metavar="REQUEST", help='As in "GET http://reviews:9080/x" or tcp://bank:7070.')
    ],
    filename: Annotated[
        list[str] | None,
        typer.Option(
            "--filename",
            "-f",
            metavar="PATH",
            help="File, folder (recursive) or - for stdin; repeatable. Without it the control plane is asked.",
        ),
    ] = None,
    more: MorePaths = None,
    header: Annotated[
        list[str] | None, typer.Option("--header", metavar="NAME=VALUE", help="Header of the request; repeatable.")
    ] = None,
    jwt: Annotated[
        Path | None,
        typer.Option("--jwt", metavar="CLAIMS.json", help="Claims of a valid token that the request has."),
    ] = None,
    source_ip: Annotated[
        str, typer.Option("--source-ip", metavar="IP", help="Where the call comes from; else the proxy's address.")
    ] = "",
    from_: Annotated[
        str,
        typer.Option("--from", metavar="NS/SA", help="Namespace and service account of the caller; else the proxy's."),
    ] = "",
    plaintext: Annotated[bool, typer.Option("--plaintext", help="The caller has no certificate.")] = False,
    mesh_config: MeshConfigOption = None,
    output: OutputOption = Output.TABLE,
    server: ServerOption = DEFAULT_SERVER,
    token_file: TokenFileOption = None,
    ca_file: CaFileOption = None,
) -> int:
    """Say what would happen to a request, and why: where it is routed, who may call, and what nearly decided otherwise.

    The exit code says whether it could be explained, not whether it is allowed.
    """
    from lateen.cli.explanations import print_explanation

    given = Given(
        request=request,
        headers=tuple(header or ()),
        claims=_read(jwt) if jwt is not None else "",
        source_ip=source_ip,
        identity=from_,
        plaintext=plaintext,
    )
    if filename:
        explanation = _offline([*filename, *(more or ())], mesh_config, proxy, given)
    elif more or mesh_config is not None:
        raise Failure("files and --mesh-config go with -f: the control plane has its own", code=ExitCode.USAGE)
    else:
        from lateen.cli.client import Client

        explanation = _online(Client(server, token_file, ca_file), proxy, given)
    print_explanation(explanation, output)
    return ExitCode.DONE


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """The question as it was typed."""

    request: str
    headers: tuple[str, ...]
    claims: str
    """JSON."""
    source_ip: str
    identity: str
    plaintext: bool


def _read(file: Path) -> str:
    from lateen.cli.files import read_inputs

    [content] = read_inputs([str(file)])
    return content.content.decode(errors="replace")


def _offline(paths: list[str], mesh_config: Path | None, proxy_file: str, given: Given) -> Explanation:
    from lateen.cli.files import read_inputs
    from lateen.cli.offline import checked, state_of
    from lateen.cli.output import note
    from lateen.cli.proxy_documents import read_proxy
    from lateen.explain.explaining import explain as explain_request
    from lateen.explain.questions import QuestionError, question
    from lateen.model.findings import Severity, has_errors

    parsed, mesh, findings = checked(paths, None, mesh_config)
    for finding in findings:
        if finding.severity is not Severity.INFO:
            note(str(finding))
    if has_errors(findings):
        raise Failure("the files have errors, so nothing is explained")
    [file] = read_inputs([proxy_file])
    proxy = read_proxy(file.content, file.name)
    try:
        asked = question(
            proxy,
            given.request,
            headers=given.headers,
            claims=given.claims,
            source_ip=given.source_ip,
            identity=given.identity,
            plaintext=given.plaintext,
            assumed_sidecars=True,
        )
        return explain_request(state_of(parsed, mesh), asked)
    except QuestionError as error:
        code = ExitCode.USAGE if error.usage else ExitCode.REJECTED
        raise Failure(str(error), code=code, hint=error.hint) from error


def _online(client: Client, name: str, given: Given) -> Explanation:
    from lateen.api.schemas import ExplainAnswer, ProxyList
    from lateen.cli.client import ApiError
    from lateen.cli.online import chosen_proxy
    from lateen.explain.questions import without_signatures

    if "/" in name or name.endswith((".yaml", ".yml", ".json")):
        raise Failure(
            f"{name} is no connected proxy",
            code=ExitCode.USAGE,
            hint="PROXY.yaml goes with -f; else write NAME.NAMESPACE",
        )
    chosen = chosen_proxy(client.get(ProxyList, "v1", "proxies").items, name)
    query: dict[str, str | list[str]] = {
        "proxy": chosen.id,
        "request": without_signatures(given.request),
        "header": [without_signatures(line) for line in given.headers],
        "claims": given.claims,
        "source_ip": given.source_ip,
        "from": given.identity,
        "plaintext": "true" if given.plaintext else "",
    }
    try:
        return client.get(ExplainAnswer, "v1", "explain", **query).explanation
    except ApiError as error:
        if error.status == 400:
            raise Failure(error.message, code=ExitCode.USAGE, hint=error.hint) from error
        raise
