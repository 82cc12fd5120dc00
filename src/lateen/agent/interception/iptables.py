"""A capture as input of `iptables-restore --noflush` and `ip6tables-restore --noflush`: where there is no nft. Pure.

The same rules as in `nft`, which explains them, in chains of our own and one jump to each from the built-in chains. A
table is committed as a whole. Nothing of others is flushed; taking the rules back deletes our jumps and our chains.
TPROXY is for network namespaces of our own, which need nft: it is not written here.
"""

from __future__ import annotations

from collections.abc import Iterator

from lateen.agent.interception.capture import DELIVERY_SOURCES, TPROXY, Capture, CaptureError, networks

VERSIONS = (4, 6)


def chain_names(capture: Capture) -> tuple[str, str, str]:
    """Return the names of our chains of the table `nat`: what the app sends, what is captured of it, what comes in."""
    stem = f"LATEEN_{capture.name.upper()}_" if capture.name else "LATEEN_"
    return f"{stem}OUTPUT", f"{stem}CAPTURED", f"{stem}INBOUND"


def restore_text(capture: Capture, version: int, *, replaces: bool = False) -> str:
    """Return the rules for one IP version. CaptureError for what iptables is not used for.

    `replaces`: ours are there, and give way in the same transaction. Chains that are named are flushed by that.
    """
    if capture.inbound and capture.inbound_mode == TPROXY:
        raise CaptureError("inbound mode tproxy needs nft: install nftables")
    output, captured, inbound = chain_names(capture)
    lines = ["*nat", *(f":{name} - [0:0]" for name in (output, captured, inbound))]
    if version == 4 or capture.ipv6:
        lines += [f"-A {output} {rule}" for rule in _output(capture, version, captured)]
        lines += [f"-A {captured} {rule}" for rule in _captured(capture, version)] if capture.outbound else []
        lines += [f"-A {inbound} {rule}" for rule in _inbound(capture)] if capture.inbound else []
    lines += [f"-D {jump}" for jump in _jumps(capture)] if replaces else []
    lines += [f"-A {jump}" for jump in _jumps(capture)]
    return "\n".join((*lines, "COMMIT", ""))


def removal_text(capture: Capture) -> str:
    """Return what takes the rules back; it fails as a whole when they are not there."""
    names = chain_names(capture)
    lines = [*(f"-D {jump}" for jump in _jumps(capture)), *(f"-F {name}" for name in names)]
    return "\n".join(("*nat", *lines, *(f"-X {name}" for name in names), "COMMIT", ""))


def ours(capture: Capture, saved: str) -> tuple[str, ...]:
    """Return the lines of `iptables-save` that are this capture's."""
    names = set(chain_names(capture))
    return tuple(
        line for line in saved.splitlines() if line.startswith((":", "-A")) and names & set(line.lstrip(":").split())
    )


def _jumps(capture: Capture) -> Iterator[str]:
    output, _, inbound = chain_names(capture)
    yield f"OUTPUT -j {output}"
    yield f"PREROUTING -p tcp -j {inbound}"


def _output(capture: Capture, version: int, captured: str) -> Iterator[str]:
    source = f"{DELIVERY_SOURCES[VERSIONS.index(version)]}/{32 if version == 4 else 128}"
    loopback = "127.0.0.0/8" if version == 4 else "::1/128"
    yield f"-s {source} -o lo -j RETURN"
    if capture.inbound:
        for port in sorted(set(capture.inbound_ports)):
            redirect = f"-j REDIRECT --to-ports {capture.inbound_port}"
            yield f"! -d {loopback} -o lo -p tcp -m tcp --dport {port} {redirect}"
    if not capture.outbound:
        return
    for user in sorted(set(capture.exclude_users)):
        yield f"-m owner --uid-owner {user} -j RETURN"
    for group in sorted(set(capture.exclude_groups)):
        yield f"-m owner --gid-owner {group} -j RETURN"
    for user in sorted(set(capture.users)):
        yield f"-m owner --uid-owner {user} -g {captured}"
    for cgroup in capture.cgroups:
        yield f"-m cgroup --path {cgroup} -g {captured}"
    if not capture.users and not capture.cgroups:
        yield f"-g {captured}"


def _captured(capture: Capture, version: int) -> Iterator[str]:
    if capture.dns_port:
        for protocol in ("udp", "tcp"):
            yield f"-p {protocol} -m {protocol} --dport 53 -j REDIRECT --to-ports {capture.dns_port}"
    yield "! -p tcp -j RETURN"
    yield "-o lo -j RETURN"
    for interface in capture.exclude_interfaces:
        yield f"-o {interface} -j RETURN"
    for network in networks(capture.exclude_networks, version):
        yield f"-d {network} -j RETURN"
    for port in sorted(set(capture.exclude_ports)):
        yield f"-p tcp -m tcp --dport {port} -j RETURN"
    included = [f"-d {network} " for network in networks(capture.include_networks, version)]
    for network in included if capture.include_networks else [""]:
        for port in sorted(set(capture.include_ports)) or [0]:
            match = f"-p tcp -m tcp --dport {port}" if port else "-p tcp"
            yield f"{network}{match} -j REDIRECT --to-ports {capture.outbound_port}"


def _inbound(capture: Capture) -> Iterator[str]:
    for interface in capture.exclude_interfaces:
        yield f"-i {interface} -j RETURN"
    yield "-m addrtype ! --dst-type LOCAL -j RETURN"
    for port in sorted(set(capture.exclude_inbound_ports)):
        yield f"-p tcp -m tcp --dport {port} -j RETURN"
    for port in sorted(set(capture.inbound_ports)) or [0]:
        match = f"-p tcp -m tcp --dport {port}" if port else "-p tcp"
        yield f"{match} -j REDIRECT --to-ports {capture.inbound_port}"
