"""The monitoring port: metrics in Prometheus' format, debug pages in JSON."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from lateen.api.application import monitoring_application
from lateen.api.debug import PAGES
from lateen.api.metrics import METRICS, PAGE, page, prometheus_text
from lateen.envoy.resources import CLUSTER, LISTENER, SECRET, make_resource
from lateen.model.health import HealthTarget
from lateen.model.names import Hostname

_SAMPLE = re.compile(r'[a-z_]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? [-0-9.e+]+')


def test_page_of_metrics_is_current() -> None:
    """`python -m lateen.api.metrics` writes it."""
    assert (Path(__file__).parents[3] / PAGE).read_text() == page()


def test_every_metric_is_exposed_in_the_format(plane: Any) -> None:
    plane.connect("web-1")
    plane.figures.pushes[CLUSTER] += 2
    plane.figures.pushes["a.kind.of.a.client"] += 1
    plane.figures.sizes[CLUSTER].observe(500)
    lines = prometheus_text(plane).splitlines()

    assert [line.split()[2] for line in lines if line.startswith("# TYPE")] == [metric.name for metric in METRICS]
    assert [line for line in lines if not line.startswith("#") and not _SAMPLE.fullmatch(line)] == []
    assert 'pilot_xds_pushes{type="cds"} 2' in lines
    assert 'pilot_xds_pushes{type="other"} 1' in lines
    assert 'pilot_xds_config_size_bytes_bucket{type="cds",le="10000"} 1' in lines


def test_histogram_is_cumulated(plane: Any) -> None:
    for seconds in (0.001, 0.02, 0.02, 100):
        plane.figures.convergence.observe(seconds)
    lines = prometheus_text(plane).splitlines()

    for line in ('bucket{le="0.001"} 1', 'bucket{le="0.05"} 3', 'bucket{le="30"} 3', 'bucket{le="+Inf"} 4', "count 4"):
        assert f"pilot_proxy_convergence_time_{line}" in lines


def test_versions_and_rejections_of_proxies_are_counted(plane: Any, type_status: Any) -> None:
    plane.connect("web-1", listeners=type_status(state="rejected"))
    plane.statuses[0].user_agent = 'envoy 1.40.0"\n'
    lines = prometheus_text(plane).splitlines()

    assert "pilot_xds_lds_reject 1" in lines
    assert r'pilot_xds{version="1.40.0\"\n"} 1' in lines


async def test_debug_pages_answer_json(plane: Any, call_application: Any) -> None:
    plane.serve("web-1", make_resource(LISTENER, "here", {"name": "here"}))
    application = monitoring_application(plane, loopback=True, security=None)
    for path in ("/debug", *PAGES, "/debug/syncz"):
        answer = await call_application(application, "GET", path.replace("{id}", "web-1.default"))
        assert (answer.status, bool(answer.json())) == (200, True), path
    resources = (await call_application(application, "GET", "/debug/proxies/web-1.default/resources")).json()
    assert [item["name"] for item in resources["types"]["listeners"]] == ["here"]
    for path in ("/debug/proxies/nobody/resources", "/debug/proxies/web-1.default/resources?type=x", "/debug/x"):
        assert (await call_application(application, "GET", path)).status == 404


async def test_learned_hosts_are_shown_with_how_they_stand_and_bounded(plane: Any, call_application: Any) -> None:
    plane.learned.table.note("web.default", ["old"], 0)
    plane.learned.table.note("web.default", ["new"], 60)
    application = monitoring_application(plane, loopback=True, security=None)
    one = (await call_application(application, "GET", "/debug/learned?workload=web.default")).json()

    assert one == {
        "hosts": 2,
        "items": [
            {"workload": "web.default", "host": "new", "last_seen": "1970-01-01T00:01:00+00:00", "state": "active"},
            {"workload": "web.default", "host": "old", "last_seen": "1970-01-01T00:00:00+00:00", "state": "expiring"},
        ],
    }

    for workload in ("a", "b"):
        plane.learned.table.note(workload, [f"host-{number}" for number in range(900)], 0)
    every = (await call_application(application, "GET", "/debug/learned")).json()
    assert (every["hosts"], len(every["items"])) == (1802, 1000)


async def test_debug_pages_show_no_secret(plane: Any, call_application: Any) -> None:
    key = {"tls_certificate": {"private_key": {"inline_string": "hush-hush"}}}
    plane.serve("web-1", make_resource(SECRET, "cert", {"name": "cert", **key}))
    application = monitoring_application(plane, loopback=True, security=None)
    for query in ("", "?type=secrets"):
        answer = await call_application(application, "GET", f"/debug/proxies/web-1.default/resources{query}")
        assert b"cert" in answer.body
        assert b"hush-hush" not in answer.body


async def test_endpoints_that_gateways_check_are_shown_with_who_says_what(plane: Any, call_application: Any) -> None:
    """The sick ones first."""
    one = HealthTarget(Hostname("web.internal"), "tcp", "192.0.2.1", 80)
    two = one._replace(address="192.0.2.2")
    reporter = plane.health.open("edge-1.default")
    plane.health.ask(reporter, {one: 0, two: 0}, 0)
    plane.health.report(reporter, {one: True, two: False}, 1, resumed=False)
    application = monitoring_application(plane, loopback=True, security=None)

    shown = (await call_application(application, "GET", "/debug/health")).json()
    text = (await call_application(application, "GET", "/metrics")).body.decode()

    assert [(item["address"], item["sick"], item["gateways"]) for item in shown["items"]] == [
        ("192.0.2.2", True, {"edge-1.default": "sick"}),
        ("192.0.2.1", False, {"edge-1.default": "healthy"}),
    ]
    assert (shown["gateways"], shown["endpoints"], shown["sick"]) == (1, 2, 1)
    assert "lateen_sick_endpoints 1" in text
    assert "lateen_health_reports_total 1" in text
