"""What a running agent has loaded: a host has many of them, and a library of a megabyte is there once in each."""

from __future__ import annotations

import subprocess
import sys

import pytest

LIBRARIES = {"h2", "hpack", "hyperframe"}
ROOMS = {"lateen", "lateen.agent", "lateen.envoy", "lateen.model", "lateen.private_files"}
ENVOY = {"lateen.envoy.bootstrap", "lateen.envoy.names", "lateen.envoy.statistics"}
LATER = {
    *(
        f"lateen.agent.{name}"
        for name in ("attachments", "checks", "csr", "init_process", "secret_fetching", "watching")
    ),
    *(f"lateen.agent.interception.{name}" for name in ("host", "names", "network", "nft", "relay", "transparent")),
}
"""Of the agent's own: loaded by those who use them."""
HEAVY = {
    "concurrent.futures.process", "csv", "decimal", "email", "encodings.idna", "http", "http.client",
    "importlib.metadata", "importlib.resources", "logging.config", "multiprocessing", "pickle", "platform", "shutil",
    "statistics", "stringprep", "tempfile", "unicodedata", "unittest", "urllib.request", "uuid", "xml", "zipfile",
}  # fmt: skip
"""Of the standard library: what is not there because something lighter does."""


def loaded(*modules: str) -> set[str]:
    """The modules that a new interpreter has beside its own after loading these."""
    script = f"import sys; before = set(sys.modules); import {', '.join(modules)}; print(*set(sys.modules) - before)"
    return set(
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    )


@pytest.fixture(scope="module")
def agent() -> set[str]:
    return loaded("lateen.agent.__main__")


def test_no_library_but_that_of_http_2(agent: set[str]) -> None:
    tops = {name.partition(".")[0] for name in agent}
    assert tops - sys.stdlib_module_names - {"lateen"} - {name for name in tops if name.startswith("_")} == LIBRARIES


def test_of_the_control_plane_only_values_and_the_bootstrap(agent: set[str]) -> None:
    ours = {name for name in agent if name.partition(".")[0] == "lateen"}
    assert {".".join(name.split(".")[:2]) for name in ours} == ROOMS
    assert {name for name in ours if name.startswith("lateen.envoy.")} == ENVOY


def test_what_few_use_is_loaded_by_them(agent: set[str]) -> None:
    assert not agent & LATER


def test_nothing_heavy_of_the_standard_library(agent: set[str]) -> None:
    assert not agent & HEAVY


def test_interception_needs_no_library_either(agent: set[str]) -> None:
    """It runs programs, and answers DNS itself."""
    more = loaded("lateen.agent.__main__", "lateen.agent.interception.transparent") - agent
    assert {name for name in more if not name.startswith("lateen.agent.interception")} <= {
        "lateen.systemd_units",
        "pwd",
        "shlex",
    }


def test_an_interpreter_says_what_it_loaded() -> None:
    """Or the tests above hold for nothing."""
    assert "email" in loaded("http.client")
