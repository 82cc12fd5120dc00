"""`make bench`: run the benchmarks, write bench/results/TIME.json and .md, print the table.

    python bench/run.py [--quick] [--only state,analyze,generation,ads_push,...]

Parts of `serving` may be chosen as `serving:storm`; `mutual_tls:features` says what each thing costs.
Nothing is asserted: figures of a busy machine are not a verdict.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import ads_push
import agent_rss
import alive
import analysis
import ca
import config_latency
import envoy_memory
import generation
import hop
import mutual_tls
import on_demand
import serving
import state
from report import Figure, figure, write

PARTS = (
    *("state", "analyze", "generation", "ads_push", "serving", "envoy"),
    *("on_demand", "latency", "agent", "ca", "mutual_tls", "hop", "alive"),
)


def measure(part: str, details: Sequence[str], *, quick: bool) -> list[Figure]:
    """Return the figures of one part."""
    match part:
        case "state":
            return state.measure(quick=quick)
        case "analyze":
            return analysis.measure(quick=quick)
        case "generation":
            return generation.measure(quick=quick, only=details)
        case "ads_push":
            # In a process of its own: others fork, which gRPC's threads do not survive.
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as own:
                return own.submit(ads_push.measure, quick=quick).result()
        case "serving":
            return serving.measure(quick=quick, only=details or serving.PARTS)
        case "envoy":
            return envoy_memory.measure(quick=quick)
        case "on_demand":
            return on_demand.measure(quick=quick)
        case "ca":
            return ca.measure(quick=quick)
        case "mutual_tls":
            return mutual_tls.measure(quick=quick, features="features" in details)
        case "hop":
            return hop.measure(quick=quick)
        case "alive":
            return alive.measure(quick=quick, only=details)
        case "latency":
            return config_latency.measure(proxies=2 if quick else 5, rounds=5 if quick else 20)
        case _:
            found = asyncio.run(agent_rss.measure(2 if quick else 5))
            return [
                figure("memory of an agent", f"{name} {kind}", "MB", [kilobytes / 1024])
                for name, sizes in found.items()
                for kind, kilobytes in sizes.items()
            ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small meshes and few runs: does it work, not how fast")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, separated by commas")
    chosen = parser.parse_args()
    wanted: dict[str, list[str]] = {}
    for word in chosen.only.split(","):
        part, _, detail = word.partition(":")
        if part not in PARTS:
            parser.error(f"unknown part {part!r}: one of {', '.join(PARTS)}")
        wanted.setdefault(part, []).extend([detail] if detail else [])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that every process started is ended
    figures: list[Figure] = []
    for part, details in wanted.items():
        figures += measure(part, details, quick=chosen.quick)
    print(write(figures))


if __name__ == "__main__":
    main()
