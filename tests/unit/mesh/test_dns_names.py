"""Names beyond the bound: which are left out, whose, and that it is said in a finding and a line of the log."""

from __future__ import annotations

import pytest
import structlog

from lateen.analysis.references import analyse
from lateen.app.dns_names import DnsNames
from lateen.config.mesh_config import MeshConfig
from lateen.config.parsing import parse
from lateen.mesh import dns_names
from lateen.mesh.build import build_state
from lateen.mesh.state import MeshState

SERVICE = """---
apiVersion: v1
kind: Service
metadata: {name: NAME, namespace: SPACE}
spec: {clusterIP: 10.0.0.NUMBER, ports: [{port: 80, name: http}], selector: {app: NAME}}
"""
NARROW = """---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default, namespace: narrow}
spec: {egress: [{hosts: ['./*']}]}
"""


def state_of(*places: str) -> MeshState:
    text = "".join(
        SERVICE.replace("NAME", place.partition(".")[0])
        .replace("SPACE", place.partition(".")[2])
        .replace("NUMBER", str(number + 1))
        for number, place in enumerate(places)
    )
    return build_state(parse((text + NARROW).encode(), "mesh.yaml").objects, (), MeshConfig())


@pytest.fixture(autouse=True)
def three(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dns_names, "MOST_NAMES", 3)


CROWDED = ("a.one", "b.one", "c.two", "d.two", "e.narrow")


def test_nothing_is_said_up_to_the_bound() -> None:
    assert dns_names.left_out(state_of(*CROWDED[:3])) == ()


def test_who_sees_too_much_is_named_with_whose_names_are_left_out() -> None:
    """A namespace that imports little is not among them; its own come first, then the alphabet decides."""
    (found,) = dns_names.left_out(state_of(*CROWDED))
    assert found.namespaces == ("one", "two")
    assert (found.names, found.count) == (5, 2)
    assert dict(found.owners) == {"narrow": 1, "two": 1}


def test_it_is_a_finding() -> None:
    state = state_of(*CROWDED)
    (found,) = [one for one in analyse(state, ()) if one.code == "LAT0090"]
    assert "left out are 1 of namespace narrow, 1 of namespace two" in found.message
    assert "5 names and are told 3" in found.message
    assert found.name == "one"


def test_the_log_says_it_once_and_the_count_is_kept() -> None:
    log = DnsNames()
    with structlog.testing.capture_logs() as lines:
        log.update(state_of(*CROWDED[:3]))
        assert log.count == 0
        log.update(state_of(*CROWDED))
        log.update(state_of(*CROWDED, "f.two"))
    assert log.count == 3
    assert [line["event"] for line in lines] == ["more names than dns answers"]
