"""`lateen demo`: a whole mesh on this machine, and a tour of what it can do.

`demo` is what the command calls. The bookshop's programs are below this package, so importing it must cost nothing.
"""

from __future__ import annotations


def demo(keep: bool, traffic: bool) -> int:
    """Run the demo and return its exit code: 0 when every step kept its promise, 1 otherwise.

    `keep` leaves the mesh up after the tour until Ctrl-C (always so when somebody is at the terminal);
    without `traffic` the mesh is started and left alone. An interrupted tour returns 128 + the signal's number.
    """
    from lateen.cli.demo.tour import run

    return run(keep=keep, traffic=traffic)
