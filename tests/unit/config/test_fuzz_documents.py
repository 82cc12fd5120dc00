"""Damaged documents: never a crash, never a hang, every finding inside the file, and nothing for the others."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from document_mutations import SEEDS, damaged
from lateen.analysis.references import analyse
from lateen.config.durations import nanoseconds, to_fields
from lateen.config.mesh_config import MeshConfig, parse_mesh_config
from lateen.config.parsing import Parsed, parse
from lateen.config.positions import read_path, render_path
from lateen.generate.snapshot import generate
from lateen.mesh.build import build_state
from lateen.model.findings import has_errors
from lateen.model.proxies import Capability, Interception, Proxy, ProxyType

BOUNDED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""A hang is pytest's to find: a busy machine stops a test for seconds. `make fuzz` takes more examples."""

BEFORE = "apiVersion: v1\nkind: Namespace\nmetadata: {name: fuzz-before}\n"
AFTER = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: fuzz-after, namespace: fuzz-before}
spec: {hosts: [after.example.com], http: [{redirect: {uri: /after}}]}
"""


def written(text: str) -> bytes:
    """Text as bytes, with lone surrogates as an editor that knows no better writes them."""
    return text.encode("utf-8", errors="surrogatepass")


def places_are_inside(parsed: Parsed, content: bytes) -> bool:
    lines = content.count(b"\n") + 1
    return all(1 <= one.line <= lines and one.column >= 1 and one.message for one in parsed.findings)


@BOUNDED
@given(damaged)
def test_findings_stand_inside_the_file(text: str) -> None:
    content = written(text)
    parsed = parse(content, "f")
    assert places_are_inside(parsed, content), parsed.findings
    assert parsed.objects or parsed.findings or not text.strip() or "kind" not in text


@BOUNDED
@given(damaged)
def test_the_other_documents_of_a_file_are_read_as_if_alone(text: str) -> None:
    content = written(BEFORE + "---\n" + text + "\n---\n" + AFTER)
    parsed = parse(content, "f")
    alone = parse(written(BEFORE + "---\n" + AFTER), "f")
    kept = [one for one in parsed.objects if one.key.name.startswith("fuzz-")]
    assert [(one.key, one.document, one.spec) for one in kept] == [
        (one.key, one.document, one.spec) for one in alone.objects
    ]
    assert places_are_inside(parsed, content)


@BOUNDED
@given(st.binary(max_size=300), st.sampled_from(SEEDS), st.integers(0, 10_000))
def test_any_bytes_anywhere_give_findings_not_exceptions(noise: bytes, text: str, at: int) -> None:
    seed = text.encode()
    content = seed[: at % len(seed)] + noise + seed[at % len(seed) :]
    assert places_are_inside(parse(content, "f"), content)
    parse_mesh_config(content, "f")


PROXIES = (
    Proxy(
        type=ProxyType.SIDECAR,
        name="s",
        namespace="default",
        addresses=("10.0.0.9",),
        labels={"app": "web"},
        interception=Interception.REDIRECT,
        capability=Capability.ENVOY,
    ),
    Proxy(
        type=ProxyType.GATEWAY,
        name="g",
        namespace="default",
        addresses=("10.0.0.10",),
        labels={"istio": "ingressgateway", "app": "gateway"},
        interception=Interception.NONE,
        capability=Capability.ENVOY,
    ),
)


@BOUNDED
@given(st.lists(damaged, min_size=1, max_size=3), st.lists(st.sampled_from(SEEDS), max_size=12, unique=True))
def test_what_passes_validation_can_be_analysed_and_generated(texts: list[str], others: list[str]) -> None:
    """The rules are strict enough for everything behind them: no object that they let through raises there."""
    parsed = parse(written("\n---\n".join([*texts, *others])), "f")
    state = build_state(parsed.objects, (), MeshConfig())
    analyse(state, parsed.objects, parsed.positions)
    for proxy in PROXIES:
        generate(state, proxy)


@given(st.one_of(st.text(max_size=80), st.from_regex(r"[+-]?[0-9.]{0,30}(ns|us|ms|s|m|h|d)?", fullmatch=True)))
def test_a_duration_is_read_or_refused(text: str) -> None:
    try:
        length = nanoseconds(text)
    except ValueError:
        return
    fields = to_fields(text)
    assert fields["seconds"] * 1_000_000_000 + fields["nanos"] == length


KEYS = st.from_regex(r"[A-Za-z0-9_-]{1,9}", fullmatch=True).filter(lambda one: not one.isdigit())


@given(st.lists(st.one_of(st.integers(0, 10**6), KEYS), max_size=6))
def test_a_path_is_read_as_it_was_written(path: list[str | int]) -> None:
    assert read_path(render_path(tuple(path))) == tuple(path)


@given(st.text(max_size=60))
def test_any_text_is_some_path(text: str) -> None:
    read_path(text)


def test_the_seeds_are_valid() -> None:
    """A broken seed would hide what its damage does."""
    assert len(SEEDS) > 50
    assert not [text for text in SEEDS if has_errors(parse(text.encode(), "f").findings)]
