"""`make bench`: run every benchmark, write bench/results/TIME.json and .md, print the table."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import config_latency
from report import write


def main() -> None:
    figures = [*config_latency.measure()]
    print(write(figures))


if __name__ == "__main__":
    main()
