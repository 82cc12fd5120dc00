"""The steps and the YAML they apply."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

from lateen.agent.settings import AgentSettings
from lateen.cli.demo.examples import bookshop_folder, shown_path, without_comments
from lateen.cli.demo.ports import choose_ports
from lateen.cli.demo.programs import BOOKSHOP, Ports, Program, control_plane, data_plane
from lateen.cli.demo.steps import FOUNDATION, STEPS
from lateen.cli.main import run
from lateen.config.parsing import parse

FILES = (*FOUNDATION, *(step.file for step in STEPS))


@pytest.mark.parametrize("name", FILES)
def test_each_file_is_sound_and_acts_in_full(name: str) -> None:
    """No finding at all: not even a field without effect."""
    parsed = parse((bookshop_folder() / name).read_bytes(), name)
    assert parsed.objects
    assert parsed.findings == ()


@pytest.mark.parametrize("name", FILES)
def test_each_file_begins_with_what_it_is_for(name: str) -> None:
    content = (bookshop_folder() / name).read_text()
    assert content.startswith("# ")
    assert f"lateen apply -f examples/bookshop/{name}" in content
    assert without_comments(content).startswith("apiVersion: ")


def test_no_file_lies_about_unused() -> None:
    assert {path.name for path in bookshop_folder().glob("*.yaml")} == set(FILES)


def test_a_path_is_shown_as_it_can_be_typed() -> None:
    folder = bookshop_folder()
    assert shown_path(folder / "gateway.yaml", folder.parents[1]) == "examples/bookshop/gateway.yaml"
    assert shown_path(folder / "gateway.yaml", folder / "elsewhere") == str(folder / "gateway.yaml")


def test_taken_ports_are_replaced_one_by_one() -> None:
    chosen = choose_ports(free=lambda port: port != 15080, other=lambda: 40000)
    assert chosen == Ports(grpc=15010, http=40000, monitoring=15014)


@pytest.mark.parametrize("program", data_plane(Ports()), ids=lambda program: program.name)
def test_what_is_started_is_what_the_typed_command_starts(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    words: list[str] = []

    def become(path: str, arguments: list[str]) -> NoReturn:
        words.extend(arguments)
        raise SystemExit

    monkeypatch.setattr(os, "execv", become)
    with pytest.raises(SystemExit):
        run(program.arguments)
    assert AgentSettings.from_json(words[-1]) == program.settings


def test_every_program_is_a_command_that_a_reader_could_type() -> None:
    ports = Ports(grpc=15011)
    programs = data_plane(ports)
    assert len({program.name for program in programs}) == len(BOOKSHOP) + 1
    assert all("--control-plane 127.0.0.1:15011" in program.typed for program in programs)
    assert all("127.0.0.1" in word for word in control_plane(ports).arguments if ":1" in word)
    assert "--address" not in programs[0].typed
