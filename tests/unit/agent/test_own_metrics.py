"""The agent's own metrics, the same in both formats."""

from __future__ import annotations

from pathlib import Path

from client_model import read_delimited
from lateen.agent.own_metrics import HELP, exposition, messages

GUIDE = Path(__file__).parents[3] / "docs" / "guide" / "statistics.md"


def test_both_formats_say_the_same_with_help() -> None:
    own = {"lateen_agent_workload_ready": 1.0, "lateen_agent_probes_total": 3.0}
    text = exposition(own).decode()
    ready, probes = read_delimited(messages(own))
    assert [(one.name, one.type) for one in (ready, probes)] == [
        ("lateen_agent_workload_ready", 1),
        ("lateen_agent_probes_total", 0),
    ]
    assert (ready.metric[0].gauge.value, probes.metric[0].counter.value) == (1, 3)
    for one, value in ((ready, 1), (probes, 3)):
        assert f"# HELP {one.name} {one.help}\n" in text
        assert f"\n{one.name} {value}\n" in text


def test_the_guide_says_what_each_is() -> None:
    assert not [name for name in HELP if f"`{name}`" not in GUIDE.read_text()]
