"""What people write by mistake, and what they are told to write instead."""

import pytest

from lateen.config.parsing import parse

ROUTE = "route: [{destination: {host: a}}]"

MISTAKES: list[tuple[str, str, str, str]] = [
    (
        "DestinationRule",
        "{host: a, loadBalancer: {}}",
        "spec.loadBalancer",
        "did you mean `trafficPolicy.loadBalancer`?",
    ),
    ("VirtualService", "{hosts: [a], " + ROUTE + "}", "spec.route", "did you mean `http[].route`?"),
    (
        "VirtualService",
        "{hosts: [a], http: [{destination: {host: a}, " + ROUTE + "}]}",
        "spec.http[0].destination",
        "did you mean `route[].destination`?",
    ),
    (
        "DestinationRule",
        "{host: a, subsets: [{name: v1, labels: {version: 1.20}}]}",
        "labels.version",
        "as it is written",
    ),
    ("DestinationRule", "{host: a, subsets: [{name: v1, labels: {version: 1}}]}", "labels.version", 'quote it: "1"'),
    ("VirtualService", "{hosts: a, http: [{" + ROUTE + "}]}", "spec.hosts", "write `[a]`"),
    (
        "VirtualService",
        "{hosts: ['https://a.com/b'], http: [{" + ROUTE + "}]}",
        "spec.hosts[0]",
        "write a.com: a host has",
    ),
    (
        "VirtualService",
        "{hosts: [a], http: [{route: [{destination: {host: 'a.com:80'}}]}]}",
        "destination.host",
        "write a.com: a host has no scheme, port or path",
    ),
    ("VirtualService", "{hosts: [a], http: [{timeout: 5sec, " + ROUTE + "}]}", "timeout", "did you mean '5s'?"),
    ("VirtualService", "{hosts: [a], http: [{timeout: 5 Minutes, " + ROUTE + "}]}", "timeout", "did you mean '5m'?"),
    ("VirtualService", "{hosts: [a], http: [{timeout: 2d, " + ROUTE + "}]}", "timeout", "did you mean '48h'?"),
    ("VirtualService", "{hosts: [a], http: [{timeout: '5', " + ROUTE + "}]}", "timeout", "did you mean '5s'?"),
    ("VirtualService", "{hosts: [a], http: [{timeout: soon, " + ROUTE + "}]}", "timeout", "write a number and a unit"),
    (
        "VirtualService",
        "{hosts: [a], http: [{fault: {delay: {fixedDelay: 1s, percentage: {value: 10%}}}, " + ROUTE + "}]}",
        "percentage.value",
        "write 10",
    ),
    (
        "VirtualService",
        "{hosts: [a], http: [{retries: {attempts: 2, retryOn: [5xx]}, " + ROUTE + "}]}",
        "retryOn",
        "write one text with commas",
    ),
    (
        "Gateway",
        "{servers: [{hosts: [a.b], port: {number: 80, name: a, protocol: HTTP}, tls: {httpsRedirect: on}}]}",
        "httpsRedirect",
        "write true, without quotes",
    ),
    ("Sidecar", "{workloadSelector: {app: a}}", "workloadSelector.app", "write it below `labels`"),
    (
        "ServiceEntry",
        "{hosts: [a.b], resolution: STATIC, endpoints: [{address: '10.0.0.1:80'}]}",
        "endpoints[0].address",
        "write 10.0.0.1, and the port under `ports`",
    ),
]


@pytest.mark.parametrize(("kind", "spec", "path", "hint"), MISTAKES)
def test_a_mistake_is_answered_with_what_to_write(kind: str, spec: str, path: str, hint: str) -> None:
    text = f"apiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata: {{name: a}}\nspec: {spec}\n"
    found = [one for one in parse(text.encode(), "f").findings if path in one.path]
    assert [one.line for one in found] == [4]
    assert hint in found[0].message


def test_a_number_in_quotes_is_refused_where_kubernetes_does_with_what_to_write() -> None:
    text = (
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: a}\nspec:\n"
        "  rules: [{backendRefs: [{name: a, port: '80'}], timeouts: {request: 10}}]\n"
    )
    assert [one.message for one in parse(text.encode(), "f").findings] == [
        "must be a whole number, not the text '80'; write 80 without quotes",
        "must be text, not the number 10; write a number and a unit: 10s",
    ]


def test_dots_for_what_was_left_out_are_named() -> None:
    text = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: a\n  ...\n"
    (found,) = parse(text.encode(), "f").findings
    assert found.code == "LAT0001"
    assert "`...` does not stand for what is left out" in found.message
