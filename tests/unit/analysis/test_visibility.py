"""What nobody sees, and what two objects claim at once."""

from analysis_cases import codes, document, found, service


def entry(name: str, host: str, *, address: str = "", protocol: str = "TCP", more: str = "", port: int = 3306) -> str:
    addresses = f", addresses: [{address}]" if address else ""
    ports = f"[{{number: {port}, name: p, protocol: {protocol}}}]"
    return document("ServiceEntry", name, f"{{hosts: [{host}], ports: {ports}, resolution: DNS{addresses}{more}}}")


def only(code: str, *documents: str) -> list[str]:
    return [line for line in codes(*documents) if line.startswith(code)]


def namespace(name: str) -> str:
    return document("Namespace", name, "")


def test_exported_to_nobody() -> None:
    """To `~`, or to a namespace that does not exist, as far as somebody says which do."""
    assert only("LAT0053", entry("a", "a.test", more=", exportTo: ['~']")) == ["LAT0053 ServiceEntry/a spec.exportTo"]
    elsewhere = entry("a", "a.test", more=", exportTo: [shp]")
    assert only("LAT0053", elsewhere) == []
    assert only("LAT0053", elsewhere, namespace("shop"), namespace("default")) == [
        "LAT0053 ServiceEntry/a spec.exportTo"
    ]
    [one] = [each for each in found(elsewhere, namespace("shop")) if each.code == "LAT0053"]
    assert "did you mean shop?" in one.message
    assert only("LAT0053", entry("a", "a.test", more=", exportTo: [shop, x]"), namespace("shop")) == []


def test_two_services_at_one_address_and_port() -> None:
    """TCP has no host on the wire; HTTP has, and other ports are other listeners."""
    one, other = entry("a", "a.test", address="10.9.0.1"), entry("b", "b.test", address="10.9.0.1")
    assert only("LAT0054", one, other) == ["LAT0054 ServiceEntry/a spec", "LAT0054 ServiceEntry/b spec"]
    assert only("LAT0054", one, entry("b", "b.test", address="10.9.0.1", port=3307)) == []
    http = [entry(name, f"{name}.test", address="10.9.0.1", protocol="HTTP") for name in ("a", "b")]
    assert only("LAT0054", *http) == []
    unseen = entry("b", "b.test", address="10.9.0.1", more=", exportTo: [other]")
    mine = entry("a", "a.test", address="10.9.0.1", more=", exportTo: ['.']")
    assert only("LAT0054", mine, unseen) == []


def test_one_port_of_a_gateway_with_two_meanings() -> None:
    """HTTP and TCP at once; HTTPS and TLS are told apart by SNI."""

    def gateway(name: str, protocol: str, tls: str = "", labels: str = "istio: edge") -> str:
        server = f"{{port: {{number: 8443, name: p, protocol: {protocol}}}, hosts: ['{name}.test']{tls}}}"
        return document("Gateway", name, f"{{selector: {{{labels}}}, servers: [{server}]}}")

    passthrough = ", tls: {mode: PASSTHROUGH}"
    assert only("LAT0054", gateway("a", "HTTP"), gateway("b", "TLS", passthrough)) == [
        "LAT0054 Gateway/b spec.servers[0].port"
    ]
    assert only("LAT0054", gateway("a", "TLS", passthrough), gateway("b", "TLS", passthrough)) == []
    assert only("LAT0054", gateway("a", "HTTP"), gateway("b", "TCP", labels="istio: other")) == []


def test_rules_of_one_host_that_compete() -> None:
    """The older one's policy counts, and of subsets with one name the older; other subsets add up."""

    def rule(name: str, time: str, spec: str) -> str:
        return document("DestinationRule", name, spec, extra=f", creationTimestamp: '{time}'")

    subset = "subsets: [{name: %s, labels: {version: x}}]"
    policy = "trafficPolicy: {connectionPool: {tcp: {maxConnections: %s}}}"
    old = rule("old", "2024-01-01T00:00:00Z", "{{host: reviews, {}, {}}}".format(policy % 1, subset % "a"))
    new = rule("new", "2025-01-01T00:00:00Z", "{{host: reviews, {}, {}}}".format(policy % 2, subset % "a"))
    assert sorted(only("LAT0055", service(), new, old)) == [
        "LAT0055 DestinationRule/new spec.subsets[0]",
        "LAT0055 DestinationRule/new spec.trafficPolicy",
    ]
    more = rule("more", "2025-01-01T00:00:00Z", "{host: reviews, %s}" % (subset % "b"))
    assert only("LAT0055", service(), old, more) == []
