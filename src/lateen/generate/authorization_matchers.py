"""One rule of an AuthorizationPolicy as matchers of Envoy's RBAC: what is done, and by whom.

Called by `authorization`. Knows rules, not policies or proxies.

A rule has a list of sources and one of operations, and conditions that hold for all of them. Envoy has principals and
permissions, of each of which one must match; so every condition goes to the side that knows its attribute, and is
repeated in each source or operation.

Bytes have no methods, paths, hosts, headers or tokens. A rule that asks for one does not match a connection, if it
allows; if it refuses, it matches by what is left of it. Either way less is let through.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
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
        done, by = _Conditions("permissions", setting), _Conditions("principals", setting)
        for condition in rule.when:
            attribute = condition_attribute(condition.key)
            (done if attribute.side == "permissions" else by).add(attribute, condition.values, condition.not_values)
        sources = [by.with_all(_source(item.source or Source())) for item in rule.from_ or ()] or [by.matcher()]
        operations = [done.with_all(_operation(item.operation or Operation())) for item in rule.to or ()]
        return Matchers(tuple(operations or [done.matcher()]), tuple(sources))
    except _NeverMatchesError:
        return None


_Asked = tuple[Attribute, Sequence[str], Sequence[str]]
"""An attribute, the values it must have one of, and those it must not have."""


class _Conditions:
    """Matchers of one side, all of which must match."""

    def __init__(self, side: Side, setting: Setting, matchers: Iterable[Fields] = ()) -> None:
        self._side = side
        self._setting = setting
        self._matchers = list(matchers)

    def add(self, attribute: Attribute, values: Sequence[str], not_values: Sequence[str]) -> None:
        """Ask for one of the values and for none of the others."""
        if attribute.http_only and self._setting.tcp:
            if self._setting.narrow:
                raise _NeverMatchesError
            return
        if values:
            self._matchers.append(rbac.any_of(self._side, self._each(attribute, values, negated=False)))
        if not_values:
            self._matchers.append(rbac.none_of(self._side, self._each(attribute, not_values, negated=True)))

    def with_all(self, asked: Iterable[_Asked]) -> Fields:
        """Return the matcher of these and of what was asked for in addition."""
        more = _Conditions(self._side, self._setting, self._matchers)
        for attribute, values, not_values in asked:
            if values or not_values:
                more.add(attribute, values, not_values)
        return more.matcher()

    def matcher(self) -> Fields:
        """Return the matcher of all."""
        return rbac.all_of(self._side, self._matchers)

    def _each(self, attribute: Attribute, values: Sequence[str], *, negated: bool) -> list[Fields]:
        match = attribute.match
        if attribute.guarded is not None and self._setting.narrow == negated:
            match = attribute.guarded
        if attribute.expand is not None:
            values = attribute.expand(values, self._setting)
        return [match(value) for value in values]


def _source(source: Source) -> Iterator[_Asked]:
    yield attributes.PRINCIPAL, source.principals, source.not_principals
    yield attributes.REQUEST_PRINCIPAL, source.request_principals, source.not_request_principals
    yield attributes.NAMESPACE, source.namespaces, source.not_namespaces
    yield attributes.SERVICE_ACCOUNT, source.service_accounts, source.not_service_accounts
    yield attributes.TRUST_DOMAIN, source.trust_domains, source.not_trust_domains
    yield attributes.SOURCE_IP, source.ip_blocks, source.not_ip_blocks
    yield attributes.REMOTE_IP, source.remote_ip_blocks, source.not_remote_ip_blocks


def _operation(operation: Operation) -> Iterator[_Asked]:
    yield attributes.HOST, operation.hosts, operation.not_hosts
    yield attributes.METHOD, operation.methods, operation.not_methods
    yield attributes.PATH, operation.paths, operation.not_paths
    yield attributes.DESTINATION_PORT, operation.ports, operation.not_ports
