"""Rules of the extension providers of MeshConfig that authorize requests.

Called by `config.mesh_config`, and by generation, which lets nobody pass by a provider that breaks one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lateen.config.extension_providers import (
    EnvoyExternalAuthorizationGrpcProvider,
    EnvoyExternalAuthorizationHttpProvider,
    ExtensionProvider,
)
from lateen.config.metadata import DNS_LABEL
from lateen.config.positions import Path
from lateen.config.validation import fields
from lateen.config.violations import Violation

_STATUS_CODES = frozenset(
    (
        *(100, *range(200, 209), 226, *range(300, 306), 307, 308),
        *(*range(400, 418), *range(421, 425), 426, 428, 429, 431),
        *(*range(500, 509), 510, 511),
    )
)
"""Those of Envoy's `envoy.type.v3.StatusCode`."""


def extension_providers(path: Path, providers: Sequence[ExtensionProvider]) -> Iterator[Violation]:
    """The whole list: names, and the settings of those that authorize."""
    seen: set[str] = set()
    for index, provider in enumerate(providers):
        if not provider.name:
            yield Violation((*path, index), "the field `name` is required", "policies name the provider by it")
        elif provider.name in seen:
            yield Violation(
                (*path, index, "name"), f"the provider {provider.name!r} stands twice", "rename one of them"
            )
        seen.add(provider.name)
        yield from authorization_problems((*path, index), provider)


def authorization_problems(path: Path, provider: ExtensionProvider) -> Iterator[Violation]:
    """One provider; of one that does not authorize, nothing."""
    http, grpc = provider.envoy_ext_authz_http, provider.envoy_ext_authz_grpc
    if http is None and grpc is None:
        return
    if http is not None and grpc is not None:
        yield Violation(path, "a provider is one server", "keep envoyExtAuthzHttp or envoyExtAuthzGrpc")
    if provider.name and not DNS_LABEL.fullmatch(provider.name):
        hint = "use lower-case letters, digits and `-`, at most 63 characters"
        yield Violation((*path, "name"), f"{provider.name!r} cannot name an authorization provider", hint)
    if http is not None:
        yield from _server((*path, "envoyExtAuthzHttp"), http)
        yield from _http((*path, "envoyExtAuthzHttp"), http)
    if grpc is not None:
        yield from _server((*path, "envoyExtAuthzGrpc"), grpc)


def _server(
    path: Path, provider: EnvoyExternalAuthorizationHttpProvider | EnvoyExternalAuthorizationGrpcProvider
) -> Iterator[Violation]:
    namespace, slash, host = provider.service.rpartition("/")
    if slash and not DNS_LABEL.fullmatch(namespace):
        yield Violation((*path, "service"), f"{namespace!r} is not a namespace", "write namespace/host, or the host")
    if problem := fields.host_problem(host):
        hint = "write a full name such as authorizer.default.svc.cluster.local"
        yield Violation((*path, "service"), problem, hint)
    yield from fields.port_number((*path, "port"), provider.port)
    yield from fields.optional_duration((*path, "timeout"), provider.timeout)
    status = provider.status_on_error
    if status and not (status.isascii() and status.isdigit() and int(status[:4]) in _STATUS_CODES):
        yield Violation((*path, "statusOnError"), f"{status!r} is not a status", 'write a code such as "503"')
    body = provider.include_request_body_in_check
    if body is not None and body.max_request_bytes < 1:
        here = (*path, "includeRequestBodyInCheck", "maxRequestBytes")
        yield Violation(here, "must be more than zero", "write how much of a body the server is sent")


def _http(path: Path, provider: EnvoyExternalAuthorizationHttpProvider) -> Iterator[Violation]:
    if provider.path_prefix and not provider.path_prefix.startswith("/"):
        yield Violation((*path, "pathPrefix"), f"{provider.path_prefix!r} must begin with `/`")
    lists = {
        "includeHeadersInCheck": provider.include_headers_in_check,
        "includeRequestHeadersInCheck": provider.include_request_headers_in_check,
        "headersToUpstreamOnAllow": provider.headers_to_upstream_on_allow,
        "headersToDownstreamOnDeny": provider.headers_to_downstream_on_deny,
        "headersToDownstreamOnAllow": provider.headers_to_downstream_on_allow,
    }
    for name, patterns in lists.items():
        for index, pattern in enumerate(patterns):
            if pattern in ("", "*"):
                yield Violation((*path, name, index), f"{pattern!r} is not a header", "write a name, `x-*` or `*-id`")
    for name, value in provider.include_additional_headers_in_check.items():
        here = (*path, "includeAdditionalHeadersInCheck", name)
        yield from fields.header_name(here, name)
        if any(char in value for char in "\r\n\0"):
            yield Violation(here, "a header value must not contain control characters")
