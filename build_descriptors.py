"""Hatch build hook: write Envoy's API as FileDescriptorSets into the package.

Why a hook: `xds-protos` carries the messages but overwrites files of `opentelemetry-proto` and
`googleapis-common-protos`, so it must never be installed beside Lateen. It is a build requirement only: the
hook (run by pip and uv in an isolated build environment) imports what we use and dumps the descriptors, which
`lateen.envoy.messages` loads into a private pool at run time.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOTS = (
    "envoy.admin.v3.config_dump_pb2",
    "envoy.admin.v3.clusters_pb2",
    "envoy.admin.v3.listeners_pb2",
    "envoy.config.bootstrap.v3.bootstrap_pb2",
    "envoy.config.cluster.v3.cluster_pb2",
    "envoy.config.endpoint.v3.endpoint_pb2",
    "envoy.config.listener.v3.listener_pb2",
    "envoy.config.route.v3.route_pb2",
    "envoy.config.rbac.v3.rbac_pb2",
    "envoy.service.discovery.v3.ads_pb2",
    "envoy.service.discovery.v3.discovery_pb2",
    "envoy.service.health.v3.hds_pb2",
    "envoy.extensions.access_loggers.file.v3.file_pb2",
    "envoy.extensions.access_loggers.stats.v3.stats_pb2",
    "envoy.extensions.access_loggers.stream.v3.stream_pb2",
    "envoy.extensions.clusters.aggregate.v3.cluster_pb2",
    "envoy.extensions.clusters.common.dns.v3.dns_pb2",
    "envoy.extensions.clusters.dns.v3.dns_cluster_pb2",
    "envoy.extensions.clusters.dynamic_forward_proxy.v3.cluster_pb2",
    "envoy.extensions.common.dynamic_forward_proxy.v3.dns_cache_pb2",
    "envoy.extensions.filters.common.fault.v3.fault_pb2",
    "envoy.extensions.filters.http.cors.v3.cors_pb2",
    "envoy.extensions.filters.http.dynamic_forward_proxy.v3.dynamic_forward_proxy_pb2",
    "envoy.extensions.filters.http.ext_authz.v3.ext_authz_pb2",
    "envoy.extensions.filters.http.fault.v3.fault_pb2",
    "envoy.extensions.filters.http.grpc_stats.v3.config_pb2",
    "envoy.extensions.filters.http.health_check.v3.health_check_pb2",
    "envoy.extensions.filters.http.jwt_authn.v3.config_pb2",
    "envoy.extensions.filters.http.on_demand.v3.on_demand_pb2",
    "envoy.extensions.filters.http.rbac.v3.rbac_pb2",
    "envoy.extensions.filters.http.router.v3.router_pb2",
    "envoy.extensions.filters.http.set_filter_state.v3.set_filter_state_pb2",
    "envoy.extensions.filters.listener.http_inspector.v3.http_inspector_pb2",
    "envoy.extensions.filters.listener.original_dst.v3.original_dst_pb2",
    "envoy.extensions.filters.listener.original_src.v3.original_src_pb2",
    "envoy.extensions.filters.listener.tls_inspector.v3.tls_inspector_pb2",
    "envoy.extensions.filters.network.ext_authz.v3.ext_authz_pb2",
    "envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2",
    "envoy.extensions.filters.network.set_filter_state.v3.set_filter_state_pb2",
    "envoy.extensions.filters.network.redis_proxy.v3.redis_proxy_pb2",
    "envoy.extensions.filters.network.mongo_proxy.v3.mongo_proxy_pb2",
    "envoy.extensions.filters.network.rbac.v3.rbac_pb2",
    "envoy.extensions.filters.network.sni_dynamic_forward_proxy.v3.sni_dynamic_forward_proxy_pb2",
    "envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2",
    "envoy.extensions.filters.udp.dns_filter.v3.dns_filter_pb2",
    "envoy.extensions.load_balancing_policies.cluster_provided.v3.cluster_provided_pb2",
    "envoy.extensions.load_balancing_policies.least_request.v3.least_request_pb2",
    "envoy.extensions.load_balancing_policies.maglev.v3.maglev_pb2",
    "envoy.extensions.load_balancing_policies.random.v3.random_pb2",
    "envoy.extensions.load_balancing_policies.ring_hash.v3.ring_hash_pb2",
    "envoy.extensions.load_balancing_policies.round_robin.v3.round_robin_pb2",
    "envoy.extensions.network.dns_resolver.cares.v3.cares_dns_resolver_pb2",
    "envoy.extensions.network.dns_resolver.getaddrinfo.v3.getaddrinfo_dns_resolver_pb2",
    "envoy.extensions.path.match.uri_template.v3.uri_template_match_pb2",
    "envoy.extensions.path.rewrite.uri_template.v3.uri_template_rewrite_pb2",
    "envoy.extensions.retry.host.omit_host_metadata.v3.omit_host_metadata_config_pb2",
    "envoy.extensions.retry.host.previous_hosts.v3.previous_hosts_pb2",
    "envoy.extensions.transport_sockets.raw_buffer.v3.raw_buffer_pb2",
    "envoy.extensions.transport_sockets.tls.v3.tls_pb2",
    "envoy.extensions.upstreams.http.v3.http_protocol_options_pb2",
    "google.rpc.status_pb2",
    "xds.type.v3.typed_struct_pb2",
)
"""The message files that Lateen builds or reads; everything they import comes along."""


_REST = ("envoy/extensions/", "envoy/config/", "xds/", "udpa/")
"""Where the messages are that only users write, in EnvoyFilters."""


def descriptor_sets() -> tuple[bytes, bytes]:
    """Return two serialised FileDescriptorSets, dependencies first: of ROOTS, and of every other extension of Envoy.

    Two, because the second is as large as the first and few processes ever need it.
    """
    from google.protobuf import descriptor_pb2

    found: dict[str, Any] = {}

    def visit(descriptor: Any) -> None:
        if descriptor.name in found:
            return
        for dependency in descriptor.dependencies:
            visit(dependency)
        proto = descriptor_pb2.FileDescriptorProto()
        descriptor.CopyToProto(proto)
        found[descriptor.name] = proto

    def written(files: Any) -> bytes:
        return descriptor_pb2.FileDescriptorSet(file=files).SerializeToString(deterministic=True)

    for root in ROOTS:
        visit(importlib.import_module(root).DESCRIPTOR)
    first = tuple(found)
    for module in _other_modules():
        visit(importlib.import_module(module).DESCRIPTOR)
    return written(found[name] for name in first), written(file for name, file in found.items() if name not in first)


def _other_modules() -> list[str]:
    """Return the modules of all extensions, those of Envoy's old API (v2) excepted."""
    files = sorted(str(path) for path in importlib.metadata.files("xds-protos") or ())
    names = [name for name in files if name.startswith(_REST) and name.endswith("_pb2.py")]
    return [name.removesuffix(".py").replace("/", ".") for name in names if "/v2" not in name]


class DescriptorHook(BuildHookInterface):  # type: ignore[type-arg, misc]
    """Make both files of `src/lateen/envoy` before a wheel or an editable install is built."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Write the files; their absence from git is why this runs for every build."""
        if self.target_name == "sdist":
            return
        folder = Path(self.root) / "src" / "lateen" / "envoy"
        needed, rest = descriptor_sets()
        (folder / "descriptors.binpb").write_bytes(needed)
        (folder / "extensions.binpb").write_bytes(rest)
        if version == "standard":  # an editable install finds them in the checkout
            build_data["force_include"]["examples/bookshop"] = "lateen/examples/bookshop"
