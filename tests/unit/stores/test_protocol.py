"""Contents of stores follow their changes."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lateen.config.networking import DestinationRule
from lateen.config.objects import ConfigObject
from lateen.model.findings import Finding, Severity
from lateen.model.names import ObjectKey
from lateen.model.origins import Origin
from lateen.stores.protocol import StoreContent, changed, content


def rule(name: str, host: str, line: int) -> ConfigObject[Any]:
    return ConfigObject(
        key=ObjectKey("DestinationRule", "default", name),
        api_version="networking.istio.io/v1",
        spec=DestinationRule(host=host),
        origin=Origin("a.yaml", line),
        digest=f"{name} {host}",
        document=b"{}",
    )


FINDINGS = [Finding(code="LAT0001", severity=Severity.WARNING, message=text) for text in "xy"]
_objects = st.builds(rule, st.sampled_from("abc"), st.sampled_from("xy"), st.integers(1, 2))
_keys = st.sampled_from([rule(name, "x", 1).key for name in "abc"])
_steps = st.lists(
    st.tuples(
        st.one_of(_objects.map(lambda item: {item.key: item}), _keys.map(lambda key: {key: None})),
        st.sampled_from([(), (FINDINGS[0],), tuple(FINDINGS)]),
    ),
    max_size=8,
)


@given(_steps)
def test_a_content_after_changes_is_that_of_what_it_holds(steps: list[tuple[dict[ObjectKey, Any], Any]]) -> None:
    """Its revision too: it does not depend on how the store came there, and tells any two contents apart."""
    now = content()
    revisions: dict[str, StoreContent] = {}
    held: dict[ObjectKey, Any] = {}
    for objects, findings in steps:
        before, now = now, changed(now, objects, findings)
        held = {key: item for key, item in (held | objects).items() if item is not None}
        scratch = content(held.values(), findings)
        assert (now, now.revision) == (scratch, scratch.revision)
        assert (now is before) == (now == before)
        known = revisions.setdefault(now.revision, now)
        assert known == now
