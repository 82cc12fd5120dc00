"""Where the table of names of each Envoy answers: epochs that may live at the same time have ports of their own.

Envoy that is relieved goes on reading the UDP sockets that it shares with its follower, and hands over to that what
comes. When the follower's listener was replaced meanwhile (a service came or went, so the table changed), stock Envoy
1.40 hands it to a listener that is gone, and crashes. So the follower never shares that socket. What the old one hands
over then is for a port that the follower does not know, and is dropped: who asks asks again elsewhere
(`interception.names`).

Called by `envoy_life`. Pure. Must not know: what the names are.
"""

from __future__ import annotations

from typing import Any

from lateen.envoy.bootstrap import DNS_LISTENER, DNS_TABLE_PORT, DNS_TABLE_PORTS

Json = dict[str, Any]


def with_table_port(bootstrap: Json, epoch: int) -> Json:
    """Return the bootstrap of this epoch; the same object when its proxy answers no names."""
    port = DNS_TABLE_PORTS[epoch % len(DNS_TABLE_PORTS)]
    metadata = bootstrap["node"]["metadata"]
    ours = metadata.get("LATEEN", {})
    if not ours.get("dns"):
        return bootstrap
    moved = {**ours, "portMap": {**ours.get("portMap", {}), str(DNS_TABLE_PORT): port}}
    static = bootstrap.get("static_resources", {})
    listeners = [_moved(listener, port) for listener in static.get("listeners", [])]
    return {
        **bootstrap,
        "node": {**bootstrap["node"], "metadata": {**metadata, "LATEEN": moved}},
        "static_resources": {**static, "listeners": listeners},
    }


def _moved(listener: Json, port: int) -> Json:
    """Of a last good configuration, the listener is one of its own."""
    if listener.get("name") != DNS_LISTENER:
        return listener
    at = {**listener["address"]["socket_address"], "port_value": port}
    return {**listener, "address": {**listener["address"], "socket_address": at}}
