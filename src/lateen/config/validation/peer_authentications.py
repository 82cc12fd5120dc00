"""Rules of PeerAuthentication, as Istio's validation has them. Called by `validation.rules`."""

from __future__ import annotations

from collections.abc import Iterator

from lateen.config.metadata import Metadata
from lateen.config.security import PeerAuthentication
from lateen.config.validation import fields
from lateen.config.violations import Violation, warning

_PORTS = 65535


def peer_authentication(spec: PeerAuthentication, _metadata: Metadata) -> Iterator[Violation]:
    """Yield what is wrong with a PeerAuthentication."""
    labels = spec.selector.match_labels if spec.selector is not None else {}
    if spec.selector is not None:
        yield from fields.selector(("selector", "matchLabels"), labels)
        if not labels:
            hint = "write matchLabels, or leave the selector out"
            yield warning(("selector",), "the selector is empty: the policy is about the whole namespace", hint)
    if spec.port_level_mtls and not labels:
        hint = "add selector.matchLabels"
        yield Violation(("portLevelMtls",), "modes of ports need a selector: ports are those of some workloads", hint)
    for port in spec.port_level_mtls:
        if not _is_port(port):
            hint = "write the number that the application listens on, 1 to 65535"
            yield Violation(("portLevelMtls", port), f"{port[:80]!r} is not a port", hint)


def _is_port(text: str) -> bool:
    # As protobuf writes a number: no sign, no zeros before it, so that two keys cannot mean one port.
    return (
        text.isascii() and text.isdigit() and text[0] != "0" and len(text) <= len(str(_PORTS)) and int(text) <= _PORTS
    )
