"""Commands for administrators: `lateen token`, `lateen ca`, `lateen audit`.

Registered by `cli/commands.py`. A token and a key are printed or written once, where the user asked for them; no
message holds one.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lateen.cli.exits import ExitCode, Failure
from lateen.cli.options import (
    DEFAULT_SERVER,
    CaFileOption,
    Output,
    OutputOption,
    ServerOption,
    TokenFileOption,
)

if TYPE_CHECKING:
    from lateen.api.schemas import AuthorityAnswer, TokenView
    from lateen.cli.client import Client

POLL_SECONDS = 1.0
"""Between two looks at a rotation."""
_ID_LENGTH = 12
"""Characters of an id in a table, unless more are needed to tell two apart."""


class ApiRole(StrEnum):
    """Roles of `--role`."""

    VIEWER = "viewer"
    EDITOR = "editor"
    ADMIN = "admin"


class Key(StrEnum):
    """What can be rotated."""

    ROOT = "root"
    INTERMEDIATE = "intermediate"


def token_create(
    service_account: Annotated[
        str | None,
        typer.Option("--service-account", metavar="NS/SA", help="Who may join the mesh with it; * for any."),
    ] = None,
    role: Annotated[ApiRole | None, typer.Option("--role", help="What its bearer may do with the HTTP API.")] = None,
    name: Annotated[str, typer.Option("--name", metavar="WHO", help="Who will use it, with --role.")] = "",
    ttl: Annotated[str, typer.Option("--ttl", metavar="DURATION", help="How long it is valid.")] = "1h",
    one_time: Annotated[bool, typer.Option("--one-time", help="It lets one workload join, once.")] = False,
    server: ServerOption = DEFAULT_SERVER,
    token_file: TokenFileOption = None,
    ca_file: CaFileOption = None,
) -> int:
    """Make a token, to join the mesh with (--service-account) or for the HTTP API (--role, --name).

    The token alone goes to stdout. It is not kept, so it cannot be shown again.
    """
    from lateen.api.schemas import CreatedToken, CreateToken
    from lateen.cli.client import Client
    from lateen.cli.output import note

    if (service_account is None) is (role is None):
        raise Failure("write either --service-account NS/SA or --role ROLE --name WHO", code=ExitCode.USAGE)
    if bool(name) is not (role is not None):
        raise Failure("--role and --name go together", code=ExitCode.USAGE)
    if one_time and role is not None:
        raise Failure("--one-time goes with --service-account", code=ExitCode.USAGE)
    body = CreateToken(
        service_account=service_account or "",
        role=role.value if role else "",
        name=name,
        one_time=one_time,
        seconds=whole_seconds("--ttl", ttl),
    )
    made = Client(server, token_file, ca_file).post_json(CreatedToken, "v1", "tokens", body=body)
    typer.echo(made.token)
    view = made.view
    what = f"{view.role} of the API, as {view.subject}" if view.role else f"joins as {view.subject}"
    note(f"token {view.id}: {what}, until {view.expires}{', once' if view.one_time else ''}")
    return ExitCode.DONE


def whole_seconds(flag: str, text: str) -> int:
    """Return a duration of at least one second in seconds. Raises Failure."""
    from lateen.config.durations import seconds

    try:
        read = seconds(text)
    except ValueError as error:
        raise Failure(f"{flag}: {error}", code=ExitCode.USAGE) from error
    if read < 1:
        raise Failure(f"{flag} {text} is shorter than a second", code=ExitCode.USAGE)
    return int(read)


def token_list(
    output: OutputOption = Output.TABLE,
    server: ServerOption = DEFAULT_SERVER,
    token_file: TokenFileOption = None,
    ca_file: CaFileOption = None,
) -> int:
    """List the tokens that were made; not the tokens themselves, nobody has them but their bearers."""
    from lateen.api.schemas import TokenList
    from lateen.cli.client import Client

    items = Client(server, token_file, ca_file).get(TokenList, "v1", "tokens").items
    short = short_ids([item.id for item in items])
    rows = [[short[item.id], item.role or "join", item.subject, item.expires, _state(item)] for item in items]
    _print(items, ["ID", "FOR", "WHO", "EXPIRES", "STATE"], rows, "no tokens", output)
    return ExitCode.DONE


def _print(shown: Any, headers: list[str], rows: list[list[str]], empty: str, output: Output) -> None:
    """Print answers: the rows as a table, all of them otherwise."""
    import msgspec

    from lateen.cli.output import print_json, print_rows, print_yaml

    match output:
        case Output.JSON:
            print_json(msgspec.to_builtins(shown))
        case Output.YAML:
            print_yaml([msgspec.to_builtins(shown)])
        case Output.TABLE:
            print_rows(headers, rows, empty)


def _state(token: TokenView) -> str:
    from datetime import UTC, datetime

    if token.revoked:
        return "revoked"
    if datetime.fromisoformat(token.expires) <= datetime.now(UTC):
        return "expired"
    if token.one_time:
        return "used" if token.used else "one-time"
    return "valid"


def short_ids(ids: Sequence[str]) -> dict[str, str]:
    """Return for each id its beginning, of one length, so that all differ."""
    length = _ID_LENGTH
    while len({one[:length] for one in ids}) < len(set(ids)):
        length += 1
    return {one: one[:length] for one in ids}


def token_revoke(
    token_id: Annotated[str, typer.Argument(metavar="ID", help="As `lateen token list` shows it, or its beginning.")],
    server: ServerOption = DEFAULT_SERVER,
    token_file: TokenFileOption = None,
    ca_file: CaFileOption = None,
) -> int:
    """Revoke a token: from now on it opens nothing. Workloads that joined with it stay."""
    from lateen.api.schemas import TokenList, TokenView
    from lateen.cli.client import Client
    from lateen.cli.output import note

    client = Client(server, token_file, ca_file)
    ids = [item.id for item in client.get(TokenList, "v1", "tokens").items]
    meant = [one for one in ids if one == token_id] or [one for one in ids if token_id and one.startswith(token_id)]
    if len(meant) != 1:
        found = f"{token_id} may be {', '.join(meant[:5])}" if meant else f"there is no token {token_id}"
        raise Failure(found, hint="`lateen token list` shows them")
    revoked = client.delete(TokenView, "v1", "tokens", meant[0])
    note(f"revoked {revoked.id} of {revoked.subject}")
    return ExitCode.DONE


def ca_show(
    pem: Annotated[
        bool, typer.Option("--pem", help="Print the roots as PEM, as for --ca-file, and nothing else.")
    ] = False,
    output: OutputOption = Output.TABLE,
    server: ServerOption = DEFAULT_SERVER,
    token_file: TokenFileOption = None,
    ca_file: CaFileOption = None,
) -> int:
    """Show the certificate authority: its roots, its intermediates, and where a rotation stands."""
    from lateen.api.schemas import AuthorityAnswer
    from lateen.cli.client import Client

    shown = Client(server, token_file, ca_file).get(AuthorityAnswer, "v1", "ca")
    if pem:
        typer.echo("".join(root.pem if root.pem.endswith("\n") else f"{root.pem}\n" for root in shown.roots), nl=False)
    else:
        _print_authority(shown, output)
    return ExitCode.DONE


def _print_authority(shown: AuthorityAnswer, output: Output) -> None:
    from lateen.cli.output import note

    rows = [
        [
            kind,
            certificate.sha256[:16],
            certificate.not_after,
            "yes" if certificate.active else "no",
            certificate.subject,
        ]
        for kind, certificates in (("root", shown.roots), ("intermediate", shown.intermediates))
        for certificate in certificates
    ]
    _print(shown, ["CERTIFICATE", "SHA256", "EXPIRES", "ISSUES", "SUBJECT"], rows, "no certificates", output)
    if output is Output.TABLE:
        note(f"trust domain {shown.trust_domain}; {_progress(shown)}")


def _progress(shown: AuthorityAnswer) -> str:
    if not shown.rotating:
        return "no rotation is under way"
    if not shown.missing:
        return f"rotation: {shown.phase}"
    more = f" and {len(shown.missing) - 5} more" if len(shown.missing) > 5 else ""
    return f"rotation: {shown.phase}; missing: {', '.join(shown.missing[:5])}{more}"


def ca_rotate(
    what: Annotated[Key, typer.Argument(metavar="[root|intermediate]", help="Which key.")] = Key.ROOT,
    force: Annotated[
        bool, typer.Option("--force", help="Go on although workloads are missing; they lose their connections.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Return when the rotation is over.")] = False,
    timeout: Annotated[
        float, typer.Option("--timeout", min=0, metavar="SECONDS", help="Longest wait of --wait.")
    ] = 600.0,
    output: OutputOption = Output.TABLE,
    server: ServerOption = DEFAULT_SERVER,
    token_file: TokenFileOption = None,
    ca_file: CaFileOption = None,
) -> int:
    """Replace a key of the certificate authority, without a workload losing a connection."""
    from lateen.api.schemas import AuthorityAnswer, Rotate
    from lateen.cli.client import Client

    client = Client(server, token_file, ca_file)
    shown = client.post_json(AuthorityAnswer, "v1", "ca", "rotate", body=Rotate(what=what.value, force=force))
    if wait:
        shown = _rotated(client, shown, timeout)
    _print_authority(shown, output)
    return ExitCode.DONE


def _rotated(client: Client, shown: AuthorityAnswer, timeout: float) -> AuthorityAnswer:
    """Return the authority when no rotation is under way. Raises Failure after the timeout."""
    import time

    from lateen.api.schemas import AuthorityAnswer
    from lateen.cli.output import note

    deadline, told = time.monotonic() + timeout, ""
    while shown.rotating:
        if (progress := _progress(shown)) != told:
            note(told := progress)
        if time.monotonic() >= deadline:
            raise Failure(
                f"the rotation is not over after {timeout:g} s ({progress})",
                code=ExitCode.TIMEOUT,
                hint="it goes on; `lateen ca show` tells how it stands, --force goes on without who is missing",
            )
        time.sleep(min(POLL_SECONDS, max(deadline - time.monotonic(), 0.0)))
        shown = client.get(AuthorityAnswer, "v1", "ca")
    return shown


def ca_issue(
    service_account: Annotated[str, typer.Option("--service-account", metavar="NS/SA", help="Whose certificate.")],
    ttl: Annotated[str, typer.Option("--ttl", metavar="DURATION", help="How long it is valid.")] = "24h",
    csr: Annotated[
        Path | None, typer.Option("--csr", metavar="FILE", help="CSR (PEM) to sign; the chain goes to stdout.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Make a key here and write key.pem, cert-chain.pem, root-cert.pem."),
    ] = None,
    server: ServerOption = DEFAULT_SERVER,
    token_file: TokenFileOption = None,
    ca_file: CaFileOption = None,
) -> int:
    """Issue a certificate for a service account, for what cannot run an agent. A key made here stays on this host."""
    from lateen.api.schemas import IssueCertificate, IssuedAnswer
    from lateen.cli.client import Client
    from lateen.cli.keys import new_key, read_csr, write_files
    from lateen.cli.output import note

    if (csr is None) is (out is None):
        raise Failure("write either --csr FILE or --out DIR", code=ExitCode.USAGE)
    seconds = whole_seconds("--ttl", ttl)
    client = Client(server, token_file, ca_file)
    key, request = ("", read_csr(csr)) if csr is not None else new_key()
    body = IssueCertificate(service_account=service_account, csr=request, seconds=seconds)
    issued = client.post_json(IssuedAnswer, "v1", "ca", "certificates", body=body)
    if out is None:
        typer.echo(issued.chain, nl=not issued.chain.endswith("\n"))
    else:
        write_files(out, {"key.pem": key, "cert-chain.pem": issued.chain, "root-cert.pem": issued.roots})
    note(f"{issued.identity}, until {issued.not_after}{'' if out is None else f', in {out}'}")
    return ExitCode.DONE


def audit(
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="Records to show.")] = 50,
    output: OutputOption = Output.TABLE,
    server: ServerOption = DEFAULT_SERVER,
    token_file: TokenFileOption = None,
    ca_file: CaFileOption = None,
) -> int:
    """Show who changed what through the API, and who was refused; the newest first."""
    from lateen.api.schemas import AuditList
    from lateen.cli.client import Client

    items = Client(server, token_file, ca_file).get(AuditList, "v1", "audit", limit=str(limit)).items
    rows = [
        [
            item.time.replace("+00:00", "Z"),
            item.caller or item.peer,
            item.action,
            ", ".join(item.objects) or item.reason,
            item.outcome,
        ]
        for item in items
    ]
    _print(items, ["TIME", "WHO", "ACTION", "ABOUT", "OUTCOME"], rows, "no records", output)
    return ExitCode.DONE
