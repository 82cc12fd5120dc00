"""Several control planes: how they are written, and what Envoy makes of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lateen.agent.addresses import split_control_planes
from lateen.envoy.bootstrap import BootstrapSettings, bootstrap
from lateen.model.proxies import Proxy, ProxyType

SETTINGS = BootstrapSettings(
    proxy=Proxy(type=ProxyType.SIDECAR, name="web", namespace="default", addresses=("127.64.0.1",)),
    service="web",
    control_plane=("10.0.0.1", 15012),
)


def test_addresses_are_read_in_order() -> None:
    assert split_control_planes("10.0.0.1:15012, [::1]:1") == (("10.0.0.1", 15012), ("::1", 1))
    for wrong in ("", "a", "a:1,", "a:1,a:1"):
        with pytest.raises(ValueError, match=r"HOST:PORT|twice"):
            split_control_planes(wrong)


def test_each_is_used_when_those_before_are_gone() -> None:
    found = bootstrap(replace(SETTINGS, other_control_planes=(("cp2", 15012),)))["static_resources"]["clusters"][0]
    ranks = [group.get("priority", 0) for group in found["load_assignment"]["endpoints"]]
    assert ranks == [0, 1]
    assert found["type"] == "STRICT_DNS"
    assert found["outlier_detection"]["max_ejection_percent"] == 100


def test_one_alone_is_never_left() -> None:
    assert "outlier_detection" not in bootstrap(SETTINGS)["static_resources"]["clusters"][0]
