"""What `lateen --help` loads."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = (
    "yaml",
    "msgspec",
    "grpc",
    "google.protobuf",
    "starlette",
    "uvicorn",
    "structlog",
    "asyncio",
    "rich",
    "aiohttp",
)


def test_help_loads_nothing_that_only_a_command_needs() -> None:
    """That, not a stopwatch on a shared machine, keeps help under 0.3 s."""
    program = (
        "import sys; from lateen.cli.main import run; assert run(['--help']) == 0;"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert "validate" in ended.stdout
    assert ended.stderr.strip() == "[]"


@pytest.mark.parametrize(
    ("loaded", "words"),
    [
        ("hpack", ["-m", "lateen.agent", "{}"]),
        ("typer", ["-c", "from lateen.cli.main import main; main(['--help'])"]),
    ],
)
def test_an_interrupt_while_modules_load_ends_in_silence(tmp_path: Path, loaded: str, words: list[str]) -> None:
    (tmp_path / f"{loaded}.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, *words],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        # A shell that runs the tests in the background has it ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )

    assert (ended.returncode, ended.stdout, ended.stderr) == (-signal.SIGINT, "", "")
