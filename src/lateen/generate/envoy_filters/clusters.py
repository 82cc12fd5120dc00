"""Patches of one cluster. Called by `snapshots`. Source: Istio, `cluster_patch.go`."""

from __future__ import annotations

from lateen.config.envoy_filter import ApplyTo, ClusterMatch, PatchContext, PatchOperation
from lateen.envoy import names
from lateen.envoy.messages import Message
from lateen.generate.envoy_filters.merging import merge_any, merge_patch
from lateen.generate.envoy_filters.patches import MERGES, CannotApplyError, FilterPatch, Run

_INBOUND = ("inbound|", names.INBOUND_PASSTHROUGH_CLUSTER)


def cluster_context(name: str) -> PatchContext:
    """Return the side of a sidecar that a cluster is on."""
    return PatchContext.SIDECAR_INBOUND if name.startswith(_INBOUND) else PatchContext.SIDECAR_OUTBOUND


def may_touch(patch: FilterPatch, name: str) -> bool:
    """Whether a patch may be about a cluster of this name; False is certain, and costs no look at the cluster."""
    match = patch.match.cluster
    if patch.operation is PatchOperation.ADD:
        return False
    if match is None:
        return True
    if match.name:
        return match.name == name
    direction, port, subset, host = _parts(name)
    return (
        (not match.subset or match.subset == subset)
        and (not match.port_number or match.port_number == port)
        and (not match.service or direction == "inbound" or match.service == host)
    )


def patch_cluster(cluster: Message, run: Run) -> bool:
    """Apply the patches to a cluster; False when it is removed."""
    for patch in run.of(ApplyTo.CLUSTER):
        if not may_touch(patch, cluster.name) or not _serves(cluster, patch.match.cluster):
            continue
        if patch.operation is PatchOperation.REMOVE:
            run.done(patch)
            return False
        if patch.operation not in MERGES:
            continue
        try:
            if not _merged_transport_socket(cluster, patch.value):
                merge_patch(cluster, patch)
            run.done(patch)
        except CannotApplyError as error:
            run.failed(patch, str(error))
    return True


def _parts(name: str) -> tuple[str, int, str, str]:
    """Return direction, port, subset and host of `outbound|80|v1|reviews...`."""
    direction, _, rest = name.partition("|")
    port, _, rest = rest.partition("|")
    subset, _, host = rest.partition("|")
    return direction, int(port) if port.isdigit() else 0, subset, host


def _serves(cluster: Message, match: ClusterMatch | None) -> bool:
    """Whether an inbound cluster is of the service that is meant: its name does not say, its metadata does."""
    if match is None or match.name or not match.service or not cluster.name.startswith("inbound|"):
        return True
    istio = cluster.metadata.filter_metadata.get("istio")
    listed = istio.fields.get("services") if istio is not None else None
    services = listed.list_value.values if listed is not None else ()
    hosts = [item.struct_value.fields.get("host") for item in services]
    return any(host is not None and host.string_value == match.service for host in hosts)


def _merged_transport_socket(cluster: Message, value: Message) -> bool:
    """Merge the transport socket of a patch, if it has one; the patch's other fields do not count then, as in Istio.

    It is merged with the socket of its name; where several are told apart by endpoint, only with one of them.
    """
    if not value.HasField("transport_socket"):
        return False
    given = value.transport_socket
    if len(cluster.transport_socket_matches):
        found = [item.transport_socket for item in cluster.transport_socket_matches]
        sockets = [socket for socket in found if socket.name == given.name]
        if not sockets:
            raise CannotApplyError(f"the cluster has no transport socket {given.name!r} to merge into")
        _merge_socket(sockets[0], given)
    elif cluster.HasField("transport_socket") and cluster.transport_socket.name == given.name:
        _merge_socket(cluster.transport_socket, given)
    else:
        cluster.transport_socket.CopyFrom(given)
    return True


def _merge_socket(socket: Message, given: Message) -> None:
    if socket.HasField("typed_config") and given.HasField("typed_config"):
        merge_any(socket.typed_config, given.typed_config)


def merged_chain_socket(chain: Message, value: Message) -> bool:
    """Merge the transport socket of a patch into that of a filter chain with the same name; the rest does not count."""
    if not value.HasField("transport_socket") or not chain.HasField("transport_socket"):
        return False
    if chain.transport_socket.name != value.transport_socket.name:
        return False
    _merge_socket(chain.transport_socket, value.transport_socket)
    return True
