"""One page of metrics for a workload: Envoy's, the agent's and the app's, whatever the app does."""

from __future__ import annotations

import json
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.meshes import APPS, Answer, Mesh, Process, eventually, good, request, running_mesh

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("merged_metrics")]

AILING = (sys.executable, str(APPS / "ailing.py"))
PAGE = """# HELP shop_orders_total Orders so far.
# TYPE shop_orders_total counter
shop_orders_total{kind="new"} 7
# TYPE envoy_server_live gauge
envoy_server_live{mine="yes"} 99
# TYPE lateen_agent_workload_ready gauge
lateen_agent_workload_ready 99
"""
SAMPLE = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*(\{([a-zA-Z_][a-zA-Z0-9_]*=\"(\\.|[^\"\\])*\",?)*\})? \S+( -?\d+)?")
SLOW_SECONDS = 3.0


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    with running_mesh(tmp_path_factory.mktemp("mesh")) as made:
        yield made


def measured(mesh: Mesh, name: str, *flags: str, **environment: str) -> tuple[Process, Path]:
    control, page = mesh.folder / f"{name}.control", mesh.folder / f"{name}.metrics"
    control.write_text("ok")
    page.write_text(PAGE)
    said = {"CONTROL": str(control), "METRICS": str(page), "NAME": name, **environment}
    process = mesh.run(name, *AILING, port="80/http", version="", flags=flags, wait=True, **said)
    eventually(lambda: good(process.get(f"http://{name}/")), what="the service")
    return process, control


def scrape(process: Process, **headers: str) -> Answer:
    address, port = process.addresses["metrics"].removeprefix("http://").partition("/")[0].rsplit(":", 1)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return request(int(port), "/stats/prometheus", address=address, headers=named)


def check(page: str) -> set[str]:
    """Return the families of a page that obeys the text format: each is named once, its samples in one place."""
    families = re.findall(r"^# TYPE (\S+) ", page, re.MULTILINE)
    assert not [name for name, times in Counter(families).items() if times > 1]
    runs: Counter[str] = Counter()
    last = ""
    for line in page.splitlines():
        if not line or line.startswith("#"):
            continue
        assert SAMPLE.fullmatch(line), line
        name = re.split(r"[{ ]", line, maxsplit=1)[0]
        family = re.sub(r"_(bucket|sum|count)$", "", name)
        family = family if family in families else name
        runs[family] += family != last
        last = family
    assert not [name for name, times in runs.items() if times > 1]
    return set(families)


def test_one_page_has_the_metrics_of_all_three_and_no_name_twice(mesh: Mesh) -> None:
    process, _ = measured(mesh, "shop", "--metrics", "/metrics")
    answer = scrape(process, accept="application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5")
    page = answer.body.decode()
    assert answer.headers["content-type"].startswith("text/plain")
    assert {"shop_orders_total", "envoy_server_live", "lateen_agent_workload_ready"} <= check(page)
    assert 'shop_orders_total{kind="new"} 7' in page
    assert 'mine="yes"' not in page
    assert "lateen_agent_workload_ready 1\n" in page
    assert "lateen_agent_app_scrape_success 1\n" in page
    assert "lateen_agent_app_families_dropped 2\n" in scrape(process).body.decode()
    assert process.log.read_text().count("left out") == 1


def test_an_app_that_hangs_or_refuses_costs_its_own_metrics_only(mesh: Mesh) -> None:
    process, control = measured(mesh, "stuck", "--metrics", "80/metrics")
    control.write_text("hang-metrics")
    began = time.monotonic()
    page = scrape(process, x_prometheus_scrape_timeout_seconds="1").body.decode()
    assert time.monotonic() - began < SLOW_SECONDS
    assert {"lateen_agent_workload_ready"} <= check(page)
    assert "shop_orders_total" not in page
    assert "lateen_agent_app_scrape_success 0\n" in page
    control.write_text("ok")
    page = eventually(
        lambda: text if "shop_orders_total" in (text := scrape(process).body.decode()) else None, what="its metrics"
    )
    assert "lateen_agent_app_scrape_failures_total 1\n" in page


def test_an_app_that_speaks_open_metrics_whoever_asks_is_merged_as_text(mesh: Mesh) -> None:
    process, _ = measured(
        mesh, "open", "--metrics", "/metrics", METRICS_TYPE="application/openmetrics-text; version=1.0.0"
    )
    page = mesh.folder / "open.metrics"
    page.write_text('# TYPE orders counter\norders_total{a="b"} 2 # {trace_id="x"} 1\norders_created 1\n# EOF\n')
    text = scrape(process).body.decode()
    assert {"orders_total"} <= check(text)
    assert 'orders_total{a="b"} 2\n' in text
    assert "EOF" not in text


def test_istios_annotations_say_where_the_metrics_are(mesh: Mesh) -> None:
    said = json.dumps({"scrape": "true", "port": "80", "path": "/metrics"})
    process, _ = measured(mesh, "annotated", ISTIO_PROMETHEUS_ANNOTATIONS=said)
    assert b"shop_orders_total" in scrape(process).body


def test_a_group_says_it_and_the_mesh_can_say_no(mesh: Mesh, tmp_path: Path) -> None:
    group = """
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: counted}
spec:
  metadata:
    labels: {app: counted}
    annotations: {prometheus.io/scrape: "true", prometheus.io/path: /metrics}
  template: {ports: {http: 8080}}
"""
    no = tmp_path / "mesh.yaml"
    no.write_text("enablePrometheusMerge: false\n")
    with running_mesh(tmp_path, mesh_config=no) as silent:
        for one, merges in ((mesh, True), (silent, False)):
            one.apply(group)
            page, control = one.folder / "counted.metrics", one.folder / "counted.control"
            page.write_text(PAGE)
            control.write_text("ok")
            arguments = [
                "run", "--workload-group", "counted", "--print-addresses", "--control-plane", f"127.0.0.1:{one.grpc}",
                "--", *AILING,
            ]  # fmt: skip
            process = one.start("counted", arguments, {"CONTROL": str(control), "METRICS": str(page)})
            one.wait_addresses(process)
            assert (b"shop_orders_total" in scrape(process).body) is merges
