from pathlib import Path

import pytest

from unit.discovery.transcripts import play

TRANSCRIPTS = sorted((Path(__file__).parent / "transcripts").glob("*.txt"))


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_transcript(path: Path) -> None:
    """What the session answers is what is written down, line by line."""
    play(path.read_text())
