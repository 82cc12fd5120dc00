"""What a capture becomes as rules: golden files beside each `rules/*.json`, and what they are read back as."""

from __future__ import annotations

from pathlib import Path

import pytest

from lateen.agent.interception import iptables, nft
from lateen.agent.interception.capture import TPROXY, Capture, CaptureError

CASES = sorted((Path(__file__).parent / "rules").glob("*.json"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
@pytest.mark.parametrize("form", ["nft", "iptables", "ip6tables"])
def test_rules_are_what_the_reviewed_file_says(case: Path, form: str, request: pytest.FixtureRequest) -> None:
    """Byte for byte, in each form."""
    capture = Capture.from_json(case.read_text())
    if form != "nft" and capture.inbound_mode == TPROXY:
        with pytest.raises(CaptureError, match="needs nft"):
            iptables.restore_text(capture, 4)
        return
    text = nft.ruleset(capture) if form == "nft" else iptables.restore_text(capture, 4 if form == "iptables" else 6)
    expected = case.with_suffix(f".{form}")
    if request.config.getoption("--update-goldens", default=False):
        expected.write_text(text)
    assert text == expected.read_text()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_json_reads_back_equal(case: Path) -> None:
    """What is on record is what was applied."""
    capture = Capture.from_json(case.read_text())
    assert Capture.from_json(capture.to_json()) == capture


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ('{"name": "UPPER"}', "lower-case"),
        ('{"name": "x; flush ruleset"}', "lower-case"),
        ('{"outbound": false}', "neither outbound nor inbound"),
        ('{"users": [1337]}', "is excluded"),
        ('{"users": [-1]}', "not between"),
        ('{"users": ["root"]}', "not between"),
        ('{"inbound": true, "inbound_ports": [22]}', "is excluded"),
        ('{"cgroups": ["../up"]}', "not a path"),
        ('{"cgroups": ["a\\" accept"]}', "not a path"),
        ('{"exclude_interfaces": ["eth0; drop"]}', "not the name"),
        ('{"exclude_networks": ["10.0.0.0/33"]}', "not a network"),
        ('{"inbound_mode": "magic"}', "redirect or tproxy"),
        ('{"colour": 1}', "unknown field"),
        ("[]", "no description"),
    ],
)
def test_contradictions_and_injections_are_refused(given: str, why: str) -> None:
    """Nothing that a user writes can become a rule of its own."""
    with pytest.raises(CaptureError, match=why):
        Capture.from_json(given)


def test_ssh_is_never_intercepted_by_default() -> None:
    """Whoever applies rules over SSH keeps the session's way in."""
    assert "22" in nft.ruleset(Capture(inbound=True)).partition("chain inbound")[2]


def test_removal_is_for_our_table_only() -> None:
    """Whatever the name is."""
    text = nft.removal(Capture(name="web"))
    assert text.splitlines() == ["add table inet lateen_web", "delete table inet lateen_web"]
    removed = iptables.removal_text(Capture(name="web")).splitlines()[1:-1]
    assert all(" LATEEN_WEB_" in line for line in removed)


def test_iptables_rules_are_replaced_in_one_transaction() -> None:
    """The old jumps go with the same commit that brings the new ones: never two of each, and never none."""
    text = iptables.restore_text(Capture(users=(7,)), 4, replaces=True)
    jumps = [line for line in text.splitlines() if line.startswith(("-D", "-A OUTPUT", "-A PREROUTING"))]
    assert [line[:2] for line in jumps] == ["-D", "-D", "-A", "-A"]
    assert text.count("COMMIT") == 1
