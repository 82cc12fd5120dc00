"""What is to be intercepted, as a value. Pure; made by `lateen intercept`, `lifecycle` and tests.

One `Capture` is one proxy's: its `name` is in the names of its table and chains, so that several stand side by side and
each is taken back alone. Must not know: how rules are written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, fields
from ipaddress import collapse_addresses, ip_network
from typing import Any

REDIRECT, TPROXY = "redirect", "tproxy"
INBOUND_MODES = (REDIRECT, TPROXY)
OUTBOUND_PORT, INBOUND_PORT = 15001, 15006
SSH_PORT = 22
PROXY_ID = 1337
"""Istio's user and group of the proxy, and its mark of packets."""
TPROXY_TABLE = 133
"""Istio's routing table, where every destination is local."""
DELIVERY_SOURCES = ("127.0.0.6", "::6")
"""Where the proxy's connections to its own app come from (Istio's): such a connection has been intercepted already."""
AGENT_PORTS = (15000, 15020, 15021, 15090)
"""Admin page, metrics, readiness, Envoy's metrics: answered by agent and Envoy themselves."""
_NAME = re.compile(r"[a-z0-9_]{0,12}")
_INTERFACE = re.compile(r"[A-Za-z0-9_.-]{1,15}")
_CGROUP = re.compile(r"[A-Za-z0-9_.@:-]+(/[A-Za-z0-9_.@:-]+)*")
_LARGEST_ID = (1 << 32) - 2


class CaptureError(ValueError):
    """The wishes contradict themselves; the message says what to write instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """Whose connections go to the proxy, and which of them do not."""

    name: str = ""
    """Part of the names of table and chains: letters, digits, `_`, at most 12."""
    outbound: bool = True
    inbound: bool = False
    outbound_port: int = OUTBOUND_PORT
    inbound_port: int = INBOUND_PORT
    users: tuple[int, ...] = ()
    """Whose outbound connections, by uid. With neither users nor cgroups: everybody's but the proxy's."""
    cgroups: tuple[str, ...] = ()
    """Paths below the cgroup v2 hierarchy. They must exist when the rules are applied."""
    cgroup_root: str = ""
    """Where below /sys/fs/cgroup that hierarchy is: `unified` on machines that have the old ones too."""
    exclude_users: tuple[int, ...] = (PROXY_ID,)
    exclude_groups: tuple[int, ...] = (PROXY_ID,)
    include_networks: tuple[str, ...] = ()
    """Destinations; empty means all."""
    exclude_networks: tuple[str, ...] = ()
    include_ports: tuple[int, ...] = ()
    """Outbound destination ports; empty means all."""
    exclude_ports: tuple[int, ...] = ()
    inbound_ports: tuple[int, ...] = ()
    """Empty means all: only where the machine, or the network namespace, belongs to one workload."""
    exclude_inbound_ports: tuple[int, ...] = (SSH_PORT, *AGENT_PORTS)
    exclude_interfaces: tuple[str, ...] = ()
    """Inbound, by where it comes in; outbound, by where it would go out."""
    dns_port: int = 0
    """Where DNS is answered; 0 leaves DNS alone."""
    inbound_mode: str = REDIRECT
    ipv6: bool = True

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise CaptureError(f"name {self.name[:40]!r} is not at most 12 of: lower-case letters, digits, `_`")
        if not (self.outbound or self.inbound):
            raise CaptureError("neither outbound nor inbound is intercepted: choose --hops outbound, inbound or both")
        if self.inbound_mode not in INBOUND_MODES:
            raise CaptureError(f"inbound mode {self.inbound_mode[:40]!r} is not {' or '.join(INBOUND_MODES)}")
        _check_numbers("port", 1, 65535, (self.outbound_port, self.inbound_port))
        _check_numbers("port", 0, 65535, (self.dns_port,))
        _check_numbers("port", 1, 65535, (*self.include_ports, *self.exclude_ports))
        _check_numbers("port", 1, 65535, (*self.inbound_ports, *self.exclude_inbound_ports))
        _check_numbers("user or group", 0, _LARGEST_ID, (*self.users, *self.exclude_users, *self.exclude_groups))
        if both := sorted(set(self.users) & set(self.exclude_users)):
            raise CaptureError(f"user {both[0]} is to be intercepted and is excluded: remove one of the two")
        if both := sorted(set(self.inbound_ports) & set(self.exclude_inbound_ports)):
            raise CaptureError(f"inbound port {both[0]} is to be intercepted and is excluded: remove one of the two")
        for cgroup in self.cgroups:
            if not _CGROUP.fullmatch(cgroup) or ".." in cgroup.split("/"):
                raise CaptureError(
                    f"cgroup {cgroup[:80]!r} is not a path below the hierarchy, as system.slice/web.service"
                )
        for interface in self.exclude_interfaces:
            if not _INTERFACE.fullmatch(interface):
                raise CaptureError(f"interface {interface[:40]!r} is not the name of a network interface, as docker0")
        for network in (*self.include_networks, *self.exclude_networks):
            _check_network(network)

    def takes(self, user: int, groups: Collection[int] = ()) -> bool:
        """Whether outbound connections of this user go to the proxy; of cgroups it cannot be told by the user."""
        if not self.outbound or user in self.exclude_users or set(groups) & set(self.exclude_groups):
            return False
        return user in self.users or not (self.users or self.cgroups)

    def to_json(self) -> str:
        """Return one line of JSON that `from_json` reads back to an equal value."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Capture:
        """Read `to_json`'s form. Raises CaptureError for anything else."""
        try:
            document: dict[str, Any] = json.loads(text)
            if unknown := sorted(document.keys() - {known.name for known in fields(cls)}):
                raise CaptureError(f"unknown field {unknown[0]!r}")
            given: dict[str, Any] = {
                key: tuple(item) if isinstance(item, list) else item for key, item in document.items()
            }
            return cls(**given)
        except CaptureError:
            raise
        except (ValueError, TypeError, AttributeError) as error:
            raise CaptureError(f"this is no description of an interception: {error}") from error


def networks(given: Sequence[str], version: int) -> tuple[str, ...]:
    """Return the networks of one IP version, sorted, none inside another: nft refuses sets that overlap."""
    found = (ip_network(text, strict=False) for text in given)
    return tuple(map(str, collapse_addresses(item for item in found if item.version == version)))  # type: ignore[type-var]


def _check_network(text: str) -> None:
    try:
        ip_network(text, strict=False)
    except ValueError:
        raise CaptureError(f"{text[:80]!r} is not a network, as 10.0.0.0/8, 192.0.2.7 or fd00::/8") from None


def _check_numbers(what: str, least: int, most: int, numbers: Sequence[int]) -> None:
    for number in numbers:
        if type(number) is not int or not least <= number <= most:
            raise CaptureError(f"{what} {str(number)[:40]!r} is not between {least} and {most}")
