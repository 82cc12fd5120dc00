"""Kinds by group and by the words of the command line; documents as they are shown."""

import pytest

from lateen.config.kinds import find_kind, kind_named, kind_names
from lateen.config.redaction import HIDDEN, redacted


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("vs", "VirtualService"),
        ("VirtualServices", "VirtualService"),
        ("virtualservice", "VirtualService"),
        ("virtualservices.networking.istio.io", "VirtualService"),
        ("dr", "DestinationRule"),
        ("svc", "Service"),
        ("ns", "Namespace"),
        ("endpointslices", "EndpointSlice"),
        ("gateway", "Gateway"),
        ("gw", "Gateway"),
        ("gateways.networking.istio.io", "Gateway"),
        ("gtw", "KubernetesGateway"),
        ("gateways.gateway.networking.k8s.io", "KubernetesGateway"),
        ("gateway.v1.gateway.networking.k8s.io", "KubernetesGateway"),
        ("httproute", "HTTPRoute"),
    ],
)
def test_words_for_kinds(word: str, name: str) -> None:
    kind = kind_named(word)
    assert kind is not None
    assert kind.name == name


def test_unknown_words_are_none_and_known_ones_unique() -> None:
    assert kind_named("pods") is None
    assert len(set(kind_names())) == len(kind_names())


def test_the_group_is_part_of_a_kind() -> None:
    istio, other = find_kind("networking.istio.io", "Gateway"), find_kind("gateway.networking.k8s.io", "Gateway")
    assert (istio and istio.name, other and other.name) == ("Gateway", "KubernetesGateway")
    assert find_kind("gateway.networking.k8s.io", "VirtualService") is None
    assert find_kind("networking.istio.io", "KubernetesGateway") is None


def test_secrets_are_shown_without_values() -> None:
    note = {"kubectl.kubernetes.io/last-applied-configuration": "hunter2", "other": "x"}
    document = {
        "kind": "Secret",
        "metadata": {"name": "a", "annotations": note},
        "data": {"k": "hunter2"},
        "stringData": {"p": "hunter2"},
    }
    shown = redacted(document)
    assert "hunter2" not in str(shown)
    assert shown["data"] == {"k": HIDDEN}
    assert shown["metadata"]["annotations"]["other"] == "x"
    assert document["data"] == {"k": "hunter2"}, "the argument stays as it was"
    assert redacted({"kind": "ConfigMap", "data": {"k": "v"}})["data"] == {"k": "v"}
