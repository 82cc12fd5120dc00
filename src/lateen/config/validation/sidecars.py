"""Rules of a Sidecar: what its workloads may call, and the ports it opens."""

from __future__ import annotations

from collections.abc import Iterator

from lateen.config.metadata import Metadata
from lateen.config.networking import (
    CaptureMode,
    ConfigPort,
    IstioEgressListener,
    IstioIngressListener,
    OutboundTrafficPolicyMode,
    ServerTLSMode,
    Sidecar,
)
from lateen.config.positions import Path
from lateen.config.validation import fields
from lateen.config.validation.destination_rules import connection_pool
from lateen.config.validation.gateways import default_endpoint, server_tls
from lateen.config.validation.http_routes import destination
from lateen.config.violations import Violation, warning
from lateen.model.protocols import protocol_named


def sidecar(spec: Sidecar, metadata: Metadata) -> Iterator[Violation]:
    """The whole object."""
    if spec.workload_selector is not None:
        yield from fields.selector(("workloadSelector", "labels"), spec.workload_selector.labels, required=True)
    if spec == Sidecar(workload_selector=spec.workload_selector):
        yield Violation((), "the Sidecar is empty", "add egress, ingress or outboundTrafficPolicy")
    numbers: set[int] = set()
    for index, listener in enumerate(spec.ingress):
        here: Path = ("ingress", index)
        if listener.port is not None and listener.port.number in numbers:
            yield Violation((*here, "port", "number"), f"the port {listener.port.number} stands twice")
        numbers.add(listener.port.number if listener.port is not None else 0)
        yield from _ingress(here, listener)
    yield from connection_pool(("inboundConnectionPool",), spec.inbound_connection_pool)
    yield from _egress(spec, metadata)
    yield from _outbound(spec)


def _ingress(path: Path, listener: IstioIngressListener) -> Iterator[Violation]:
    if listener.port is None:
        yield Violation(path, "the field `port` is required", "add `port: {number: 8080, protocol: HTTP}`")
        return
    yield from _port(path, listener.port, listener.bind)
    if listener.bind:
        yield from fields.ip_address((*path, "bind"), listener.bind)
    yield from default_endpoint((*path, "defaultEndpoint"), listener.default_endpoint)
    yield from connection_pool((*path, "connectionPool"), listener.connection_pool)
    protocol = protocol_named(listener.port.protocol)
    pool = listener.connection_pool
    if pool is not None and pool.http is not None and (protocol is None or not protocol.is_http):
        message = f"the port speaks {listener.port.protocol or 'no known protocol'}, so these settings do not act"
        yield warning((*path, "connectionPool", "http"), message, "write protocol HTTP, or keep only `tcp`")
    if listener.tls is not None:
        if listener.tls.mode in (ServerTLSMode.ISTIO_MUTUAL, ServerTLSMode.AUTO_PASSTHROUGH):
            message = f"mode {listener.tls.mode.value} is not for a Sidecar"
            yield Violation((*path, "tls", "mode"), message, "use SIMPLE or MUTUAL")
        if protocol is None or not protocol.is_tls:
            yield Violation((*path, "tls"), "only HTTPS and TLS ports take TLS settings", "write protocol HTTPS")
        yield from server_tls((*path, "tls"), listener.tls)


def _port(path: Path, port: ConfigPort, bind: str) -> Iterator[Violation]:
    here = (*path, "port")
    if port.name:
        yield from fields.any_label((*here, "name"), port.name, "name of a port")
    yield from fields.protocol((*here, "protocol"), port.protocol)
    if port.target_port:
        yield Violation((*here, "targetPort"), "has no meaning in a Sidecar", "remove it")
    if port.number or not bind.startswith(fields.UNIX_PREFIX):
        yield from fields.port_number((*here, "number"), port.number)


def _egress(spec: Sidecar, metadata: Metadata) -> Iterator[Violation]:
    seen: set[int | str] = set()
    for index, listener in enumerate(spec.egress):
        here: Path = ("egress", index)
        if listener.port is None:
            if index != len(spec.egress) - 1:
                yield Violation(here, "a listener without port takes all that is left", "move it to the end")
        else:
            yield from _egress_port(here, listener, listener.port)
            key: int | str = listener.port.number or listener.bind
            if key in seen:
                yield Violation((*here, "port"), f"{key} is listened on twice", "keep one of them")
            seen.add(key)
        if not listener.hosts:
            yield Violation(here, "the listener has no hosts", 'add `hosts: ["./*"]`')
        yield from _egress_hosts(here, listener.hosts, metadata.namespace)


def _egress_port(path: Path, listener: IstioEgressListener, port: ConfigPort) -> Iterator[Violation]:
    yield from _port(path, port, listener.bind)
    if port.number:
        if listener.bind:
            yield from fields.ip_address((*path, "bind"), listener.bind)
        return
    if listener.bind.startswith(fields.UNIX_PREFIX):
        yield from fields.unix_path((*path, "bind"), listener.bind)
    if listener.capture_mode is CaptureMode.IPTABLES:
        yield Violation((*path, "captureMode"), "a Unix socket cannot be captured", "write DEFAULT or NONE")


def _egress_hosts(path: Path, hosts: list[str], namespace: str) -> Iterator[Violation]:
    seen: dict[str, set[str]] = {}
    for index, entry in enumerate(hosts):
        here = (*path, "hosts", index)
        yield from fields.host_and_namespace(here, entry, gateway=False)
        where, slash, host = entry.partition("/")
        if not slash or where.startswith("~"):
            continue
        known = seen.setdefault(namespace if where == "." else where, set())
        if host in known or "*" in known or (host == "*" and known):
            yield warning(here, f"{entry} is covered by another entry", "remove one of them")
        known.add(host)
    if "*" in seen.get("*", ()) and len(seen) > 1:
        yield warning((*path, "hosts"), "*/* covers every other entry", "remove it or the others")


def _outbound(spec: Sidecar) -> Iterator[Violation]:
    policy = spec.outbound_traffic_policy
    if policy is None or policy.egress_proxy is None:
        return
    here: Path = ("outboundTrafficPolicy", "egressProxy")
    if policy.mode is not OutboundTrafficPolicyMode.ALLOW_ANY:
        yield Violation(here, "an egress proxy needs mode ALLOW_ANY", "write `mode: ALLOW_ANY`")
    if policy.egress_proxy.port is None:
        yield Violation(here, "the field `port` is required", "add `port: {number: …}`")
    yield from fields.fqdn((*here, "host"), policy.egress_proxy.host)
    yield from destination(here, policy.egress_proxy)
