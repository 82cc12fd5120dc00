"""Nothing of the room shows a key or a token, in whatever form it is printed."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterator
from pathlib import Path

from ca_requests import NOW, csr_for
from lateen.ca.authenticators import JoinTokens
from lateen.ca.authority import Authority
from lateen.ca.generations import CaState
from lateen.ca.jwts import read_unverified
from lateen.ca.local import LocalProofs
from lateen.ca.tokens import Audience, Tokens
from lateen.model.identities import Identity


def inside(thing: object, seen: set[int]) -> Iterator[object]:
    """Everything that can be reached by attributes and items, each once."""
    if id(thing) in seen or isinstance(thing, str | bytes | type | dt.datetime):
        return
    seen.add(id(thing))
    yield thing
    names = [*getattr(thing, "__dict__", ()), *getattr(type(thing), "__slots__", ())]
    within = [getattr(thing, name, None) for name in names if not name.startswith("__")]
    if isinstance(thing, dict):
        within += [*thing.keys(), *thing.values()]
    elif isinstance(thing, list | tuple | set | frozenset):
        within += thing
    for each in within:
        yield from inside(each, seen)


def shown(*things: object) -> Iterator[str]:
    seen: set[int] = set()
    for thing in things:
        for each in inside(thing, seen):
            if type(each).__module__.startswith("lateen") or isinstance(each, tuple | list | dict):
                yield f"{each!r} {each!s}"
            if dataclasses.is_dataclass(each) and not isinstance(each, type):
                yield str([getattr(each, field.name) for field in dataclasses.fields(each)])


def test_nothing_shows_a_key_or_a_token(tmp_path: Path) -> None:
    authority = Authority.open(tmp_path, "cluster.local", now=NOW)
    authority.start_rotation(NOW)
    tokens = Tokens.open(tmp_path, "cluster.local")
    token, record = tokens.create_join("default", "reviews", now=NOW, ttl=dt.timedelta(hours=1))
    proofs = LocalProofs(tokens, tmp_path)
    proofs.refresh(NOW, roots=authority.bundle())
    serving = authority.serving(["localhost"], now=NOW)
    issued = authority.issue(csr_for(""), Identity("cluster.local", "default", "reviews"), now=NOW)
    state = authority._state
    assert isinstance(state, CaState)
    secrets = [
        *(file.read_bytes() for file in tmp_path.rglob("*") if file.name.endswith(("-key.pem", "-token"))),
        serving.key.pem(),
        token.encode(),
    ]
    # A line of each: keys are wrapped, and what matters of a token is its signature.
    lines = {line for secret in secrets for line in secret.decode().splitlines() if "-----" not in line and line}
    parts = {line.rsplit(".", 1)[-1] for line in lines}
    everything = [
        *shown(authority, state, authority.describe(), serving, issued, tokens, record, proofs, JoinTokens(tokens)),
        *shown(tokens.records(NOW), tokens.verify(token, Audience.JOIN, NOW), tokens.read(token, Audience.JOIN, NOW)),
        *shown(read_unverified(token), tokens.verify(token, Audience.API, NOW)),
    ]

    assert len(parts) > 10
    assert any("PrivateKey(...)" in text for text in everything), "the walk gets to keys"
    for text in everything:
        assert not any(part in text for part in parts), text[:200]
