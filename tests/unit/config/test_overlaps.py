"""Overlaps are found as if every entry were compared with every other, in far less time."""

import time

from hypothesis import given
from hypothesis import strategies as st

from lateen.config.parsing import parse
from lateen.config.validation.overlaps import HostSet, LocalitySet, overlapping_hosts
from lateen.model.names import host_matches

HOSTS = st.sampled_from(("*", "*.c", "*.b.c", "*-a.c", "*c", "a.b.c", "x-a.c", "b.c", "c", "a.b.d", "*.d", ".c"))
PARTS = st.sampled_from(("a", "b", "*"))
PATTERNS = st.lists(PARTS, min_size=1, max_size=3).filter(lambda parts: "*" not in parts[:-1])


@given(st.lists(HOSTS, max_size=6))
def test_hosts_overlap_when_one_covers_the_other(hosts: list[str]) -> None:
    expected = [
        index
        for index, host in enumerate(hosts)
        if any(host_matches(one, host) or host_matches(host, one) for one in hosts[:index])
    ]
    found = list(overlapping_hosts(hosts))
    assert [index for index, _ in found] == expected
    assert all(host_matches(one, hosts[at]) or host_matches(hosts[at], one) for at, one in found)


@given(st.lists(HOSTS, max_size=4), HOSTS)
def test_a_set_covers_what_one_of_its_hosts_covers(hosts: list[str], host: str) -> None:
    assert HostSet.of(hosts).covers(host) == any(host_matches(one, host) for one in hosts)


@given(st.lists(PATTERNS, max_size=4), PATTERNS)
def test_localities_meet_when_all_their_common_parts_do(known: list[list[str]], pattern: list[str]) -> None:
    together = LocalitySet()
    for one in known:
        together.add(one)
    expected = any(
        all(left == right or "*" in (left, right) for left, right in zip(one, pattern, strict=False)) for one in known
    )
    assert together.meets(pattern) == expected


def test_many_hosts_take_time_in_proportion() -> None:
    """Twenty thousand hosts were two hundred million comparisons: minutes."""
    hosts = ",".join(f"h{number}.example.com" for number in range(20_000))
    document = f"""{{"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {{"name": "a"}},
        "spec": {{"hosts": [{hosts}], "http": [{{"redirect": {{"uri": "/a"}}}}]}}}}"""
    begun = time.process_time()
    assert parse(document.encode(), "f").findings == ()
    assert time.process_time() - begun < 15
