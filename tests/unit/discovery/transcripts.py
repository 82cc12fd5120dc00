"""Reads the transcripts of the discovery protocol and plays them against a session.

One statement per line; `#` begins a comment. The first statement names the variant, `delta` or `sotw`.

    publish s1 CDS/a@1 EDS/a@1     a snapshot named s1 with cluster a and endpoints a, each at version 1
    publish s1 ?CDS/b@1 ?VHDS/p/h@1>b,c   cluster b and virtual host p/h, which leads to clusters b and c, on demand
    < CDS subscribe=*              a request: delta subscribe= unsubscribe= initial=a@1, sotw names=; nonce= error=
    > CDS n1 s1 a@1 -b             the response that must come now: nonce 1, version s1, resource a, b removed
    timeout                        the edge has been patient enough
    ledger CDS synced sent=s1      what the ledger must say of a kind
    settled | unsettled            whether the client is where the newest snapshot is

Every response must be written down, in order, right after the statement that causes it.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field

from lateen.discovery.protocol import Delta, StateOfTheWorld
from lateen.discovery.values import DeltaRequest, Response, StateOfTheWorldRequest
from lateen.envoy.resources import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, VIRTUAL_HOST, Resource, Snapshot

KINDS = {"CDS": CLUSTER, "EDS": ENDPOINT, "LDS": LISTENER, "RDS": ROUTE, "VHDS": VIRTUAL_HOST, "SDS": SECRET}
SHORT = {kind: short for short, kind in KINDS.items()}


def fake_resource(kind: str, name: str, version: str, leads_to: tuple[str, ...] = ()) -> Resource:
    return Resource(kind=kind, name=name, version=version, body=f"{name}@{version}".encode(), leads_to=leads_to)


def fake_snapshot(version: str, *resources: Resource, on_demand: Iterable[Resource] = ()) -> Snapshot:
    return Snapshot(version=version, resources=_grouped(resources), on_demand=_grouped(on_demand))


def _grouped(resources: Iterable[Resource]) -> dict[str, dict[str, Resource]]:
    grouped: dict[str, dict[str, Resource]] = {}
    for resource in resources:
        grouped.setdefault(resource.kind, {})[resource.name] = resource
    return grouped


def shown(response: Response) -> str:
    """A response in the transcripts' notation."""
    parts = [SHORT.get(response.kind, response.kind), f"n{response.nonce}", response.version]
    parts += [f"{resource.name}@{resource.version}" for resource in response.resources]
    parts += [f"-{name}" for name in response.removed]
    return "> " + " ".join(parts)


def _pairs(words: list[str]) -> dict[str, str]:
    return dict(word.split("=", 1) for word in words)


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split(",")) if text else ()


@dataclass
class Player:
    """A session, and the responses it gave that no line has claimed yet."""

    session: Delta | StateOfTheWorld
    snapshot: Snapshot | None = None
    unclaimed: list[str] = field(default_factory=list)

    def play(self, line: str) -> None:
        verb, *words = shlex.split(line, comments=True)
        if verb == ">":
            assert self.unclaimed, f"no response, but expected {line}"
            assert self.unclaimed.pop(0) == " ".join((verb, *words))
            return
        assert not self.unclaimed, f"unexpected before {line!r}: {self.unclaimed}"
        match verb:
            case "publish":
                told = [self._resource(word) for word in words[1:] if not word.startswith("?")]
                on_demand = [self._resource(word[1:]) for word in words[1:] if word.startswith("?")]
                self.snapshot = fake_snapshot(words[0], *told, on_demand=on_demand)
                self._take(self.session.on_publish(self.snapshot))
            case "<":
                self._take(self._request(KINDS.get(words[0], words[0]), _pairs(words[1:])))
            case "timeout":
                self._take(self.session.on_timeout())
            case "ledger":
                status = self.session.statuses()[KINDS[words[0]]]
                assert status.state == words[1]
                for key, value in _pairs(words[2:]).items():
                    assert str(getattr(status, key)) == value, key
            case "settled" | "unsettled":
                assert self.snapshot
                assert self.session.is_settled_on(self.snapshot) is (verb == "settled")
            case _:
                raise AssertionError(f"what is {line!r}?")

    def _resource(self, word: str) -> Resource:
        kind, rest = word.split("/", 1)
        name, version = rest.split("@")
        version, _, clusters = version.partition(">")
        return fake_resource(KINDS[kind], name, version, _names(clusters))

    def _take(self, responses: list[Response]) -> None:
        self.unclaimed += [shown(response) for response in responses]

    def _request(self, kind: str, options: dict[str, str]) -> list[Response]:
        nonce, error = options.get("nonce", ""), options.get("error")
        if isinstance(self.session, StateOfTheWorld):
            names = _names(options.get("names", ""))
            request = StateOfTheWorldRequest(kind=kind, names=names, nonce=nonce, error=error)
            return self.session.on_request(request, self.snapshot)
        initial = dict(word.split("@") for word in _names(options.get("initial", "")))
        return self.session.on_request(
            DeltaRequest(
                kind=kind,
                subscribe=_names(options.get("subscribe", "")),
                unsubscribe=_names(options.get("unsubscribe", "")),
                initial_versions=initial,
                nonce=nonce,
                error=error,
            ),
            self.snapshot,
        )


def play(text: str) -> None:
    """Play a whole transcript; AssertionError names the line that is not true."""
    player: Player | None = None
    for number, line in enumerate(text.splitlines(), 1):
        if not shlex.split(line, comments=True):
            continue
        if player is None:
            assert line.strip() in ("delta", "sotw")
            player = Player(Delta() if line.strip() == "delta" else StateOfTheWorld())
            continue
        try:
            player.play(line)
        except AssertionError as error:
            raise AssertionError(f"line {number}: {line}\n{error}\nstill to come: {player.unclaimed}") from error
    assert player
    assert not player.unclaimed, f"unexpected at the end: {player.unclaimed}"
