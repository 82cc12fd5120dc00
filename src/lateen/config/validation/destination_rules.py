"""Rules of a DestinationRule: subsets and traffic policies."""

from __future__ import annotations

from collections.abc import Iterator

from lateen.config.codes import DEPRECATED
from lateen.config.metadata import Metadata
from lateen.config.networking import (
    ClientTLSMode,
    ClientTLSSettings,
    ConnectionPoolSettings,
    ConsistentHashLB,
    DestinationRule,
    H2UpgradePolicy,
    HTTPSettings,
    LoadBalancerSettings,
    OutlierDetection,
    PortTrafficPolicy,
    SimpleLB,
    TcpKeepalive,
    TCPSettings,
    TrafficPolicy,
    TunnelSettings,
    WarmupConfiguration,
)
from lateen.config.positions import Path
from lateen.config.validation import fields
from lateen.config.violations import Violation, warning

_MAGLEV_LIMIT = 5_000_011
"""Largest prime that Envoy admits as a Maglev table size."""


def destination_rule(spec: DestinationRule, metadata: Metadata) -> Iterator[Violation]:
    """The whole object."""
    yield from fields.wildcard_host(("host",), spec.host)
    yield from _traffic_policy(("trafficPolicy",), spec.traffic_policy)
    names: set[str] = set()
    for index, subset in enumerate(spec.subsets):
        here: Path = ("subsets", index)
        if subset.name in names:
            yield Violation((*here, "name"), f"the subset {subset.name!r} is defined twice", "rename one of them")
        names.add(subset.name)
        yield from fields.any_label((*here, "name"), subset.name, "name of a subset")
        yield from fields.labels((*here, "labels"), subset.labels)
        yield from _traffic_policy((*here, "trafficPolicy"), subset.traffic_policy)
    yield from fields.export_to(("exportTo",), spec.export_to, metadata.namespace)
    if spec.workload_selector is not None:
        labels = spec.workload_selector.match_labels
        yield from fields.selector(("workloadSelector", "matchLabels"), labels, required=True)
        if any(name not in (".", metadata.namespace) for name in spec.export_to):
            message = "a rule with a workload selector is for its own namespace only"
            yield Violation(("exportTo",), message, "write `exportTo: [.]` or leave it out")


def _traffic_policy(path: Path, policy: TrafficPolicy | None) -> Iterator[Violation]:
    if policy is None:
        return
    if policy == TrafficPolicy():
        yield Violation(
            path, "the traffic policy is empty", "add loadBalancer, connectionPool, outlierDetection or tls"
        )
        return
    if policy.tunnel is not None and policy.proxy_protocol is not None:
        yield Violation(path, "`tunnel` and `proxyProtocol` exclude each other", "keep one of them")
    yield from _settings(path, policy)
    yield from _tunnel((*path, "tunnel"), policy.tunnel)
    if policy.retry_budget is not None:
        here = (*path, "retryBudget")
        yield from fields.percent((*here, "percent"), policy.retry_budget.percent or 0)
        yield from fields.optional_duration((*here, "budgetInterval"), policy.retry_budget.budget_interval, minimum=0)
    for index, settings in enumerate(policy.port_level_settings):
        here = (*path, "portLevelSettings", index)
        if settings.port is None:
            yield Violation(here, "the field `port` is required", "add `port: {number: …}`")
        else:
            yield from fields.port_number((*here, "port", "number"), settings.port.number)
        if settings == PortTrafficPolicy(port=settings.port):
            yield Violation(here, "the policy of the port is empty", "add loadBalancer, connectionPool or tls")
        yield from _settings(here, settings)


def _settings(path: Path, policy: TrafficPolicy | PortTrafficPolicy) -> Iterator[Violation]:
    yield from outlier_detection((*path, "outlierDetection"), policy.outlier_detection)
    yield from connection_pool((*path, "connectionPool"), policy.connection_pool)
    yield from _load_balancer((*path, "loadBalancer"), policy.load_balancer, policy.outlier_detection)
    yield from client_tls((*path, "tls"), policy.tls)


def outlier_detection(path: Path, outlier: OutlierDetection | None) -> Iterator[Violation]:
    """Passive health checking."""
    if outlier is None:
        return
    yield from fields.optional_duration((*path, "interval"), outlier.interval)
    yield from fields.optional_duration((*path, "baseEjectionTime"), outlier.base_ejection_time)
    yield from fields.percent((*path, "maxEjectionPercent"), outlier.max_ejection_percent)
    yield from fields.percent((*path, "minHealthPercent"), outlier.min_health_percent)
    yield from fields.not_negative((*path, "consecutiveErrors"), outlier.consecutive_errors)
    if outlier.consecutive_errors:
        hint = "write consecutive5xxErrors or consecutiveGatewayErrors"
        yield Violation((*path, "consecutiveErrors"), "`consecutiveErrors` is deprecated", hint, DEPRECATED)
    if outlier.consecutive_local_origin_failures and not outlier.split_external_local_origin_errors:
        message = "failures of local origin are only counted apart with splitExternalLocalOriginErrors"
        yield Violation((*path, "consecutiveLocalOriginFailures"), message, "set it to true")


def connection_pool(path: Path, pool: ConnectionPoolSettings | None) -> Iterator[Violation]:
    """Limits of connections and requests."""
    if pool is None:
        return
    if pool.http is None and pool.tcp is None:
        yield Violation(path, "the connection pool is empty", "add tcp or http")
    if pool.http is not None:
        yield from _http_pool((*path, "http"), pool.http)
    if pool.tcp is not None:
        yield from _tcp_pool((*path, "tcp"), pool.tcp)


def _http_pool(path: Path, http: HTTPSettings) -> Iterator[Violation]:
    for name, value in (
        ("http1MaxPendingRequests", http.http1_max_pending_requests),
        ("http2MaxRequests", http.http2_max_requests),
        ("maxRequestsPerConnection", http.max_requests_per_connection),
        ("maxRetries", http.max_retries),
        ("maxConcurrentStreams", http.max_concurrent_streams),
    ):
        yield from fields.not_negative((*path, name), value)
    yield from fields.optional_duration((*path, "idleTimeout"), http.idle_timeout)
    if http.h2_upgrade_policy is H2UpgradePolicy.UPGRADE and http.use_client_protocol:
        message = "`useClientProtocol` and `h2UpgradePolicy: UPGRADE` exclude each other"
        yield Violation((*path, "useClientProtocol"), message, "keep one of them")
    if http.http2_keep_alive is not None:
        for name in ("interval", "timeout"):
            here = (*path, "http2KeepAlive", name)
            text = getattr(http.http2_keep_alive, name)
            if not text:
                yield Violation(here[:-1], f"the field `{name}` is required", f"add `{name}: 30s`")
            yield from fields.optional_duration(here, text)


def _tcp_pool(path: Path, tcp: TCPSettings) -> Iterator[Violation]:
    yield from fields.not_negative((*path, "maxConnections"), tcp.max_connections)
    yield from fields.optional_duration((*path, "connectTimeout"), tcp.connect_timeout)
    yield from fields.optional_duration((*path, "maxConnectionDuration"), tcp.max_connection_duration)
    # 0s switches the idle timeout off.
    yield from fields.optional_duration((*path, "idleTimeout"), tcp.idle_timeout, minimum=0)
    if tcp.tcp_keepalive is not None:
        yield from keepalive((*path, "tcpKeepalive"), tcp.tcp_keepalive)


def keepalive(path: Path, settings: TcpKeepalive) -> Iterator[Violation]:
    """Probes of idle connections."""
    yield from fields.optional_duration((*path, "time"), settings.time)
    yield from fields.optional_duration((*path, "interval"), settings.interval)


def _load_balancer(
    path: Path, balancer: LoadBalancerSettings | None, outlier: OutlierDetection | None
) -> Iterator[Violation]:
    if balancer is None:
        return
    if balancer.simple is not None and balancer.consistent_hash is not None:
        yield Violation(path, "`simple` and `consistentHash` exclude each other", "keep one of them")
    if balancer.consistent_hash is not None:
        yield from _consistent_hash((*path, "consistentHash"), balancer.consistent_hash)
    if balancer.locality_lb_setting is not None and balancer.zone_aware_lb_setting is not None:
        yield Violation(path, "`localityLbSetting` and `zoneAwareLbSetting` exclude each other", "keep one of them")
    here = (*path, "localityLbSetting")
    yield from fields.locality_setting(here, balancer.locality_lb_setting, has_outlier_detection=outlier is not None)
    yield from fields.optional_duration((*path, "warmupDurationSecs"), balancer.warmup_duration_secs)
    if balancer.warmup is not None:
        yield from _warmup((*path, "warmup"), balancer.warmup)
    if balancer.consistent_hash is not None or balancer.simple in (SimpleLB.RANDOM, SimpleLB.PASSTHROUGH):
        for name, given in (("warmup", balancer.warmup), ("warmupDurationSecs", balancer.warmup_duration_secs)):
            if given:
                message = "a warm-up has no effect with this algorithm"
                yield warning((*path, name), message, "use ROUND_ROBIN or LEAST_REQUEST")


def _warmup(path: Path, warmup: WarmupConfiguration) -> Iterator[Violation]:
    yield from fields.duration((*path, "duration"), warmup.duration)
    if warmup.minimum_percent is not None:
        yield from fields.percent((*path, "minimumPercent"), warmup.minimum_percent)
    if warmup.aggression is not None and warmup.aggression <= 0:
        yield Violation((*path, "aggression"), f"must be greater than 0, but is {warmup.aggression:g}")


def _consistent_hash(path: Path, settings: ConsistentHashLB) -> Iterator[Violation]:
    keys = {
        "httpHeaderName": settings.http_header_name is not None,
        "httpCookie": settings.http_cookie is not None,
        "useSourceIp": settings.use_source_ip is not None,
        "httpQueryParameterName": settings.http_query_parameter_name is not None,
    }
    given = [name for name, is_set in keys.items() if is_set]
    if len(given) != 1:
        found = f"{' and '.join(given)} exclude each other" if given else "no hash key is set"
        yield Violation(path, found, f"set exactly one of {', '.join(keys)}")
    yield from _cookie((*path, "httpCookie"), settings)
    if settings.ring_hash is not None and settings.maglev is not None:
        yield Violation(path, "`ringHash` and `maglev` exclude each other", "keep one of them")
    if settings.minimum_ring_size:
        hint = "write `ringHash: {minimumRingSize: …}`"
        yield Violation((*path, "minimumRingSize"), "`minimumRingSize` is deprecated", hint, DEPRECATED)
        if settings.ring_hash is not None or settings.maglev is not None:
            message = "`minimumRingSize` and an algorithm exclude each other"
            yield Violation((*path, "minimumRingSize"), message, "keep the algorithm")
    if settings.maglev is not None:
        yield from _table_size((*path, "maglev", "tableSize"), settings.maglev.table_size)


def _cookie(path: Path, settings: ConsistentHashLB) -> Iterator[Violation]:
    cookie = settings.http_cookie
    if cookie is None:
        return
    if not cookie.name:
        yield Violation((*path, "name"), "the cookie has no name", "write `name: …`")
    yield from fields.optional_duration((*path, "ttl"), cookie.ttl, minimum=0)
    names: set[str] = set()
    for index, attribute in enumerate(cookie.attributes):
        here = (*path, "attributes", index, "name")
        if not attribute.name:
            yield Violation(here, "the attribute has no name")
        elif attribute.name in names:
            yield Violation(here, f"the attribute {attribute.name!r} stands twice", "keep one of them")
        names.add(attribute.name)


def _table_size(path: Path, size: int | None) -> Iterator[Violation]:
    if size is None or not 0 < size < _MAGLEV_LIMIT or not _is_prime(size):
        yield Violation(path, "a Maglev table size is a prime below 5000011", "write 65537")


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % factor for factor in range(2, int(number**0.5) + 1))


def client_tls(path: Path, tls: ClientTLSSettings | None) -> Iterator[Violation]:
    """TLS towards the upstream."""
    if tls is None:
        return
    if tls.insecure_skip_verify and tls.mode in (ClientTLSMode.SIMPLE, ClientTLSMode.MUTUAL):
        checked = [("caCertificates", tls.ca_certificates), ("subjectAltNames", tls.subject_alt_names)]
        if tls.mode is ClientTLSMode.SIMPLE:
            checked.append(("credentialName", tls.credential_name))
        for name, value in checked:
            if value:
                message = f"`{name}` has no use when nothing is verified"
                yield Violation((*path, name), message, "remove it or insecureSkipVerify")
    if tls.mode in (ClientTLSMode.SIMPLE, ClientTLSMode.MUTUAL) and tls.credential_name:
        if tls.client_certificate or tls.ca_certificates or tls.private_key or tls.ca_crl:
            yield Violation((*path, "credentialName"), "excludes certificates by file", "keep one of them")
        return
    if tls.mode is ClientTLSMode.MUTUAL:
        for name, value in (("clientCertificate", tls.client_certificate), ("privateKey", tls.private_key)):
            if not value:
                yield Violation(path, f"mode MUTUAL needs `{name}`", f"add `{name}: /path`, or credentialName")


def _tunnel(path: Path, tunnel: TunnelSettings | None) -> Iterator[Violation]:
    if tunnel is None:
        return
    if tunnel.protocol not in ("", "CONNECT", "POST"):
        yield Violation((*path, "protocol"), f"{tunnel.protocol!r} is not a way to tunnel", "write CONNECT or POST")
    if not fields.is_ip(tunnel.target_host):
        yield from fields.fqdn((*path, "targetHost"), tunnel.target_host)
    yield from fields.port_number((*path, "targetPort"), tunnel.target_port)
