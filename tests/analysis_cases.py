"""Tables of cases: YAML, and the findings that it must have. Used by the tests of single analyzers."""

from __future__ import annotations

from lateen.analysis.references import analyse
from lateen.config.mesh_config import MeshConfig
from lateen.config.parsing import parse
from lateen.mesh.build import build_state
from lateen.model.catalogues import Catalogue
from lateen.model.findings import Finding, has_errors
from lateen.model.workloads import WorkloadPort, WorkloadRegistration

Document = str


def document(kind: str, name: str, spec: str, *, namespace: str = "default", extra: str = "") -> Document:
    """One object; `spec` is flow YAML of its spec."""
    group = {
        "Service": "v1",
        "Namespace": "v1",
        "PeerAuthentication": "security.istio.io/v1",
        "RequestAuthentication": "security.istio.io/v1",
        "AuthorizationPolicy": "security.istio.io/v1",
    }.get(kind, "networking.istio.io/v1")
    metadata = f"name: {name}" + ("" if kind == "Namespace" else f", namespace: {namespace}")
    return f"apiVersion: {group}\nkind: {kind}\nmetadata: {{{metadata}{extra}}}\n" + (f"spec: {spec}\n" if spec else "")


def service(name: str = "reviews", ports: str = "{name: http, port: 9080}", *, namespace: str = "default") -> Document:
    """A Service that selects `app: NAME`."""
    return document("Service", name, f"{{selector: {{app: {name}}}, ports: [{ports}]}}", namespace=namespace)


def entry(name: str, labels: str, *, more: str = "") -> Document:
    """A WorkloadEntry."""
    return document("WorkloadEntry", name, f"{{address: 10.0.0.1, labels: {{{labels}}}{more}}}")


def found(
    *documents: Document, mesh_config: MeshConfig | None = None, running: Catalogue | None = None
) -> list[Finding]:
    """Analyse documents; they must be valid each by itself."""
    parsed = parse("---\n".join(documents).encode(), "f")
    assert not has_errors(parsed.findings), parsed.findings
    state = build_state(parsed.objects, (running,) if running else (), mesh_config or MeshConfig())
    return list(analyse(state, parsed.objects, parsed.positions))


def codes(*documents: Document, mesh_config: MeshConfig | None = None, running: Catalogue | None = None) -> list[str]:
    """Return `CODE KIND/NAME path` of each finding."""
    findings = found(*documents, mesh_config=mesh_config, running=running)
    return [f"{one.code} {one.kind}/{one.name} {one.path}" for one in findings]


def running(*registrations: WorkloadRegistration) -> Catalogue:
    """A mesh in which these workloads are registered."""
    return Catalogue(name="agents", workloads=registrations)


def workload(
    service_name: str, *, identity: bool = True, labels: dict[str, str] | None = None, port: int = 9080
) -> WorkloadRegistration:
    """A registered workload, with a certificate of the mesh or without."""
    return WorkloadRegistration(
        service=service_name,
        namespace="default",
        address="127.64.0.7",
        name=f"{service_name or 'gateway'}-1",
        labels=labels or {},
        ports=(WorkloadPort(port=port, app_port=port + 10000),) if service_name else (),
        ready=True,
        identity="spiffe://cluster.local/ns/default/sa/default" if identity else "",
    )
