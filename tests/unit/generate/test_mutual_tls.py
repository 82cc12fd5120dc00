"""Mutual TLS as it is generated: chains of a port by mode and protocol, sockets of clusters, metadata of endpoints."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from lateen.config.mesh_config import MeshConfig, MeshTLSProtocol, TLSConfig
from lateen.config.parsing import parse
from lateen.config.security import MutualTLSMode
from lateen.envoy.listeners import HTTP_PROTOCOLS
from lateen.envoy.mutual_tls import MESH_ALPN, MESH_HTTP_ALPN, TCP_ALPN
from lateen.envoy.resources import CLUSTER
from lateen.generate.generator import Generator
from lateen.generate.mutual_tls import Accepts, accepts, inbound_chains
from lateen.generate.snapshot import generate
from lateen.mesh.build import build_state
from lateen.model.catalogues import Catalogue
from lateen.model.protocols import Protocol
from lateen.model.proxies import Interception, Proxy, ProxyType, Upstream
from lateen.model.workloads import WorkloadPort, WorkloadRegistration
from unit.generate.conftest import Shown, shown

UNSET, DISABLE, PERMISSIVE, STRICT = MutualTLSMode
HTTP, TCP, SNIFFED = Protocol.HTTP, Protocol.TCP, Protocol.UNSUPPORTED
SA = "spiffe://cluster.local/ns/default/sa/"


# --- inbound chains ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "certificates", "accepted"),
    [
        (STRICT, True, Accepts.MUTUAL_TLS),
        (STRICT, False, Accepts.NOTHING),
        (PERMISSIVE, True, Accepts.BOTH),
        (PERMISSIVE, False, Accepts.PLAINTEXT),
        (DISABLE, True, Accepts.PLAINTEXT),
        (DISABLE, False, Accepts.PLAINTEXT),
    ],
)
def test_what_a_mode_takes(mode: MutualTLSMode, certificates: bool, accepted: Accepts) -> None:
    """Without a certificate STRICT takes nothing: it must never mean plain text."""
    assert accepts(mode, certificates=certificates) is accepted


CHAINS = [
    (Accepts.NOTHING, HTTP, []),
    (Accepts.PLAINTEXT, HTTP, ["any:http"]),
    (Accepts.PLAINTEXT, TCP, ["any:tcp"]),
    (Accepts.PLAINTEXT, SNIFFED, ["raw_buffer/http/1.0,http/1.1,h2c:http", "raw_buffer:tcp"]),
    (Accepts.MUTUAL_TLS, HTTP, ["tls:http mtls"]),
    (Accepts.MUTUAL_TLS, TCP, ["tls:tcp mtls"]),
    (Accepts.MUTUAL_TLS, SNIFFED, [f"tls/{','.join(MESH_HTTP_ALPN)}:http mtls", "tls:tcp mtls"]),
    (Accepts.BOTH, HTTP, [f"tls/{','.join(MESH_ALPN)}:http mtls", "raw_buffer:http"]),
    (Accepts.BOTH, TCP, [f"tls/{','.join(MESH_ALPN)}:tcp mtls", "tls:tcp", "raw_buffer:tcp"]),
    (
        Accepts.BOTH,
        SNIFFED,
        [
            f"tls/{','.join(MESH_HTTP_ALPN)}:http mtls",
            f"tls/{','.join(TCP_ALPN)}:tcp mtls",
            "tls:tcp",
            f"raw_buffer/{','.join(HTTP_PROTOCOLS)}:http",
            "raw_buffer:tcp",
        ],
    ),
]


@pytest.mark.parametrize(("accepted", "protocol", "expected"), CHAINS)
def test_chains_of_a_port(accepted: Accepts, protocol: Protocol, expected: list[str]) -> None:
    """Transport protocol, ALPN, what looks at it, and whether TLS ends here."""
    found = [
        (chain.transport or "any")
        + (f"/{','.join(chain.offered)}" if chain.offered else "")
        + (":http" if chain.http else ":tcp")
        + (" mtls" if chain.mutual_tls else "")
        for chain in inbound_chains(accepted, protocol)
    ]

    assert found == expected


@pytest.mark.parametrize("protocol", Protocol)
@pytest.mark.parametrize("accepted", Accepts)
def test_a_chain_without_transport_stands_alone(accepted: Accepts, protocol: Protocol) -> None:
    """Envoy does not fall back to it from chains that name the transport protocol."""
    chains = inbound_chains(accepted, protocol)

    assert len(chains) <= 1 or all(chain.transport for chain in chains)


# --- a mesh of two -------------------------------------------------------------------------------------------

SERVER = Proxy(
    type=ProxyType.SIDECAR,
    name="server-1",
    namespace="default",
    addresses=("10.0.0.1",),
    labels={"app": "server"},
    certificates=True,
)
CLIENT = replace(SERVER, name="client-1", addresses=("127.0.0.9",), labels={}, interception=Interception.NONE)
PORTS = (
    WorkloadPort(port=80, protocol="http", app_port=8080),
    WorkloadPort(port=81, protocol="http2"),
    WorkloadPort(port=82, protocol="tcp"),
    WorkloadPort(port=83),
)
REGISTRATION = WorkloadRegistration(
    service="server",
    name="server-1",
    namespace="default",
    address="10.0.0.1",
    service_account="server",
    ports=PORTS,
    ready=True,
    identity=f"{SA}server",
)
EXTERNAL = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: away}
spec:
  hosts: [away.example]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 10.0.0.8, serviceAccount: away}]
"""


def made(documents: str = "", proxy: Proxy = CLIENT, **settings: Any) -> Shown:
    registrations = settings.pop("registrations", (REGISTRATION,))
    parsed = parse(documents.encode(), "mesh.yaml")
    assert not [one for one in parsed.findings if one.severity.value == "error"], parsed.findings
    catalogue = Catalogue(name="agents", workloads=registrations)
    return shown(generate(build_state(parsed.objects, (catalogue,), MeshConfig(**settings)), proxy))


def peer_authentication(spec: str, namespace: str = "default", name: str = "a") -> str:
    return (
        f"apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {{name: {name}, "
        f"namespace: {namespace}}}\nspec: {spec}\n---\n"
    )


def destination_rule(policy: str, host: str = "server") -> str:
    return (
        f"apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: a}}\nspec:\n  host: {host}\n"
        f"  trafficPolicy: {policy}\n---\n"
    )


def cluster(found: Shown, port: int, host: str = "server.default.svc.cluster.local", subset: str = "") -> Any:
    return found["Cluster"][f"outbound|{port}|{subset}|{host}"]


def context(cluster: Any) -> Any:
    """The TLS settings of a cluster that speaks mutual TLS, to all or to some."""
    matches = cluster.get("transport_socket_matches")
    socket = matches[0]["transport_socket"] if matches else cluster["transport_socket"]
    return socket["typed_config"]


def marked(found: Shown, port: int = 80, host: str = "server.default.svc.cluster.local") -> list[bool]:
    """Whether each endpoint is called with mutual TLS."""
    assignment = found["ClusterLoadAssignment"][f"outbound|{port}||{host}"]
    return ["metadata" in item for group in assignment.get("endpoints", ()) for item in group["lb_endpoints"]]


# --- clusters ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("port", "alpn"),
    [(80, ["istio-http/1.1"]), (81, ["istio-h2"]), (82, ["istio-peer-exchange", "istio"]), (83, ["istio-http/1.1"])],
)
def test_a_cluster_of_the_mesh(port: int, alpn: list[str]) -> None:
    """Each endpoint gets what it takes; the server is named as Istio does, and has to be who runs the service."""
    found = cluster(made(), port)
    tls = context(found)

    assert [match.get("match") for match in found["transport_socket_matches"]] == [{"tlsMode": "istio"}, {}]
    assert tls["sni"] == f"outbound_.{port}_._.server.default.svc.cluster.local"
    assert tls["common_tls_context"]["alpn_protocols"] == alpn
    assert names(tls) == [f"{SA}server"]
    assert marked(made(), port) == [True]


def names(tls: Any) -> list[str]:
    checked = tls["common_tls_context"]["combined_validation_context"]["default_validation_context"]
    return [item["matcher"]["exact"] for item in checked.get("match_typed_subject_alt_names", ())]


def test_a_proxy_without_a_certificate_gets_the_bytes_as_before() -> None:
    """Neither sockets nor metadata."""
    found = made(proxy=replace(CLIENT, certificates=False))

    assert not {"transport_socket", "transport_socket_matches"} & cluster(found, 80).keys()
    assert marked(found) == [False]


def test_without_auto_mtls_nothing_happens_by_itself() -> None:
    found = made(enable_auto_mtls=False)

    assert "transport_socket_matches" not in cluster(found, 80)


def test_what_is_outside_the_mesh_is_called_as_it_is() -> None:
    found = made(EXTERNAL)

    assert "transport_socket_matches" not in cluster(found, 80, "away.example")


PORT_OFF = peer_authentication("{selector: {matchLabels: {app: server}}, portLevelMtls: {PORT: {mode: DISABLE}}}")


@pytest.mark.parametrize(
    ("policies", "port", "takes"),
    [
        (peer_authentication("{mtls: {mode: DISABLE}}"), 80, False),
        (peer_authentication("{mtls: {mode: DISABLE}}", "istio-system"), 80, False),
        (peer_authentication("{mtls: {mode: DISABLE}}", "other"), 80, True),
        (peer_authentication("{mtls: {mode: STRICT}}"), 80, True),
        (PORT_OFF.replace("PORT", "82"), 82, False),
        (PORT_OFF.replace("PORT", "82"), 83, True),
        (PORT_OFF.replace("PORT", "8080"), 80, False),
    ],
)
def test_a_policy_of_the_server_switches_its_clients_off(policies: str, port: int, takes: bool) -> None:
    assert marked(made(policies), port) == [takes]


def test_subsets_have_names_of_their_own() -> None:
    rule = destination_rule("{}") + "\n"
    rule = rule.replace("  trafficPolicy: {}\n", "  subsets: [{name: v1, labels: {version: v1}}]\n")
    tls = context(cluster(made(rule), 80, subset="v1"))

    assert tls["sni"] == "outbound_.80_.v1_.server.default.svc.cluster.local"


def test_istio_mutual_is_for_every_endpoint() -> None:
    """With what the rule says of name and identity."""
    policy = "{tls: {mode: ISTIO_MUTUAL, sni: a.b, subjectAltNames: [c.d]}}"
    found = cluster(made(destination_rule(policy)), 80)

    assert "transport_socket_matches" not in found
    assert (context(found)["sni"], names(context(found))) == ("a.b", ["c.d"])


def test_istio_mutual_without_a_certificate_reaches_nobody() -> None:
    """It must not become plain text."""
    found = made(destination_rule("{tls: {mode: ISTIO_MUTUAL}}"), replace(CLIENT, certificates=False))

    assert cluster(found, 80)["type"] == "STATIC"
    assert "endpoints" not in cluster(found, 80)["load_assignment"]
    assert "ClusterLoadAssignment" not in found


def test_disable_is_plain_text_by_port_too() -> None:
    policy = "{portLevelSettings: [{port: {number: 80}, tls: {mode: DISABLE}}]}"
    found = made(destination_rule(policy))

    assert not {"transport_socket", "transport_socket_matches"} & cluster(found, 80).keys()
    assert "transport_socket_matches" in cluster(found, 82)


def test_every_account_and_every_name_of_the_trust_domain_is_good() -> None:
    other = replace(REGISTRATION, name="server-2", address="10.0.0.2", identity=f"{SA}other")
    found = made(registrations=(REGISTRATION, other), trust_domain="new", trust_domain_aliases=["old"])

    assert names(context(cluster(found, 80))) == [
        f"spiffe://{domain}/ns/default/sa/{account}" for domain in ("new", "old") for account in ("other", "server")
    ]


def test_names_of_a_service_entry_are_good_too() -> None:
    entry = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: vm}
spec:
  hosts: [vm.example]
  location: MESH_INTERNAL
  resolution: DNS
  ports: [{number: 80, name: http, protocol: HTTP}]
  subjectAltNames: [vm.example]
  endpoints: [{address: one.example, serviceAccount: vm}, {address: two.example}]
"""
    found = cluster(made(entry), 80, "vm.example")
    endpoints = found["load_assignment"]["endpoints"][0]["lb_endpoints"]

    assert names(context(found)) == [f"{SA}vm", "vm.example"]
    assert ["metadata" in endpoint for endpoint in endpoints] == [True, False]


def test_when_nobody_is_known_any_identity_of_the_mesh_is_good() -> None:
    entry = EXTERNAL.replace("MESH_EXTERNAL", "MESH_INTERNAL").replace(", serviceAccount: away", "")

    assert names(context(cluster(made(entry), 80, "away.example"))) == []


@pytest.mark.parametrize(("second", "mutual"), [(", serviceAccount: a", True), ("", False)])
def test_where_the_client_dials_all_must_take_it(second: str, mutual: bool) -> None:
    """Envoy knows no endpoints there, so nothing can be told by endpoint."""
    entry = EXTERNAL.replace("MESH_EXTERNAL", "MESH_INTERNAL").replace(
        "[{address: 10.0.0.8, serviceAccount: away}]",
        f"[{{address: 10.0.0.8, serviceAccount: away}}, {{address: 10.0.0.9{second}}}]",
    )
    rule = destination_rule("{loadBalancer: {simple: PASSTHROUGH}}", "away.example")
    found = cluster(made(f"{rule}{entry}", replace(SERVER, labels={})), 80, "away.example")

    assert ("transport_socket" in found) is mutual
    assert "transport_socket_matches" not in found


# --- TCP on sniffed ports ------------------------------------------------------------------------------------


def chains_to(found: Shown, local: int) -> list[list[str]]:
    listener = found["Listener"][f"127.0.0.9_{local}"]
    chains = [*listener["filter_chains"], *filter(None, [listener.get("default_filter_chain")])]
    return [[item["name"].rpartition(".")[2] for item in chain["filters"]] for chain in chains]


@pytest.mark.parametrize(
    ("port", "documents", "expected"),
    [
        (83, "", [["http_connection_manager"], ["set_filter_state", "tcp_proxy"]]),
        (82, "", [["tcp_proxy"]]),
        (83, destination_rule("{tls: {mode: SIMPLE}}"), [["http_connection_manager"], ["tcp_proxy"]]),
        (83, destination_rule("{tls: {mode: DISABLE}}"), [["http_connection_manager"], ["tcp_proxy"]]),
        (
            83,
            destination_rule("{tls: {mode: ISTIO_MUTUAL}}"),
            [["http_connection_manager"], ["set_filter_state", "tcp_proxy"]],
        ),
    ],
)
def test_bytes_are_offered_as_bytes(port: int, documents: str, expected: list[list[str]]) -> None:
    """A sniffed port's cluster offers HTTP; what goes to servers that are not of the mesh is left alone."""
    client = replace(CLIENT, upstreams=(Upstream(host="server", port=port, local_port=1000),))

    assert chains_to(made(documents, client), 1000) == expected


def test_tunnels_to_a_sniffed_port_offer_bytes() -> None:
    """By a setting of their route: requests on the same listener offer HTTP."""
    found = made()
    [configuration] = found["RouteConfiguration"].values()
    tunnels = {
        host["name"]: route
        for host in configuration["virtual_hosts"]
        for route in host["routes"]
        if "connect_matcher" in route["match"] and "route" in route
    }

    assert {
        name for name, route in tunnels.items() if "lateen.tunnel_alpn" in route.get("typed_per_filter_config", {})
    } == {"server.default.svc.cluster.local:83"}


# --- inbound listeners ---------------------------------------------------------------------------------------


def inbound(found: Shown) -> Any:
    return found["Listener"]["virtualInbound"]


def describe(listener: Any) -> Iterator[tuple[int, str, str, bool]]:
    """Port (0: any), transport protocol, last filter's cluster or `http`, whether TLS ends there."""
    for chain in listener["filter_chains"]:
        match, last = chain.get("filter_chain_match", {}), chain["filters"][-1]["typed_config"]
        target = last.get("cluster", "http")
        yield match.get("destination_port", 0), match.get("transport_protocol", ""), target, "transport_socket" in chain


OTHERS = "InboundPassthroughCluster"


def test_strict_takes_mutual_tls_only_on_every_port() -> None:
    """Also on those of no service."""
    found = list(describe(inbound(made(peer_authentication("{mtls: {mode: STRICT}}"), SERVER))))

    assert found[0] == (15006, "", "BlackHoleCluster", False)
    assert all(transport == "tls" and mutual for _, transport, _, mutual in found[1:])
    assert {port for port, *_ in found} == {15006, 80, 81, 82, 83, 0}


def test_ports_of_no_service_follow_the_workload() -> None:
    found = list(describe(inbound(made("", SERVER))))

    assert [item for item in found if item[0] == 0] == [
        (0, "tls", OTHERS, True),
        (0, "tls", OTHERS, False),
        (0, "raw_buffer", OTHERS, False),
    ]


def test_a_port_of_a_policy_has_chains_though_no_service_has_it() -> None:
    policy = "{selector: {matchLabels: {app: server}}, mtls: {mode: STRICT}, portLevelMtls: {7777: {mode: DISABLE}}}"
    listener = inbound(made(peer_authentication(policy), SERVER))

    assert [item for item in describe(listener) if item[0] == 7777] == [(7777, "", OTHERS, False)]
    assert "7777" in str(inspector(listener, "tls_inspector")["filter_disabled"])


def inspector(listener: Any, name: str) -> Any:
    return next(item for item in listener["listener_filters"] if item["name"].endswith(name))


def test_ports_that_take_no_tls_are_not_inspected() -> None:
    """The inspector waits for the client's first bytes, which a server-first protocol never sends."""
    policy = "{selector: {matchLabels: {app: server}}, mtls: {mode: DISABLE}, portLevelMtls: {82: {mode: STRICT}}}"
    listener = inbound(made(peer_authentication(policy), SERVER))

    assert inspector(listener, "tls_inspector")["filter_disabled"] == {
        "not_match": {"destination_port_range": {"start": 82, "end": 83}}
    }
    without = inbound(made(peer_authentication("{mtls: {mode: DISABLE}}"), SERVER))
    assert not [item for item in without["listener_filters"] if item["name"].endswith("tls_inspector")]


@pytest.mark.parametrize("proxy", [SERVER, replace(SERVER, interception=Interception.NONE)])
def test_strict_without_a_certificate_refuses_everything_and_says_why(proxy: Proxy) -> None:
    found = made(peer_authentication("{mtls: {mode: STRICT}}"), replace(proxy, certificates=False))
    listeners = [listener for name, listener in found["Listener"].items() if name.startswith(("virtualI", "10.0.0.1"))]
    chains = [chain for listener in listeners for chain in listener["filter_chains"]]

    assert {target for listener in listeners for _, _, target, _ in describe(listener)} == {"BlackHoleCluster"}
    refused = [chain for chain in chains if chain["name"].endswith("-refused")]
    assert refused
    assert all(
        chain["metadata"]["filter_metadata"]["lateen"]["config"] == "PeerAuthentication default/a" for chain in refused
    )


def test_explicit_listeners_have_chains_of_their_own_mode() -> None:
    policy = "{selector: {matchLabels: {app: server}}, mtls: {mode: STRICT}, portLevelMtls: {82: {mode: DISABLE}}}"
    found = made(peer_authentication(policy), replace(SERVER, interception=Interception.NONE))

    assert list(describe(found["Listener"]["10.0.0.1_80"])) == [(0, "tls", "http", True)]
    assert list(describe(found["Listener"]["10.0.0.1_82"])) == [(0, "", "inbound|82||", False)]


def test_the_oldest_tls_is_a_setting_of_the_mesh() -> None:
    """TLS 1.3 unless it says otherwise; then the cipher suites count."""

    def parameters(**settings: Any) -> Any:
        chains = made(peer_authentication("{mtls: {mode: STRICT}}"), SERVER, **settings)["Listener"]["virtualInbound"]
        return chains["filter_chains"][1]["transport_socket"]["typed_config"]["common_tls_context"]["tls_params"]

    assert parameters()["tls_minimum_protocol_version"] == "TLSv1_3"
    suites = ["ECDHE-ECDSA-AES128-GCM-SHA256", "nonsense"]
    older_tls = TLSConfig(min_protocol_version=MeshTLSProtocol.TLSV1_2, cipher_suites=suites)
    older = parameters(mesh_mtls=older_tls)
    assert older["tls_minimum_protocol_version"] == "TLSv1_2"
    assert older["cipher_suites"] == ["ECDHE-ECDSA-AES128-GCM-SHA256"]


# --- what a change costs -------------------------------------------------------------------------------------


def test_an_endpoint_that_comes_and_goes_leaves_clusters_alone() -> None:
    """They name the accounts behind a service, healthy or not; only another account is another cluster.

    A cluster that changes warms anew, and an endpoint comes and goes a thousand times as often.
    """
    replica = replace(REGISTRATION, name="server-2", address="10.0.0.2")
    other = replace(replica, name="server-3", address="10.0.0.3", identity=f"{SA}other")
    generator, state, kept = Generator(), None, []
    for registrations in (
        (REGISTRATION,),
        (REGISTRATION, replica),
        (REGISTRATION, replace(replica, ready=False)),
        (REGISTRATION, other),
    ):
        state = build_state((), (Catalogue(name="agents", workloads=registrations),), MeshConfig(), state)
        before = generator.rebuilt
        kept.append((generator.generate(state, CLIENT).resources[CLUSTER], generator.rebuilt - before))

    assert kept[0][0] is kept[1][0] is kept[2][0] is not kept[3][0]
    assert [rebuilt for _, rebuilt in kept[1:]] == [1, 1, 2]


def test_only_what_a_policy_is_about_is_made_again() -> None:
    """One of another namespace touches nothing here, nor does one that switches nothing off."""
    catalogue = Catalogue(name="agents", workloads=(REGISTRATION,))
    generator = Generator()
    state = build_state((), (catalogue,), MeshConfig())
    first = generator.generate(state, CLIENT)
    for policy in (
        peer_authentication("{mtls: {mode: STRICT}}"),
        peer_authentication("{mtls: {mode: DISABLE}}", "other"),
    ):
        rebuilt = generator.rebuilt
        state = build_state(parse(policy.encode(), "f").objects, (catalogue,), MeshConfig(), state)

        assert generator.generate(state, CLIENT) is first
        # Its own inbound side asks for the modes, if nothing else does.
        assert generator.rebuilt - rebuilt <= 1
    parsed = parse(peer_authentication("{mtls: {mode: DISABLE}}").encode(), "f")
    state = build_state(parsed.objects, (catalogue,), MeshConfig(), state)
    assert marked(shown(generator.generate(state, CLIENT))) == [False]
