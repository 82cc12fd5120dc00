"""`lateen proxy status` and `lateen proxy restart`: the agents of this user on this machine.

Registered by `cli/commands.py`. An agent is found by the socket in its workload's folder (`agent.control`); other
users' agents are theirs.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from lateen.cli.exits import ExitCode, Failure
from lateen.cli.options import Output, OutputOption

StateOption = Annotated[
    Path | None, typer.Option("--state", metavar="DIR", help="Folder that the agents were given with --state.")
]
_RESTART_SECONDS = 90.0
_STATUS_SECONDS = 5.0


def status(state: StateOption = None, output: OutputOption = Output.TABLE) -> int:
    """List the workloads that this user runs on this machine, as their agents see themselves."""
    from lateen.cli.output import note, print_json, print_rows, print_yaml

    found = [answer for _, answer in running(state)]
    match output:
        case Output.JSON:
            print_json(found)
        case Output.YAML:
            print_yaml([found])
        case Output.TABLE:
            headers = ["WORKLOAD", "ADDRESS", "PID", "READY", "PLANE", "CONFIG", "RESTARTS"]
            print_rows(headers, [_row(answer) for answer in found], "no agents of this user run here")
            # Beside the table, which fits a terminal: they are as long as they are.
            for answer in found:
                for remark in _remarks(answer, time.time()):
                    note(f"{answer['workload']}: {remark}")
    return ExitCode.DONE


def restart(
    workloads: Annotated[
        list[str] | None, typer.Argument(metavar="[WORKLOAD[.NAMESPACE]]...", help="Whose Envoy to restart.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All agents of this user.")] = False,
    pid: Annotated[
        int | None, typer.Option("--pid", help="The agent of this process id, as `systemctl reload` has it.")
    ] = None,
    state: StateOption = None,
) -> int:
    """Have a new Envoy take over from a running one without a lost request: after an upgrade, for instance.

    The new one is of the binary and the configuration of now. Should it not come up, the old one goes on.
    """
    from lateen.cli.output import note

    if bool(workloads) + every + (pid is not None) != 1:
        raise Failure("say which workloads, or --all, or --pid", code=ExitCode.USAGE)
    found = list(running(state))
    if pid is not None:
        wanted = [one for one in found if one[1]["pid"] == pid]
        if not wanted:
            raise Failure(f"process {pid} is no agent of this user, or one with another --state")
    else:
        wanted = found if every else [one for name in workloads or () for one in _named(name, found)]
    failed = 0
    for socket, before in wanted:
        began = time.monotonic()
        try:
            code, answer = _ask(socket, "POST", "/restart", _RESTART_SECONDS)
        except OSError as error:
            code, answer = 0, {"error": f"its agent has gone, or does not answer: {error.strerror or error}"}
        if code == 200:
            note(f"{before['workload']}: a new envoy took over after {time.monotonic() - began:.1f} s")
        else:
            failed += 1
            note(f"{before['workload']}: {answer.get('error', 'failed')}")
    return ExitCode.REJECTED if failed else ExitCode.DONE


def _named(name: str, found: list[tuple[Path, dict[str, Any]]]) -> list[tuple[Path, dict[str, Any]]]:
    """Return the agents of one workload, or of all replicas: `reviews-v2` for `reviews-v2-1` and `reviews-v2-2`."""
    from lateen.model.proxies import workload_of

    wanted, _, namespace = name.partition(".")
    matching = [
        one
        for one in found
        for own, _, where in [one[1]["workload"].partition(".")]
        if wanted in (own, workload_of(own)) and where == (namespace or "default")
    ]
    if not matching:
        known = ", ".join(sorted(answer["workload"] for _, answer in found)) or "none"
        raise Failure(f"no agent of workload {name} runs here for this user; those that do: {known}")
    return matching


def _row(answer: dict[str, Any]) -> list[str]:
    source = {"stream": "current", "last_good": "last good"}.get(answer["configuration"], "-")
    if source == "last good" and answer["lastGoodAt"]:
        source = f"{_age(time.time() - answer['lastGoodAt'])} old"
    return [
        answer["workload"],
        answer["address"],
        str(answer["pid"]),
        "yes" if answer["ready"] else "no",
        "connected" if answer["connected"] else "away",
        source,
        f"{answer['envoy']['restarts']}+{answer['envoy']['reliefs']}",
    ]


def _remarks(answer: dict[str, Any], now: float) -> Iterator[str]:
    """Yield what somebody should know of an agent and a column has no room for."""
    if not answer["ready"]:
        yield f"not ready: {answer['reason']}"
    if 0 < answer["certificateExpires"] <= now:
        yield f"its certificate expired {_age(now - answer['certificateExpires'])} ago: others refuse it"


def _age(seconds: float) -> str:
    """Return `5m`, as kubectl writes ages."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{int(seconds // length)}{unit}"
    return f"{int(max(0, seconds))}s"


def running(state: Path | None) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield the socket of each agent that answers, and what it says of itself."""
    from lateen.agent.control import SOCKET_NAME
    from lateen.agent.keeping import state_folder
    from lateen.cli.output import note

    parent = state_folder(str(state) if state else "")
    for socket in sorted(parent.glob(f"*/{SOCKET_NAME}")) if parent else ():
        try:
            code, answer = _ask(socket, "GET", "/status", _STATUS_SECONDS)
        except TimeoutError:
            note(f"the agent of {socket.parent.name} does not answer: it hangs, or its machine is very busy")
            continue
        except OSError:
            # Left by an agent that was killed.
            continue
        if code == 200:
            yield socket, answer


def _ask(path: Path, method: str, target: str, seconds: float) -> tuple[int, dict[str, Any]]:
    import http.client
    import json
    import socket

    from lateen.agent.control import reachable

    connection = http.client.HTTPConnection("localhost", timeout=seconds)
    connection.sock = socket.socket(socket.AF_UNIX)
    try:
        connection.sock.settimeout(seconds)
        with reachable(path) as short:
            connection.sock.connect(short)
        connection.request(method, target)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read(1 << 20) or b"{}")
    except (http.client.HTTPException, ValueError) as error:
        raise OSError(f"{path} does not answer as an agent does: {error}") from error
    finally:
        connection.close()
