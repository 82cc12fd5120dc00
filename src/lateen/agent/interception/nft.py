"""A capture as one nftables table of its own. Pure; the kernel's side of it is in `programs`.

Everything is in one table of the family `inet`, which nobody else writes to: Docker's, firewalld's and everybody else's
tables are never read, let alone changed, and taking the rules back is deleting the table. The text replaces an older
table of the same name in the same transaction, so there is no moment without rules or with half of them.

What a packet of the app meets, in this order (the first that matches counts):

1. the proxy's own connections to the app (from 127.0.0.6) pass;
2. connections of this machine to its own addresses and an intercepted port go to the proxy as inbound ones do;
3. the proxy's connections pass; then it is asked whether this is somebody to intercept at all;
4. DNS goes to where it is answered; loopback and what is excluded pass; all other TCP goes to the proxy.

The NAT hook sees the first packet of a connection only: an established one is never moved.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from lateen.agent.interception.capture import DELIVERY_SOURCES, PROXY_ID, TPROXY, Capture, networks

_FAMILIES = ((4, "ip", "127.0.0.0/8"), (6, "ip6", "::1"))


def table_name(capture: Capture) -> str:
    """Return the name of the table in the family `inet`."""
    return f"lateen_{capture.name}" if capture.name else "lateen"


def ruleset(capture: Capture) -> str:
    """Return what `nft -f -` reads: replace the table as a whole."""
    name = table_name(capture)
    lines = [f"table inet {name} {{", *(f"\t{line}" if line else "" for line in _chains(capture)), "}"]
    return "\n".join((removal(capture).rstrip("\n"), *lines, ""))


def removal(capture: Capture) -> str:
    """Return what `nft -f -` reads to take the table away, whether it is there or not."""
    name = table_name(capture)
    # Deleting what is not there is an error, which `destroy` of newer versions would not be.
    return f"add table inet {name}\ndelete table inet {name}\n"


def _chains(capture: Capture) -> Iterator[str]:
    chains: list[list[str]] = []
    if capture.outbound or _local_inbound(capture):
        chains.append(_chain("outbound", "type nat hook output priority -100; policy accept;", _output(capture)))
    if capture.outbound:
        chains.append(_chain("captured", "", _captured(capture)))
    if capture.inbound and capture.inbound_mode == TPROXY:
        hook = "type filter hook prerouting priority -150; policy accept;"
        chains.append(_chain("inbound", hook, _transparent(capture)))
        # A filter chain would mark the packet too late to choose its route.
        hook = "type route hook output priority -150; policy accept;"
        chains.append(_chain("replies", hook, [f"ct mark {PROXY_ID} meta mark set ct mark"]))
    elif capture.inbound:
        hook = "type nat hook prerouting priority -100; policy accept;"
        chains.append(_chain("inbound", hook, _redirected(capture)))
    for number, chain in enumerate(chains):
        if number:
            yield ""
        yield from chain


def _chain(name: str, hook: str, rules: Iterable[str]) -> list[str]:
    return [f"chain {name} {{", *(f"\t{line}" for line in ([hook] if hook else []) + list(rules)), "}"]


def _local_inbound(capture: Capture) -> bool:
    """Whether connections of this machine to itself are inbound ones too: only where it is said which ports."""
    return capture.inbound and bool(capture.inbound_ports)


def _output(capture: Capture) -> Iterator[str]:
    yield from _one_family(capture)
    for (_, family, _), source in zip(_FAMILIES, DELIVERY_SOURCES, strict=True):
        yield f'oifname "lo" {family} saddr {source} return'
    if _local_inbound(capture):
        ports = f"tcp dport {_set(capture.inbound_ports)} redirect to :{capture.inbound_port}"
        for _, family, loopback in _FAMILIES:
            yield f'oifname "lo" {family} daddr != {loopback} {ports}'
    if not capture.outbound:
        return
    if capture.exclude_users:
        yield f"meta skuid {_set(capture.exclude_users)} return"
    if capture.exclude_groups:
        yield f"meta skgid {_set(capture.exclude_groups)} return"
    if capture.users:
        yield f"meta skuid {_set(capture.users)} goto captured"
    for cgroup in capture.cgroups:
        # nft looks the path up below /sys/fs/cgroup; the level counts from the root of the hierarchy.
        path = f"{capture.cgroup_root}/{cgroup}" if capture.cgroup_root else cgroup
        yield f'socket cgroupv2 level {cgroup.count("/") + 1} "{path}" goto captured'
    if not capture.users and not capture.cgroups:
        yield "goto captured"


def _captured(capture: Capture) -> Iterator[str]:
    if capture.dns_port:
        # Before loopback passes: the resolver of many machines is on loopback.
        yield f"udp dport 53 redirect to :{capture.dns_port}"
        yield f"tcp dport 53 redirect to :{capture.dns_port}"
    yield "meta l4proto != tcp return"
    yield 'oifname "lo" return'
    if capture.exclude_interfaces:
        yield f"oifname {_names(capture.exclude_interfaces)} return"
    for version, family, _ in _FAMILIES:
        if excluded := networks(capture.exclude_networks, version):
            yield f"{family} daddr {_set(excluded)} return"
    if capture.include_networks:
        for version, family, _ in _FAMILIES:
            if included := networks(capture.include_networks, version):
                yield f"{family} daddr != {_set(included)} return"
            else:
                yield f"meta nfproto ipv{version} return"
    if capture.exclude_ports:
        yield f"tcp dport {_set(capture.exclude_ports)} return"
    only = f"tcp dport {_set(capture.include_ports)}" if capture.include_ports else "meta l4proto tcp"
    yield f"{only} redirect to :{capture.outbound_port}"


def _inbound_exceptions(capture: Capture) -> Iterator[str]:
    yield from _one_family(capture)
    if capture.exclude_interfaces:
        yield f"iifname {_names(capture.exclude_interfaces)} return"
    # What is only passing through, to a container for instance, is not for a workload of this machine.
    yield "fib daddr type != local return"
    if capture.exclude_inbound_ports:
        yield f"tcp dport {_set(capture.exclude_inbound_ports)} return"


def _inbound_match(capture: Capture) -> str:
    return f"tcp dport {_set(capture.inbound_ports)}" if capture.inbound_ports else "meta l4proto tcp"


def _redirected(capture: Capture) -> Iterator[str]:
    yield from _inbound_exceptions(capture)
    yield f"{_inbound_match(capture)} redirect to :{capture.inbound_port}"


def _transparent(capture: Capture) -> Iterator[str]:
    """The client's address stays: marked packets are delivered here, whoever they are addressed to."""
    # From the proxy to the app, with the client's address: the answers must come back to the proxy.
    yield f'iifname "lo" meta mark {PROXY_ID} ct mark set meta mark'
    yield f"meta l4proto tcp socket transparent 1 meta mark set {PROXY_ID} accept"
    yield 'iifname "lo" return'
    yield from _inbound_exceptions(capture)
    yield f"{_inbound_match(capture)} tproxy to :{capture.inbound_port} meta mark set {PROXY_ID} accept"


def _one_family(capture: Capture) -> Iterator[str]:
    if not capture.ipv6:
        yield "meta nfproto ipv6 return"


def _set(items: Sequence[object]) -> str:
    ordered = sorted(items) if all(isinstance(item, int) for item in items) else items  # type: ignore[type-var]
    return "{ " + ", ".join(dict.fromkeys(map(str, ordered))) + " }"


def _names(items: Sequence[str]) -> str:
    return _set([f'"{item}"' for item in items])
