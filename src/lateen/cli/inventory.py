"""`lateen get services` and `lateen get workloads`: what the mesh knows, beside what was configured."""

from __future__ import annotations

import msgspec

from lateen.api.schemas import ServiceList, ServiceView, WorkloadList, WorkloadView
from lateen.cli.client import Client
from lateen.cli.exits import Failure
from lateen.cli.options import Output
from lateen.cli.output import print_json, print_rows, print_yaml


def print_services(client: Client, name: str | None, namespace: str, output: Output) -> None:
    """Print services of a namespace (empty: all), or the one with this short name or host."""
    items = client.get(ServiceList, "v1", "services", namespace=namespace).items
    if name:
        items = [item for item in items if name in (item.name, item.host)]
        _require(items, f"no service {name}", namespace)
    match output:
        case Output.JSON:
            print_json(msgspec.to_builtins(items))
        case Output.YAML:
            print_yaml([msgspec.to_builtins(items)])
        case Output.TABLE:
            rows = [[item.namespace, item.host, _ports(item), _endpoints(item), item.origin] for item in items]
            print_rows(["NAMESPACE", "HOST", "PORTS", "ENDPOINTS", "ORIGIN"], rows, _none("services", namespace))


def print_workloads(client: Client, name: str | None, namespace: str, output: Output) -> None:
    """Print registered workloads of a namespace (empty: all), or the one with this name."""
    items = client.get(WorkloadList, "v1", "workloads", namespace=namespace).items
    if name:
        items = [item for item in items if name in (item.name, f"{item.name}.{item.namespace}")]
        _require(items, f"no workload {name}", namespace)
    match output:
        case Output.JSON:
            print_json(msgspec.to_builtins(items))
        case Output.YAML:
            print_yaml([msgspec.to_builtins(items)])
        case Output.TABLE:
            headers = ["NAMESPACE", "NAME", "SERVICE", "VERSION", "ADDRESS", "PORTS", "READY"]
            print_rows(headers, [_workload_row(item) for item in items], _none("workloads", namespace))


def _workload_row(item: WorkloadView) -> list[str]:
    ports = ",".join(map(str, item.ports))
    ready = "yes" if item.ready else "no"
    return [item.namespace, item.name, item.service, item.version, item.address, ports, ready]


def _ports(service: ServiceView) -> str:
    return ",".join(f"{port.number}/{port.protocol}" for port in service.ports)


def _endpoints(service: ServiceView) -> str:
    healthy = sum(1 for endpoint in service.endpoints if endpoint.healthy)
    return str(healthy) if healthy == len(service.endpoints) else f"{healthy} of {len(service.endpoints)}"


def _require(items: list[ServiceView] | list[WorkloadView], message: str, namespace: str) -> None:
    if not items:
        raise Failure(f"{message} in namespace {namespace}", hint="-A looks in every namespace, -n in another")


def _none(what: str, namespace: str) -> str:
    return f"no {what} in namespace {namespace}" if namespace else f"no {what}"
