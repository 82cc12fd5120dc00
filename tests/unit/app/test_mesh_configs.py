"""Which MeshConfig is in force."""

from __future__ import annotations

from typing import Any

from lateen.app.mesh_configs import ISTIO_CONFIG_MAP, MeshConfigs
from lateen.config.mesh_config import MeshConfig, parse_mesh_config
from lateen.config.objects import ConfigObject
from lateen.config.parsing import parse
from lateen.model.names import ObjectKey

FILE, _ = parse_mesh_config(b"accessLogFile: /dev/stderr", "mesh.yaml")


def config_map(mesh: str) -> dict[ObjectKey, ConfigObject[Any]]:
    head = "\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\n"
    text = f"{head}data: {{mesh: '{mesh}'}}"
    return {found.key: found for found in parse(text.encode(), "istio.yaml").objects}


def test_without_anything_istios_defaults_are_in_force() -> None:
    assert MeshConfigs(None).in_force({}) == MeshConfig()


def test_istios_config_map_is_in_force_until_it_is_gone() -> None:
    configs = MeshConfigs(None)
    objects = config_map("accessLogFile: /dev/stdout")

    assert set(objects) == {ISTIO_CONFIG_MAP}
    assert configs.in_force(objects).access_log_file == "/dev/stdout"
    assert configs.in_force({}) == MeshConfig()


def test_a_file_wins_over_the_config_map() -> None:
    assert MeshConfigs(FILE).in_force(config_map("accessLogFile: /dev/stdout")).access_log_file == "/dev/stderr"


def test_a_broken_config_map_keeps_the_last_good_one_and_is_a_finding() -> None:
    configs = MeshConfigs(None)
    configs.in_force(config_map("accessLogFile: /dev/stdout"))
    kept = configs.in_force(config_map("acessLogFile: /dev/null"))

    assert kept.access_log_file == "/dev/stdout"
    [finding] = configs.findings
    assert (finding.file, finding.line, finding.name) == ("istio.yaml", 2, "istio")
    assert finding.path == "data.mesh.acessLogFile"
