"""WasmPlugin and TrafficExtension of `extensions.istio.io`: code of users inside their proxies.

Structs without logic, as in `config.networking`, in the order of the reference.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

from lateen.config.networking import MatchLabelsSelector, PortSelector, Spec
from lateen.config.security import PolicyTargetReference


class PluginPhase(Enum):
    """Where in the chain of filters a WasmPlugin stands."""

    UNSPECIFIED_PHASE = "UNSPECIFIED_PHASE"
    """At the end, right before the router."""
    AUTHN = "AUTHN"
    """Before authentication."""
    AUTHZ = "AUTHZ"
    """Before authorization, after authentication."""
    STATS = "STATS"
    """Before Istio's statistics, after authorization."""


class ExtensionPhase(Enum):
    """Where in the chain of filters a TrafficExtension stands; as PluginPhase."""

    UNSPECIFIED = "UNSPECIFIED"
    AUTHN = "AUTHN"
    AUTHZ = "AUTHZ"
    STATS = "STATS"


class PluginType(Enum):
    """What a module is made for."""

    UNSPECIFIED_PLUGIN_TYPE = "UNSPECIFIED_PLUGIN_TYPE"
    """HTTP."""
    HTTP = "HTTP"
    NETWORK = "NETWORK"


class PullPolicy(Enum):
    """When a module is fetched again."""

    UNSPECIFIED_POLICY = "UNSPECIFIED_POLICY"
    """IfNotPresent, but Always for the tag `latest`."""
    IF_NOT_PRESENT = "IfNotPresent"
    ALWAYS = "Always"


class FailStrategy(Enum):
    """What becomes of traffic when a module cannot be fetched or fails."""

    FAIL_CLOSE = "FAIL_CLOSE"
    FAIL_OPEN = "FAIL_OPEN"
    FAIL_RELOAD = "FAIL_RELOAD"


class EnvValueSource(Enum):
    """Where a variable of a module's environment comes from."""

    INLINE = "INLINE"
    HOST = "HOST"
    """The proxy's own environment."""


class EnvVar(Spec, frozen=True, kw_only=True):
    """One variable of a module's environment."""

    name: str = ""
    """Name of the variable."""
    value_from: EnvValueSource = EnvValueSource.INLINE
    value: str = ""
    """With INLINE only, at most 2048 characters."""


class VmConfig(Spec, frozen=True, kw_only=True):
    """The virtual machine of a module."""

    env: list[EnvVar] = []
    """At most 256, with different names."""


class TrafficMode(Enum):
    """On which side of a request."""

    UNDEFINED = "UNDEFINED"
    """Both."""
    CLIENT = "CLIENT"
    SERVER = "SERVER"
    CLIENT_AND_SERVER = "CLIENT_AND_SERVER"


class TrafficSelector(Spec, frozen=True, kw_only=True):
    """Traffic by side and port; all must hold."""

    mode: TrafficMode = TrafficMode.UNDEFINED
    ports: list[PortSelector] = []
    """Unset is every port."""


class WasmPlugin(Spec, frozen=True, kw_only=True):
    """A Wasm module in some proxies."""

    selector: MatchLabelsSelector | None = None
    target_ref: PolicyTargetReference | None = None
    target_refs: list[PolicyTargetReference] = []
    url: str
    """`oci://`, `file://`, `http://` or `https://`; without a scheme `oci://`."""
    sha256: str = ""
    """Of the module or the image, 64 lower-case hexadecimal digits; unset is not checked."""
    image_pull_policy: PullPolicy = PullPolicy.UNSPECIFIED_POLICY
    image_pull_secret: str = ""
    """Name of a Secret in the same namespace."""
    verification_key: str = ""
    """Public key that the image is signed with."""
    plugin_config: dict[str, Any] = {}
    """What the module is given, in its own words."""
    plugin_name: str = ""
    """Name that the module gets as its root ID."""
    phase: PluginPhase = PluginPhase.UNSPECIFIED_PHASE
    priority: int | None = None
    """Within a phase the highest comes first; unset is 0."""
    fail_strategy: FailStrategy = FailStrategy.FAIL_CLOSE
    vm_config: VmConfig | None = None
    match: list[TrafficSelector] = []
    """Any of them; unset is all traffic."""
    type: PluginType = PluginType.UNSPECIFIED_PLUGIN_TYPE


class WasmConfig(Spec, frozen=True, kw_only=True):
    """The Wasm module of a TrafficExtension; fields as in WasmPlugin."""

    url: str
    """Where the module is."""
    sha256: str = ""
    """Checksum of the module or the image."""
    image_pull_policy: PullPolicy = PullPolicy.UNSPECIFIED_POLICY
    image_pull_secret: str = ""
    """Name of a Secret in the same namespace."""
    verification_key: str = ""
    """Public key that the image is signed with."""
    plugin_config: dict[str, Any] = {}
    """What the module is given."""
    plugin_name: str = ""
    """Name that the module gets as its root ID."""
    fail_strategy: FailStrategy = FailStrategy.FAIL_CLOSE
    vm_config: VmConfig | None = None
    type: PluginType = PluginType.UNSPECIFIED_PLUGIN_TYPE


class LuaConfig(Spec, frozen=True, kw_only=True):
    """A script for Envoy's Lua filter."""

    inline_code: str
    """1 to 65536 characters."""


class TrafficExtension(Spec, frozen=True, kw_only=True):
    """A Wasm module or a Lua script in some proxies."""

    selector: MatchLabelsSelector | None = None
    target_refs: list[PolicyTargetReference] = []
    phase: ExtensionPhase = ExtensionPhase.UNSPECIFIED
    priority: int | None = None
    """Within a phase the highest comes first; unset is 0."""
    match: list[TrafficSelector] = []
    wasm: WasmConfig | None = None
    lua: LuaConfig | None = None
    """Exactly one of `wasm` and `lua` is set."""
