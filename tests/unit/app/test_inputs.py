"""The union of stores and registries."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lateen.app.inputs import Inputs
from lateen.config.networking import DestinationRule
from lateen.config.objects import ConfigObject
from lateen.config.parsing import parse
from lateen.model.catalogues import Catalogue
from lateen.model.findings import Severity
from lateen.model.names import ObjectKey
from lateen.model.origins import Origin
from lateen.model.workloads import WorkloadRegistration
from lateen.stores.protocol import StoreContent, content

KEY = ObjectKey("Service", "default", "web")


def holding(file: str, port: int) -> StoreContent:
    text = f"{{apiVersion: v1, kind: Service, metadata: {{name: web}}, spec: {{ports: [{{port: {port}}}]}}}}"
    return content(parse(text.encode(), file).objects)


def made() -> Inputs:
    return Inputs(read_only=["folder a", "folder b"], writable="memory", registries=["agents"])


def test_it_is_complete_once_every_source_has_spoken() -> None:
    inputs = made()
    for store in ("folder a", "folder b", "memory"):
        assert not inputs.complete
        inputs.take_content(store, content(()))
    assert not inputs.complete
    inputs.take_catalogue(Catalogue(name="agents"))

    assert inputs.complete


def test_earlier_folders_win_over_later_ones_and_over_memory() -> None:
    inputs = made()
    inputs.take_content("memory", holding("applied.yaml", 1))
    inputs.take_content("folder b", holding("b.yaml", 2))
    inputs.take_content("folder a", holding("a.yaml", 3))

    assert inputs.objects()[KEY].origin.source == "a.yaml"
    assert str(inputs.managed(KEY)) == "a.yaml:1"


def test_an_object_that_another_hides_is_a_finding_at_its_own_place() -> None:
    inputs = made()
    inputs.take_content("folder a", holding("a.yaml", 3))
    inputs.take_content("memory", holding("applied.yaml", 1))

    [finding] = inputs.findings()
    assert (finding.file, finding.line, finding.severity) == ("applied.yaml", 1, Severity.ERROR)
    assert "a.yaml:1" in finding.message


def test_a_hidden_object_comes_back_when_the_winner_goes() -> None:
    inputs = made()
    inputs.take_content("folder a", holding("a.yaml", 3))
    inputs.take_content("memory", holding("applied.yaml", 1))
    inputs.take_content("folder a", content(()))

    assert inputs.objects()[KEY].origin.source == "applied.yaml"
    assert inputs.managed(KEY) is None
    assert inputs.findings() == ()


def test_the_generation_grows_only_with_real_changes() -> None:
    inputs = made()
    workload = WorkloadRegistration(service="web", namespace="default", address="127.0.0.2", name="web-1")

    assert inputs.take_content("memory", holding("a.yaml", 1))
    assert not inputs.take_content("memory", holding("a.yaml", 1))
    assert inputs.take_catalogue(Catalogue(name="agents", workloads=(workload,)))
    assert not inputs.take_catalogue(Catalogue(name="agents", workloads=(workload,)))
    assert inputs.generation == 2


def rule(store: str, name: str, host: str) -> ConfigObject[Any]:
    return ConfigObject(
        key=ObjectKey("DestinationRule", "default", name),
        api_version="networking.istio.io/v1",
        spec=DestinationRule(host=host),
        origin=Origin(store),
        digest=f"{name} {host}",
        document=b"{}",
    )


STORES = ("folder a", "folder b", "memory")
_held = st.dictionaries(st.sampled_from("abc"), st.sampled_from("xy"), max_size=3)


@given(st.lists(st.tuples(st.sampled_from(STORES), _held), max_size=10))
def test_the_union_after_changes_is_the_union_of_what_the_stores_hold(steps: list[tuple[str, dict[str, str]]]) -> None:
    inputs = made()
    held: dict[str, dict[ObjectKey, ConfigObject[Any]]] = {store: {} for store in STORES}
    for store in STORES:
        inputs.take_content(store, content())
    for store, hosts in steps:
        objects = [rule(store, name, host) for name, host in hosts.items()]
        before, generation = held[store], inputs.generation
        held[store] = {item.key: item for item in objects}
        assert inputs.take_content(store, content(objects)) == (before != held[store])
        assert inputs.generation - generation == (before != held[store])
        union = {key: item for name in reversed(STORES) for key, item in held[name].items()}
        assert list(inputs.objects().items()) == sorted(union.items())
        hidden = [item for items in held.values() for item in items.values() if union[item.key] is not item]
        assert sorted((found.name, found.file) for found in inputs.findings()) == sorted(
            (item.key.name, item.origin.source) for item in hidden
        )
        for key, item in union.items():
            assert inputs.managed(key) == (item.origin if item.origin.source != "memory" else None)


def test_what_registering_workloads_are_told_is_the_same_object_until_it_changes() -> None:
    group = (
        "apiVersion: networking.istio.io/v1\nkind: WorkloadGroup\nmetadata: {name: vms}\n"
        "spec: {template: {locality: LOCALITY}}\n"
    )
    inputs = made()
    inputs.take_content("memory", content(parse(group.encode(), "m").objects))
    first = inputs.of_workloads("WorkloadGroup")
    assert [key.name for key in first] == ["vms"]
    inputs.take_content("folder a", holding("a.yaml", 3))
    assert inputs.of_workloads("WorkloadGroup") is first

    other = group.replace("LOCALITY", "elsewhere")
    inputs.take_content("folder b", content(parse(other.encode(), "b").objects))
    (found,) = inputs.of_workloads("WorkloadGroup").values()
    assert found.spec.template.locality == "elsewhere"
    inputs.take_content("folder b", content(()))
    inputs.take_content("memory", content(()))
    assert not inputs.of_workloads("WorkloadGroup")
