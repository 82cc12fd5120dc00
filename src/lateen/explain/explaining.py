"""The entry point: a state and a question in, an explanation out.

Called by `cli/explain.py` (files) and `api/explaining.py` (the control plane's state). What the caller's proxy is
served says where the request goes; the inbound side of each distinct workload there, generated for the purpose, what
becomes of it: it is asked about the request as the route rewrote it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import msgspec

from lateen.envoy.resources import Snapshot
from lateen.explain.destinations import Destination, address_of, meant_instead, service_called, with_sidecars
from lateen.explain.explanations import (
    Asked,
    CallerView,
    DestinationView,
    Explanation,
    Outcome,
    WorkloadVerdict,
)
from lateen.explain.gateways import UNKNOWN_CLIENT, gateway_verdict
from lateen.explain.listeners import arrival
from lateen.explain.matchers import UnknownMatcherError
from lateen.explain.overall import is_unknown, outcome_verdict, overall
from lateen.explain.policies import named_policies
from lateen.explain.questions import Question, QuestionError, without_signatures
from lateen.explain.requests import Request
from lateen.explain.routing import Way, follow
from lateen.explain.served import Served
from lateen.explain.verdicts import Sent, workload_verdicts
from lateen.explain.walking import Surroundings
from lateen.generate.snapshot import generate
from lateen.mesh.state import MeshState
from lateen.model.identities import Identity
from lateen.model.names import Hostname
from lateen.model.proxies import Proxy, ProxyType

ASSUMED = (
    "files cannot tell who has a sidecar: every workload of the mesh is taken to have one, with a certificate "
    "(the label security.istio.io/tlsMode: disabled says otherwise)"
)


def explain(state: MeshState, question: Question, served: Snapshot | Served | None = None) -> Explanation:
    """Answer a question. Raises QuestionError when it makes no sense in this mesh, or meets what nobody here knows.

    `served`: what the proxy of the question has, if that is known already.
    """
    if question.assumed_sidecars:
        state = with_sidecars(state)
    known = served if isinstance(served, Served) else Served(served or generate(state, question.proxy))
    asking = _Asking(state=state, question=question, served=known)
    try:
        way = asking.way()
        return without_credentials(asking.explanation(way, asking.behind(way)))
    except UnknownMatcherError as error:
        hint = "Lateen makes none of these: an EnvoyFilter does"
        raise QuestionError(f"on the way of the request is {error}", hint, usage=False) from error


@dataclass(slots=True, kw_only=True)
class _Found:
    """What is behind the outcomes of a way."""

    verdicts: list[list[WorkloadVerdict]]
    """Of each outcome."""
    notes: list[str]
    destination: Destination | None
    """Of the outcome with the largest share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asking:
    """A question with all that answers it."""

    state: MeshState
    question: Question
    served: Served

    @property
    def _gateway(self) -> bool:
        return self.question.proxy.type is ProxyType.GATEWAY

    @property
    def _client(self) -> str:
        """Where the connection to the proxy comes from."""
        question = self.question
        if question.source_ip:
            return question.source_ip
        return UNKNOWN_CLIENT if self._gateway else next(iter(question.proxy.addresses), "")

    @property
    def _plaintext(self) -> bool:
        return self.question.plaintext or not self.question.proxy.certificates

    @property
    def _identity(self) -> Identity:
        proxy = self.question.proxy
        namespace, account = self.question.identity or (proxy.namespace, proxy.service_account)
        return Identity(self.state.mesh_config.trust_domain, namespace, account)

    def way(self) -> Way:
        """Return how far the request comes at the proxy of the question."""
        question = self.question
        address = "" if self._gateway else address_of(self.state, question.proxy, question.host)
        arrived = arrival(self.served, question, address)
        request = Request(
            headers=arrived.headers,
            source_ip=self._client,
            remote_ip=self._client,
            destination_ip=arrived.address,
            destination_port=arrived.port,
            server_name=arrived.transport.server_name,
        )
        around = Surroundings(policies=named_policies(self.state), claims=question.claims)
        way = follow(self.served, arrived, request, around)
        if not self._gateway and is_unknown(way.outcomes):
            way.near_misses += meant_instead(self.state, question.proxy, question.host, question.port)
        return way

    def behind(self, way: Way) -> _Found:
        """Return what the workloads behind each outcome say, each asked about the request as it gets it."""
        found = _Found(verdicts=[], notes=[], destination=None)
        asked: dict[tuple[object, ...], list[WorkloadVerdict]] = {}
        largest = 0.0
        for outcome in way.outcomes:
            destination = self._destination(outcome)
            if destination is None or outcome.cluster is None:
                found.verdicts.append([])
                continue
            if outcome.share > largest:
                largest, found.destination = outcome.share, destination
            sent = self._sent(outcome)
            key = (sent.cluster, tuple(sorted(sent.headers.items())))
            if key not in asked:
                asked[key], notes = workload_verdicts(self.state, destination, sent)
                found.notes += notes
            found.verdicts.append(asked[key])
        return found

    def _destination(self, outcome: Outcome) -> Destination | None:
        cluster = outcome.cluster
        caller = self.question.proxy
        service = service_called(self.state, caller, Hostname(cluster.host)) if cluster is not None else None
        port = service.port(cluster.port) if service is not None and cluster is not None else None
        return None if service is None or port is None else Destination(service=service, port=port)

    def _sent(self, outcome: Outcome) -> Sent:
        assert outcome.cluster is not None
        address = next(iter(self.question.proxy.addresses), "")
        return Sent(
            served=self.served,
            cluster=outcome.cluster.name,
            identity=self._identity,
            source_ip=address if self._gateway else self._client,
            headers=self._headers(outcome),
            claims=self.question.claims,
            plaintext=self._plaintext,
        )

    def _headers(self, outcome: Outcome) -> Mapping[str, str]:
        """Return the headers as the workload's proxy gets them; of a tunnel, those of the request inside."""
        request = outcome.request
        if request is None:
            return self.question.as_headers
        given = self.question.as_headers
        kept: dict[str, str] = {name: given[name] for name in ("x-forwarded-proto", "x-forwarded-for") if name in given}
        if self._gateway:
            kept["x-forwarded-for"] = ",".join([*filter(None, [given.get("x-forwarded-for")]), self._client])
        pseudo = {":method": request.method, ":path": request.path, ":authority": request.authority}
        return {**pseudo, **kept, **request.headers}

    def explanation(self, way: Way, found: _Found) -> Explanation:
        """Return all of it as it is told."""
        question, proxy = self.question, self.question.proxy
        gateway = gateway_verdict(self.state, proxy, way) if self._gateway else None
        unique = {id(verdict): verdict for verdicts in found.verdicts for verdict in verdicts}
        stopped = way.walked.decisive if way.walked is not None else None
        said = [outcome_verdict(*both) for both in zip(way.outcomes, found.verdicts, strict=True)]
        judged = [
            msgspec.structs.replace(outcome, verdict=verdict)
            for outcome, verdict in zip(way.outcomes, said, strict=True)
        ]
        identity = None if self._gateway or self._plaintext else self._identity
        return Explanation(
            request=_asked(question),
            caller=_caller_view(proxy, identity, question.source_ip if self._gateway else self._client),
            verdict="denied" if stopped is not None else overall(said),
            gateway=gateway,
            destination=None if found.destination is None else _destination_view(found.destination),
            routing=way.routing(proxy.id, judged),
            workloads=list(unique.values()),
            notes=list(self._notes(way, found)),
        )

    def _notes(self, way: Way, found: _Found) -> Iterator[str]:
        yield from dict.fromkeys(found.notes)
        yield from way.arrival.notes
        if self._gateway and not self.question.source_ip:
            yield f"the client's address is not known: {UNKNOWN_CLIENT} is taken (--source-ip)"
        if self.question.assumed_sidecars:
            yield ASSUMED


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


def without_credentials(explanation: Explanation) -> Explanation:
    """Return an explanation in which no header carries a token that somebody could use."""
    routing = explanation.routing
    if routing is None:
        return explanation
    outcomes = [_without_credentials(outcome) for outcome in routing.outcomes]
    return msgspec.structs.replace(explanation, routing=msgspec.structs.replace(routing, outcomes=outcomes))


def _without_credentials(outcome: Outcome) -> Outcome:
    request = outcome.request
    if request is None:
        return outcome
    headers = {name: without_signatures(value) for name, value in request.headers.items()}
    return msgspec.structs.replace(outcome, request=msgspec.structs.replace(request, headers=headers))
