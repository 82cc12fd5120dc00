"""What `lateen --help` loads."""

from __future__ import annotations

import subprocess
import sys

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
