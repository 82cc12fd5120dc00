"""Flags of `run` and `proxy`: text to values, each mistake one clear line with an example. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lateen.cli.exits import usage
from lateen.envoy.statistics import StatsInclusion
from lateen.model.names import DEFAULT_NAMESPACE
from lateen.model.protocols import protocol_named
from lateen.model.proxies import Upstream

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
"""A DNS label (RFC 1123), as Kubernetes names services and namespaces."""
_LABEL_KEY = re.compile(r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")


def split_name(text: str, flag: str) -> tuple[str, str]:
    """Read `NAME[.NAMESPACE]`."""
    name, dot, namespace = text.partition(".")
    if not dot:
        namespace = DEFAULT_NAMESPACE
    for part in (name, namespace):
        if not _NAME.fullmatch(part):
            raise usage(
                f"{flag} {text!r} is not NAME[.NAMESPACE]", "lower-case letters, digits and dashes, as reviews.shop"
            )
    return name, namespace


def workload_names(service: str, group: str) -> dict[str, str]:
    """Return the settings `service`, `workload_group` and `namespace`. Raises Failure when there is neither name."""
    if not service and not group:
        raise usage("no service name", "add --service NAME, or --workload-group NAME")
    name, namespace = split_name(service, "--service") if service else ("", "")
    of_group, group_namespace = split_name(group, "--workload-group") if group else ("", "")
    if service and group and namespace != group_namespace:
        raise usage(
            f"--service {service!r} and --workload-group {group!r} are of different namespaces",
            "a workload is of the namespace of its group",
        )
    return {"service": name, "workload_group": of_group, "namespace": namespace or group_namespace}


def workload_flags(
    labels: Sequence[str] | None, ports: Sequence[str] | None, upstreams: Sequence[str] | None
) -> dict[str, Any]:
    """Return the settings `labels`, `ports` and `upstreams`."""
    return {
        "labels": read_labels(labels),
        "ports": tuple(_port(text) for text in ports or ()),
        "upstreams": tuple(_upstream(text) for text in upstreams or ()),
    }


def read_labels(labels: Sequence[str] | None) -> dict[str, str]:
    """Read `--label k=v` flags; a later one of the same key wins."""
    read = {}
    for text in labels or ():
        key, equals, value = text.partition("=")
        if not equals or not _LABEL_KEY.fullmatch(key) or not _LABEL_VALUE.fullmatch(value):
            raise usage(f"--label {text!r} is not KEY=VALUE", "as in --label istio=ingressgateway")
        read[key] = value
    return read


def _port(text: str) -> tuple[int, str]:
    number, slash, protocol = text.partition("/")
    if slash and protocol_named(protocol) is None:
        raise usage(f"--port {text!r}: unknown protocol {protocol!r}", "http, http2, grpc, https, tls, tcp, mongo ...")
    return _number(number, f"--port {text!r}", "as in --port 9080 or --port 9080/http"), protocol


def _upstream(text: str) -> Upstream:
    target, equals, local = text.rpartition("=")
    host, colon, port = target.rpartition(":")
    example = "as in --upstream reviews:9080=19080"
    if not equals or not colon or not host:
        raise usage(f"--upstream {text!r} is not NAME:PORT=LOCALPORT", example)
    what = f"--upstream {text!r}"
    return Upstream(host=host, port=_number(port, what, example), local_port=_number(local, what, example))


def read_port_map(texts: Sequence[str] | None) -> dict[int, int]:
    """Read `--port-map PORT:BOUND` flags."""
    read = {}
    for text in texts or ():
        port, _, bound = text.partition(":")
        what, example = f"--port-map {text!r}", "as in --port-map 80:8080"
        read[_number(port, what, example)] = _number(bound, what, example)
    return read


def stats_inclusion(
    prefixes: Sequence[str] | None, suffixes: Sequence[str] | None, regexps: Sequence[str] | None
) -> StatsInclusion:
    """Read the `--stats-inclusion-...` flags. Raises Failure for an expression that Envoy would not compile.

    Here and not in the agent, which must not load RE2 for it.
    """
    if regexps:
        from lateen.config.validation.regexes import regex

        for text in regexps:
            for violation in regex((), text):
                raise usage(f"--stats-inclusion-regexp {text[:80]!r}: {violation.message}", violation.hint)
    return StatsInclusion(prefixes=tuple(prefixes or ()), suffixes=tuple(suffixes or ()), regexps=tuple(regexps or ()))


def check_control_plane(text: str) -> None:
    """Raise Failure unless the text is HOST:PORT, or several with commas between them."""
    parts = [part.strip() for part in text.split(",")]
    for part in parts:
        host, _, port = part.rpartition(":")
        if not host or "/" in host:
            raise usage(f"--control-plane {text!r} is not HOST:PORT[,HOST:PORT...]", "as in 127.0.0.1:15010")
        _number(port, f"--control-plane {text!r}", "as in 127.0.0.1:15010")
    if len(set(parts)) < len(parts):
        raise usage(f"--control-plane {text!r} names one twice", "each control plane once")


def given_file(path: Path | None, flag: str) -> str:
    """Return the absolute path of a file, empty for none. Raises Failure when there is no such file."""
    if path is None:
        return ""
    if not path.is_file():
        raise usage(f"{flag} {path} is not a file")
    # Not resolved: where the file is a link, it is replaced by another link.
    return str(path.absolute())


def _number(text: str, what: str, hint: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text[:9]) < 65536:
        raise usage(f"{what}: {text!r} is not a port between 1 and 65535", hint)
    return int(text)
