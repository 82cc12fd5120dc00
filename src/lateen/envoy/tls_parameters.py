"""MeshConfig's `tlsDefaults`: what TLS that is not the mesh's own begins with, in clients and in gateways.

Called by `generate.gateway_tls` and `cluster_policies`. Source: Istio's MeshConfig reference, TLSConfig: the oldest
version is for servers only, and what a Gateway says itself wins.
"""

from __future__ import annotations

from lateen.config.mesh_config import MeshConfig, MeshTLSProtocol, TLSConfig
from lateen.config.validation.gateways import CIPHER_SUITES
from lateen.config.validation.mesh_settings import ECDH_CURVES
from lateen.envoy.messages import Fields

_OLDEST = {MeshTLSProtocol.TLSV1_2: "TLSv1_2", MeshTLSProtocol.TLSV1_3: "TLSv1_3"}


def client_defaults(mesh_config: MeshConfig) -> Fields:
    """Return fields of TlsParameters for clients."""
    defaults = mesh_config.tls_defaults or TLSConfig()
    # One unknown name makes Envoy refuse the cluster; validation has said that it is ignored.
    suites = [suite for suite in defaults.cipher_suites if suite in CIPHER_SUITES]
    curves = [curve for curve in defaults.ecdh_curves if curve in ECDH_CURVES]
    return {
        **({"cipher_suites": list(dict.fromkeys(suites))} if suites else {}),
        **({"ecdh_curves": list(dict.fromkeys(curves))} if curves else {}),
    }


def server_defaults(mesh_config: MeshConfig) -> Fields:
    """Return fields of TlsParameters for gateways."""
    oldest = _OLDEST.get((mesh_config.tls_defaults or TLSConfig()).min_protocol_version)
    return {**client_defaults(mesh_config), **({"tls_minimum_protocol_version": oldest} if oldest else {})}
