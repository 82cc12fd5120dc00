"""Metadata that leads from an Envoy object back to the document it came from, and to its service.

`filter_metadata.lateen` holds `origin` (`bookshop.yaml:12`) and `config` (`VirtualService default/reviews`);
`filter_metadata.istio` holds what Istio's telemetry expects (`config`, `services`, `subset`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from lateen.config.kinds import document_kind
from lateen.config.objects import ConfigObject
from lateen.envoy.messages import Fields, Message, prepared
from lateen.model.names import ObjectKey
from lateen.model.services import Service

_CAPITAL = re.compile(r"(?<=[a-z])(?=[A-Z])")


def config_metadata(source: ConfigObject[Any]) -> Fields:
    """Return the metadata of something made from one configuration object."""
    source = source.source()
    return {"filter_metadata": {"istio": _struct({"config": _api_path(source)}), "lateen": _origin(source)}}


def shared_metadata(source: ConfigObject[Any]) -> Message:
    """Return the same, ready to be put into many messages. Do not change it."""
    return prepared("envoy.config.core.v3.Metadata", config_metadata(source))


def service_metadata(service: Service) -> Fields:
    """Return the metadata of something made from a service alone (a default route, its listener)."""
    return {"filter_metadata": {"lateen": _service_origin(service)}}


def setting_metadata(setting: str) -> Fields:
    """Return the metadata of something that a mesh-wide setting decides (`MeshConfig outboundTrafficPolicy`)."""
    return {"filter_metadata": {"lateen": _struct({"config": setting})}}


def cluster_metadata(services: Sequence[Service], *, rule: ConfigObject[Any] | None = None, subset: str = "") -> Fields:
    """Return the metadata of a cluster that leads to `services` (at least one) under a DestinationRule."""
    listed = [
        {"struct_value": {"host": service.host, "name": service.name or service.host, "namespace": service.namespace}}
        for service in services
    ]
    istio: Fields = {"services": {"list_value": {"values": listed}}}
    rule = rule and rule.source()
    if rule is not None:
        istio["config"] = {"string_value": _api_path(rule)}
    if subset:
        istio["subset"] = {"string_value": subset}
    if services[0].external:
        istio["external"] = {"bool_value": True}
    lateen = _service_origin(services[0]) if rule is None else _origin(rule)
    return {"filter_metadata": {"istio": {"fields": istio}, "lateen": lateen}}


def _origin(source: ConfigObject[Any]) -> Fields:
    key = source.key
    shown = ObjectKey(document_kind(key.kind), key.namespace, key.name)
    return _struct({"origin": str(source.origin), "config": str(shown)})


def _service_origin(service: Service) -> Fields:
    return _struct({"origin": str(service.origin), "config": f"service {service.host}"})


def _struct(values: dict[str, str]) -> Fields:
    # A map's Struct value is given in the message's own shape; only a direct Struct field takes a plain dict.
    return {"fields": {key: {"string_value": value} for key, value in values.items()}}


def _api_path(source: ConfigObject[Any]) -> str:
    key = source.key
    kind = _CAPITAL.sub("-", document_kind(key.kind)).lower()
    group = source.api_version.partition("/")[0]
    return f"/apis/{group}/v1/namespaces/{key.namespace}/{kind}/{key.name}"
