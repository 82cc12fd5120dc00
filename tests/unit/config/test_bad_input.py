"""Broken documents, each with the code, line and path that its author is told."""

import pytest

from lateen.config.parsing import parse
from lateen.model.findings import Severity

HEAD = "apiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata:\n  name: a\n"


def document(kind: str, spec: str) -> str:
    """A document whose spec begins in line 5."""
    return HEAD.format(kind=kind) + "spec:\n" + "".join(f"  {line}\n" for line in spec.splitlines())


VS = "hosts: [a]\nhttp:\n- route:\n  - destination: {host: a}\n"
ROUTES = "hosts: [a]\nhttp:\n- route:\n"

CASES: dict[str, tuple[str, str, int, str]] = {
    "no apiVersion": ("kind: VirtualService\nmetadata: {name: a}\n", "LAT0008", 1, ""),
    "no kind": ("apiVersion: v1\nmetadata: {name: a}\n", "LAT0008", 1, ""),
    "kind is a number": ("apiVersion: v1\nkind: 5\nmetadata: {name: a}\n", "LAT0005", 2, "kind"),
    "no metadata": ("apiVersion: v1\nkind: Namespace\n", "LAT0008", 1, ""),
    "metadata is text": ("apiVersion: v1\nkind: Namespace\nmetadata: a\n", "LAT0005", 3, "metadata"),
    "no name": ("apiVersion: v1\nkind: Namespace\nmetadata: {labels: {}}\n", "LAT0008", 3, "metadata"),
    "generateName": (
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  generateName: a-\n",
        "LAT0008",
        4,
        "metadata.generateName",
    ),
    "name with a capital": ("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: A\n", "LAT0006", 4, "metadata.name"),
    "name is a number": ("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: 5\n", "LAT0005", 4, "metadata.name"),
    "namespace with a dot": (
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: a\n  namespace: a.b\n",
        "LAT0006",
        5,
        "metadata.namespace",
    ),
    "label is a number": (
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: a\n  labels: {v: 1}\n",
        "LAT0005",
        5,
        "metadata.labels.v",
    ),
    "bad timestamp": (
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: a\n  creationTimestamp: yesterday\n",
        "LAT0006",
        5,
        "metadata.creationTimestamp",
    ),
    "unknown version": (HEAD.format(kind="Gateway").replace("/v1", "/v2"), "LAT0010", 1, "apiVersion"),
    "spec is a list": (document("VirtualService", "- a"), "LAT0005", 5, "spec"),
    "unknown field": (document("VirtualService", VS + "hots: [b]"), "LAT0003", 10, "spec.hots"),
    "unknown field deep": (document("VirtualService", VS + "  timout: 5s"), "LAT0003", 10, "spec.http[0].timout"),
    "field beside spec": (document("VirtualService", VS) + "hosts: [a]\n", "LAT0003", 10, "hosts"),
    "duplicate key": (document("VirtualService", VS + "hosts: [b]"), "LAT0009", 10, "spec.hosts"),
    "weights beyond Envoy's": (
        document("VirtualService", ROUTES + "  - {destination: {host: a}, weight: 2147483647}\n" * 3),
        "LAT0006",
        8,
        "spec.http[0].route",
    ),
    "weight below 0": (
        document("VirtualService", ROUTES + "  - destination: {host: a}\n    weight: -1"),
        "IST0106",
        10,
        "spec.http[0].route[0].weight",
    ),
    "weight is text": (
        document("VirtualService", ROUTES + "  - destination: {host: a}\n    weight: all"),
        "LAT0005",
        10,
        "spec.http[0].route[0].weight",
    ),
    "weight beyond 32 bits": (
        document("VirtualService", ROUTES + "  - destination: {host: a}\n    weight: 99999999999"),
        "LAT0006",
        10,
        "spec.http[0].route[0].weight",
    ),
    "no destination": (document("VirtualService", ROUTES + "  - weight: 5"), "LAT0008", 9, "spec.http[0].route[0]"),
    "null list item": (document("VirtualService", "hosts: [a]\nhttp:\n- null"), "LAT0005", 8, "spec.http[0]"),
    "host is a list": (document("DestinationRule", "host: [a]"), "LAT0005", 6, "spec.host"),
    "no host": (document("DestinationRule", "subsets: []"), "LAT0008", 5, "spec"),
    "unknown enum": (
        document("DestinationRule", "host: a\ntrafficPolicy:\n  loadBalancer:\n    simple: ROUND_ROBBIN"),
        "LAT0006",
        9,
        "spec.trafficPolicy.loadBalancer.simple",
    ),
    "port out of range": (
        document("ServiceEntry", "hosts: [a.b]\nports:\n- {number: 70000, name: http, protocol: HTTP}"),
        "LAT0006",
        8,
        "spec.ports[0].number",
    ),
    "bad duration": (document("VirtualService", VS + "  timeout: 5 seconds"), "LAT0006", 10, "spec.http[0].timeout"),
    "bad regex": (
        document("VirtualService", VS + "  match:\n  - uri: {regex: '(a'}"),
        "IST0106",
        11,
        "spec.http[0].match[0].uri.regex",
    ),
    "secret is not base64": (
        "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ndata:\n  k: '%'\n",
        "LAT0006",
        5,
        "data.k",
    ),
    "tab": (document("VirtualService", "hosts:\n\t- a"), "LAT0001", 7, ""),
    "open bracket": (document("VirtualService", "hosts: [a\nhttp: 5"), "LAT0001", 7, ""),
}


@pytest.mark.parametrize("name", CASES)
def test_a_broken_document_gives_its_finding_and_no_object(name: str) -> None:
    text, code, line, path = CASES[name]
    result = parse(text.encode(), "bad.yaml")
    errors = [finding for finding in result.findings if finding.severity is Severity.ERROR]
    assert [(finding.code, finding.line, finding.path) for finding in errors] == [(code, line, path)]
    assert errors[0].file == "bad.yaml"
    assert errors[0].column > 0
    assert result.objects == ()
