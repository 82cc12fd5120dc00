"""Probes as people write them: `--probe` of the agent's commands, and the annotation `lateen.io/health-check`. Pure.

Called by `cli.app_flags` and `config.health_checks`. Standard library only: `lateen run` becomes the agent.
"""

from __future__ import annotations

import re
import shlex
from typing import Any
from urllib.parse import urlsplit

from lateen.model.probes import EXEC, GRPC, HTTP, TCP, Probe

SCHEMES = {"http": HTTP, "https": HTTP, "tcp": TCP, "grpc": GRPC}
_USUAL_PORTS = {"http": 80, "https": 443}
_TIMES = {"period": "period", "timeout": "timeout", "failures": "failures", "successes": "successes"}
_SECONDS = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)(ms|s|m|)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "": 1.0}
OWN_PORT = 1
"""Stands for the port of each endpoint, while a check without a port is read."""


def probe_fields(text: str) -> dict[str, Any]:
    """Return the fields of Probe that a text says; ValueError says why it is none."""
    if text.startswith("exec:"):
        return {"kind": EXEC, "command": tuple(shlex.split(text.removeprefix("exec:")))}
    return _url(text)


def _url(text: str) -> dict[str, Any]:
    url = urlsplit(text)
    if url.scheme not in SCHEMES:
        raise ValueError("is of no known kind")
    if url.username is not None or url.fragment:
        raise ValueError("has more than a host, a port and a path")
    kind = SCHEMES[url.scheme]
    read: dict[str, Any] = {"kind": kind, "port": url.port or _USUAL_PORTS.get(url.scheme, 0)}
    read["host"] = url.hostname or ""
    if kind == HTTP:
        path = f"{url.path or '/'}?{url.query}" if url.query else url.path or "/"
        return {**read, "path": path, "tls": url.scheme == "https"}
    if url.query or (kind == TCP and url.path not in ("", "/")):
        raise ValueError("has more than a host and a port")
    return {**read, "service": url.path.lstrip("/")} if kind == GRPC else read


def read_check(text: str) -> tuple[Probe, bool]:
    """Read a check that gateways make: a probe, and after it `period=5s timeout=1s failures=3 successes=1` as wanted.

    Return it, and whether it names a port: if not, each endpoint is asked at its own. ValueError says what is wrong.
    """
    target, *settings = text.split() or [""]
    if target in SCHEMES:
        target = f"{target}://"
    fields = probe_fields(target)
    if fields["kind"] == EXEC:
        raise ValueError("nobody is there to run a command: write http, https, tcp or grpc")
    if fields["host"]:
        raise ValueError(f"an endpoint is asked at its own address: leave out {fields['host'][:80]!r}")
    named = urlsplit(target).port is not None
    times = dict(map(_setting, settings))
    return Probe(**{**fields, "port": fields["port"] if named else OWN_PORT, **times}), named


def _setting(word: str) -> tuple[str, float]:
    name, _, value = word.partition("=")
    if name not in _TIMES:
        raise ValueError(f"{word[:80]!r} is none of {', '.join(f'{known}=' for known in _TIMES)}")
    if name in ("failures", "successes"):
        if not value.isascii() or not value.isdigit() or len(value) > 6:
            raise ValueError(f"{word[:80]!r} is no number of checks in a row")
        return name, int(value)
    matched = _SECONDS.fullmatch(value)
    if matched is None:
        raise ValueError(f"{word[:80]!r} is no time, as in {name}=5s")
    return name, float(matched[1]) * _UNITS[matched[2]]
