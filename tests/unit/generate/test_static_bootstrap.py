"""The static bootstrap: everything inline, nothing left to fetch."""

from __future__ import annotations

import json
from collections.abc import Callable

from lateen.generate.snapshot import generate
from lateen.generate.static import static_bootstrap
from lateen.mesh.state import MeshState
from lateen.model.proxies import Proxy


def test_nothing_is_left_to_fetch(
    make_state: Callable[..., MeshState], sidecar: Proxy, explicit_sidecar: Proxy, reviews: str
) -> None:
    state = make_state(reviews)
    for proxy in (sidecar, explicit_sidecar):
        text = json.dumps(static_bootstrap(generate(state, proxy), proxy))

        assert '"ads"' not in text
        assert '"rds"' not in text
        assert '"EDS"' not in text
        assert "10.1.0.1" in text


def test_the_admin_page_is_at_the_workloads_own_address(
    make_state: Callable[..., MeshState], sidecar: Proxy, explicit_sidecar: Proxy
) -> None:
    state = make_state("")
    for proxy, address in ((sidecar, "127.0.0.1"), (explicit_sidecar, "127.0.0.9")):
        admin = static_bootstrap(generate(state, proxy), proxy)["admin"]

        assert admin == {"address": {"socket_address": {"address": address, "port_value": 15000}}}
