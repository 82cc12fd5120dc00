"""The systemd unit that brings confirmed rules back after a reboot. Pure; `host` writes it.

It reads the record, so it need not change when the rules do, and does nothing when they were taken back meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

UNITS_FOLDER = Path("/etc/systemd/system")


def unit_name(name: str) -> str:
    """Return the unit's name."""
    return f"lateen-intercept-{name or 'default'}.service"


def unit_text(name: str, command: Sequence[str], environment: Sequence[str] = ()) -> str:
    """Return the unit. `command` is what is called with `restore` at start and `withdraw` at stop."""
    words = " ".join(_quoted(word) for word in command)
    variables = "".join(f"Environment={_quoted(variable)}\n" for variable in environment)
    return (
        "[Unit]\n"
        f"Description=Lateen: interception rules {name or 'default'}\n"
        # Before the network is up nothing can slip by; after those who flush everything at start.
        "Wants=network-pre.target\n"
        "Before=network-pre.target\n"
        "After=local-fs.target nftables.service iptables.service\n"
        "\n"
        "[Service]\n"
        "Type=oneshot\n"
        "RemainAfterExit=yes\n"
        f"{variables}"
        f"ExecStart={words} restore {_quoted(name)}\n"
        f"ExecStop={words} withdraw {_quoted(name)}\n"
        "\n"
        "[Install]\n"
        "WantedBy=multi-user.target\n"
    )


def _quoted(word: str) -> str:
    """Quote as systemd.syntax(7) has it; `%` and `$` would be replaced."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"' if not escaped or any(sign in escaped for sign in " \t'\"\\;") else escaped
