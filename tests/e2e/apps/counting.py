"""An application with metrics of every kind, on PORT at any path, as Prometheus' own client makes them."""

from __future__ import annotations

import os
import threading

from prometheus_client import Counter, Enum, Gauge, Histogram, Info, Summary, start_http_server


def main() -> None:
    orders = Counter("shop_orders", 'Orders so far, "all" of them.', ["kind"])
    orders.labels("new").inc(7, exemplar={"trace_id": "abc"})
    orders.labels('odd "\\\n kind').inc()
    took = Histogram("shop_took_seconds", "How long orders took.", ["kind"], buckets=(0.1, 1.0))
    for seconds in (0.05, 0.5, 5.0):
        took.labels("new").observe(seconds, exemplar={"trace_id": "def"})
    Summary("shop_weight_grams", "How heavy orders are.").observe(3)
    Gauge("shop_stock", "What there is.").set(12)
    Info("shop_build", "Which shop.").info({"version": "1"})
    Enum("shop_door", "How the door is.", states=["open", "shut"]).state("shut")
    Gauge("envoy_server_live", "Not Envoy's.").set(99)
    start_http_server(int(os.environ["PORT"]), addr="127.0.0.1")
    threading.Event().wait()


if __name__ == "__main__":
    main()
