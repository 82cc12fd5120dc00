"""Modes of mutual TLS: which PeerAuthentication decides, and what endpoints and clients make of it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lateen.config.networking import MatchLabelsSelector
from lateen.config.objects import ConfigObject
from lateen.config.security import MutualTLS, MutualTLSMode, PeerAuthentication
from lateen.mesh.mutual_tls import can_disable, mode_of, modes_of, service_accounts
from lateen.mesh.queries import is_reached_by_mutual_tls
from lateen.mesh.workloads import from_registration
from lateen.model.names import ObjectKey
from lateen.model.origins import Origin
from lateen.model.protocols import Protocol
from lateen.model.services import Endpoint, ServicePort
from lateen.model.workloads import WorkloadPort, WorkloadRegistration

UNSET, DISABLE, PERMISSIVE, STRICT = MutualTLSMode
ROOT, OWN = "istio-system", "default"
EVERY: tuple[MutualTLSMode | None, ...] = (None, *MutualTLSMode)
"""None: no policy of that width, or no word in it."""


def policy(
    namespace: str,
    mode: MutualTLSMode | None,
    *,
    selects: bool = False,
    ports: Mapping[int, MutualTLSMode] | None = None,
    name: str = "a",
) -> ConfigObject[Any]:
    return ConfigObject(
        key=ObjectKey("PeerAuthentication", namespace, name),
        api_version="security.istio.io/v1",
        spec=PeerAuthentication(
            selector=MatchLabelsSelector(match_labels={"app": "a"}) if selects else None,
            mtls=None if mode is None else MutualTLS(mode=mode),
            port_level_mtls={str(port): MutualTLS(mode=each) for port, each in (ports or {}).items()},
        ),
        origin=Origin("f"),
        digest=name,
        document=b"{}",
    )


@pytest.mark.parametrize(("mesh", "namespace", "workload", "port"), list(itertools.product(EVERY, repeat=4)))
def test_the_narrowest_word_counts(
    mesh: MutualTLSMode | None,
    namespace: MutualTLSMode | None,
    workload: MutualTLSMode | None,
    port: MutualTLSMode | None,
) -> None:
    """Port before workload before namespace before mesh; UNSET and nothing inherit; in the end PERMISSIVE."""
    policies = [
        policy(ROOT, mesh),
        policy(OWN, namespace),
        policy(OWN, workload, selects=True, ports={} if port is None else {8080: port}),
    ]
    said = [mode for mode in (port, workload, namespace, mesh) if mode not in (None, UNSET)]
    elsewhere = [mode for mode in (workload, namespace, mesh) if mode not in (None, UNSET)]

    assert mode_of(policies, ROOT, 8080) is next(iter(said), PERMISSIVE)
    assert mode_of(policies, ROOT, 8081) is next(iter(elsewhere), PERMISSIVE)


def test_without_a_policy_both_are_taken() -> None:
    assert mode_of((), ROOT, 80) is PERMISSIVE


@pytest.mark.parametrize("selects", [False, True])
def test_of_several_the_oldest_counts_even_if_it_says_nothing(selects: bool) -> None:
    """They come oldest first."""
    silent = policy(OWN, UNSET, selects=selects)

    assert mode_of([policy(OWN, STRICT, selects=selects), policy(OWN, DISABLE, selects=selects)], ROOT, 80) is STRICT
    assert mode_of([silent, policy(OWN, DISABLE, selects=selects)], ROOT, 80) is PERMISSIVE


def test_a_selector_in_the_root_namespace_counts_for_nobody() -> None:
    """Not even for workloads of the root namespace itself (Istio ignores such a policy)."""
    assert mode_of([policy(ROOT, STRICT, selects=True, ports={80: STRICT})], ROOT, 80) is PERMISSIVE


def test_ports_count_beside_a_selector_only() -> None:
    assert mode_of([policy(OWN, None, ports={80: STRICT})], ROOT, 80) is PERMISSIVE


def test_a_port_is_found_by_both_of_its_numbers() -> None:
    """By the one that others call, then by the one that the application listens on."""
    modes = modes_of([policy(OWN, None, selects=True, ports={80: STRICT, 8080: DISABLE})], ROOT)

    assert (modes.at(80, 8080), modes.at(81, 8080), modes.at(81, 8081)) == (STRICT, DISABLE, PERMISSIVE)


def test_who_decided_is_known() -> None:
    mesh, silent = policy(ROOT, STRICT), policy(OWN, UNSET)

    assert modes_of([mesh, silent], ROOT).policy is mesh
    assert modes_of([silent], ROOT).policy is None


places = st.sampled_from((ROOT, OWN))
modes = st.sampled_from(EVERY)
policies = st.lists(
    st.builds(
        policy,
        places,
        modes,
        selects=st.booleans(),
        ports=st.dictionaries(st.sampled_from((80, 81)), st.sampled_from(MutualTLSMode), max_size=2),
    ),
    max_size=6,
)


@given(policies, st.sampled_from((80, 81, 82)))
def test_a_naive_reader_of_the_reference_comes_to_the_same(found: list[ConfigObject[Any]], port: int) -> None:
    """Widths one after the other, each with its oldest policy, from the narrowest to the widest."""

    def oldest(namespace: str, *, selects: bool) -> PeerAuthentication | None:
        matching = (one.spec for one in found if one.key.namespace == namespace and bool(one.spec.selector) == selects)
        return next(matching, None)

    words: list[MutualTLS | None] = []
    workload = oldest(OWN, selects=True)
    if workload is not None:
        words += [workload.port_level_mtls.get(str(port)), workload.mtls]
    words += [spec.mtls for spec in (oldest(OWN, selects=False), oldest(ROOT, selects=False)) if spec is not None]
    said = [word.mode for word in words if word is not None and word.mode is not UNSET]

    assert mode_of(found, ROOT, port) is (said[0] if said else PERMISSIVE)


@given(policies, st.sampled_from((80, 81, 82)))
def test_what_cannot_disable_disables_nothing(found: list[ConfigObject[Any]], port: int) -> None:
    assert can_disable(found) or mode_of(found, ROOT, port) is not DISABLE


# --- endpoints -----------------------------------------------------------------------------------------------


def endpoint(**changes: Any) -> Endpoint:
    known = Endpoint(address="10.0.0.1", port=80, service_port=80, labels={"app": "a"}, tls_mode="istio")
    return replace(known, **changes)


@pytest.mark.parametrize(
    ("found", "changes", "reached"),
    [
        ([], {}, True),
        ([], {"tls_mode": ""}, False),
        ([], {"tls_mode": "disabled"}, False),
        ([policy(OWN, STRICT)], {"tls_mode": ""}, False),
        ([policy(OWN, DISABLE)], {}, False),
        ([policy(OWN, DISABLE, selects=True)], {}, False),
        ([policy(OWN, DISABLE, selects=True)], {"labels": {"app": "b"}}, True),
        ([policy(OWN, None, selects=True, ports={80: DISABLE})], {}, False),
        ([policy(OWN, None, selects=True, ports={80: DISABLE})], {"port": 81}, True),
        ([policy(OWN, None, selects=True, ports={80: DISABLE})], {"port": 81, "app_port": 80}, False),
        ([policy(ROOT, DISABLE), policy(OWN, PERMISSIVE)], {}, True),
    ],
)
def test_clients_follow_the_endpoint_and_its_policies(
    found: list[ConfigObject[Any]], changes: dict[str, Any], reached: bool
) -> None:
    """Mutual TLS to whom takes it, unless the workload's policy switches it off."""
    assert is_reached_by_mutual_tls(endpoint(**changes), found, ROOT) is reached


def test_accounts_are_those_of_workloads_that_take_mutual_tls() -> None:
    """What somebody in plain text says of himself does not widen who may answer for a service."""
    proven = endpoint(namespace="n", service_account="a")
    said = endpoint(namespace="n", service_account="b", tls_mode="")

    assert service_accounts([said, proven, proven]) == (("n", "a"),)
    assert service_accounts([said]) == (("n", "b"),)
    assert service_accounts([endpoint()]) == ()


@pytest.mark.parametrize(
    ("identity", "labels", "mode", "account"),
    [
        ("", {}, "", "said"),
        ("spiffe://cluster.local/ns/n/sa/proven", {}, "istio", "proven"),
        ("spiffe://cluster.local/ns/n/sa/proven", {"security.istio.io/tlsMode": "disabled"}, "disabled", "proven"),
        ("", {"security.istio.io/tlsMode": "istio"}, "istio", "said"),
    ],
)
def test_a_registration_takes_mutual_tls_when_it_has_proven_who_it_is(
    identity: str, labels: dict[str, str], mode: str, account: str
) -> None:
    registration = WorkloadRegistration(
        service="a",
        namespace="n",
        address="10.0.0.1",
        service_account="said",
        labels=labels,
        ports=(WorkloadPort(port=80),),
        identity=identity,
    )
    found = from_registration(registration).endpoint(ServicePort(number=80, protocol=Protocol.HTTP))

    assert found is not None
    assert (found.tls_mode, found.service_account) == (mode, account)
