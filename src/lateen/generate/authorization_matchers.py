"""One rule of an AuthorizationPolicy as matchers of Envoy's RBAC: what is done, and by whom.

Called by `authorization`. Knows rules, not policies or proxies.

A rule has a list of sources and one of operations, and conditions that hold for all of them. Envoy has principals and
permissions, of each of which one must match; so every condition goes to the side that knows its attribute, and is
repeated in each source or operation.

Bytes have no methods, paths, hosts, headers or tokens. A rule that asks for one does not match a connection, if it
allows; if it refuses, it matches by what is left of it. Either way less is let through.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lateen.config.security import Operation, Rule, Source
from lateen.envoy import rbac
from lateen.envoy.messages import Fields
from lateen.envoy.rbac import Side
from lateen.generate import authorization_attributes as attributes
from lateen.generate.authorization_attributes import Attribute, Setting, condition_attribute


@dataclass(frozen=True, slots=True)
class Matchers:
    """Of each, one must match."""

    permissions: tuple[Fields, ...]
    principals: tuple[Fields, ...]


class _NeverMatchesError(Exception):
    """A rule that allows asks a connection for what it cannot have."""


def matchers_of(rule: Rule, setting: Setting) -> Matchers | None:
    """Translate a rule; None when it can match nothing here."""
    try:
        done: list[Fields] = []
        by: list[Fields] = []
        for condition in rule.when:
            attribute = condition_attribute(condition.key)
            matchers = _matchers(attribute, condition.values, condition.not_values, setting)
            (done if attribute.side == "permissions" else by).extend(matchers)
        sources = [_together("principals", by, _SOURCE, item.source, setting) for item in rule.from_ or ()]
        operations = [_together("permissions", done, _OPERATION, item.operation, setting) for item in rule.to or ()]
    except _NeverMatchesError:
        return None
    return Matchers(
        tuple(operations or (rbac.all_of("permissions", done),)), tuple(sources or (rbac.all_of("principals", by),))
    )


_SOURCE = (
    (attributes.PRINCIPAL, "principals", "not_principals"),
    (attributes.REQUEST_PRINCIPAL, "request_principals", "not_request_principals"),
    (attributes.NAMESPACE, "namespaces", "not_namespaces"),
    (attributes.SERVICE_ACCOUNT, "service_accounts", "not_service_accounts"),
    (attributes.TRUST_DOMAIN, "trust_domains", "not_trust_domains"),
    (attributes.SOURCE_IP, "ip_blocks", "not_ip_blocks"),
    (attributes.REMOTE_IP, "remote_ip_blocks", "not_remote_ip_blocks"),
)
_OPERATION = (
    (attributes.HOST, "hosts", "not_hosts"),
    (attributes.METHOD, "methods", "not_methods"),
    (attributes.PATH, "paths", "not_paths"),
    (attributes.DESTINATION_PORT, "ports", "not_ports"),
)
"""Attributes, the field with the values of which there must be one, and that with those of which there must be none."""


def _together(
    side: Side,
    conditions: Sequence[Fields],
    table: Sequence[tuple[Attribute, str, str]],
    asked: Source | Operation | None,
    setting: Setting,
) -> Fields:
    """Return the matcher of one source or operation and the conditions of its side."""
    found = list(conditions)
    for attribute, field, negated_field in table:
        values, not_values = getattr(asked, field, ()), getattr(asked, negated_field, ())
        if values or not_values:
            found += _matchers(attribute, values, not_values, setting)
    return rbac.all_of(side, found)


def _matchers(attribute: Attribute, values: Sequence[str], not_values: Sequence[str], setting: Setting) -> list[Fields]:
    """Return the matchers of one of the values and of none of the others: all must match."""
    if attribute.http_only and setting.tcp:
        if setting.narrow:
            raise _NeverMatchesError
        return []
    found = []
    if values:
        found.append(rbac.any_of(attribute.side, _each(attribute, values, setting, negated=False)))
    if not_values:
        found.append(rbac.none_of(attribute.side, _each(attribute, not_values, setting, negated=True)))
    return found


def _each(attribute: Attribute, values: Sequence[str], setting: Setting, *, negated: bool) -> list[Fields]:
    match = attribute.match
    if attribute.guarded is not None and setting.narrow == negated:
        match = attribute.guarded
    if attribute.expand is not None:
        values = attribute.expand(values, setting)
    return [match(value) for value in values]
