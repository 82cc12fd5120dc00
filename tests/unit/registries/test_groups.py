"""Workloads that register by a WorkloadGroup."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from lateen.config.workload_groups import WorkloadGroup
from lateen.mesh.workloads import from_registration
from lateen.model.protocols import Protocol
from lateen.model.services import ServicePort
from lateen.model.workloads import WorkloadPort, WorkloadRegistration
from lateen.registries.agents import AgentRegistry
from lateen.registries.sessions import Refusal, StreamId

SAID = WorkloadRegistration(service="", namespace="shop", address="127.0.0.5", group="vms")


def group(template: dict[str, Any] | None = None, **more: Any) -> dict[tuple[str, str], WorkloadGroup]:
    return {("shop", "vms"): msgspec.convert({"template": template or {}, **more}, WorkloadGroup)}


def registry(groups: dict[tuple[str, str], WorkloadGroup]) -> AgentRegistry:
    made = AgentRegistry()
    made.take_groups(groups)
    return made


def taken(made: AgentRegistry, said: WorkloadRegistration) -> tuple[StreamId, WorkloadRegistration]:
    stream = made.open()
    found = made.register(stream, said)
    assert isinstance(found, WorkloadRegistration), found
    return stream, found


def test_what_the_workload_does_not_say_its_group_does() -> None:
    template = {"network": "n", "locality": "r/z", "weight": 3, "serviceAccount": "vm", "ports": {"http": 8080}}
    _, found = taken(registry(group(template)), SAID)
    assert (found.name, found.network, found.locality, found.weight) == ("vms-1", "n", "r/z", 3)
    assert found.service_account == "vm"
    assert found.ports == (WorkloadPort(port=8080, name="http"),)


def test_labels_of_the_workload_win_over_the_group_s_and_those_over_the_template_s() -> None:
    marks = {"labels": {"b": "group", "c": "group", "version": "v1"}}
    groups = group({"labels": {"a": "template", "b": "template"}}, metadata=marks)
    _, found = taken(registry(groups), replace(SAID, labels={"c": "own"}, version="v2"))
    labels = from_registration(found).labels
    assert labels == {"a": "template", "b": "group", "c": "own", "version": "v2"}


def test_a_service_finds_the_port_that_the_group_names_as_its_own() -> None:
    port = WorkloadPort(port=8080, protocol="http", app_port=23456)
    _, found = taken(registry(group({"ports": {"web": 8080}})), replace(SAID, ports=(port,)))
    endpoint = from_registration(found).endpoint(ServicePort(number=80, name="web", protocol=Protocol.HTTP))
    assert endpoint is not None
    assert (endpoint.port, endpoint.app_port) == (8080, 23456)


def test_a_group_that_is_missing_is_a_refusal_with_a_reason() -> None:
    made = registry({})
    found = made.register(made.open(), SAID)
    assert isinstance(found, Refusal)
    assert "there is no WorkloadGroup vms in the namespace shop" in found.message
    assert not made.workloads


@pytest.mark.parametrize(
    ("account", "identity", "refused"),
    [
        ("default", "", False),
        ("vm", "", False),
        ("other", "", True),
        ("default", "spiffe://cluster.local/ns/shop/sa/default", True),
        ("vm", "spiffe://cluster.local/ns/shop/sa/vm", False),
    ],
)
def test_the_service_account_is_the_group_s(account: str, identity: str, *, refused: bool) -> None:
    """Who has proven to be another is refused; without certificates the group says who its workloads are."""
    made = registry(group({"serviceAccount": "vm"}))
    found = made.register(made.open(), replace(SAID, service_account=account, identity=identity))
    assert isinstance(found, Refusal) is refused
    assert refused or (isinstance(found, WorkloadRegistration) and found.service_account == "vm")


def test_a_change_of_the_group_reaches_those_that_are_attached() -> None:
    made = registry(group({"labels": {"version": "v1"}}))
    taken(made, replace(SAID, ready=True))
    made.take_groups(group({"labels": {"version": "v2"}}))
    (found,) = made.workloads
    assert (found.labels, found.ready, found.name) == ({"version": "v2"}, True, "vms-1")


def test_who_is_attached_keeps_what_a_removed_group_last_said_and_nobody_else_joins() -> None:
    made = registry(group({"labels": {"version": "v1"}}))
    stream, _ = taken(made, SAID)
    made.take_groups({})
    changed = made.register(stream, replace(SAID, ready=True))
    assert isinstance(changed, WorkloadRegistration)
    assert changed.labels == {"version": "v1"}
    assert isinstance(made.register(made.open(), replace(SAID, address="127.0.0.6")), Refusal)


def test_a_change_does_not_bring_back_who_is_gone() -> None:
    """A workload whose stream broke lives for its grace only, whatever becomes of its group."""
    clock = [0.0]
    made = AgentRegistry(grace=5, clock=lambda: clock[0])
    made.take_groups(group({"labels": {"version": "v1"}}))
    stream, _ = taken(made, SAID)
    made.disconnect(stream)
    made.take_groups(group({"labels": {"version": "v2"}}))
    clock[0] = 6.0
    taken(made, replace(SAID, name="another", address="127.0.0.6"))
    assert [item.name for item in made.workloads] == ["another"]


def test_a_group_of_another_namespace_is_none() -> None:
    made = registry(group())
    assert isinstance(made.register(made.open(), replace(SAID, namespace="other")), Refusal)
