"""What a proxy begins with: the nearest ProxyConfig, field by field and variable by variable."""

from __future__ import annotations

from typing import Any

from lateen.config.mesh_config import MeshConfig, parse_mesh_config
from lateen.config.objects import ConfigObject
from lateen.config.parsing import parse
from lateen.mesh.proxy_settings import proxy_settings
from lateen.model.findings import has_errors
from lateen.model.proxy_settings import MAX_SETTINGS_BYTES, GroupTraits, ProxySettings, fits
from lateen.model.workloads import WorkloadRegistration

WORKLOAD = WorkloadRegistration(service="web", namespace="shop", address="127.0.0.5", version="v2")


def configs(*texts: str) -> list[ConfigObject[Any]]:
    """Each is `NAMESPACE/NAME[@CREATED] SPEC`."""
    documents = []
    for text in texts:
        place, _, spec = text.partition(" ")
        namespace, _, name = place.partition("/")
        name, _, created = name.partition("@")
        more = f", creationTimestamp: '{created}-01-01T00:00:00Z'" if created else ""
        documents.append(
            "apiVersion: networking.istio.io/v1beta1\nkind: ProxyConfig\n"
            f"metadata: {{name: {name}, namespace: {namespace}{more}}}\nspec: {spec}\n"
        )
    parsed = parse("---\n".join(documents).encode(), "f")
    assert len(parsed.objects) == len(texts), parsed.findings
    return list(parsed.objects)


def mesh(text: str) -> MeshConfig:
    config, findings = parse_mesh_config(text.encode(), "f")
    assert not has_errors(findings)
    return config


def test_a_selector_wins_over_the_namespace_and_that_over_the_root_namespace_and_that_over_the_mesh() -> None:
    found = proxy_settings(
        WORKLOAD,
        configs(
            "istio-system/all {concurrency: 2, environmentVariables: {A: root, B: root, C: root}}",
            "shop/all {environmentVariables: {B: namespace, C: namespace}}",
            "shop/web {selector: {matchLabels: {app: web, version: v2}}, environmentVariables: {C: workload}}",
            "shop/v1 {selector: {matchLabels: {version: v1}}, concurrency: 9}",
            "other/all {concurrency: 9}",
        ),
        mesh("defaultConfig: {concurrency: 1, proxyMetadata: {A: mesh, D: mesh, ISTIO_META_DNS_CAPTURE: 'true'}}"),
    )
    assert found.concurrency == 2
    assert found.environment == {"A": "root", "B": "namespace", "C": "workload", "D": "mesh"}


def test_zero_threads_win_over_a_number_and_unset_does_not() -> None:
    found = configs("shop/all {concurrency: 0}", "shop/web {selector: {matchLabels: {app: web}}}")
    assert proxy_settings(WORKLOAD, found, mesh("defaultConfig: {concurrency: 4}")).concurrency == 0


def test_a_selector_of_the_root_namespace_is_about_that_namespace_only() -> None:
    found = configs("istio-system/web {selector: {matchLabels: {app: web}}, concurrency: 9}")
    assert proxy_settings(WORKLOAD, found, MeshConfig()) == ProxySettings()


def test_of_several_in_one_place_the_oldest_counts() -> None:
    found = configs("shop/young@2026 {concurrency: 9}", "shop/old@2025 {concurrency: 2}")
    assert proxy_settings(WORKLOAD, found, MeshConfig()).concurrency == 2


def test_what_the_mesh_says_of_every_proxy() -> None:
    found = proxy_settings(
        WORKLOAD,
        (),
        mesh(
            "defaultConfig: {drainDuration: 45s, terminationDrainDuration: 5m, "
            "proxyStatsMatcher: {inclusionPrefixes: [a], inclusionSuffixes: [b], inclusionRegexps: ['c.*']}}"
        ),
    )
    assert (found.envoy_drain_seconds, found.drain_seconds) == (45, 300)
    assert (found.stats_prefixes, found.stats_suffixes, found.stats_regexps) == (("a",), ("b",), ("c.*",))


def test_what_is_told_is_what_is_heard() -> None:
    said = ProxySettings(concurrency=0, environment={"A": "b"}, drain_seconds=1.5, stats_regexps=("a",))
    assert ProxySettings.from_json(said.to_json()) == said
    traits = GroupTraits(labels={"a": "b"}, service_account="s", ports=(80,))
    assert GroupTraits.from_json(traits.to_json()) == traits
    assert (ProxySettings.from_json(None), GroupTraits.from_json(None)) == (ProxySettings(), None)


def test_what_cannot_be_a_setting_is_left_out() -> None:
    said = {
        "concurrency": -1,
        "environment": {"LD_PRELOAD": "a", "PATH": "b", "N": 1, "NUL": "\0", "GOOD": "c"},
        "drain_seconds": True,
        "envoy_drain_seconds": 1e9,
        "stats_prefixes": ["", 1, "a"],
        "later": "unknown",
    }
    assert ProxySettings.from_json(said) == ProxySettings(environment={"GOOD": "c"}, stats_prefixes=("a",))


def test_too_much_does_not_fit() -> None:
    assert fits({"a": "b" * (MAX_SETTINGS_BYTES - 20)}, {})
    assert not fits({"a": "b" * MAX_SETTINGS_BYTES}, {})
