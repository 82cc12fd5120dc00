"""A change of many objects that have one thing in common looks at that thing once, not once for each of them."""

from __future__ import annotations

from collections import Counter
from typing import Any

from lateen.mesh.index import patched_selected
from lateen.mesh.rules import VirtualServices
from lateen.model.names import Hostname

ROOTS = "---".join(
    f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: root-{number}, namespace: default}}
spec: {{hosts: [shop.example.com], http: [{{match: [{{uri: {{prefix: /p}}}}], delegate: {{name: d}}}}]}}
"""
    for number in range(50)
)


class Counted(dict[Any, Any]):
    """Counts what is asked for."""

    def __init__(self, values: dict[Any, Any]) -> None:
        super().__init__(values)
        self.asked: Counter[Any] = Counter()

    def get(self, key: Any, default: Any = None) -> Any:
        self.asked[key] += 1
        return super().get(key, default)


def test_rules_of_one_delegate(objects: Any) -> None:
    """The old set is copied once; what remains is a question for equality and one for the answer."""
    found = objects(ROOTS)
    places = {("VirtualService", one.key.namespace, one.key.name): one for one in found}
    roots = Counted({("default", "d"): frozenset(places)})
    turns = {"VirtualService": {place: (one, one) for place, one in places.items()}}
    new, _ = VirtualServices(roots=roots).updated(places, turns, [], defaults_changed=False)
    assert new.roots == roots
    assert roots.asked["default", "d"] < 10


def test_services_of_one_selector() -> None:
    hosts = [Hostname(f"h{number}.test") for number in range(50)]
    old = Counted({("default", "app", "a"): frozenset(hosts)})
    turns = {host: (("default", {"app": "a"}), ("default", {"app": "b"})) for host in hosts}
    new = patched_selected(old, turns)
    assert new == {("default", "app", "b"): frozenset(hosts)}
    assert old.asked["default", "app", "a"] < 10
