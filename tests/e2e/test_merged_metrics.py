"""One page of metrics for a workload: Envoy's, the agent's and the app's, whatever the app does."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import subprocess
import sys
import time
import urllib.parse
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from client_model import MetricFamily, read_delimited
from e2e.meshes import APPS, Answer, Mesh, Process, eventually, good, reap, request, running_mesh, tell
from ports import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("merged_metrics")]

COUNTING = (sys.executable, str(APPS / "counting.py"))
PROTOBUF = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
AILING = (sys.executable, str(APPS / "ailing.py"))
PAGE = """# HELP shop_orders_total Orders so far.
# TYPE shop_orders_total counter
shop_orders_total{kind="new"} 7
# TYPE envoy_server_live gauge
envoy_server_live{mine="yes"} 99
# TYPE lateen_agent_workload_ready gauge
lateen_agent_workload_ready 99
"""
ISTIO_METRICS = """
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: istio-metrics}
spec:
  configPatches:
  - applyTo: NETWORK_FILTER
    match: {context: ANY, listener: {filterChain: {filter: {name: envoy.filters.network.http_connection_manager}}}}
    patch:
      operation: MERGE
      value:
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          access_log:
          - name: envoy.access_loggers.stats
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.stats.v3.Config
              stat_prefix: istio
              counters:
              - stat: {name: requests_total, tags: [{name: response_code, value_format: "%RESPONSE_CODE%"}]}
                value_fixed: 1
              histograms:
              - stat: {name: request_duration_milliseconds}
                value_format: "%DURATION%"
                unit: Milliseconds
"""
SAMPLE = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*(\{([a-zA-Z_][a-zA-Z0-9_]*=\"(\\.|[^\"\\])*\",?)*\})? \S+( -?\d+)?")
PATIENCE = 5.0
"""Seconds that the app has for its metrics where the scraper says nothing of its own patience."""


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
    tell(control, "hang-metrics")
    began = time.monotonic()
    page = scrape(process, x_prometheus_scrape_timeout_seconds="1").body.decode()
    assert time.monotonic() - began < PATIENCE
    assert {"lateen_agent_workload_ready"} <= check(page)
    assert "shop_orders_total" not in page
    assert "lateen_agent_app_scrape_success 0\n" in page
    tell(control, "ok")
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


@pytest.fixture(scope="module")
def counting(mesh: Mesh) -> Process:
    """An app with Prometheus' own client, that has been called."""
    process = mesh.run("counting", *COUNTING, port="80/http", version="", flags=("--metrics", "/metrics"), wait=True)
    eventually(lambda: good(process.get("http://counting/")), what="the service")
    mesh.apply(ISTIO_METRICS)

    def counted() -> bool:
        process.get("http://counting/")
        page = scrape(process).body
        return b"\nistio_requests_total{" in page and b"\nistio_request_duration_milliseconds_count" in page

    eventually(counted, what="istio's metrics")
    return process


def messages(process: Process, query: str = "") -> dict[str, Any]:
    address, port = process.addresses["metrics"].removeprefix("http://").partition("/")[0].rsplit(":", 1)
    answer = request(int(port), f"/stats/prometheus{query}", address=address, headers={"accept": PROTOBUF})
    assert answer.headers["content-type"] == PROTOBUF
    families = read_delimited(answer.body)
    assert not [name for name, times in Counter(one.name for one in families).items() if times > 1]
    return {one.name: one for one in families}


def test_protobuf_has_the_metrics_of_all_three(counting: Process) -> None:
    """Python's client has no protobuf: its OpenMetrics is converted, with exemplars, creation times and escapes."""
    found = messages(counting)
    assert found["istio_requests_total"].metric[0].counter.value >= 1
    assert not [name for name in found if name.startswith("envoy_istio")]
    assert found["lateen_agent_workload_ready"].metric[0].gauge.value == 1
    assert found["lateen_agent_app_scrape_success"].metric[0].gauge.value == 1
    assert found["envoy_server_live"].metric[0].gauge.value == 1
    orders = found["shop_orders_total"]
    assert (orders.type, orders.help) == (0, 'Orders so far, "all" of them.')
    assert [metric.label[0].value for metric in orders.metric] == ["new", 'odd "\\\n kind']
    assert orders.metric[0].counter.exemplar.label[0].value == "abc"
    took = found["shop_took_seconds"].metric[0].histogram
    assert [(one.upper_bound, one.cumulative_count) for one in took.bucket] == [(0.1, 1), (1, 2), (float("inf"), 3)]
    assert (took.sample_count, took.bucket[0].exemplar.label[0].value) == (3, "def")
    assert found["shop_weight_grams"].metric[0].summary.sample_sum == 3
    assert found["shop_build_info"].metric[0].gauge.value == 1


def test_both_formats_have_the_same_families(counting: Process) -> None:
    """But for what an app tells of in one of its own formats only: when its counters began."""
    text = check(scrape(counting).body.decode())
    assert {name for name in text if not re.fullmatch("shop_.*_created", name)} == set(messages(counting))


def test_native_histograms_of_envoy_for_a_scraper_that_asks(counting: Process) -> None:
    took = messages(counting, "?histogram_buckets=prometheusnative")["istio_request_duration_milliseconds"]
    assert all(not one.histogram.bucket and one.histogram.positive_span for one in took.metric)


def test_a_scraper_that_reads_gzip_gets_the_same_page(counting: Process) -> None:
    answer = scrape(counting, accept_encoding="gzip")
    assert answer.headers["content-encoding"] == "gzip"
    page = gzip.decompress(answer.body)
    assert check(page.decode()) == check(scrape(counting).body.decode())
    assert len(answer.body) < len(page) / 4


def native() -> bytes:
    """An app's native histogram without classic buckets, and a counter."""
    took = MetricFamily(name="shop_native_seconds", help="How long.", type=4)
    histogram = took.metric.add().histogram
    histogram.sample_count, histogram.sample_sum, histogram.schema, histogram.zero_threshold = 3, 4.5, 3, 1e-9
    histogram.positive_span.add(offset=0, length=2)
    histogram.positive_delta.extend([2, -1])
    orders = MetricFamily(name="shop_orders_total", help="Orders so far.", type=0)
    orders.metric.add().counter.value = 7
    return b"".join(bytes((len(one),)) + one for one in (took.SerializeToString(), orders.SerializeToString()))


@pytest.fixture(scope="module")
def native_app(mesh: Mesh) -> Process:
    process, _ = measured(mesh, "native", "--metrics", "/metrics", METRICS_TYPE=PROTOBUF)
    (mesh.folder / "native.metrics").write_bytes(native())
    return process


def test_an_app_that_speaks_protobuf_is_merged_in_both_formats(native_app: Process) -> None:
    assert messages(native_app)["shop_native_seconds"].metric[0].histogram.positive_delta == [2, -1]
    page = scrape(native_app).body.decode()
    assert {"shop_native_seconds", "shop_orders_total"} <= check(page)
    assert "shop_native_seconds_count 3\n" in page
    assert "# HELP shop_orders_total Orders so far.\n" in page


@pytest.mark.parametrize("kind", ["text/plain", PROTOBUF])
def test_an_app_that_answers_nonsense_costs_its_own_metrics_only(mesh: Mesh, kind: str) -> None:
    name = f"nonsense{len(kind)}"
    process, _ = measured(mesh, name, "--metrics", "/metrics", METRICS_TYPE=kind)
    (mesh.folder / f"{name}.metrics").write_bytes(b"\x40secret{[\xff\n" * 100)
    found = messages(process)
    assert found["lateen_agent_app_scrape_success"].metric[0].gauge.value == 0
    assert found["envoy_server_live"].metric[0].gauge.value == 1
    page = scrape(process).body.decode()
    assert {"envoy_server_live", "lateen_agent_app_scrape_failures_total"} <= check(page)
    assert "lateen_agent_app_scrape_success 0\n" in page
    assert "missing from the metrics page" in process.log.read_text()
    assert "secret" not in process.log.read_text()


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed (Debian: prometheus)")
def test_promtool_reads_the_page_and_has_nothing_to_say_about_what_we_add(counting: Process) -> None:
    """It complains about Envoy's own names, which have no help and end as they like."""
    page = scrape(counting).body
    checked = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, check=False)
    said = (checked.stdout + checked.stderr).decode()
    complaints = [line for line in said.splitlines() if not line.startswith(("envoy_", "istio_"))]
    assert complaints == []


@contextmanager
def prometheus(folder: Path, process: Process, *flags: str, **parameters: list[str]) -> Iterator[int]:
    """A real Prometheus that scrapes one page."""
    folder.mkdir()
    port, target = free_port(), process.addresses["metrics"].removeprefix("http://").partition("/")[0]
    config = folder / "prometheus.json"
    job: dict[str, Any] = {
        "job_name": "lateen",
        "metrics_path": "/stats/prometheus",
        "static_configs": [{"targets": [target]}],
    }
    job["params"] = parameters
    config.write_text(json.dumps({"global": {"scrape_interval": "1s"}, "scrape_configs": [job]}))
    arguments = [
        f"--config.file={config}",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "prometheus.log").open("wb") as log:
        server = subprocess.Popen(["prometheus", *arguments, *flags], stdout=log, stderr=log)
        try:
            yield port
        finally:
            server.terminate()
            reap(server, 60)


def query(port: int, expression: str) -> list[float]:
    answer = request(port, f"/api/v1/query?query={urllib.parse.quote(expression)}").json
    return [float(one["value"][1]) for one in answer["data"]["result"]]


def scraped(port: int, expression: str) -> list[float]:
    """What is there after a scrape that succeeded: each has a second, and one that takes longer leaves nothing."""
    return eventually(lambda: query(port, expression), seconds=60, what=expression)


@pytest.mark.skipif(not shutil.which("prometheus"), reason="prometheus is not installed")
@pytest.mark.parametrize("protobuf", [False, True])
def test_a_real_prometheus_reads_the_page(
    counting: Process, native_app: Process, tmp_path: Path, protobuf: bool
) -> None:
    """With its flag for native histograms it asks for protobuf, else for OpenMetrics and, failing that, text."""
    flags = ("--enable-feature=native-histograms",) if protobuf else ()
    with prometheus(tmp_path / "a", counting, *flags) as port:
        eventually(lambda: query(port, "up") == [1.0], seconds=60, what="a scrape")
        assert scraped(port, 'shop_orders_total{kind="new"}') == [7]
        assert scraped(port, 'shop_took_seconds_bucket{le=~"1|1.0"}') == [2]
        assert scraped(port, "shop_weight_grams_sum") == [3]
        assert scraped(port, "envoy_server_live") == [1]
        eventually(lambda: query(port, "lateen_agent_app_scrape_success") == [1], seconds=60, what="a whole page")
        assert scraped(port, "istio_requests_total")
        assert scraped(port, "count(istio_request_duration_milliseconds_bucket)")
    with prometheus(tmp_path / "b", native_app, *flags) as port:
        eventually(lambda: query(port, "up") == [1.0], seconds=60, what="a scrape")
        name = "histogram_count(shop_native_seconds)" if protobuf else "shop_native_seconds_count"
        assert scraped(port, name) == [3]
    if protobuf:
        with prometheus(tmp_path / "c", counting, *flags, histogram_buckets=["prometheusnative"]) as port:
            eventually(lambda: query(port, "up") == [1.0], seconds=60, what="a scrape")
            assert scraped(port, "sum(histogram_count(istio_request_duration_milliseconds))")[0] >= 1
