"""Flags of `run` and `proxy sidecar` about the app itself: its probe, its metrics. Pure, as `workload_flags`."""

from __future__ import annotations

from typing import Any

from lateen.cli.exits import usage
from lateen.cli.workload_options import PROBE_TIMES
from lateen.model.probe_texts import probe_fields
from lateen.model.probes import Probe, is_a_path

_EXAMPLE = "as in --probe http://:9080/healthz, tcp://:7070, grpc://:9090 or 'exec:/usr/bin/check --quick'"


def read_probe(text: str, **times: float) -> Probe | None:
    """Read `--probe`; `times` are fields of Probe. None when there is none. Raises Failure for what is no probe."""
    if not text:
        if idle := [name for name, value in times.items() if value != PROBE_TIMES[name]]:
            raise usage(f"--probe-{idle[0]} is of the probe of --probe, and there is none", _EXAMPLE)
        return None
    try:
        return Probe(**probe_fields(text), **times)  # type: ignore[arg-type]
    except ValueError as error:
        raise usage(f"--probe {text[:80]!r}: {error}", _EXAMPLE) from error


def read_metrics(text: str) -> dict[str, Any]:
    """Read `--metrics [PORT]/PATH` into the settings `metrics_port` and `metrics_path`."""
    if not text:
        return {}
    port, slash, path = text.lstrip(":").partition("/")
    number = int(port) if port.isascii() and port.isdigit() and len(port) < 6 else 0
    if not slash or not is_a_path(f"/{path}") or (port and not 0 < number < 65536):
        raise usage(f"--metrics {text[:80]!r} is not [PORT]/PATH", "as in --metrics 9090/metrics or --metrics /metrics")
    return {"metrics_port": number, "metrics_path": f"/{path}"}
