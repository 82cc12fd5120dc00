"""Flags of `run` and `proxy sidecar` about the app itself: its probe, its metrics. Pure, as `workload_flags`."""

from __future__ import annotations

import shlex
from typing import Any
from urllib.parse import urlsplit

from lateen.cli.exits import usage
from lateen.model.probes import EXEC, GRPC, HTTP, TCP, Probe, is_a_path

_EXAMPLE = "as in --probe http://:9080/healthz, tcp://:7070, grpc://:9090 or 'exec:/usr/bin/check --quick'"
_SCHEMES = {"http": HTTP, "https": HTTP, "tcp": TCP, "grpc": GRPC}


def read_probe(text: str, **times: float) -> Probe | None:
    """Read `--probe`; `times` are fields of Probe. None when there is none. Raises Failure for what is no probe."""
    if not text:
        return None
    try:
        return Probe(**(_command(text) if text.startswith("exec:") else _url(text)), **times)  # type: ignore[arg-type]
    except ValueError as error:
        raise usage(f"--probe {text[:80]!r}: {error}", _EXAMPLE) from error


def _command(text: str) -> dict[str, Any]:
    return {"kind": EXEC, "command": tuple(shlex.split(text.removeprefix("exec:")))}


def _url(text: str) -> dict[str, Any]:
    url = urlsplit(text)
    if url.scheme not in _SCHEMES:
        raise ValueError("is of no known kind")
    if url.username is not None or url.fragment:
        raise ValueError("has more than a host, a port and a path")
    kind = _SCHEMES[url.scheme]
    port = url.port or {"http": 80, "https": 443}.get(url.scheme, 0)
    read: dict[str, Any] = {"kind": kind, "port": port, "host": url.hostname or ""}
    if kind == HTTP:
        path = f"{url.path or '/'}?{url.query}" if url.query else url.path or "/"
        return {**read, "path": path, "tls": url.scheme == "https"}
    if url.query or (kind == TCP and url.path not in ("", "/")):
        raise ValueError("has more than a host and a port")
    return {**read, "service": url.path.lstrip("/")} if kind == GRPC else read


def read_metrics(text: str) -> dict[str, Any]:
    """Read `--metrics [PORT]/PATH` into the settings `metrics_port` and `metrics_path`."""
    if not text:
        return {}
    port, slash, path = text.lstrip(":").partition("/")
    number = int(port) if port.isascii() and port.isdigit() and len(port) < 6 else 0
    if not slash or not is_a_path(f"/{path}") or (port and not 0 < number < 65536):
        raise usage(f"--metrics {text[:80]!r} is not [PORT]/PATH", "as in --metrics 9090/metrics or --metrics /metrics")
    return {"metrics_port": number, "metrics_path": f"/{path}"}
