"""Whether a host is this machine. Used wherever plain text, a guess or a default is for this machine only.

No name is resolved: what a resolver says of `machine.localhost` may be anybody's address.
"""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address


def is_loopback(host: str) -> bool:
    """Whether a host as it is written means this machine: `localhost`, or an address of the loopback.

    Of an IPv4 address inside an IPv6 one (`::ffff:127.0.0.1`) the inner one counts; a zone (`%lo`) does not.
    """
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host.lower() == "localhost"
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped.is_loopback
    return address.is_loopback
