"""Whether a match of an HTTP rule takes all requests of a later one. Called by `unreachable`.

What cannot be told for certain (two regular expressions that differ) counts as no: nothing is reported in doubt.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

from lateen.config.networking import HTTPMatchRequest, StringMatch
from lateen.config.request_claims import claim_path
from lateen.envoy.routes import is_presence

_MOST_COMPARED = 50
"""Of the earlier matches with one path: a rule of thousands is not compared with each."""
_LONGEST = 2000
"""Of the paths that are looked at."""
_ANY_PATH = ("", "")
_Key = tuple[str, str]
_Conditions = Mapping[str, StringMatch]


@dataclass(slots=True)
class Earlier:
    """The matches of the rules before one, found again by what of a path they may cover."""

    _by_path: defaultdict[_Key, list[tuple[HTTPMatchRequest, str]]] = field(default_factory=lambda: defaultdict(list))
    _lengths: set[int] = field(default_factory=set)
    """Of the prefixes among them."""

    def add(self, match: HTTPMatchRequest, rule: str) -> None:
        """Note a match of a rule."""
        key = _key(match)
        if len(key[1]) <= _LONGEST:
            self._by_path[key].append((match, rule))
        if key[0] == "prefix":
            self._lengths.add(len(key[1]))

    def covering(self, match: HTTPMatchRequest) -> str:
        """Return the first rule noted with a match that takes all of this one's requests; empty when none has."""
        for key in self._keys(match):
            for earlier, rule in islice(self._by_path.get(key, ()), _MOST_COMPARED):
                if covers(earlier, match):
                    return rule
        return ""

    def _keys(self, match: HTTPMatchRequest) -> Iterator[_Key]:
        kind, text = _key(match)
        yield _ANY_PATH
        if kind in ("exact", "prefix"):
            for length in sorted(self._lengths):
                if length <= min(len(text), _LONGEST):
                    yield "prefix", text[:length]
        if kind in ("exact", "regex"):
            yield kind, text


def any_path(uri: StringMatch | None) -> bool:
    """Whether a condition on the path holds for every path: none, an empty one, `/` as prefix, `.*`."""
    if uri is None or uri.prefix in ("", "/"):
        return True
    return uri.exact is None and uri.prefix is None and uri.regex in (None, ".*")


def covers(wide: HTTPMatchRequest, narrow: HTTPMatchRequest) -> bool:
    """Whether each request of `narrow` is one of `wide`, in every proxy that has both."""
    return (
        _covers_path(wide, narrow)
        and all(_implied(getattr(wide, name), getattr(narrow, name)) for name in ("scheme", "method", "authority"))
        and all(
            _covers_headers(getattr(wide, name), getattr(narrow, name), holds)
            for name, holds in (("headers", _all_implied), ("without_headers", _all_excluded))
        )
        and _all_implied(wide.query_params, narrow.query_params)
        and wide.port in (0, narrow.port)
        and _covers_place(wide, narrow)
    )


def _key(match: HTTPMatchRequest) -> _Key:
    uri = match.uri
    if uri is None or any_path(uri):
        return _ANY_PATH
    if uri.exact is not None:
        return "exact", uri.exact.lower()
    return ("prefix", uri.prefix.lower()) if uri.prefix is not None else ("regex", uri.regex or "")


def _covers_path(wide: HTTPMatchRequest, narrow: HTTPMatchRequest) -> bool:
    if any_path(wide.uri):
        return True
    if narrow.ignore_uri_case and not wide.ignore_uri_case:
        return False
    if wide.ignore_uri_case:
        return _implied(_folded(wide.uri), _folded(narrow.uri))
    return _implied(wide.uri, narrow.uri)


def _folded(uri: StringMatch | None) -> StringMatch | None:
    if uri is None:
        return None
    exact, prefix = (text.lower() if text is not None else None for text in (uri.exact, uri.prefix))
    return StringMatch(exact=exact, prefix=prefix, regex=uri.regex)


def _covers_headers(wide: _Conditions, narrow: _Conditions, holds: Callable[[_Conditions, _Conditions], bool]) -> bool:
    """Compare conditions on headers, whose names have no case; of names that become one, nothing can be told."""
    folded = [{_folded_name(name): condition for name, condition in each.items()} for each in (wide, narrow)]
    return [len(each) for each in folded] == [len(wide), len(narrow)] and holds(*folded)


def _folded_name(name: str) -> str:
    """Claims have case."""
    return name.lower() if claim_path(name) is None else name


def _implied(wide: StringMatch | None, narrow: StringMatch | None) -> bool:
    """Whether what satisfies `narrow` satisfies `wide`; None is no condition."""
    if wide is None or narrow is None:
        return wide is None
    if is_presence(wide) or wide == narrow:
        return True
    if is_presence(narrow):
        return False  # a claim that is there may be no text, which even `.*` asks for
    if wide.prefix is None:
        return wide.regex == ".*"
    text = narrow.exact if narrow.exact is not None else narrow.prefix
    return text is not None and text.startswith(wide.prefix)


def _all_implied(wide: _Conditions, narrow: _Conditions) -> bool:
    return all(name in narrow and _implied(condition, narrow[name]) for name, condition in wide.items())


def _all_excluded(wide: _Conditions, narrow: _Conditions) -> bool:
    """The same of what must not be: less is left where more is excluded."""
    return all(name in narrow and _excluded(name, condition, narrow[name]) for name, condition in wide.items())


def _excluded(name: str, wide: StringMatch, narrow: StringMatch) -> bool:
    """Whether what `wide` excludes is excluded by `narrow` too.

    A header that is missing counts as an empty one where its value is excluded (`envoy.routes`), a claim as none.
    """
    if not is_presence(narrow) or is_presence(wide) or claim_path(name) is not None:
        return _implied(narrow, wide)
    return bool(wide.exact or wide.prefix)


def _covers_place(wide: HTTPMatchRequest, narrow: HTTPMatchRequest) -> bool:
    """A list of gateways stands in place of the conditions on who calls (`generate.routes`)."""
    if wide.gateways:
        return bool(narrow.gateways) and set(narrow.gateways) <= set(wide.gateways)
    if not wide.source_labels and not wide.source_namespace:
        return True
    return (
        not narrow.gateways
        and wide.source_labels.items() <= narrow.source_labels.items()
        and wide.source_namespace in ("", narrow.source_namespace)
    )
