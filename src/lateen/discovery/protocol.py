"""The xDS protocol as a sans-IO state machine: requests and snapshots in, responses out.

`server` makes one `Session` per stream, of the variant that the client chose, and calls it from one task; nothing in
here waits, reads a clock, or touches the network. Source: Envoy's "xDS REST and gRPC protocol"; what stock Envoy was
seen to do where that is silent is marked "observed".

**The problem.** A client is brought from one snapshot to the next while requests for single names come in between,
responses are rejected, newer snapshots appear, and no listener or route may ever name a cluster that is not there.
Sending whatever changed as soon as it changed fails on three counts: a slow client gathers a queue; a route arrives
while its new cluster still warms up, which is a burst of 503s; a removed cluster goes before the route that uses it.

**What we do.**
1. *One response of a kind in flight.* A newer one waits until the client has answered (Envoy would accept more). A
   slow client therefore holds at most one response per kind here, and skips to the newest snapshot when it wakes up.
2. *Listeners and routes follow clusters.* They move to a snapshot only when the cluster response before them has been
   answered. Envoy holds that ACK back until its new clusters are warm (observed, and said so in its cluster manager),
   which makes it the exact signal. A cluster that cannot warm up, an unresolvable name for instance, would hold them
   back for long: `on_timeout` is the edge's word that it has been patient enough. Endpoints and secrets never wait:
   a cluster may need them to become warm.
3. *Removals last.* Clusters and endpoints that are gone stay with the client until everything else of the snapshot is
   answered; in the state-of-the-world variant, where absence is removal, they are still listed until then. While a
   listener or route stands rejected the client lives on its older ones, so what those use is not taken away either
   (up to `MAX_KEPT`). Listeners are the exception: a new one may want the address of the one that goes, and Envoy
   removes before it adds within one response.
4. *A rejection changes the ledger, not what we think the client was sent.* So a rejected version is sent again only if
   it changes, or if the client asks for it again by name.

5. *On demand, everything at once.* A client that asks for a virtual host is sent, before it, the clusters that its
   routes lead to and their endpoints, unasked: the request that waits for it waits for one round trip.

What we chose not to do: time out by ourselves, split a rejected response to find the culprit (but for virtual hosts,
where Envoy takes all or nothing), or speak REST.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Generic, TypeVar

from lateen.discovery.ledger import Answer, Ledger, TypeStatus
from lateen.discovery.sharing import Difference, Sharing
from lateen.discovery.subscriptions import Subscription
from lateen.discovery.values import WILDCARD, DeltaRequest, PeerError, Response, StateOfTheWorldRequest
from lateen.envoy.resources import (
    CLUSTER,
    ENDPOINT,
    KINDS,
    LISTENER,
    ROUTE,
    VIRTUAL_HOST,
    Offer,
    Resource,
    Snapshot,
)

FOLLOWS_CLUSTERS = frozenset({LISTENER, ROUTE, VIRTUAL_HOST})
"""Kinds that name clusters: they wait for the answer to the cluster response."""
REMOVED_LAST = (CLUSTER, ENDPOINT)
"""Kinds that others use, in the order of their removal: after their users are known to be gone."""
FULL_SET = frozenset({CLUSTER, LISTENER})
"""Kinds of which a state-of-the-world response lists everything; what it does not list is removed."""
LEGACY_WILDCARD = frozenset({CLUSTER, LISTENER, VIRTUAL_HOST})
"""Kinds of which a first request without names means all that is told; for others it means none."""

MAX_KINDS = 32
"""Kinds that one stream may ask for."""
MAX_KEPT = 1000
"""Removed resources that a client may keep because it rejects listeners or routes."""

RequestT = TypeVar("RequestT", StateOfTheWorldRequest, DeltaRequest)


class Session(ABC, Generic[RequestT]):
    """One stream's protocol state. Every method returns what is to be sent, in order."""

    def __init__(self, sharing: Sharing | None = None) -> None:
        """`sharing` is common to the sessions of a hub, so that clients of one scope cost one answer."""
        self.ledger = Ledger()
        self._sharing = sharing or Sharing()
        self._subscriptions: dict[str, Subscription] = {}
        self._newest: Snapshot | None = None
        self._responses = 0
        self._refused: dict[str, str] = {}
        """Virtual hosts that the client rejects, and why."""
        self._hurried: str = ""
        """Nonce of the cluster response that listeners and routes no longer wait for."""

    @property
    def newest(self) -> Snapshot | None:
        """The newest snapshot that it was told of."""
        return self._newest

    @abstractmethod
    def on_request(self, request: RequestT, snapshot: Snapshot | None) -> list[Response]:
        """Take a request, with the newest snapshot; return what can be sent now. PeerError when over a limit.

        Without a snapshot the request is remembered, and answered by the first `on_publish`.
        """

    def on_publish(self, snapshot: Snapshot) -> list[Response]:
        """Take a newer snapshot; return what can be sent now."""
        self._newest = snapshot
        return self._advance()

    def on_timeout(self) -> list[Response]:
        """Stop waiting for the clusters in flight to warm up; return the listeners and routes that waited."""
        clusters = self.ledger.unanswered_nonce(CLUSTER)
        if not clusters or clusters == self._hurried:
            return []
        self._hurried = clusters
        return self._advance()

    def is_settled_on(self, snapshot: Snapshot) -> bool:
        """Whether the client has answered all that this snapshot, the newest, means to it; not before it asks."""
        return (
            snapshot is self._newest
            and bool(self._subscriptions)
            and not self.ledger.unanswered
            and all(subscription.at is snapshot for subscription in self._subscriptions.values())
        )

    def held(self, kind: str) -> dict[str, Resource]:
        """Return what the client was brought to of one kind, by name."""
        return self._subscriptions[kind].held() if kind in self._subscriptions else {}

    def take_news(self) -> frozenset[str]:
        """Return the clusters that the client has come to want by name since this was last asked."""
        clusters = self._subscriptions.get(CLUSTER)
        return clusters.take_news() if clusters is not None else frozenset()

    def statuses(self) -> dict[str, TypeStatus]:
        """Return the state of each kind, those that Lateen serves first."""
        known = self._subscriptions
        sizes: dict[str, int] = {kind: known[kind].size(self._sharing) for kind in known}
        kinds = (*KINDS, *(kind for kind in sizes if kind not in KINDS))
        statuses = {kind: self.ledger.status(kind, sizes.get(kind, 0)) for kind in kinds}
        if self._refused:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in sorted(self._refused.items()))
            statuses[VIRTUAL_HOST] = replace(statuses[VIRTUAL_HOST], state="rejected", rejection=reasons)
        return statuses

    def _subscription(self, kind: str) -> Subscription:
        """Return the subscription of a kind, a new one if need be."""
        if known := self._subscriptions.get(kind):
            return known
        if len(self._subscriptions) == MAX_KINDS:
            raise PeerError(f"more than {MAX_KINDS} resource types on one stream")
        made = Subscription(kind)
        # Kept in make-before-break order, whatever the order in which they were asked for.
        order = {known: rank for rank, known in enumerate(KINDS)}
        every = {**self._subscriptions, kind: made}
        self._subscriptions = dict(sorted(every.items(), key=lambda item: order.get(item[0], len(order))))
        return made

    def _advance(self) -> list[Response]:
        """Send whatever may be sent now, in make-before-break order."""
        responses: list[Response] = []
        newest = self._newest
        if newest is None:
            return responses
        self._foresee(newest)
        for subscription in self._subscriptions.values():
            # Most often there is nothing to do: this is the path of every ACK and of every kind that did not change.
            if subscription.is_at(newest) or self.ledger.awaits(subscription.kind):
                continue
            follows = subscription.kind in FOLLOWS_CLUSTERS
            responses += self._bring(
                subscription, self._reachable(subscription, newest) if follows else newest, removing=False
            )
        if self.ledger.unanswered:
            return responses
        for kind in REMOVED_LAST:
            kept = self._subscriptions.get(kind)
            if kept and not kept.is_at(newest) and self._may_remove(kept):
                responses += self._bring(kept, newest, removing=True)
        return responses

    def _foresee(self, newest: Snapshot) -> None:
        """Have what routes lead to told before the routes are."""

    def _reachable(self, subscription: Subscription, newest: Snapshot) -> Snapshot:
        """Return the snapshot that a subscription that follows the clusters may be brought to now."""
        clusters = self._subscriptions.get(CLUSTER)
        if clusters is None or clusters.at is None:
            return newest
        unanswered = self.ledger.unanswered_nonce(CLUSTER)
        if subscription.at is not None and unanswered and unanswered != self._hurried:
            return subscription.at
        return clusters.at

    def _may_remove(self, subscription: Subscription) -> bool:
        rejects = bool(self._refused) or self.ledger.rejects(FOLLOWS_CLUSTERS)
        return not rejects or len(subscription.exceptions) > MAX_KEPT

    def _bring(self, subscription: Subscription, snapshot: Snapshot, *, removing: bool) -> list[Response]:
        """Bring one subscription to a snapshot; the response, if it takes one."""
        target = snapshot.offer(subscription.kind)
        subscription.at = snapshot
        if target.is_same(subscription.base) and not subscription.exceptions and not subscription.owed:
            return []
        removing = removing or subscription.kind not in REMOVED_LAST
        difference = subscription.difference(target, self._sharing)
        sent = subscription.admitted(difference)
        response = self._respond(subscription, snapshot, sent, removing=removing)
        subscription.bring_to(target, difference, sent, removed=removing)
        if response is None:
            return []
        self.ledger.record_sent(response.kind, response.version, response.nonce)
        return [response]

    def _response(
        self, subscription: Subscription, version: str, resources: tuple[Resource, ...], removed: tuple[str, ...] = ()
    ) -> Response:
        self._responses += 1
        return Response(
            kind=subscription.kind,
            nonce=str(self._responses),
            version=version,
            resources=resources,
            removed=removed,
        )

    @abstractmethod
    def _respond(
        self, subscription: Subscription, snapshot: Snapshot, difference: Difference, *, removing: bool
    ) -> Response | None:
        """Return the response that tells the difference, None when there is nothing to say."""


class StateOfTheWorld(Session[StateOfTheWorldRequest]):
    """The variant in which requests carry all names, and responses of `FULL_SET` kinds all resources."""

    def __init__(self, sharing: Sharing | None = None) -> None:
        super().__init__(sharing)
        self._legacy: set[str] = set()
        """Kinds of which the client never named a resource, so that no names mean all."""
        self._kept: dict[str, Resource] = {}
        """Clusters that are gone but still listed."""

    def on_request(self, request: StateOfTheWorldRequest, snapshot: Snapshot | None) -> list[Response]:
        """Take a DiscoveryRequest; see Session."""
        self._newest = snapshot or self._newest
        subscription = self._subscription(request.kind)
        first = subscription.ask()
        answer = self.ledger.record_answer(request.kind, request.nonce, request.error)
        if answer is Answer.STALE:
            # The client has not seen our newest response; what it wants comes with its answer to that one.
            return self._advance()
        if first and request.kind in LEGACY_WILDCARD:
            self._legacy.add(request.kind)
        if request.names:
            self._legacy.discard(request.kind)
        wildcard = request.kind in self._legacy or WILDCARD in request.names
        grown = subscription.replace(request.names, wildcard=wildcard)
        match answer:
            case Answer.UNPROMPTED | Answer.REPEATED:
                # Asking again without a reason to answer means that the client needs it all again: Envoy does so
                # for the endpoints of a cluster that was changed, with the same names (observed).
                subscription.owed = True
            case Answer.ACK:
                subscription.owed = grown
            case Answer.NACK:
                # Only what was not in the rejected response: nothing, or the names that are new.
                subscription.owed = grown and request.kind in FULL_SET
        return self._advance()

    def _respond(
        self, subscription: Subscription, snapshot: Snapshot, difference: Difference, *, removing: bool
    ) -> Response | None:
        target = snapshot.offer(subscription.kind)
        if subscription.kind not in FULL_SET:
            resources = self._wanted(subscription, target) if subscription.owed else difference.resources
            return self._response(subscription, snapshot.version, resources) if resources or subscription.owed else None
        kept = {} if removing else self._still_listed(subscription, difference.gone)
        if not subscription.owed and not difference.resources and not (removing and difference.gone):
            return None
        # Another content under the same snapshot needs another version.
        version = f"{snapshot.version}+{len(kept)}" if kept else snapshot.version
        wanted = self._wanted(subscription, target)
        return self._response(subscription, version, (*wanted, *kept.values()) if kept else wanted)

    def _still_listed(self, clusters: Subscription, gone: tuple[str, ...]) -> dict[str, Resource]:
        """Return the resources that are gone and were listed until now; one that was not is not known any more."""
        known = {name: clusters.base.get(name) or self._kept.get(name) for name in gone}
        self._kept = {name: resource for name, resource in known.items() if resource}
        return self._kept

    def _wanted(self, subscription: Subscription, target: Offer) -> tuple[Resource, ...]:
        selections, told = self._sharing.selections, target.told
        if subscription.wildcard:
            return selections.get((id(told), None), told, lambda: tuple(told.values()))
        names = subscription.names = self._sharing.names(subscription.names)
        found = lambda: tuple(resource for name in sorted(names) if (resource := target.get(name)))  # noqa: E731
        return selections.get((id(told), id(target.on_demand), names), target, found)


class Delta(Session[DeltaRequest]):
    """The incremental variant: requests carry changes of names, responses changes of resources."""

    def __init__(self, sharing: Sharing | None = None) -> None:
        super().__init__(sharing)
        self._changed_early: set[str] = set()
        """Clusters that were sent before the client asked for endpoints on this stream."""
        self._hosts_sent: tuple[str, ...] = ()
        """Names of the virtual hosts in flight."""

    def on_request(self, request: DeltaRequest, snapshot: Snapshot | None) -> list[Response]:
        """Take a DeltaDiscoveryRequest; see Session."""
        self._newest = snapshot or self._newest
        subscription = self._subscription(request.kind)
        first = subscription.ask()
        if request.nonce:
            # Whatever the nonce says, the changes of names count: they are never repeated.
            answer = self.ledger.record_answer(request.kind, request.nonce, request.error)
            if request.kind == VIRTUAL_HOST:
                self._judge(subscription, answer, request.error or "")
            if request.kind == CLUSTER and answer is Answer.NACK:
                self._withdraw_endpoints()
        legacy = first and not request.subscribe and request.kind in LEGACY_WILDCARD
        subscription.remove(request.unsubscribe)
        subscription.add((WILDCARD,) if legacy else request.subscribe)
        if first:
            subscription.presume(self._presumable(request))
        return self._advance()

    def _judge(self, hosts: Subscription, answer: Answer, reason: str) -> None:
        """Find out which virtual hosts the client rejects.

        Envoy takes a response of them whole or not at all, and does not say which one is wrong (observed). So that one
        bad rule does not hold back the others, what came together is sent once more one by one.
        """
        sent, self._hosts_sent = self._hosts_sent, ()
        if answer is Answer.NACK and len(sent) > 1:
            hosts.suspect(sent)
        elif answer is Answer.NACK:
            self._refused.update(dict.fromkeys(sent, reason))
        elif answer is Answer.ACK:
            for name in sent:
                self._refused.pop(name, None)

    def _withdraw_endpoints(self) -> None:
        """Do not wait for an answer to endpoints that nobody asked for when the clusters before them were rejected.

        Envoy answers no response of a kind that it has no subscription to, and it has none without a cluster
        (observed). It would have to be waited for until the stream ends, and no endpoints could be sent.
        """
        endpoints = self._subscriptions.get(ENDPOINT)
        if endpoints is not None and not endpoints.asked:
            self.ledger.withdraw(ENDPOINT)
            endpoints.expect_nothing()

    def _presumable(self, request: DeltaRequest) -> Mapping[str, str]:
        """Return what the client holds from an earlier stream and can use: not endpoints of clusters that warm up.

        Such a cluster waits for a response, whatever Envoy's own books say it holds of them; without one it, and with
        it every later cluster, would wait for ever. It warms up because it was changed on this stream, or because the
        earlier stream ended before its endpoints came. Which ones those are the client does not say, but it holds its
        request for clusters back until they are warm (observed), so endpoints are asked for first: all are sent.
        """
        if request.kind != ENDPOINT:
            return request.initial_versions
        if CLUSTER not in self._subscriptions:
            return {}
        return {name: held for name, held in request.initial_versions.items() if name not in self._changed_early}

    def _foresee(self, newest: Snapshot) -> None:
        clusters = self._subscriptions.get(CLUSTER)
        if clusters is None:
            return
        for kind in FOLLOWS_CLUSTERS:
            leading = self._subscriptions.get(kind)
            if leading is not None and not leading.is_at(newest):
                offer = newest.offer(kind)
                if leading.exceptions or not offer.is_same(leading.base):
                    clusters.imply(leading.difference(offer, self._sharing).leads_to)
        if clusters.names:
            self._subscription(ENDPOINT)

    def _respond(
        self, subscription: Subscription, snapshot: Snapshot, difference: Difference, *, removing: bool
    ) -> Response | None:
        removed = difference.unknown + (difference.gone if removing else ())
        if not subscription.owed and not difference.resources and not removed:
            return None
        if subscription.kind == CLUSTER:
            self._send_endpoints(subscription, difference.resources)
        if subscription.kind == VIRTUAL_HOST:
            self._hosts_sent = tuple(resource.name for resource in difference.resources)
        return self._response(subscription, snapshot.version, difference.resources, removed)

    def _send_endpoints(self, clusters: Subscription, sent: tuple[Resource, ...]) -> None:
        """Have the endpoints of clusters sent right after them, where Envoy does not ask or need not have to.

        A changed EDS cluster warms up anew, but delta Envoy does not ask again for endpoints it is subscribed to:
        without this the change would wait for the fetch timeout of 15 s (observed). And a request waits for a cluster
        that is told on demand: with its endpoints behind it, it waits for one round trip; Envoy asks for them once it
        has the cluster, and uses what came (observed). The load assignment has the cluster's name, as all Lateen
        generates.
        """
        on_demand = [cluster.name for cluster in sent if cluster.name in clusters.names]
        endpoints = self._subscriptions.get(ENDPOINT)
        if endpoints is None or not endpoints.asked:
            self._changed_early.update(cluster.name for cluster in sent)
        if endpoints is not None:
            for cluster in sent:
                endpoints.mark_due(cluster.name)
            endpoints.imply(on_demand, asked_for_later=True)
