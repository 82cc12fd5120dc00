"""The entry point: a state and a question in, an explanation out.

Called by `cli/explain.py` (files) and `api/explaining.py` (the control plane's state). The caller's snapshot says how
it connects, and the inbound side of each distinct workload behind the service, generated for the purpose, what becomes
of that. Routes will come between the two; until then a request goes to the service that its host names.
"""

from __future__ import annotations

import msgspec

from lateen.envoy.resources import Snapshot
from lateen.explain.destinations import Destination, find_destination, with_sidecars
from lateen.explain.explanations import Asked, CallerView, DestinationView, Explanation
from lateen.explain.gateways import entered
from lateen.explain.questions import Question, without_signatures
from lateen.explain.verdicts import overall, sent_by, workload_verdicts
from lateen.mesh.queries import virtual_service_for_host
from lateen.mesh.state import MeshState
from lateen.model.identities import Identity
from lateen.model.proxies import Proxy, ProxyType

ASSUMED = (
    "files cannot tell who has a sidecar: every workload of the mesh is taken to have one, with a certificate "
    "(the label security.istio.io/tlsMode: disabled says otherwise)"
)


def explain(state: MeshState, question: Question, served: Snapshot | None = None) -> Explanation:
    """Answer a question. Raises QuestionError when it makes no sense in this mesh.

    `served`: what the proxy of the question has, if that is known already.
    """
    caller = question.proxy
    assumed: list[str] = []
    if question.assumed_sidecars:
        state, assumed = with_sidecars(state), [ASSUMED]
    if caller.type is ProxyType.GATEWAY:
        return _through_gateway(state, caller, question, assumed, served)
    destination = find_destination(state, caller, question.host, question.port)
    sent = sent_by(
        state,
        caller,
        headers=question.as_headers,
        source_ip=question.source_ip or next(iter(caller.addresses), ""),
        claims=question.claims,
        identity=question.identity,
        plaintext=question.plaintext,
        served=served,
    )
    verdicts, notes = workload_verdicts(state, destination, sent)
    return Explanation(
        request=_asked(question),
        caller=_caller_view(caller, None if sent.plaintext else sent.identity, sent.source_ip),
        verdict=overall(verdicts),
        destination=_destination_view(destination),
        workloads=verdicts,
        notes=[*_routing_notes(state, caller, destination), *notes, *assumed],
    )


def _through_gateway(
    state: MeshState, gateway: Proxy, question: Question, assumed: list[str], served: Snapshot | None
) -> Explanation:
    entry = entered(state, gateway, question, served)
    view = None if entry.destination is None else _destination_view(entry.destination)
    explanation = Explanation(
        request=_asked(question),
        caller=_caller_view(gateway, None, question.source_ip),
        verdict=entry.verdict.verdict,
        gateway=entry.verdict,
        destination=view,
        notes=[*entry.notes, *assumed],
    )
    if entry.destination is None or entry.verdict.verdict != "allowed":
        return explanation
    sent = sent_by(
        state,
        gateway,
        headers=entry.headers,
        source_ip=next(iter(gateway.addresses), ""),
        claims=question.claims,
        plaintext=question.plaintext,
        served=served,
    )
    verdicts, notes = workload_verdicts(state, entry.destination, sent)
    return msgspec.structs.replace(
        explanation, verdict=overall(verdicts), workloads=verdicts, notes=[*notes, *explanation.notes]
    )


def _asked(question: Question) -> Asked:
    return Asked(
        method=question.method,
        url=without_signatures(question.url),
        headers={name: without_signatures(value) for name, value in question.headers.items()},
        claims=dict(question.claims or {}),
    )


def _caller_view(proxy: Proxy, identity: Identity | None, source_ip: str) -> CallerView:
    return CallerView(
        proxy=proxy.id,
        type="gateway" if proxy.type is ProxyType.GATEWAY else "sidecar",
        identity=identity.principal if identity is not None else "",
        source_ip=source_ip,
    )


def _destination_view(destination: Destination) -> DestinationView:
    service, port = destination.service, destination.port
    return DestinationView(
        host=service.host,
        port=port.number,
        protocol=port.protocol.value,
        origin=str(service.origin),
        external=service.external,
    )


def _routing_notes(state: MeshState, caller: Proxy, destination: Destination) -> list[str]:
    """Say that a rule may send the request elsewhere, which is not explained yet."""
    bound = virtual_service_for_host(state, caller.namespace, destination.service.host)
    if bound is None:
        return []
    key = bound.object.key
    text = (
        f"VirtualService {key.namespace}/{key.name} ({bound.object.origin}) routes this host; its routes are not "
        "followed yet: this is about the service that the host names"
    )
    return [text]
