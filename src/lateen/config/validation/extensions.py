"""Rules of WasmPlugin and TrafficExtension, as Istio's validation has them. Called by `validation.rules`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from lateen.config.extensions import (
    EnvValueSource,
    TrafficExtension,
    TrafficSelector,
    VmConfig,
    WasmConfig,
    WasmPlugin,
)
from lateen.config.metadata import Metadata
from lateen.config.positions import Path
from lateen.config.validation import fields
from lateen.config.validation.policy_targets import attachment, inert_reference
from lateen.config.violations import Violation

_SCHEMES = ("", "oci", "file", "http", "https")
_SHA256 = re.compile(r"[a-f0-9]{64}")
_LONGEST_NAME = 256
_LONGEST_SECRET = 253
_LONGEST_VALUE = 2048
_MOST_VARIABLES = 256
_LONGEST_SCRIPT = 65536


def wasm_plugin(spec: WasmPlugin, metadata: Metadata) -> Iterator[Violation]:
    """Yield what is wrong with a WasmPlugin."""
    attached = attachment(spec.selector, spec.target_ref, spec.target_refs, metadata.namespace)
    yield from (one for one in attached if not inert_reference(one))
    yield from _module((), spec)
    yield from _match(spec.match)


def traffic_extension(spec: TrafficExtension, metadata: Metadata) -> Iterator[Violation]:
    """Yield what is wrong with a TrafficExtension."""
    attached = attachment(spec.selector, None, spec.target_refs, metadata.namespace)
    yield from (one for one in attached if not inert_reference(one))
    if (spec.wasm is None) == (spec.lua is None):
        message = "there is no code" if spec.wasm is None else "`wasm` and `lua` exclude each other"
        yield Violation((), message, "write one of `wasm` and `lua`")
    if spec.wasm is not None:
        yield from _module(("wasm",), spec.wasm)
    if spec.lua is not None and not 1 <= len(spec.lua.inline_code) <= _LONGEST_SCRIPT:
        message = f"the script has {len(spec.lua.inline_code)} characters"
        yield Violation(("lua", "inlineCode"), message, f"write 1 to {_LONGEST_SCRIPT}")
    yield from _match(spec.match)


def _module(path: Path, module: WasmPlugin | WasmConfig) -> Iterator[Violation]:
    yield from _url((*path, "url"), module.url)
    if module.sha256 and not _SHA256.fullmatch(module.sha256):
        hint = "write 64 hexadecimal digits in lower case"
        yield Violation((*path, "sha256"), f"{module.sha256[:80]!r} is not a SHA-256", hint)
    for name, text, longest in (
        ("imagePullSecret", module.image_pull_secret, _LONGEST_SECRET),
        ("pluginName", module.plugin_name, _LONGEST_NAME),
    ):
        if len(text) > longest:
            yield Violation((*path, name), f"has {len(text)} characters", f"at most {longest} are allowed")
    yield from _virtual_machine((*path, "vmConfig", "env"), module.vm_config)


def _url(path: Path, url: str) -> Iterator[Violation]:
    hint = "write oci://, https://, http:// or file:// and where the module is"
    try:
        # Without a scheme it is an image, whose tag looks like a port: `registry.example.com/filter:v1`.
        parts = urlsplit(url if "://" in url else f"oci://{url}")
    except ValueError:
        parts = None
    if not url or parts is None or re.search(r"[\x00-\x20\x7f]", url):
        yield Violation(path, f"{url[:80]!r} is not a URL", hint)
    elif parts.scheme not in _SCHEMES:
        yield Violation(path, f"modules are not fetched by {parts.scheme[:40]!r}", hint)


def _virtual_machine(path: Path, machine: VmConfig | None) -> Iterator[Violation]:
    variables = machine.env if machine is not None else []
    if len(variables) > _MOST_VARIABLES:
        yield Violation(path, f"there are {len(variables)} variables", f"at most {_MOST_VARIABLES} are allowed")
        return
    seen: set[str] = set()
    for index, variable in enumerate(variables):
        here = (*path, index)
        if not 1 <= len(variable.name) <= _LONGEST_NAME:
            hint = f"write 1 to {_LONGEST_NAME}"
            yield Violation((*here, "name"), f"the name has {len(variable.name)} characters", hint)
        elif variable.name in seen:
            yield Violation((*here, "name"), f"{variable.name[:80]!r} stands twice", "keep one of them")
        seen.add(variable.name)
        if variable.value and variable.value_from is not EnvValueSource.INLINE:
            yield Violation((*here, "value"), "a value is for INLINE only", "remove it, or `valueFrom`")
        if len(variable.value) > _LONGEST_VALUE:
            message = f"the value has {len(variable.value)} characters"
            yield Violation((*here, "value"), message, f"at most {_LONGEST_VALUE} are allowed")


def _match(selectors: Sequence[TrafficSelector]) -> Iterator[Violation]:
    for index, selector in enumerate(selectors):
        for place, port in enumerate(selector.ports):
            yield from fields.port_number(("match", index, "ports", place, "number"), port.number)
