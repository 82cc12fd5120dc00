"""What an agent may say, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lateen.model.workloads import MAX_CALLS, MAX_MESSAGE_BYTES, WorkloadPort, WorkloadRegistration
from lateen.registries.registrations import Calls, Leave, read_message
from lateen.registries.sessions import Refusal

GOOD: dict[str, Any] = WorkloadRegistration(
    service="reviews",
    namespace="default",
    address="127.0.0.5",
    version="v2",
    labels={"app.kubernetes.io/name": "reviews", "empty": ""},
    locality="eu/a",
    ports=(WorkloadPort(port=9080, protocol="http", app_port=1234),),
).to_json()


def read(**changes: Any) -> Any:
    return read_message(json.dumps({"register": GOOD | changes}).encode())


def test_what_an_agent_writes_is_read_back() -> None:
    message = read()
    assert isinstance(message, WorkloadRegistration)
    assert message.to_json() == GOOD


def test_unknown_fields_are_ignored_so_that_newer_agents_can_attach() -> None:
    assert isinstance(read(new_field={"a": 1}), WorkloadRegistration)


def test_nobody_says_himself_who_he_is() -> None:
    """An identity is what a certificate has proven, so one in the message counts for nothing."""
    assert read(identity="spiffe://cluster.local/ns/bank/sa/vault").identity == ""


def test_addresses_get_one_spelling() -> None:
    assert read(address="FD00::0:1").address == "fd00::1"


def test_leave() -> None:
    assert read_message(b'{"leave": true}') == Leave()


def test_called_hosts() -> None:
    assert read_message(b'{"calls": ["ratings", "*.example.com"]}') == Calls(("ratings", "*.example.com"))


def test_as_many_called_hosts_as_one_message_may_hold_fit() -> None:
    message = json.dumps({"calls": ["x" * 253] * MAX_CALLS}).encode()

    assert len(message) <= MAX_MESSAGE_BYTES
    assert isinstance(read_message(message), Calls)


@pytest.mark.parametrize("calls", [None, {}, "ratings", [1], ["a"] * (MAX_CALLS + 1)])
def test_another_form_of_calls_is_refused(calls: object) -> None:
    assert isinstance(read_message(json.dumps({"calls": calls}).encode()), Refusal)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"namespace": ""}, "namespace"),
        ({"service": "Reviews"}, "service"),
        ({"service": "a.b"}, "service"),
        ({"service": "a\n"}, "service"),
        ({"name": "x" * 64}, "name"),
        ({"name": "a/b"}, "name"),
        ({"service_account": ".."}, "service_account"),
        ({"version": "v 2"}, "version"),
        ({"network": "-"}, "network"),
        ({"locality": "a/b/c/d"}, "locality"),
        ({"address": "localhost"}, "address"),
        ({"address": ""}, "address"),
        ({"address": "0.0.0.0"}, "address"),
        ({"address": "::"}, "address"),
        ({"labels": {"k": "v" * 64}}, "label k"),
        ({"labels": {"": "v"}}, "label key"),
        ({"labels": {"/k": "v"}}, "label key"),
        ({"labels": {f"k{number}": "" for number in range(65)}}, "65 labels"),
        ({"ports": [{"port": 0}]}, "port 0"),
        ({"ports": [{"port": 65536}]}, "port 65536"),
        ({"ports": [{"port": 1, "app_port": -1}]}, "app_port -1"),
        ({"ports": [{"port": 1, "protocol": "smoke"}]}, "smoke"),
        ({"ports": [{"port": 1, "name": "A"}]}, "port name"),
        ({"ports": [{"port": 1}, {"port": 1}]}, "twice"),
        ({"ports": [{"port": number + 1} for number in range(65)]}, "65 ports"),
        ({"ports": "80"}, "register"),
        ({"ready": "yes"}, "register"),
        ({"labels": {"k": 1}}, "register"),
    ],
)
def test_bad_registrations_are_refused_with_the_reason(changes: dict[str, Any], complaint: str) -> None:
    message = read(**changes)
    assert isinstance(message, Refusal)
    assert complaint in message.message or complaint == "register"
    assert len(message.message) < 1000


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b"{}",
        b'{"leave": false}',
        b'{"register": 1}',
        b'{"register": {}}',
        b"\xff\xfe",
        b'{"register": ' + b"[" * 60000 + b"]" * 2,
        b" " * (MAX_MESSAGE_BYTES + 1),
    ],
)
def test_garbage_is_refused(data: bytes) -> None:
    assert isinstance(read_message(data), Refusal)


@given(st.binary(max_size=200))
def test_no_bytes_raise(data: bytes) -> None:
    read_message(data)


_characters = "aA0-_./ \n\x00é"
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(_characters, max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(_characters, max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(GOOD)), _json))
def test_no_registration_raises(changes: dict[str, Any]) -> None:
    """Whatever stands in a field, the answer is a registration that keeps the rules, or a refusal."""
    message = read_message(json.dumps({"register": GOOD | changes}).encode())
    assert isinstance(message, WorkloadRegistration | Refusal)
