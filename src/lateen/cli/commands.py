"""The commands of `lateen`, in the order that help shows them.

Called by `cli/main.py` and by the generator of the reference. Nothing heavy is imported here: see `cli/__init__.py`.
"""

from __future__ import annotations

from typing import Annotated

import typer

from lateen.cli import agents, explain, install, interception, join, offline, online, processes, security

_HELP = "A service mesh: Istio's API on stock Envoy, with or without Kubernetes."


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"lateen {version('lateen')}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    del version


def application() -> typer.Typer:
    """Return the command-line application with all commands, in the order that help shows them."""
    # Shell completion and rich's help would both be imported on every start.
    app = typer.Typer(help=_HELP, add_completion=False, rich_markup_mode=None, no_args_is_help=True)
    app.callback()(_root)
    app.command()(offline.validate)
    app.command()(offline.analyze)
    app.command()(offline.generate)
    app.command()(explain.explain)
    app.command()(processes.serve)
    # Options of the app's own command must not be taken for ours, with or without `--` before it.
    app.command(context_settings={"allow_interspersed_args": False})(processes.run)
    proxy = _group("Run the agent and Envoy alone; the agents that run here.")
    proxy.command()(processes.sidecar)
    proxy.command()(processes.gateway)
    proxy.command("status")(agents.status)
    proxy.command("restart")(agents.restart)
    proxy.command("install", context_settings={"allow_interspersed_args": False})(install.install)
    app.add_typer(proxy, name="proxy")
    app.command()(join.join)
    app.command()(join.leave)
    intercept = _group("Lead connections of this machine to a sidecar, by rules of nft or iptables; take them back.")
    for command in (interception.plan, interception.apply, interception.confirm, interception.verify):
        intercept.command()(command)
    intercept.command()(interception.revert)
    app.add_typer(intercept, name="intercept")
    app.command()(processes.demo)
    app.command()(online.apply)
    app.command()(online.get)
    app.command()(online.delete)
    app.command("proxy-status")(online.proxy_status)
    app.command("proxy-config")(online.proxy_config)
    token = _group("Make and revoke tokens: to join the mesh, and for the HTTP API.")
    token.command("create")(security.token_create)
    token.command("list")(security.token_list)
    token.command("revoke")(security.token_revoke)
    app.add_typer(token, name="token")
    ca = _group("The certificate authority: show it, rotate its keys, issue a certificate.")
    ca.command("show")(security.ca_show)
    ca.command("rotate")(security.ca_rotate)
    ca.command("issue")(security.ca_issue)
    app.add_typer(ca, name="ca")
    app.command()(security.audit)
    app.command()(online.version)
    return app


def _group(about: str) -> typer.Typer:
    return typer.Typer(help=about, add_completion=False, rich_markup_mode=None, no_args_is_help=True)
