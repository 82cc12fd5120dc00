"""Rules of the extension providers that authorize: what Envoy would refuse is refused before it."""

from __future__ import annotations

import pytest

from lateen.config.mesh_config import parse_mesh_config


def problems(text: str) -> list[str]:
    _, findings = parse_mesh_config(f"extensionProviders: [{text}]".encode(), "f")
    return [one.path.removeprefix("extensionProviders") for one in findings]


def http(fields: str) -> str:
    return f"{{name: a, envoyExtAuthzHttp: {{service: a.b.svc.cluster.local, port: 80, {fields}}}}}"


@pytest.mark.parametrize(
    "text",
    [
        http("timeout: 2s, pathPrefix: /a, statusOnError: '503', failOpen: true"),
        http("includeRequestHeadersInCheck: [a, 'x-*', '*-id'], includeRequestBodyInCheck: {maxRequestBytes: 1}"),
        http("includeAdditionalHeadersInCheck: {x-a: b}"),
        "{name: a, envoyExtAuthzGrpc: {service: ns/a.b.example.com, port: 80}}",
    ],
)
def test_what_is_right_is_no_finding(text: str) -> None:
    assert problems(text) == []


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("{name: a, envoyExtAuthzHttp: {}}", ["[0].envoyExtAuthzHttp.service", "[0].envoyExtAuthzHttp.port"]),
        ("{envoyExtAuthzHttp: {service: a.b, port: 80}}", ["[0]"]),
        ("{name: A_b, envoyExtAuthzHttp: {service: a.b, port: 80}}", ["[0].name"]),
        (http("timeout: x"), ["[0].envoyExtAuthzHttp.timeout"]),
        (http("statusOnError: '499'"), ["[0].envoyExtAuthzHttp.statusOnError"]),
        (http("pathPrefix: a"), ["[0].envoyExtAuthzHttp.pathPrefix"]),
        (http("headersToUpstreamOnAllow: ['*']"), ["[0].envoyExtAuthzHttp.headersToUpstreamOnAllow[0]"]),
        (http("includeRequestBodyInCheck: {}"), ["[0].envoyExtAuthzHttp.includeRequestBodyInCheck.maxRequestBytes"]),
        (
            http("includeAdditionalHeadersInCheck: {'a b': c}"),
            ["[0].envoyExtAuthzHttp.includeAdditionalHeadersInCheck[a b]"],
        ),
        (f"{http('')}, {http('')}", ["[1].name"]),
        (
            "{name: a, envoyExtAuthzHttp: {service: a.b, port: 80}, envoyExtAuthzGrpc: {service: a.b, port: 80}}",
            ["[0]"],
        ),
        ("{name: a, envoyExtAuthzGrpc: {service: A/a.b, port: 80}}", ["[0].envoyExtAuthzGrpc.service"]),
    ],
)
def test_what_is_wrong_is_said_at_its_place(text: str, paths: list[str]) -> None:
    assert problems(text) == paths
