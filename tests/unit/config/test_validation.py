"""The rules of each kind: a table of specs and the paths of what is wrong in them."""

# ruff: noqa: E501 (a row of the table is one YAML text)

import textwrap

import pytest

from lateen.config.parsing import parse
from lateen.model.findings import Severity

GOOD_ROUTE = "route: [{destination: {host: a}}]"


def findings(kind: str, spec: str, severity: Severity) -> list[str]:
    """The paths (within spec) of an object's findings of one severity; not those of fields without effect."""
    body = textwrap.indent(textwrap.dedent(spec), "  ")
    text = f"apiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata: {{name: a, namespace: ns}}\nspec:\n{body}"
    found = parse(text.encode(), "f").findings
    return [
        one.path.removeprefix("spec").lstrip(".") for one in found if one.severity is severity and one.code != "LAT0004"
    ]


def http(rule: str) -> str:
    return f"hosts: [a]\nhttp:\n- {rule}\n"


def policy(rule: str) -> str:
    return f"host: a\ntrafficPolicy: {rule}\n"


def server(rule: str) -> str:
    return f"selector: {{a: b}}\nservers:\n- {rule}\n"


def terminating(tls: str, protocol: str = "HTTPS") -> str:
    """Return a Gateway with one server of this TLS."""
    return server(f"{{port: {{number: 443, name: a, protocol: {protocol}}}, hosts: ['*'], tls: {{{tls}}}}}")


VIRTUAL_SERVICES: list[tuple[str, list[str]]] = [
    (http(f"{{{GOOD_ROUTE}}}"), []),
    ("hosts: [a]\n", [""]),
    ("hosts: ['*']\n" + http("{redirect: {uri: /a}}").split("\n", 1)[1], ["hosts[0]"]),
    ("hosts: ['*']\ngateways: [g]\n" + http("{redirect: {uri: /a}}").split("\n", 1)[1], []),
    ("hosts: [a_b.c, 'a b']\n" + http("{redirect: {uri: /a}}").split("\n", 1)[1], ["hosts[0]", "hosts[1]"]),
    ("hosts: ['*.b.c', x.b.c, a, a]\n" + http("{redirect: {uri: /a}}").split("\n", 1)[1], ["hosts[1]", "hosts[3]"]),
    ("gateways: [g]\n" + http("{redirect: {uri: /a}}").split("\n", 1)[1], ["gateways"]),
    (
        "hosts: [a]\ngateways: [A, /b, a/b/c]\n" + http("{redirect: {uri: /a}}").split("\n", 1)[1],
        ["gateways[1]", "gateways[2]"],
    ),
    ("hosts: [a]\nexportTo: ['*', b]\n" + http("{redirect: {uri: /a}}").split("\n", 1)[1], ["exportTo"]),
    (
        "hosts: [a]\nexportTo: [., ns, '~', B]\n" + http("{redirect: {uri: /a}}").split("\n", 1)[1],
        ["exportTo", "exportTo[1]", "exportTo[2]", "exportTo[3]"],
    ),
    (http("{match: [{uri: {prefix: /}}]}"), ["http[0]"]),
    (http(f"{{{GOOD_ROUTE}, redirect: {{uri: /a}}}}"), ["http[0].route"]),
    (http("{redirect: {uri: /a}, directResponse: {status: 200}}"), ["http[0].directResponse"]),
    (http("{redirect: {uri: /a}, rewrite: {uri: /b}}"), ["http[0].rewrite"]),
    (http("{delegate: {name: b}}"), []),
    (http(f"{{delegate: {{name: b}}, {GOOD_ROUTE}}}"), ["http[0].route"]),
    (http("{delegate: {name: b}}").split("\n", 1)[1], ["http[0].delegate"]),
    (http("{route: [{destination: {host: a}, weight: 0}, {destination: {host: b}, weight: 0}]}"), ["http[0].route"]),
    (http("{route: [{destination: {host: a}}, {destination: {host: b}}]}"), ["http[0].route"]),
    (
        http("{route: [{destination: {host: a}, weight: 101}, {destination: {host: b}, weight: -1}]}"),
        ["http[0].route[1].weight"],
    ),
    (http("{route: [{destination: {host: a}, weight: 30}, {destination: {host: b}, weight: 30}]}"), []),
    (
        http("{route: [{destination: {host: '*', subset: A_, port: {number: 0}}}]}"),
        [
            "http[0].route[0].destination.host",
            "http[0].route[0].destination.subset",
            "http[0].route[0].destination.port.number",
        ],
    ),
    (http(f"{{match: [{{uri: {{exact: /a, prefix: /b}}}}], {GOOD_ROUTE}}}"), ["http[0].match[0].uri"]),
    (
        http(f"{{match: [{{uri: {{prefix: ''}}, method: {{prefix: ''}}}}], {GOOD_ROUTE}}}"),
        ["http[0].match[0].method.prefix"],
    ),
    (http(f"{{match: [{{headers: {{'a b': {{exact: c}}}}}}], {GOOD_ROUTE}}}"), ["http[0].match[0].headers[a b]"]),
    (http(f"{{match: [{{headers: {{x: {{}}}}, withoutHeaders: {{y: {{regex: '*'}}}}}}], {GOOD_ROUTE}}}"), []),
    (http(f"{{match: [{{headers: {{x: {{regex: '*'}}}}}}], {GOOD_ROUTE}}}"), ["http[0].match[0].headers.x.regex"]),
    (
        http(f"{{match: [{{sourceLabels: {{'a b': c}}, sourceNamespace: A}}], {GOOD_ROUTE}}}"),
        ["http[0].match[0].sourceLabels[a b]", "http[0].match[0].sourceNamespace"],
    ),
    (
        http(f"{{match: [{{headers: {{'@request.auth.claims.a': {{exact: b}}}}}}], {GOOD_ROUTE}}}"),
        ["http[0].match[0].headers[@request.auth.claims.a]"],
    ),
    (http("{redirect: {}}"), ["http[0].redirect"]),
    (
        http("{redirect: {uri: /a, redirectCode: 200, scheme: ftp}}"),
        ["http[0].redirect.redirectCode", "http[0].redirect.scheme"],
    ),
    (http("{redirect: {uri: /a, redirectCode: 304}}"), ["http[0].redirect.redirectCode"]),
    (http("{redirect: {port: 80, derivePort: FROM_REQUEST_PORT}}"), ["http[0].redirect"]),
    (http("{match: [{uri: {exact: /a}}], redirect: {prefixRewrite: /b}}"), ["http[0].redirect.prefixRewrite"]),
    (http("{directResponse: {status: 99}}"), ["http[0].directResponse.status"]),
    (
        http("{directResponse: {status: 200, body: {string: a, bytes: '%'}}}"),
        ["http[0].directResponse.body", "http[0].directResponse.body.bytes"],
    ),
    (http(f"{{rewrite: {{}}, {GOOD_ROUTE}}}"), ["http[0].rewrite"]),
    (http(f"{{rewrite: {{uri: /a, uriRegexRewrite: {{match: a, rewrite: b}}}}, {GOOD_ROUTE}}}"), ["http[0].rewrite"]),
    (
        http(f"{{rewrite: {{uriRegexRewrite: {{match: '(', rewrite: b}}}}, {GOOD_ROUTE}}}"),
        ["http[0].rewrite.uriRegexRewrite.match"],
    ),
    (http(f"{{rewrite: {{authority: b}}, headers: {{request: {{set: {{Host: c}}}}}}, {GOOD_ROUTE}}}"), ["http[0]"]),
    (http(f"{{timeout: 0.5ms, {GOOD_ROUTE}}}"), ["http[0].timeout"]),
    (
        http("{route: [{destination: {host: 10.0.0.1}}, {destination: {host: a, subset: V1}, weight: 250}]}"),
        ["http[0].route[0].destination.host"],
    ),
    (http(f"{{{GOOD_ROUTE}}}").replace("[a]", "[a.b_c.d]"), ["hosts[0]"]),
    (
        "hosts: ['outbound_.80_._.a.b']\ngateways: [g]\ntls: [{match: [{sniHosts: ['outbound_.80_._.a.b']}], route: [{destination: {host: a}}]}]\n",
        [],
    ),
    (http(f"{{timeout: 1.0001s, {GOOD_ROUTE}}}"), ["http[0].timeout"]),
    (http(f"{{retries: {{attempts: -1}}, {GOOD_ROUTE}}}"), ["http[0].retries.attempts"]),
    (http(f"{{retries: {{attempts: 0}}, {GOOD_ROUTE}}}"), []),
    (http(f"{{retries: {{retryOn: 5xx}}, {GOOD_ROUTE}}}"), ["http[0].retries"]),
    (
        http(f"{{retries: {{attempts: 2, perTryTimeout: 0s, retryOn: 'gateway-error,503,nonsense'}}, {GOOD_ROUTE}}}"),
        ["http[0].retries.perTryTimeout", "http[0].retries.retryOn"],
    ),
    (http(f"{{fault: {{}}, {GOOD_ROUTE}}}"), ["http[0].fault"]),
    (
        http(f"{{fault: {{abort: {{httpStatus: 700, percentage: {{value: 101}}}}}}, {GOOD_ROUTE}}}"),
        ["http[0].fault.abort.percentage.value", "http[0].fault.abort.httpStatus"],
    ),
    (http(f"{{fault: {{abort: {{grpcStatus: UNAVAILBLE}}}}, {GOOD_ROUTE}}}"), ["http[0].fault.abort.grpcStatus"]),
    (http(f"{{fault: {{abort: {{grpcStatus: NOT_FOUND, httpStatus: 404}}}}, {GOOD_ROUTE}}}"), ["http[0].fault.abort"]),
    (http(f"{{fault: {{delay: {{percentage: {{value: 50}}}}}}, {GOOD_ROUTE}}}"), ["http[0].fault.delay"]),
    (http(f"{{fault: {{delay: {{fixedDelay: 7s, percentage: {{value: 100}}}}}}, {GOOD_ROUTE}}}"), []),
    (http(f"{{mirror: {{host: b}}, mirrors: [{{destination: {{host: c}}}}], {GOOD_ROUTE}}}"), ["http[0].mirrors"]),
    (
        http(f"{{mirror: {{host: b}}, mirrorPercentage: {{value: 100.5}}, {GOOD_ROUTE}}}"),
        ["http[0].mirrorPercentage.value"],
    ),
    (
        http(
            f"{{corsPolicy: {{allowOrigins: [{{}}], allowMethods: [get], allowHeaders: ['a b'], maxAge: 1.5s}}, {GOOD_ROUTE}}}"
        ),
        [
            "http[0].corsPolicy.allowOrigins[0]",
            "http[0].corsPolicy.allowMethods[0]",
            "http[0].corsPolicy.allowHeaders[0]",
            "http[0].corsPolicy.maxAge",
        ],
    ),
    (
        http(
            f"{{headers: {{request: {{set: {{':path': a, x: '50%'}}}}, response: {{remove: [Host]}}}}, {GOOD_ROUTE}}}"
        ),
        ["http[0].headers.request.set[:path]", "http[0].headers.request.set.x", "http[0].headers.response.remove[0]"],
    ),
    (http(f"{{headers: {{request: {{set: {{x: '50%% of %REQ(:path)% and %START_TIME%'}}}}}}, {GOOD_ROUTE}}}"), []),
    (
        "hosts: [a.b]\ntls:\n- {match: [{sniHosts: [c.d], port: 443}], route: [{destination: {host: a}}]}\n",
        ["tls[0].match[0].sniHosts[0]"],
    ),
    ("hosts: [a.b]\ntls:\n- {match: [{port: 443}]}\n", ["tls[0]", "tls[0].match[0]"]),
    ("hosts: [a.b]\ntls:\n- {route: [{destination: {host: a}}]}\n", ["tls[0]"]),
    (
        "hosts: [a]\ntcp:\n- {match: [{destinationSubnets: [10.0.0.0/40], sourceSubnet: x}]}\n",
        ["tcp[0]", "tcp[0].match[0].destinationSubnets[0]", "tcp[0].match[0].sourceSubnet"],
    ),
]

DESTINATION_RULES: list[tuple[str, list[str]]] = [
    ("host: a\n", []),
    ("host: 'a b'\n", ["host"]),
    ("host: '*.local'\n", []),
    (policy("{}"), ["trafficPolicy"]),
    ("host: a\nsubsets: [{name: v1}, {name: v1}, {name: V 2}]\n", ["subsets[1].name", "subsets[2].name"]),
    ("host: a\nsubsets: [{name: v1, labels: {version: 'v 1'}}]\n", ["subsets[0].labels.version"]),
    (policy("{loadBalancer: {simple: RANDOM, consistentHash: {useSourceIp: true}}}"), ["trafficPolicy.loadBalancer"]),
    (policy("{loadBalancer: {consistentHash: {}}}"), ["trafficPolicy.loadBalancer.consistentHash"]),
    (
        policy("{loadBalancer: {consistentHash: {useSourceIp: true, httpHeaderName: x}}}"),
        ["trafficPolicy.loadBalancer.consistentHash"],
    ),
    (
        policy("{loadBalancer: {consistentHash: {httpCookie: {name: '', ttl: 0s}}}}"),
        ["trafficPolicy.loadBalancer.consistentHash.httpCookie.name"],
    ),
    (
        policy("{loadBalancer: {consistentHash: {useSourceIp: true, maglev: {tableSize: 100}}}}"),
        ["trafficPolicy.loadBalancer.consistentHash.maglev.tableSize"],
    ),
    (policy("{loadBalancer: {consistentHash: {useSourceIp: true, maglev: {tableSize: '65537'}}}}"), []),
    (
        policy("{loadBalancer: {consistentHash: {useSourceIp: true, ringHash: {minimumRingSize: -5}}}}"),
        ["trafficPolicy.loadBalancer.consistentHash.ringHash.minimumRingSize"],
    ),
    (
        policy("{loadBalancer: {warmup: {duration: 0s, minimumPercent: 200, aggression: 0}}}"),
        [
            "trafficPolicy.loadBalancer.warmup.duration",
            "trafficPolicy.loadBalancer.warmup.minimumPercent",
            "trafficPolicy.loadBalancer.warmup.aggression",
        ],
    ),
    (
        policy("{loadBalancer: {localityLbSetting: {distribute: [{from: a, to: {b: 50, c: 40}}]}}}"),
        ["trafficPolicy.loadBalancer.localityLbSetting.distribute[0].to"],
    ),
    (
        policy(
            "{loadBalancer: {localityLbSetting: {distribute: "
            '[{from: a/*, to: {b: 50, b/c: 50}}, {from: "a", to: {"*/b": 100}}, {from: c/a*, to: {d//e: 100}}]}}}'
        ),
        [
            "trafficPolicy.loadBalancer.localityLbSetting.distribute[0].to",
            "trafficPolicy.loadBalancer.localityLbSetting.distribute[1].from",
            "trafficPolicy.loadBalancer.localityLbSetting.distribute[1].to",
            "trafficPolicy.loadBalancer.localityLbSetting.distribute[2].from",
            "trafficPolicy.loadBalancer.localityLbSetting.distribute[2].to",
        ],
    ),
    (policy("{connectionPool: {}}"), ["trafficPolicy.connectionPool"]),
    (
        policy("{connectionPool: {tcp: {maxConnections: -1, connectTimeout: 0s, idleTimeout: 0s}}}"),
        ["trafficPolicy.connectionPool.tcp.maxConnections", "trafficPolicy.connectionPool.tcp.connectTimeout"],
    ),
    (
        policy(
            "{connectionPool: {http: {http1MaxPendingRequests: -1, h2UpgradePolicy: UPGRADE, useClientProtocol: true}}}"
        ),
        [
            "trafficPolicy.connectionPool.http.http1MaxPendingRequests",
            "trafficPolicy.connectionPool.http.useClientProtocol",
        ],
    ),
    (
        policy("{connectionPool: {http: {http2KeepAlive: {interval: 10s}}}}"),
        ["trafficPolicy.connectionPool.http.http2KeepAlive"],
    ),
    (
        policy(
            "{outlierDetection: {interval: x, baseEjectionTime: 0s, maxEjectionPercent: 101, consecutiveLocalOriginFailures: 3}}"
        ),
        [
            "trafficPolicy.outlierDetection.interval",
            "trafficPolicy.outlierDetection.baseEjectionTime",
            "trafficPolicy.outlierDetection.maxEjectionPercent",
            "trafficPolicy.outlierDetection.consecutiveLocalOriginFailures",
        ],
    ),
    (
        policy("{portLevelSettings: [{tls: {mode: DISABLE}}, {port: {number: 80}}]}"),
        ["trafficPolicy.portLevelSettings[0]", "trafficPolicy.portLevelSettings[1]"],
    ),
    (policy("{tls: {mode: MUTUAL}}"), ["trafficPolicy.tls", "trafficPolicy.tls"]),
    (
        policy("{tls: {mode: SIMPLE, insecureSkipVerify: true, caCertificates: /a}}"),
        ["trafficPolicy.tls.caCertificates"],
    ),
    (policy("{tls: {mode: SIMPLE, credentialName: a, caCertificates: /a}}"), ["trafficPolicy.tls.credentialName"]),
    (
        policy("{tunnel: {protocol: GET, targetHost: 'a b', targetPort: 0}}"),
        ["trafficPolicy.tunnel.protocol", "trafficPolicy.tunnel.targetHost", "trafficPolicy.tunnel.targetPort"],
    ),
    (policy("{retryBudget: {percent: 120}}"), ["trafficPolicy.retryBudget.percent"]),
    (
        "host: a\nworkloadSelector: {matchLabels: {app: '*'}}\nexportTo: ['*']\n",
        ["workloadSelector.matchLabels.app", "exportTo"],
    ),
]

GATEWAYS: list[tuple[str, list[str]]] = [
    (server("{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}"), []),
    (
        server(
            "{port: {number: 443, name: https, protocol: HTTPS}, hosts: [a.b], tls: {mode: SIMPLE, credentialName: c}}"
        ),
        [],
    ),
    (server("{port: {number: 80, name: http, protocol: HTTP}, hosts: [a.b], tls: {httpsRedirect: true}}"), []),
    ("selector: {a: b}\n", [""]),
    (server("{hosts: ['*']}"), ["servers[0]"]),
    (server("{port: {number: 80, name: http, protocol: HTTP}}"), ["servers[0]"]),
    (
        server("{port: {number: 0, protocol: HTPP}, hosts: ['*']}"),
        ["servers[0].port", "servers[0].port.number", "servers[0].port.protocol"],
    ),
    (
        server("{port: {number: 80, name: a, protocol: HTTP}, hosts: [short, 'A_/b.c', '*a.b', ./ok.com]}"),
        ["servers[0].hosts[0]", "servers[0].hosts[1]", "servers[0].hosts[2]"],
    ),
    (server("{port: {number: 443, name: https, protocol: HTTPS}, hosts: ['*']}"), ["servers[0]"]),
    (
        server("{port: {number: 443, name: https, protocol: HTTPS}, hosts: ['*'], tls: {mode: SIMPLE}}"),
        ["servers[0].tls", "servers[0].tls"],
    ),
    (
        server(
            "{port: {number: 443, name: a, protocol: HTTPS}, hosts: ['*'], tls: {mode: SIMPLE, credentialName: a, serverCertificate: b, privateKey: c}}"
        ),
        ["servers[0].tls"],
    ),
    (
        server(
            "{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*'], tls: {mode: SIMPLE, credentialName: a}}"
        ),
        ["servers[0].tls"],
    ),
    (
        server("{port: {number: 80, name: tcp, protocol: TCP}, hosts: ['*'], tls: {mode: SIMPLE, credentialName: a}}"),
        ["servers[0].tls"],
    ),
    (
        server(
            "{port: {number: 443, name: a, protocol: TLS}, hosts: ['*'], tls: {mode: MUTUAL, serverCertificate: b, privateKey: c}}"
        ),
        ["servers[0].tls"],
    ),
    (
        server(
            "{port: {number: 443, name: a, protocol: TLS}, hosts: ['*'], tls: {mode: PASSTHROUGH, minProtocolVersion: TLSV1_3, maxProtocolVersion: TLSV1_2}}"
        ),
        ["servers[0].tls.maxProtocolVersion"],
    ),
    (terminating("mode: MUTUAL, credentialName: a, caCertCredentialName: b"), []),
    (terminating("mode: OPTIONAL_MUTUAL, credentialNames: [a, b]"), []),
    (terminating("mode: ISTIO_MUTUAL, caCrl: /crl, subjectAltNames: ['spiffe://a/ns/b/sa/c']"), []),
    (terminating("mode: AUTO_PASSTHROUGH", "TLS"), []),
    (terminating("mode: MUTUAL, serverCertificate: a, privateKey: b, caCertificates: c, caCrl: d"), []),
    (terminating("mode: OPTIONAL_MUTUAL, serverCertificate: a, privateKey: b"), ["servers[0].tls"]),
    (terminating("mode: SIMPLE, serverCertificate: a, privateKey: b, caCrl: c"), ["servers[0].tls.caCrl"]),
    (terminating("mode: SIMPLE, credentialNames: [a, b, c]"), ["servers[0].tls.credentialNames"]),
    (terminating("mode: SIMPLE, tlsCertificates: [{serverCertificate: a}]"), ["servers[0].tls.tlsCertificates[0]"]),
    (terminating("mode: SIMPLE, credentialName: a, credentialNames: [b]"), ["servers[0].tls"]),
    (
        terminating("mode: ISTIO_MUTUAL, credentialName: a, caCertificates: b, tlsCertificates: [{}]"),
        ["servers[0].tls.caCertificates", "servers[0].tls.credentialName", "servers[0].tls.tlsCertificates"],
    ),
    (terminating("mode: PASSTHROUGH, caCertificates: a", "HTTP"), ["servers[0].tls"]),
    (server("{port: {number: 80, name: a, protocol: HTTP}, hosts: ['*'], bind: x}"), ["servers[0].bind"]),
    (
        server(
            "{port: {number: 80, name: a, protocol: HTTP}, hosts: ['*']}\n- {port: {number: 81, name: a, protocol: HTTP}, hosts: ['*']}"
        ),
        ["servers[1].port.name"],
    ),
]

HTTP_PORT = "ports: [{number: 80, name: http, protocol: HTTP}]\n"
SERVICE_ENTRIES: list[tuple[str, list[str]]] = [
    (f"hosts: [a.b]\n{HTTP_PORT}resolution: DNS\n", []),
    (f"hosts: ['*']\n{HTTP_PORT}", ["hosts[0]"]),
    (f"hosts: []\n{HTTP_PORT}", ["hosts"]),
    (f"hosts: ['*.a.b']\n{HTTP_PORT}resolution: DNS\n", ["hosts[0]"]),
    (f"hosts: ['*.a.b']\n{HTTP_PORT}", []),
    (
        "hosts: [a.b]\nports: [{number: 80, name: a, protocol: X}, {number: 80, name: a}, {number: 0}]\n",
        ["ports[0].protocol", "ports[1].name", "ports[1].number", "ports[2]", "ports[2].number"],
    ),
    (f"hosts: [a.b]\n{HTTP_PORT}addresses: [10.0.0.0/8, x]\nresolution: DNS\n", ["addresses[0]", "addresses[1]"]),
    (f"hosts: [a.b]\n{HTTP_PORT}endpoints: [{{address: 10.0.0.1}}]\n", ["endpoints"]),
    (
        f"hosts: [a.b]\n{HTTP_PORT}resolution: STATIC\nendpoints: [{{address: a.b}}, {{address: 10.0.0.1, ports: {{web: 80}}}}, {{}}]\n",
        ["endpoints[0].address", "endpoints[1].ports.web", "endpoints[2]"],
    ),
    (
        f"hosts: [a.b]\n{HTTP_PORT}resolution: STATIC\nendpoints: [{{address: 'unix:///a'}}, {{address: 'unix://a'}}]\n",
        ["endpoints[1].address"],
    ),
    (
        f"hosts: [a.b]\n{HTTP_PORT}resolution: DNS_ROUND_ROBIN\nendpoints: [{{address: a}}, {{address: b}}]\n",
        ["endpoints"],
    ),
    (
        f"hosts: [a.b]\n{HTTP_PORT}resolution: STATIC\nendpoints: [{{address: 10.0.0.1}}]\nworkloadSelector: {{labels: {{a: b}}}}\n",
        ["endpoints"],
    ),
    ("hosts: [a.b, c.d]\nports: [{number: 80, name: tcp, protocol: TCP}]\nresolution: DNS\n", ["ports[0]"]),
    (f"hosts: [a.b]\n{HTTP_PORT}resolution: DYNAMIC_DNS\naddresses: [10.0.0.1]\n", ["hosts[0]", "addresses"]),
    (f"hosts: [a.b]\n{HTTP_PORT}exportTo: ['~']\n", []),
]

SIDECARS: list[tuple[str, list[str]]] = [
    ("egress: [{hosts: ['./*', 'istio-system/*', '~/*', '*/a.b']}]\n", []),
    ("outboundTrafficPolicy: {mode: REGISTRY_ONLY}\n", []),
    ("workloadSelector: {labels: {a: b}}\n", [""]),
    ("egress: [{hosts: [a.b]}]\n", ["egress[0].hosts[0]"]),
    (
        "egress: [{hosts: [./a, 'A_/*', './*a.b']}]\n",
        ["egress[0].hosts[0]", "egress[0].hosts[1]", "egress[0].hosts[2]"],
    ),
    ("egress: [{}]\n", ["egress[0]"]),
    ("egress: [{hosts: ['*/*']}, {port: {number: 80, protocol: HTTP}, hosts: ['*/*']}]\n", ["egress[0]"]),
    ("egress: [{port: {number: 0}, hosts: ['*/*'], bind: x}]\n", ["egress[0].port.number"]),
    ("ingress: [{}]\n", ["ingress[0]"]),
    (
        "ingress: [{port: {number: 80, protocol: HTTP}, defaultEndpoint: '10.0.0.1:80'}]\n",
        ["ingress[0].defaultEndpoint"],
    ),
    ("ingress: [{port: {number: 80, protocol: HTTP}, defaultEndpoint: '127.0.0.1:8080'}]\n", []),
    (
        "ingress: [{port: {number: 80, protocol: HTTP}}, {port: {number: 80, protocol: HTTP}}]\n",
        ["ingress[1].port.number"],
    ),
    (
        "outboundTrafficPolicy: {egressProxy: {host: a.b}}\n",
        ["outboundTrafficPolicy.egressProxy", "outboundTrafficPolicy.egressProxy"],
    ),
]

WORKLOAD_ENTRIES: list[tuple[str, list[str]]] = [
    ("address: 10.0.0.1\n", []),
    ("address: a.example.com\n", []),
    ("labels: {a: b}\n", [""]),
    ("address: 'a b'\n", ["address"]),
    ("address: unix:///a\nports: {http: 80}\n", ["ports"]),
    ("address: 10.0.0.1\nports: {http: 0, 'A b': 80}\n", ["ports.http", "ports[A b]"]),
]

TABLE = [
    *(("VirtualService", *row) for row in VIRTUAL_SERVICES),
    *(("DestinationRule", *row) for row in DESTINATION_RULES),
    *(("Gateway", *row) for row in GATEWAYS),
    *(("ServiceEntry", *row) for row in SERVICE_ENTRIES),
    *(("Sidecar", *row) for row in SIDECARS),
    *(("WorkloadEntry", *row) for row in WORKLOAD_ENTRIES),
]


@pytest.mark.parametrize(("kind", "spec", "paths"), TABLE)
def test_each_broken_rule_is_an_error_at_its_field(kind: str, spec: str, paths: list[str]) -> None:
    assert sorted(findings(kind, spec, Severity.ERROR)) == sorted(paths)


@pytest.mark.parametrize(
    ("kind", "spec", "paths"),
    [
        (
            "VirtualService",
            http(f"{{corsPolicy: {{allowOrigin: ['*']}}, {GOOD_ROUTE}}}"),
            ["http[0].corsPolicy.allowOrigin"],
        ),
        (
            "VirtualService",
            http(f"{{mirror: {{host: b}}, mirrorPercent: 50, {GOOD_ROUTE}}}"),
            ["http[0].mirrorPercent"],
        ),
        (
            "VirtualService",
            http(f"{{mirror: {{host: b}}, mirror_percent: 50, {GOOD_ROUTE}}}"),
            ["http[0].mirror_percent"],
        ),
        (
            "VirtualService",
            http(f"{{fault: {{delay: {{percent: 50, fixedDelay: 5s}}}}, {GOOD_ROUTE}}}"),
            ["http[0].fault.delay.percent"],
        ),
        ("VirtualService", http(f"{{fault: {{abort: {{}}}}, {GOOD_ROUTE}}}"), ["http[0].fault.abort"]),
        (
            "VirtualService",
            http(f"{{fault: {{abort: {{httpStatus: 503}}, delay: {{fixedDelay: 1s}}}}, {GOOD_ROUTE}}}"),
            ["http[0].fault.abort", "http[0].fault.delay"],
        ),
        (
            "VirtualService",
            "hosts: [a]\ngateways: [g.ns.svc.cluster.local]\n" + http("{redirect: {uri: /a}}").split("\n", 1)[1],
            ["gateways[0]"],
        ),
        (
            "DestinationRule",
            policy("{loadBalancer: {simple: RANDOM, warmup: {duration: 10s}}}"),
            ["trafficPolicy.loadBalancer.warmup"],
        ),
        (
            "DestinationRule",
            policy("{outlierDetection: {consecutiveErrors: 5}}"),
            ["trafficPolicy.outlierDetection.consecutiveErrors"],
        ),
        (
            "DestinationRule",
            policy("{loadBalancer: {localityLbSetting: {failover: [{from: a, to: b}]}}}"),
            ["trafficPolicy.loadBalancer.localityLbSetting"],
        ),
        (
            "Gateway",
            server(
                "{port: {number: 443, name: a, protocol: TLS}, hosts: ['*'], tls: {mode: PASSTHROUGH, credentialName: a}}"
            ),
            ["servers[0].tls"],
        ),
        (
            "Gateway",
            server(
                "{port: {number: 443, name: a, protocol: HTTPS}, hosts: ['*'], tls: {mode: SIMPLE, credentialName: a, cipherSuites: [NONE]}}"
            ),
            ["servers[0].tls.cipherSuites[0]"],
        ),
        ("Gateway", terminating("mode: PASSTHROUGH, caCrl: a", "TLS"), ["servers[0].tls"]),
        (
            "Gateway",
            terminating("mode: SIMPLE, credentialName: a, minProtocolVersion: TLSV1_1"),
            ["servers[0].tls.minProtocolVersion"],
        ),
        ("Gateway", terminating("mode: MUTUAL, credentialName: a, caCrl: b"), ["servers[0].tls.caCrl"]),
        (
            "Gateway",
            terminating("mode: SIMPLE, credentialName: a, subjectAltNames: [b], insecureSkipVerify: true"),
            ["servers[0].tls.insecureSkipVerify", "servers[0].tls.subjectAltNames"],
        ),
        (
            "Gateway",
            terminating("mode: MUTUAL, credentialName: a, subjectAltNames: [b], insecureSkipVerify: true"),
            ["servers[0].tls.subjectAltNames"],
        ),
        (
            "Gateway",
            terminating("mode: ISTIO_MUTUAL, insecureSkipVerify: true, cipherSuites: [AES128-SHA]"),
            ["servers[0].tls.cipherSuites", "servers[0].tls.insecureSkipVerify"],
        ),
        ("Sidecar", "egress: [{hosts: ['./*', ./a.b, '*/*']}]\n", ["egress[0].hosts", "egress[0].hosts[1]"]),
        ("WorkloadEntry", "network: n\n", [""]),
    ],
)
def test_what_istio_warns_of_is_a_warning(kind: str, spec: str, paths: list[str]) -> None:
    assert findings(kind, spec, Severity.ERROR) == []
    assert sorted(findings(kind, spec, Severity.WARNING)) == sorted(paths)


@pytest.mark.parametrize(
    ("document", "paths"),
    [
        (
            "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80}, {port: 81}]}\n",
            ["spec.ports[0]", "spec.ports[1]"],
        ),
        (
            "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 0, protocol: HTTP}]}\n",
            ["spec.ports[0].port", "spec.ports[0].protocol"],
        ),
        (
            "apiVersion: v1\nkind: Service\nmetadata: {name: a.b}\nspec: {type: Cluster, clusterIP: x}\n",
            ["spec", "spec.clusterIP", "spec.type"],
        ),
        ("apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {type: ExternalName}\n", ["spec.externalName"]),
        (
            "apiVersion: v1\nkind: Endpoints\nmetadata: {name: a}\nsubsets: [{addresses: [{ip: x}]}]\n",
            ["subsets[0].addresses[0].ip"],
        ),
        (
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: a}\naddressType: IP\nendpoints: [{}]\n",
            ["addressType", "endpoints[0]"],
        ),
    ],
)
def test_kubernetes_kinds(document: str, paths: list[str]) -> None:
    assert sorted(finding.path for finding in parse(document.encode(), "f").findings) == paths
