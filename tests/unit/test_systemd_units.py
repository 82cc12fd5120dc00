"""Units of systemd: what they say, what cannot be said, and whether systemd understands each line."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from lateen.systemd_units import AgentUnit, Rights, RulesUnit, agent_unit, command_line, description, path, rules_unit

UNIT = AgentUnit(
    name="lateen-web",
    description="50% of web\\",
    command=("/opt/py thon", "-m", "x", "$HOME%"),
    environment={"A": "$B %h 'x' \"y\" \\"},
)
FULL = replace(
    UNIT, command=("/bin/true",), user="root", writes=("/var/lib/x y",), state_folder="lateen/agents", folder="/a b",
    reload_command=("/bin/true", "--pid"),
)  # fmt: skip
RULES = RulesUnit(description="rules", start=("/bin/true", "on", ""), stop=("/bin/true", "off"), needs=("/var/lib",))


def test_nothing_is_replaced_in_words_and_variables() -> None:
    """In a command `$` is doubled, in a variable it means nothing; `%` is doubled in both."""
    text = agent_unit(UNIT)
    assert 'ExecStart="/opt/py thon" -m x "$$HOME%%"\n' in text
    assert r'''Environment="A=$B %%h 'x' \"y\" \\"''' in text.splitlines()


@pytest.mark.parametrize(
    ("word", "written"),
    [("", '""'), (";", '";"'), ("a\nb", '"a\\nb"'), ("\x01é", '"\\x01é"'), ("\udcff", '"\\xff"'), ("#", '"#"')],
)
def test_every_word_can_be_said(word: str, written: str) -> None:
    assert command_line(("/bin/x", word)) == f"/bin/x {written}"


def test_a_program_with_a_dollar_is_called_by_its_name() -> None:
    assert command_line(("/opt/$x/python", "$y")) == ':"/opt/$x/python" "$y"'


@pytest.mark.parametrize("program", ["python", '/opt/"x"/python', "/opt/a\\b"])
def test_a_program_that_systemd_cannot_call_is_refused(program: str) -> None:
    with pytest.raises(ValueError, match="cannot call"):
        command_line((program,))


@pytest.mark.parametrize("folder", ["here", "/a\nb", "/a ", "/a\\", "/'a'"])
def test_a_folder_that_would_be_read_as_another_is_refused(folder: str) -> None:
    with pytest.raises(ValueError, match="no unit can name"):
        path(folder)


def test_a_description_takes_no_other_line_along() -> None:
    assert description("x \\\n\\") == "x"
    assert description(119 * "x" + "%%") == 119 * "x" + "%%"


def test_an_agent_that_makes_rules_keeps_roots_rights_and_others_do_not() -> None:
    assert "CapabilityBoundingSet=CAP_NET_BIND_SERVICE\n" in agent_unit(UNIT)
    assert "CapabilityBoundingSet" not in agent_unit(replace(UNIT, rights=Rights.RULES))


def test_an_app_is_not_confined() -> None:
    text = agent_unit(replace(UNIT, rights=Rights.APP))
    assert not any(word in text for word in ("Protect", "NoNewPrivileges", "UMask", "TMPDIR"))


def test_a_job_says_nothing_and_so_is_not_waited_for() -> None:
    text = agent_unit(replace(UNIT, notify=False))
    assert "Type=exec\n" in text
    assert "Watchdog" not in text


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze here")
@pytest.mark.parametrize(
    "text",
    [
        *(agent_unit(replace(FULL, rights=rights)) for rights in Rights),
        agent_unit(replace(UNIT, command=("/bin/true",), notify=False, restart="no")),
        rules_unit(RULES),
    ],
)
def test_systemd_understands_every_line(text: str, tmp_path: Path) -> None:
    file = tmp_path / "lateen-web.service"
    file.write_text(text)
    file.chmod(0o644)
    done = subprocess.run(
        ("systemd-analyze", "verify", "--man=no", str(file)), capture_output=True, text=True, check=False
    )
    assert "lateen-web" not in done.stderr, done.stderr
