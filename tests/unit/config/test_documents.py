"""Text to documents: values, places, limits; the text may be hostile."""

import json
import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lateen.config.documents import read_documents
from lateen.config.limits import MAX_BYTES
from lateen.config.parsing import parse
from lateen.config.yaml_nodes import MAX_DEPTH


def only(text: str) -> dict[str, object]:
    read = read_documents(text.encode(), "f.yaml")
    assert read.findings == ()
    (document,) = read.documents
    return document.value


def codes(content: bytes) -> list[str]:
    read = read_documents(content, "f.yaml")
    return [finding.code for finding in read.findings] + [
        problem.code.code for document in read.documents for problem in document.problems
    ]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("80", 80),
        ("-5", -5),
        ("0x1F", 31),
        ("010", "010"),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("12:30:45", "12:30:45"),
        ("2026-07-01", "2026-07-01"),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".inf", ".inf"),
        (".nan", ".nan"),
        ("1.2.3.4", "1.2.3.4"),
        ("v1", "v1"),
        ("'80'", "80"),
        ('"true"', "true"),
        ("!!str 80", "80"),
        ("9" * 30, 1e30),
        ("9" * 500, "9" * 500),
        ("1e999", "1e999"),
    ],
)
def test_plain_scalars_hold_no_surprises(written: str, expected: object) -> None:
    value = only(f"a: {written}\n")["a"]
    assert value == expected
    assert type(value) is type(expected)


def test_every_field_has_its_place() -> None:
    text = 'spec:\n  http:\n  - route:\n    - weight: 90\n      "destination": {host: a}\n'
    (document,) = read_documents(text.encode(), "f").documents
    places = document.positions
    assert places.line_of("spec.http[0].route[0].weight") == (4, 7)
    assert places.line_of(("spec", "http", 0, "route", 0, "destination", "host")) == (5, 23)
    assert places.line_of("spec.http[0].match[3].uri") == (3, 5), "the nearest parent that exists"
    assert places.start == (1, 1)


def test_the_key_is_the_place_of_a_value_that_begins_below_it() -> None:
    (document,) = read_documents(b"a:\n  b:\n    c: 1\n", "f").documents
    assert document.positions.line_of("a.b") == (2, 3)


def test_documents_are_independent() -> None:
    """A syntax error ends one document only, and its place is that of the file."""
    read = read_documents(b"a: 1\n---\nb: [1\n---\nc: 3\n", "f.yaml")
    assert [document.value for document in read.documents] == [{"a": 1}, {"c": 3}]
    (finding,) = read.findings
    assert (finding.code, finding.file) == ("LAT0001", "f.yaml")
    assert finding.line in (3, 4)


def test_line_numbers_count_over_all_documents() -> None:
    read = read_documents(b"# one\n\na: 1\n---\n\n\nb: 2\n", "f")
    assert [document.positions.start[0] for document in read.documents] == [3, 7]


@pytest.mark.parametrize(
    "text", ["", "\n\n", "---\n", "---\n---\n", "# only a comment\n", "%YAML 1.2\n---\n", "null\n", "\ufeff"]
)
def test_empty_documents_are_nothing(text: str) -> None:
    read = read_documents(text.encode(), "f")
    assert (read.documents, read.findings) == ((), ())


def test_a_directive_and_a_byte_order_mark_are_admitted() -> None:
    assert only("\ufeff%YAML 1.1\n---\na: 1\n") == {"a": 1}


def test_windows_line_ends() -> None:
    read = read_documents(b"a: 1\r\n---\r\nb: 2\r\n", "f")
    assert [document.value for document in read.documents] == [{"a": 1}, {"b": 2}]


def test_json_is_read_too() -> None:
    text = json.dumps({"a": [1, {"b": "c"}], "d": None, "e": "\u00e9\n"}, indent=2)
    assert only(text) == json.loads(text)


def test_anchors_and_merge_keys() -> None:
    text = "base: &b {x: 1, y: 2}\nuse:\n  <<: *b\n  y: 3\nmany:\n  <<: [{x: 5}, *b]\nsame: *b\n"
    value = only(text)
    assert value["use"] == {"x": 1, "y": 3}
    assert value["many"] == {"x": 5, "y": 2}
    assert value["same"] == {"x": 1, "y": 2}


def test_a_list_is_flattened_and_its_items_keep_their_places() -> None:
    text = "kind: List\nitems:\n- kind: A\n  x: 1\n- kind: List\n  items:\n  - kind: B\n"
    read = read_documents(text.encode(), "f")
    assert [document.value for document in read.documents] == [{"kind": "A", "x": 1}, {"kind": "B"}]
    assert [document.positions.start[0] for document in read.documents] == [3, 7]


def test_a_duplicate_key_is_a_problem_of_its_own_item_only() -> None:
    text = "kind: List\nitems:\n- kind: A\n  x: 1\n  x: 2\n- kind: B\n"
    read = read_documents(text.encode(), "f")
    (problem,) = read.documents[0].problems
    assert (problem.code.code, problem.path, problem.place) == ("LAT0009", ("x",), (5, 3))
    assert read.documents[1].problems == ()


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"a: \xff\xfe", "LAT0001"),
        (b"a: b: c", "LAT0001"),
        (b"a:\n\t- b", "LAT0001"),
        (b"a: 'open", "LAT0001"),
        (b"a: *nobody", "LAT0001"),
        (b"a: &x [*x]", "LAT0001"),
        (b"a: !!python/object:os.system x", "LAT0001"),
        (b"a: !!int text", "LAT0001"),
        (b"a: !mine {b: 1}", "LAT0001"),
        (b"{[1]: 2}", "LAT0001"),
        (b"a: {<<: 5}", "LAT0001"),
        (b"a: \x00", "LAT0001"),
        (b"- a\n- b", "LAT0005"),
        (b"just text", "LAT0005"),
        (b"kind: List\nitems: [5]", "LAT0005"),
        (b"a: 1\na: 2", "LAT0009"),
        (b"a: " + b"[" * 100_000, "LAT0011"),
        (b"a: " + b"{b: " * 100_000, "LAT0011"),
        (b"- " * 100_000, "LAT0011"),
        (b"a: " + b"x" * MAX_BYTES, "LAT0011"),
    ],
)
def test_broken_text_is_a_finding(content: bytes, code: str) -> None:
    assert codes(content) == [code]


def test_aliases_that_multiply_are_refused_quickly() -> None:
    """Ten levels of ten aliases each would be ten thousand million values."""
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 11)]
    assert codes("\n".join(lines).encode()) == ["LAT0011"]


def test_merges_that_multiply_are_refused() -> None:
    lines = ["a0: &a0 {" + ", ".join(f"k{n}: 1" for n in range(50)) + "}"]
    lines += [f"a{n}: &a{n} {{x: [{','.join([f'*a{n - 1}'] * 10)}], <<: *a{n - 1}}}" for n in range(1, 8)]
    assert codes("\n".join(lines).encode()) == ["LAT0011"]


def test_nesting_up_to_the_limit_is_read() -> None:
    depth = MAX_DEPTH - 1
    assert codes(b"a: " + b"[" * depth + b"]" * depth) == []


def test_ten_megabytes_of_text_are_read_in_bounded_time() -> None:
    content = b"a: |\n" + b"  0123456789abcdef0123456789abcdef\n" * 300_000
    started = time.monotonic()
    assert codes(content) == []
    assert time.monotonic() - started < 20


@given(st.binary(max_size=400))
def test_no_bytes_make_it_raise(content: bytes) -> None:
    read_documents(content, "f")


@given(st.text(alphabet=" \n\t-:{}[]&*#!|>'\"%@`,?<ab01\u00e9\u2028", max_size=60))
def test_no_punctuation_makes_it_raise(text: str) -> None:
    read_documents(text.encode(), "f")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=12),
    lambda below: (
        st.lists(below, max_size=4)
        | st.dictionaries(st.text(max_size=8).filter(lambda key: key != "<<"), below, max_size=4)
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), JSON, min_size=1))
def test_json_comes_back_as_it_was(value: dict[str, object]) -> None:
    """Every JSON object reads as the same value, whatever its strings look like."""
    read = read_documents(json.dumps(value).encode(), "f")
    assert [document.value for document in read.documents] == [value]


def test_json_escapes_that_yaml_has_not() -> None:
    text = '{"a": "\\ud83d\\ude00 \\/ \\\\ud83d\\\\ude00 \x7f\x9f"}'
    assert only(text) == json.loads(text)


def test_bytes_that_are_not_utf_8_cost_their_own_document_only() -> None:
    found = read_documents(b"a: 1\n---\nb: \xff\n---\nc: 3\n", "f")
    assert [one.value for one in found.documents] == [{"a": 1}, {"c": 3}]
    assert [(one.code, one.line, one.column) for one in found.findings] == [("LAT0001", 3, 4)]


def test_utf_16_is_named() -> None:
    (finding,) = read_documents("a: 1".encode("utf-16"), "f").findings
    assert finding.message == "the text is UTF-16; save the file as UTF-8"


def test_an_item_that_is_no_object_does_not_take_the_rest_of_its_list() -> None:
    found = read_documents(b"kind: List\nitems:\n- {a: 1}\n- 5\n- {b: 2}\n", "f")
    assert [one.value for one in found.documents] == [{"a": 1}, {"b": 2}]
    assert [(one.code, one.line) for one in found.findings] == [("LAT0005", 4)]


def test_documents_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A parser for each of a million documents, and a finding, would take minutes and gigabytes."""
    monkeypatch.setattr("lateen.config.documents.MAX_DOCUMENTS", 2)
    found = read_documents(b"a: 1\n---\n---\nb: 2\n---\nc: 3\n---\nd: 4\n", "f")
    assert [one.value for one in found.documents] == [{"a": 1}, {"b": 2}]
    assert [(one.code, one.line) for one in found.findings] == [("LAT0011", 5)]


@pytest.mark.parametrize("text", ["a: {b: c", "a: {b: c\n", "a: {b: c\n\n\n---\nd: 1\n"])
def test_what_is_not_closed_is_missed_at_the_end_of_its_document(text: str) -> None:
    (finding,) = read_documents(text.encode(), "f").findings
    assert (finding.line, finding.column) == (1, 9)


def test_other_ends_of_lines_do_not_move_places_out_of_the_file() -> None:
    """libyaml counts CR, NEL, LS and PS as ends of lines."""
    (document,) = read_documents("a: 'b\r\r\u2028\u2028\x85'\nc: 1\n".encode(), "f").documents
    assert document.positions.line_of("c")[0] == 2


def test_a_file_of_comments_costs_no_more_than_its_size() -> None:
    """A pattern that remembers each line as a choice took a gigabyte for these 4 MB."""
    content = b"apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n---\n" + b"#\n" * 2_000_000
    tracemalloc.start()
    try:
        read = read_documents(content, "f")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(read.documents) == 1
    assert peak < 10 * len(content)


@pytest.mark.timeout(10)
def test_a_kind_of_megabytes_is_compared_with_nothing() -> None:
    [finding] = parse(b'{"apiVersion": "v1", "kind": "' + b"VirtualService" * 200_000 + b'"}', "f").findings
    assert "did you mean" not in finding.message
