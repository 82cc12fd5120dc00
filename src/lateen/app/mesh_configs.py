"""Which MeshConfig is in force: the file of `--mesh-config`, else Istio's ConfigMap, else the defaults. Pure.

Called by the control plane and by the offline commands. Source: Istio keeps the mesh's settings in the ConfigMap
`istio` of its root namespace, under the key `mesh`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lateen.config.kubernetes import ConfigMap
from lateen.config.mesh_config import MeshConfig, parse_mesh_config
from lateen.config.objects import ConfigObject
from lateen.model.findings import Finding, has_errors
from lateen.model.names import ROOT_NAMESPACE, ObjectKey

ISTIO_CONFIG_MAP = ObjectKey("ConfigMap", ROOT_NAMESPACE, "istio")


class MeshConfigs:
    """The MeshConfig in force. A broken ConfigMap keeps the last good one of it."""

    def __init__(self, file: MeshConfig | None) -> None:
        """`file`: what `--mesh-config` gave; it wins over any ConfigMap. None when it was not given."""
        self._file = file
        self._digest = ""
        self._config_map = MeshConfig()
        self._findings: tuple[Finding, ...] = ()

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What is wrong with the ConfigMap that was looked at last."""
        return self._findings

    def in_force(self, objects: Mapping[ObjectKey, ConfigObject[Any]]) -> MeshConfig:
        """Return the MeshConfig for a mesh of these objects."""
        if self._file is not None:
            return self._file
        found = objects.get(ISTIO_CONFIG_MAP)
        if found is None or not isinstance(found.spec, ConfigMap) or "mesh" not in found.spec.data:
            self._digest, self._config_map, self._findings = "", MeshConfig(), ()
        elif found.digest != self._digest:
            self._digest = found.digest
            self._read(found.spec.data["mesh"], found)
        return self._config_map

    def _read(self, text: str, found: ConfigObject[Any]) -> None:
        read, findings = parse_mesh_config(text.encode(), found.origin.source)
        # Lines inside the text are not lines of the file: the object's own line is the nearest that is known.
        self._findings = tuple(
            replace(
                finding,
                line=found.origin.line,
                column=0,
                kind=found.key.kind,
                namespace=found.key.namespace,
                name=found.key.name,
                path=f"data.mesh.{finding.path}".rstrip("."),
            )
            for finding in findings
        )
        if not has_errors(self._findings):
            self._config_map = read
