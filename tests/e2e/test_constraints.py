"""Our verdict about a message is Envoy's own: over a table of broken ones, and of fields at their bounds."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from e2e.test_goldens_validate import envoy
from envoy_messages import CASES, Json, bootstrap, edited, judged

pytestmark = pytest.mark.e2e


def envoys_verdict(which: str, document: Json, folder: Path) -> str:
    """Return why Envoy refuses the document, empty when it does not."""
    file = folder / "bootstrap.json"
    file.write_text(json.dumps(bootstrap(which, document)))
    command = [str(envoy()), "--mode", "validate", "-c", str(file), "--disable-hot-restart", "-l", "error"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=folder)
    return "" if run.returncode == 0 else run.stderr or "refused"


@pytest.mark.parametrize(("which", "name", "edits"), CASES, ids=[f"{which}: {name}" for which, name, _ in CASES])
def test_the_verdict_is_envoys(which: str, name: str, edits: dict[str, Json], tmp_path: Path) -> None:
    """Refused by both, or by neither."""
    document = edited(which, edits)
    ours = judged(which, document)
    theirs = envoys_verdict(which, document, tmp_path)
    assert bool(ours) is bool(theirs), (ours, theirs)


TEXTS = ("", "\n", "a b", "*", "%", "x" * 300, "10.0.0.1", "::1", "/", "é")
NUMBERS = (0, 1, 99, 255, 65535, 65536, (1 << 32) - 1)
DURATIONS = ("0s", "-1s", "0.000000001s", "0.999s", "1s", "315576000000s")


def leaves(value: Json, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of everything that is no list and no object, types of packed messages aside."""
    if isinstance(value, dict):
        return [each for key, item in value.items() if key != "@type" for each in leaves(item, (*path, key))]
    if isinstance(value, list):
        return [each for index, item in enumerate(value) for each in leaves(item, (*path, index))]
    return [path]


def bounds(value: Json) -> tuple[Json, ...]:
    """Return values of the same type to put in the place of one."""
    if isinstance(value, bool):
        return (not value,)
    if isinstance(value, int):
        return NUMBERS
    return DURATIONS if re.fullmatch(r"-?[0-9.]+s", value) else TEXTS


@pytest.mark.timeout(600)
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_the_verdict_is_envoys_at_the_bounds(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever field of whatever case is put to a bound, both refuse it or neither."""
    which, _, edits = data.draw(st.sampled_from(CASES))
    document = edited(which, edits)
    path = data.draw(st.sampled_from(leaves(document)))
    at = document
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = data.draw(st.sampled_from(bounds(at[path[-1]])))
    try:
        ours = judged(which, document)
    except json_format.ParseError:
        assume(False)
    theirs = envoys_verdict(which, document, tmp_path_factory.mktemp("bounds"))
    assert bool(ours) is bool(theirs), (path, at[path[-1]], ours, theirs)
