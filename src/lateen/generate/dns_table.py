"""Which names an intercepted sidecar knows, and their addresses.

By their full hosts: an entry costs Envoy 1.5 kB, and short forms (`reviews`, `reviews.shop`) would be three more of
each service, so the agent that asks completes them. What a workload may not call, it is not told of either. Which names
there are, and which of too many are left out, `mesh.dns_names` says.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from lateen.envoy import names
from lateen.envoy.bootstrap import DNS_TABLE_PORT
from lateen.envoy.dns import dns_listener
from lateen.envoy.resources import LISTENER, make_resource
from lateen.generate.parts import Made
from lateen.generate.view import View
from lateen.mesh.dns_names import told_names


@dataclass(frozen=True, slots=True)
class DnsTable:
    """The listener that answers for them."""

    @property
    def key(self) -> Hashable:
        """There is one."""
        return ("listener", names.DNS)

    def make(self, view: View) -> Made:
        """Return the listener, also of an empty table: who asks would wait for it."""
        table = told_names(view, view.proxy.namespace)
        port = view.proxy.port_map.get(DNS_TABLE_PORT, DNS_TABLE_PORT)
        return Made((make_resource(LISTENER, names.DNS, dns_listener(table, port)),))
