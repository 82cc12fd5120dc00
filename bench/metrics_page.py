"""What one scrape of the merged page costs the agent: CPU, size and time, by formats.

    .venv/bin/python bench/metrics_page.py [SERVICES] [SERIES]

A real Envoy with SERVICES (default 100) clusters that were all called, an app with SERIES (default 1,000) series, the
agent's own server in this process. Prints one line of JSON for each pair of formats.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from client_model import MetricFamily
from lateen.agent.addresses import listen
from lateen.agent.envoy_admin import EnvoyAdmin
from lateen.agent.http1 import exchange, fetch
from lateen.agent.metric_formats import PROTOBUF, Wanted
from lateen.agent.protobuf_wire import varint
from lateen.agent.status import Status, StatusServer

SCRAPES = 10
OPEN = "application/openmetrics-text; version=1.0.0"
HCM = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


def envoy_config(services: int, admin: int, port: int, app: int) -> dict[str, Any]:
    """An Envoy that leads /N to cluster N, all of which are the app."""

    def at(number: int) -> dict[str, Any]:
        return {"socket_address": {"address": "127.0.0.1", "port_value": number}}

    names = [f"outbound|80||service-{number}.default.svc.cluster.local;" for number in range(services)]
    endpoint = {"lb_endpoints": [{"endpoint": {"address": at(app)}}]}
    clusters = [
        {"name": name, "type": "STATIC", "load_assignment": {"cluster_name": name, "endpoints": [endpoint]}}
        for name in names
    ]
    routes = [{"match": {"path": f"/{n}"}, "route": {"cluster": name}} for n, name in enumerate(names)]
    manager = {
        "@type": HCM,
        "stat_prefix": "outbound",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [{"name": "router", "typed_config": {"@type": ROUTER}}],
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    listener = {"name": "all", "address": at(port), "filter_chains": [{"filters": filters}]}
    inclusions = ["server.", "cluster_manager.", "listener_manager."]
    kept = [
        *({"prefix": prefix} for prefix in inclusions),
        {
            "safe_regex": {
                "regex": r"cluster\..*upstream_(rq_(total|[1-5]xx|time|active)|cx_(total|active|.*bytes_total))"
            }
        },
        {"safe_regex": {"regex": r"http\..*downstream_(rq|cx)_.*"}},
    ]
    return {
        "node": {"id": "bench", "cluster": "bench"},
        "admin": {"address": at(admin)},
        "stats_config": {"stats_matcher": {"inclusion_list": {"patterns": kept}}},
        "stats_flush_interval": "1s",
        "static_resources": {"listeners": [listener], "clusters": clusters},
    }


def app_pages(series: int) -> dict[str, tuple[str, bytes]]:
    """The same metrics of an app in each format: half of them counters, the rest of histograms."""
    counters = MetricFamily(name="shop_orders_total", help="Orders.", type=0)
    took = MetricFamily(name="shop_took_seconds", help="How long.", type=4)
    lines: list[str] = []
    lines.append("# HELP shop_orders NAME\n# TYPE shop_ordersSUFFIX counter\n".replace("NAME", "Orders."))
    for number in range(series // 2):
        metric = counters.metric.add()
        metric.counter.value = number
        metric.label.add(name="path", value=f"/orders/{number}")
        metric.label.add(name="method", value="GET")
        lines.append(f'shop_orders_total{{path="/orders/{number}",method="GET"}} {number}\n')
    lines.append("# HELP shop_took_seconds How long.\n# TYPE shop_took_seconds histogram\n")
    for number in range(series // 2 // (len(BUCKETS) + 3)):
        metric = took.metric.add()
        metric.label.add(name="path", value=f"/orders/{number}")
        metric.histogram.sample_count = metric.histogram.sample_sum = 5
        for bound in (*BUCKETS, float("inf")):
            metric.histogram.bucket.add(upper_bound=bound, cumulative_count=5)
            said = "+Inf" if bound == float("inf") else bound
            lines.append(f'shop_took_seconds_bucket{{path="/orders/{number}",le="{said}"}} 5\n')
        lines += [f'shop_took_seconds_{suffix}{{path="/orders/{number}"}} 5\n' for suffix in ("sum", "count")]
    text = "".join(lines)
    raw = [family.SerializeToString() for family in (counters, took)]
    return {
        "text": ("text/plain; version=0.0.4", text.replace("shop_ordersSUFFIX", "shop_orders_total").encode()),
        "open": (OPEN, (text.replace("shop_ordersSUFFIX", "shop_orders") + "# EOF\n").encode()),
        "protobuf": (PROTOBUF, b"".join(varint(len(one)) + one for one in raw)),
        "none": ("", b""),
    }


class AppPages:
    """The agent's `Pages`, of an app that answers in one format."""

    def __init__(self, port: int, kind: str) -> None:
        self._port, self._kind = port, kind
        self.problem = ""

    def app_metrics(self, headers: Mapping[str, str], wanted: Wanted) -> AbstractAsyncContextManager[Any] | None:
        from lateen.agent.app_metrics import opened

        path = f"/{self._kind}"
        return None if self._kind == "none" else opened(self._port, path, headers, wanted, asyncio.open_connection)

    def scraped(self, problem: str, dropped: set[str]) -> None:
        self.problem = problem or ",".join(dropped)


@asynccontextmanager
async def app(pages: Mapping[str, tuple[str, bytes]]) -> AsyncIterator[int]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1].decode().strip("/")
        kind, body = pages.get(path, ("text/plain", b"ok"))
        writer.write(f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n".encode())
        writer.write(b"connection: close\r\n\r\n" + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def measure(port: int, headers: Mapping[str, str]) -> dict[str, Any]:
    """Scrape SCRAPES times; the server's CPU is this process', so the client that only counts bytes is in it."""
    size, cpu, begun = 0, time.process_time(), time.monotonic()
    for _ in range(SCRAPES):
        size = 0
        async with exchange("127.0.0.1", port, "/stats/prometheus", headers=headers) as (status, _, blocks):
            assert status == 200
            async for block in blocks:
                size += len(block)
    return {
        "bytes": size,
        "cpu_ms": round((time.process_time() - cpu) / SCRAPES * 1000, 1),
        "ms": round((time.monotonic() - begun) / SCRAPES * 1000, 1),
    }


async def bench(services: int, series: int) -> None:
    pages = app_pages(series)
    with tempfile.TemporaryDirectory() as folder:
        async with app(pages) as app_port:
            sockets = [listen("127.0.0.1", 0) for _ in range(2)]
            admin, port = (one.getsockname()[1] for one in sockets)
            for one in sockets:
                one.close()
            config = Path(folder) / "envoy.json"
            config.write_text(json.dumps(envoy_config(services, admin, port, app_port)))
            arguments = ["-c", str(config), "--concurrency", "1", "--base-id", str(port), "-l", "error"]
            envoy = await asyncio.create_subprocess_exec(Path(sys.executable).with_name("envoy"), *arguments)
            try:
                await compare(EnvoyAdmin(host="127.0.0.1", port=admin), port, services, app_port)
            finally:
                envoy.terminate()
                await envoy.wait()


async def compare(admin: EnvoyAdmin, port: int, services: int, app_port: int) -> None:
    while not await admin.is_live():  # noqa: ASYNC110  another process' state
        await asyncio.sleep(0.05)
    for number in range(services):
        await fetch("127.0.0.1", port, f"/{number}")
    await asyncio.sleep(2)  # histograms come with the next flush
    for kind in ("none", "text", "open", "protobuf"):
        for protobuf in (False, True):
            for encoding in ("identity", "gzip"):
                taken = AppPages(app_port, kind)
                status = Status(
                    envoy=admin,
                    live=admin.is_live,
                    unready=str,
                    metrics=dict,
                    pages=taken,  # type: ignore[arg-type]
                )
                opened = listen("127.0.0.1", 0)
                async with StatusServer(status).serve(opened):
                    headers = {"accept": PROTOBUF if protobuf else "text/plain", "accept-encoding": encoding}
                    found = await measure(opened.getsockname()[1], headers)
                assert not taken.problem, taken.problem
                said = {"app": kind, "page": "protobuf" if protobuf else "text", "encoding": encoding, **found}
                peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
                print(json.dumps({**said, "peak_rss_kb": peak}))


if __name__ == "__main__":
    asyncio.run(bench(*(int(one) for one in (*sys.argv[1:], "100", "1000")[:2])))
