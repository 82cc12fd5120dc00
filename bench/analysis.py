"""What `lateen analyze` costs over a large mesh in files, by its own process: CPU seconds and peak memory.

    python bench/analysis.py [--quick]

The mesh is as operators write one: each service has a Service, a VirtualService, a DestinationRule, an
AuthorizationPolicy and, for what it calls outside, a ServiceEntry; block YAML with some flow lists, quotes and
comments, a file for each namespace. CPU is what bounds the command, and unlike time on a clock it stands still when
the machine is busy.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from report import Figure, figure, write

BENCHMARK = "lateen analyze"
NAMESPACES = 20
ROUNDS = 5

_SERVICE = """\
# {name}: owned by team-{namespace}
apiVersion: v1
kind: Service
metadata:
  name: {name}
  namespace: {namespace}
  labels:
    app: {name}
    app.kubernetes.io/part-of: shop
spec:
  selector:
    app: {name}
  ports:
  - name: http
    port: 80
    targetPort: 8080
    protocol: TCP
  - name: grpc-admin
    port: 9090
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: {name}
  namespace: {namespace}
spec:
  hosts:
  - {name}.{namespace}.svc.cluster.local
  http:
  - name: canary
    match:
    - headers:
        x-canary:
          exact: "true"
      uri:
        prefix: /api/v{version}
    route:
    - destination:
        host: {name}.{namespace}.svc.cluster.local
        subset: v2
        port:
          number: 80
    timeout: 10s
    retries:
      attempts: 3
      perTryTimeout: 2s
      retryOn: 5xx,reset,connect-failure
  - name: default
    route:
    - destination:
        host: {name}.{namespace}.svc.cluster.local
        subset: v1
        port:
          number: 80
      weight: 90
    - destination:
        host: {name}.{namespace}.svc.cluster.local
        subset: v2
        port:
          number: 80
      weight: 10
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: {name}
  namespace: {namespace}
spec:
  host: {name}.{namespace}.svc.cluster.local
  trafficPolicy:
    connectionPool:
      tcp:
        maxConnections: 100
      http:
        http1MaxPendingRequests: 1000
        maxRequestsPerConnection: 10
    outlierDetection:
      consecutive5xxErrors: 7
      interval: 30s
      baseEjectionTime: 1m
    loadBalancer:
      simple: LEAST_REQUEST
  subsets:
  - name: v1
    labels:
      version: v1
  - name: v2
    labels:
      version: v2
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: {name}
  namespace: {namespace}
spec:
  selector:
    matchLabels:
      app: {name}
  action: ALLOW
  rules:
  - from:
    - source:
        principals: ["cluster.local/ns/{namespace}/sa/frontend"]
    - source:
        namespaces: ["{namespace}", "monitoring"]
    to:
    - operation:
        methods: ["GET", "POST"]
        paths: ["/api/*"]
        ports: ["8080"]
    when:
    - key: request.headers[x-team]
      values:
      - team-{namespace}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata:
  name: {name}-outside
  namespace: {namespace}
spec:
  hosts:
  - api-{number}.partner.example
  location: MESH_EXTERNAL
  resolution: DNS
  exportTo:
  - "."
  ports:
  - number: 443
    name: https
    protocol: HTTPS
"""


def documents(services: int) -> Iterator[str]:
    """Yield the files of a mesh, one for each namespace."""
    for namespace in range(NAMESPACES):
        yield "---\n".join(
            _SERVICE.format(
                name=f"service-{number}", namespace=f"namespace-{namespace}", number=number, version=number % 3
            )
            for number in range(namespace, services, NAMESPACES)
        )


def write_mesh(folder: Path, services: int) -> None:
    for number, text in enumerate(documents(services)):
        (folder / f"namespace-{number}.yaml").write_text(text)


def measured(folder: Path) -> tuple[float, float, float]:
    """Run the command once; return its CPU seconds, seconds on the clock and peak memory in MB."""
    command = [sys.executable, "-m", "lateen.cli.main", "analyze", "-f", str(folder), "-o", "json"]
    begun = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, f"analyze ended with {process.returncode}"
    return used.ru_utime + used.ru_stime, time.perf_counter() - begun, used.ru_maxrss / 1024


def measure(*, quick: bool = False) -> list[Figure]:
    """Return the rows of all sizes."""
    rows = []
    for services in (0, 20) if quick else (0, 100, 1000):
        with tempfile.TemporaryDirectory() as made:
            folder = Path(made)
            write_mesh(folder, max(services, 1))
            runs = [measured(folder) for _ in range(2 if quick else ROUNDS)]
            lines = sum(text.count("\n") for text in documents(max(services, 1)))
        case = f"{max(services, 1) * 5} objects"
        note = f"{lines} lines of YAML in up to {NAMESPACES} files"
        for unit, values in zip(("s CPU", "s", "MB peak"), zip(*runs, strict=True), strict=True):
            rows.append(figure(BENCHMARK, case, unit, values, note))
            print(f"{BENCHMARK:<20} {case:<16} {rows[-1].low:8.2f} {unit} at best  {note}", flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    print(write(measure(quick=parser.parse_args().quick)))


if __name__ == "__main__":
    main()
