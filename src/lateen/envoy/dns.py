"""The listener that knows names: Envoy's DNS filter with an inline table, for the agent beside it.

Called by `generate.dns_table`. Must not know: what the names are. Sources: Envoy's dns_filter.proto, dns_table.proto,
and what was found by trying. The filter answers UDP only, compares letters' case, says that a name does not exist when
it lacks addresses of one version only, and gives the answers of others a lifetime of its own: the agent, which stands
before it (`agent.interception.names`), mends that, and the filter itself asks nobody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lateen.envoy import names
from lateen.envoy.bootstrap import DNS_TABLE_PORT
from lateen.envoy.listeners import OUTBOUND
from lateen.envoy.messages import Fields, typed_extension

_FILTER = "envoy.filters.udp.dns_filter"
_CONFIG = "envoy.extensions.filters.udp.dns_filter.v3.DnsFilterConfig"


def dns_listener(table: Mapping[str, Sequence[str]], port: int = DNS_TABLE_PORT) -> Fields:
    """Return the Listener that answers for these names (lower case; `*.` begins a wildcard) with their addresses."""
    domains = [{"name": name, "endpoint": {"address_list": {"address": list(found)}}} for name, found in table.items()]
    config = {"stat_prefix": names.DNS, "server_config": {"inline_dns_table": {"virtual_domains": domains}}}
    address = {"address": names.LOOPBACK_ADDRESS, "port_value": port, "protocol": "UDP"}
    return {
        "name": names.DNS,
        "address": {"socket_address": address},
        "traffic_direction": OUTBOUND,
        "listener_filters": [typed_extension(_FILTER, _CONFIG, config)],
    }
