"""Text to objects: what is accepted, in which forms, and what an object carries."""

import json
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lateen.config.documents import read_documents
from lateen.config.kubernetes import Secret, ServiceSpec
from lateen.config.networking import VirtualService
from lateen.config.parsing import Parsed, find_duplicates, parse
from lateen.model.findings import Severity
from lateen.model.names import ObjectKey

REVIEWS = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: reviews
spec:
  hosts: [reviews]
  http:
  - route:
    - destination: {host: reviews, subset: v1}
      weight: 90
    - destination: {host: reviews, subset: v3}
      weight: 10
"""


def parsed(text: str, **options: Any) -> Parsed:
    return parse(text.encode(), "f.yaml", **options)


def only(text: str) -> Any:
    result = parsed(text)
    assert [str(finding) for finding in result.findings if finding.severity is Severity.ERROR] == []
    (one,) = result.objects
    return one


def virtual_service(http: str, version: str = "v1") -> str:
    return (
        f"apiVersion: networking.istio.io/{version}\nkind: VirtualService\nmetadata: {{name: a}}\n"
        f"spec:\n  hosts: [a]\n  http:\n  - {http}\n"
    )


def test_an_object_carries_its_key_place_and_content() -> None:
    one = only("# a comment\n" + REVIEWS)
    assert one.key == ObjectKey("VirtualService", "default", "reviews")
    assert str(one.origin) == "f.yaml:2"
    assert one.api_version == "networking.istio.io/v1"
    assert isinstance(one.spec, VirtualService)
    assert [route.weight for route in one.spec.http[0].route] == [90, 10]
    assert json.loads(one.document) == yaml.safe_load(REVIEWS)


@pytest.mark.parametrize("version", ["v1", "v1beta1", "v1alpha3"])
def test_all_versions_of_istio_are_alike(version: str) -> None:
    assert only(REVIEWS.replace("/v1", f"/{version}")).spec == only(REVIEWS).spec


def test_the_digest_is_of_the_content_not_of_the_place() -> None:
    moved = only("\n\n" + REVIEWS.replace("hosts: [reviews]", 'hosts:\n  - "reviews"'))
    assert moved.digest == only(REVIEWS).digest
    assert only(REVIEWS.replace("90", "80")).digest != only(REVIEWS).digest


def test_namespace_and_origin_have_defaults() -> None:
    (one,) = parsed(REVIEWS, default_namespace="shop", origin="api").objects
    assert one.key.namespace == "shop"
    assert str(one.origin) == "api"


def test_metadata_of_a_cluster_is_admitted() -> None:
    one = only(
        REVIEWS.replace(
            "  name: reviews\n",
            "  name: reviews\n  namespace: shop\n  labels: {app: reviews}\n  annotations: {note: x}\n"
            "  creationTimestamp: '2026-07-01T12:00:00Z'\n  uid: abc\n  resourceVersion: '5'\n  generation: 2\n"
            "  managedFields: [{manager: kubectl}]\n  ownerReferences: []\n  finalizers: []\n",
        )
        + "status: {anything: [goes]}\n"
    )
    assert one.key.namespace == "shop"
    assert (one.labels, one.annotations, one.created) == ({"app": "reviews"}, {"note": "x"}, "2026-07-01T12:00:00Z")


def test_null_means_unset() -> None:
    one = only(virtual_service("timeout: null\n    retries: null\n    route: [{destination: {host: a}, weight: null}]"))
    assert one.spec.http[0].timeout == ""
    assert only(REVIEWS.replace("  name: reviews\n", "  name: reviews\n  creationTimestamp: null\n")).created == ""


@pytest.mark.parametrize(
    ("http", "field", "expected"),
    [
        (
            "{route: [{destination: {host: a}}], mirror_percentage: {value: 50}, mirror: {host: b}}",
            "mirror_percentage",
            50,
        ),
        (
            "{route: [{destination: {host: a}}], mirrorPercentage: {value: '50'}, mirror: {host: b}}",
            "mirror_percentage",
            50,
        ),
        ("{direct_response: {status: '503'}}", "direct_response", 503),
        ("{directResponse: {status: 503.0}}", "direct_response", 503),
    ],
)
def test_protobuf_names_and_numbers_in_quotes(http: str, field: str, expected: int) -> None:
    value = getattr(only(virtual_service(http)).spec.http[0], field)
    assert getattr(value, "value", None) == expected or value.status == expected


def test_kubernetes_kinds_take_neither() -> None:
    text = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: '80', target_port: 8080}]}\n"
    assert sorted(finding.code for finding in parsed(text).findings) == ["LAT0003", "LAT0005"]


def test_a_service_with_its_usual_fields() -> None:
    one = only(
        "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec:\n  type: NodePort\n  clusterIP: 10.0.0.1\n"
        "  clusterIPs: [10.0.0.1]\n  ipFamilies: [IPv4]\n  ipFamilyPolicy: SingleStack\n  selector: {app: a}\n"
        "  ports:\n  - {name: http, port: 80, targetPort: web, nodePort: 30080, appProtocol: http, protocol: TCP}\n"
    )
    assert isinstance(one.spec, ServiceSpec)
    assert one.spec.ports[0].target_port == "web"
    assert one.spec.cluster_ip == "10.0.0.1"


def test_kinds_whose_fields_stand_beside_metadata() -> None:
    text = """\
apiVersion: v1
kind: Secret
metadata: {name: cert, namespace: istio-system}
type: kubernetes.io/tls
data: {tls.crt: YQ==, tls.key: YQ==}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: a-1, labels: {kubernetes.io/service-name: a}}
addressType: IPv4
endpoints: [{addresses: [10.0.0.1], conditions: {ready: true}, nodeName: n, zone: z}]
ports: [{name: http, port: 80, protocol: TCP}]
---
apiVersion: v1
kind: Endpoints
metadata: {name: a}
subsets: [{addresses: [{ip: 10.0.0.1}], ports: [{port: 80}]}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio}
data: {mesh: "accessLogFile: /dev/stdout"}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {a: b}}
"""
    result = parsed(text)
    assert result.findings == ()
    assert [str(one.key) for one in result.objects] == [
        "Secret istio-system/cert",
        "EndpointSlice default/a-1",
        "Endpoints default/a",
        "ConfigMap default/istio",
        "Namespace /shop",
    ]
    assert isinstance(result.objects[0].spec, Secret)


@pytest.mark.parametrize(
    ("api_version", "kind", "hint"),
    [
        ("apps/v1", "Deployment", "not one that a mesh reads"),
        ("v1", "ServiceAccount", "not one that a mesh reads"),
        ("gateway.networking.k8s.io/v1", "UDPRoute", "not supported in this version"),
        ("networking.istio.io/v1", "VirtualServce", "did you mean VirtualService?"),
        ("istio.io/v1", "VirtualService", "networking.istio.io/v1"),
        ("serving.knative.dev/v1", "Service", "Service is of v1"),
    ],
)
def test_other_kinds_are_a_warning(api_version: str, kind: str, hint: str) -> None:
    result = parsed(f"apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: a}}\nspec: {{x: [1]}}\n")
    (finding,) = result.findings
    assert (finding.code, finding.severity, finding.line) == ("LAT0002", Severity.WARNING, 2)
    assert kind in finding.message
    assert hint in finding.message
    assert result.objects == ()


def test_a_broken_document_does_not_harm_its_neighbours() -> None:
    result = parsed(
        REVIEWS + "---\n" + virtual_service("{rout: []}") + "---\n" + REVIEWS.replace("name: reviews", "name: b")
    )
    assert [one.key.name for one in result.objects] == ["reviews", "b"]
    assert {finding.name for finding in result.findings} == {"a"}


@pytest.mark.parametrize("other", ["hosts: reviews", "hosts: [reviews]\n  gatewys: [a]"])
def test_a_wrong_value_is_said_beside_what_cannot_be_read(other: str) -> None:
    """What is wrong only together with other fields is not, as those may be the ones that could not be read."""
    found = parsed(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\nspec:\n  "
        + other
        + "\n  http:\n"
        "  - retries: {attempts: x, perTryTimeout: 2 seconds}\n    timeout: soon\n    route: []\n"
    ).findings
    wrong = {one.path: one.code for one in found if one.path.startswith("spec.http")}
    assert wrong == {
        "spec.http[0].retries.attempts": "LAT0005",
        "spec.http[0].retries.perTryTimeout": "LAT0006",
        "spec.http[0].timeout": "LAT0006",
    }


def test_all_errors_of_a_document_come_at_once() -> None:
    result = parsed(
        """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: Reviews
  label: {a: b}
spec:
  hosts: reviews
  http:
  - rout: []
    timeout: 5
  - route:
    - destination: {hst: reviews}
      weight: many
extra: 1
"""
    )
    assert [(finding.code, finding.line, finding.path) for finding in result.findings] == [
        ("LAT0006", 4, "metadata.name"),
        ("LAT0003", 5, "metadata.label"),
        ("LAT0005", 7, "spec.hosts"),
        ("LAT0003", 9, "spec.http[0].rout"),
        ("LAT0005", 10, "spec.http[0].timeout"),
        ("LAT0008", 12, "spec.http[1].route[0].destination"),
        ("LAT0003", 12, "spec.http[1].route[0].destination.hst"),
        ("LAT0005", 13, "spec.http[1].route[0].weight"),
        ("LAT0003", 14, "extra"),
    ]
    assert {finding.kind for finding in result.findings} == {"VirtualService"}
    assert result.objects == ()


@pytest.mark.parametrize(
    ("http", "hint"),
    [
        ("{rout: []}", "did you mean `route`?"),
        ("{route: [{host: a}]}", "did you mean `destination.host`?"),
        ("{route: [{destination: {host: a}, wieght: 5}]}", "did you mean `weight`?"),
        ("{timeout: 5, route: [{destination: {host: a}}]}", "write a number and a unit: 5s"),
        ("{match: [{sourceLabels: {version: 1}}], route: [{destination: {host: a}}]}", 'quote it: "1"'),
        ("{match: [{ignoreUriCase: 'yes'}], route: [{destination: {host: a}}]}", "write true, without quotes"),
        ("{redirect: {derivePort: FROM_REQUESTPORT}}", "did you mean FROM_REQUEST_PORT?"),
        ("{route: {destination: {host: a}}}", "begin each item with `- `"),
    ],
)
def test_findings_say_what_to_write_instead(http: str, hint: str) -> None:
    messages = [finding.message for finding in parsed(virtual_service(http)).findings]
    assert any(hint in message for message in messages), messages


def test_the_same_key_twice_is_an_error_and_the_first_counts() -> None:
    result = parsed(REVIEWS + "---\n" + REVIEWS.replace("90", "80").replace("/v1", "/v1beta1"))
    assert [one.spec.http[0].route[0].weight for one in result.objects] == [90]
    (finding,) = result.findings
    assert (finding.code, finding.line) == ("LAT0007", 14)
    assert "f.yaml:1" in finding.message


def test_duplicates_of_several_files_are_found() -> None:
    first, second = parse(REVIEWS.encode(), "a.yaml"), parse(REVIEWS.encode(), "b.yaml")
    (finding,) = find_duplicates([*first.objects, *second.objects])
    assert (finding.code, finding.file, finding.line) == ("LAT0007", "b.yaml", 1)
    assert "a.yaml:1" in finding.message
    assert find_duplicates(first.objects) == ()


def test_positions_lead_to_every_field() -> None:
    result = parsed(REVIEWS)
    places = result.positions[result.objects[0].key]
    assert places.line_of("spec.http[0].route[1].weight") == (12, 7)


def test_items_of_a_list_are_objects_of_their_own() -> None:
    document = yaml.safe_load(REVIEWS)
    other = yaml.safe_load(REVIEWS.replace("name: reviews", "name: b"))
    result = parsed(yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": [document, other]}))
    assert [one.key.name for one in result.objects] == ["reviews", "b"]


def test_no_message_shows_a_secret() -> None:
    head = "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\n"
    broken = parsed(head + "stringData: {p: 31337}\ndata: {q: [hunter2]}\n---\n" + head + "data: {q: 'hunter2!'}\n")
    shown = " ".join(str(finding) for finding in broken.findings)
    assert len(broken.findings) == 3
    assert "31337" not in shown
    assert "hunter2" not in shown
    good = only(head + "data: {q: aHVudGVyMg==}\n")
    assert "aHVudGVyMg" not in repr(good) + repr(good.spec)


@given(st.binary(max_size=300))
def test_no_bytes_make_parsing_raise(content: bytes) -> None:
    parse(content, "f")


NAMES = [
    *("hosts", "http", "route", "match", "uri", "regex", "prefix", "destination", "host", "weight", "headers"),
    *("servers", "port", "number", "tls", "mode", "trafficPolicy", "loadBalancer", "subsets", "ports", "timeout"),
]
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.sampled_from(["", "a", "*", "1s", "a b"])
)
SHAPES = st.recursive(
    LEAVES,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.sampled_from(NAMES), below, max_size=4),
    max_leaves=12,
)


@given(
    st.sampled_from(["VirtualService", "DestinationRule", "Gateway", "ServiceEntry", "WorkloadEntry", "Sidecar"]),
    SHAPES,
    SHAPES,
)
def test_no_shape_makes_parsing_raise(kind: str, metadata: object, spec: object) -> None:
    """Whatever stands under the known names: objects, or findings with a place."""
    document = {"apiVersion": "networking.istio.io/v1", "kind": kind, "metadata": metadata, "spec": spec}
    result = parse(json.dumps(document).encode(), "f")
    assert all(finding.line == 1 for finding in result.findings)


WEIGHTS = st.lists(st.integers(0, 100), min_size=1, max_size=4).filter(lambda weights: sum(weights) > 0)


@given(
    WEIGHTS,
    st.sampled_from(["1s", "250ms", "1h"]),
    st.dictionaries(st.sampled_from(["x-a", "x-b"]), st.text("ab%", max_size=3)),
)
def test_an_object_s_document_parses_to_the_same_object(
    weights: list[int], timeout: str, headers: dict[str, str]
) -> None:
    """Writing out `document` and reading it again changes nothing: the store and `get -o yaml` rely on it."""
    route = [{"destination": {"host": "a"}, "weight": weight} for weight in weights]
    match = [{"headers": {name: {"exact": value} for name, value in headers.items()}}]
    spec = {"hosts": ["a"], "http": [{"route": route, "timeout": timeout, "match": match}]}
    text = yaml.safe_dump(
        {"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "a"}, "spec": spec}
    )
    first = only(text)
    again = parse(first.document, "g", origin="api").objects[0]
    assert (again.key, again.spec, again.digest, again.document) == (
        first.key,
        first.spec,
        first.digest,
        first.document,
    )
    assert msgspec.to_builtins(again.spec) == msgspec.to_builtins(first.spec)


def test_reading_documents_alone_gives_what_parsing_reads() -> None:
    (document,) = read_documents(REVIEWS.encode(), "f").documents
    assert json.loads(only(REVIEWS).document) == document.value


def test_rules_are_checked_beside_fields_that_cannot_be_read() -> None:
    """An unknown field does not hide an out-of-range weight elsewhere, and causes no finding of its own kind."""
    text = virtual_service(
        "rout: []\n  - route: [{destination: {host: a}, weight: -1}]\n  - timeout: 5\n    redirect: {}"
    )
    assert [(finding.code, finding.path) for finding in parsed(text).findings] == [
        ("LAT0003", "spec.http[0].rout"),
        ("IST0106", "spec.http[1].route[0].weight"),
        ("LAT0005", "spec.http[2].timeout"),
    ]
    text = virtual_service("timout: 5s\n    redirect: {uri: /a}\n  - route: [{destination: {host: a}, weight: -1}]")
    assert [(finding.code, finding.path) for finding in parsed(text).findings] == [
        ("LAT0003", "spec.http[0].timout"),
        ("IST0106", "spec.http[1].route[0].weight"),
    ]
