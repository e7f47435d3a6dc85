"""YAML 1.2 with positions: what a scalar means, where a node stands, and what is refused."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runjob.schemas.problems import JobFileError
from runjob.schemas.scalars import resolve_scalar
from runjob.schemas.yaml import (
    MAX_BYTES,
    MAX_LEVELS,
    MAX_NODES,
    ListNode,
    MapNode,
    Scalar,
    compose_bytes,
    compose_text,
)


def refusal(raw: bytes | str) -> str:
    with pytest.raises(JobFileError) as caught:
        compose_bytes(raw if isinstance(raw, bytes) else raw.encode(), "job.yaml")
    (problem,) = caught.value.problems
    return str(problem).removeprefix("job.yaml:")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5e-5", 5e-5),
        ("1e3", 1000.0),
        ("+1", 1),
        ("-0", 0),
        (".5", 0.5),
        ("3.", 3.0),
        ("0o17", 15),
        ("017", 17),  # no octal in YAML 1.2
        ("0x1F", 31),
        ("true", True),
        ("False", False),
        ("no", "no"),
        ("Yes", "Yes"),
        ("on", "on"),
        ("y", "y"),
        ("12:30:00", "12:30:00"),
        ("1_000", "1_000"),
        ("2026-11-21", "2026-11-21"),
        ("0b1", "0b1"),
        ("=", "="),
        ("~", None),
        ("null", None),
        ("nULL", "nULL"),
        ("", None),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("inf", "inf"),
        ("nan", "nan"),
        ("1.2.3", "1.2.3"),
        ("e5", "e5"),
    ],
)
def test_a_plain_scalar_means_what_yaml_1_2_says(text, value):
    read = resolve_scalar(text)
    assert read == value
    assert type(read) is type(value)


def test_not_a_number_is_a_float():
    assert math.isnan(resolve_scalar(".nan"))


def test_a_number_too_long_to_be_meant_is_text():
    assert resolve_scalar("9" * 5000) == "9" * 5000


@given(st.integers() | st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_are_read_back(number):
    assert resolve_scalar(repr(number)) == number


def test_quoted_scalars_are_text():
    node = compose_text("a: '5'\nb: \"true\"\nc: |\n  5\n", "job.yaml").node
    assert [entry.node.value for entry in node.entries.values()] == ["5", "true", "5\n"]


def test_every_key_and_value_knows_its_line_and_column():
    node = compose_text("a:\n  - één: [x, {y: 1}]\n    z: 2\n", "job.yaml").node
    first = node.entries["a"].node.items[0]
    assert isinstance(first, MapNode)
    assert (first.entries["één"].mark.line, first.entries["één"].mark.column) == (2, 5)
    listed = first.entries["één"].node
    assert isinstance(listed, ListNode)
    assert (listed.mark.line, listed.mark.column) == (2, 10)
    assert (listed.items[1].entries["y"].node.mark.line, listed.items[1].entries["y"].node.mark.column) == (2, 18)
    assert (first.entries["z"].mark.line, first.entries["z"].mark.column) == (3, 5)


def test_a_byte_order_mark_and_windows_line_ends_change_nothing():
    plain = compose_bytes(b"a: 1\nb: [2, x]\n", "job.yaml")
    assert compose_bytes(b"\xef\xbb\xbfa: 1\r\nb: [2, x]\r\n", "job.yaml") == plain


def test_an_alias_is_the_node_of_its_anchor():
    node = compose_text("a: &x {k: 1}\nb: *x\nc: *x\n", "job.yaml").node
    assert node.entries["b"].node is node.entries["a"].node is node.entries["c"].node


def test_keys_are_text_whatever_they_look_like():
    assert list(compose_text("1: a\nnull: b\ntrue: c\n", "job.yaml").node.entries) == ["1", "null", "true"]


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"a: 1\nb: \xff\n", "2:4: not UTF-8 (byte 0xff); save the file as UTF-8"),
        ("é: é".encode("latin-1"), "1:1: not UTF-8 (byte 0xe9); save the file as UTF-8"),
        ("a: 1".encode("utf-16"), "1:1: the file is UTF-16; save it as UTF-8"),
        (b"a: 1\nb: x\x00\n", "2:5: the control character '\\x00' can't stand in YAML; delete it"),
        (b"a: 1\n\tb: 2\n", "2:1: a tab in the indentation; YAML wants spaces"),
        (b"a:\n  b: 1\n \tc: 2\n", "3:2: a tab in the indentation; YAML wants spaces"),
        (b"a: 'x\n", "1:4: not YAML: a quote is not closed"),
        (b"a: {b: 1\n", "2:1: not YAML: a `{` is not closed, or a comma is missing"),
        (b"a: - b\n", "1:4: not YAML: a list can't begin here; write it on the next line, or as [a, b]"),
        (b"a: 1\n---\nb: 2\n", "2:1: a second document begins here; a job file holds one"),
    ],
)
def test_what_is_not_yaml_is_said_in_one_line_with_its_place(raw, said):
    assert refusal(raw) == said


def test_tags_duplicates_and_merges_are_all_named_in_one_go():
    document = compose_text("a: !!int '5'\nb: 1\nb: 2\nc:\n  <<: {d: 1}\n  '<<': text\n! e: 1\n", "job.yaml")
    assert [f"{p.line}:{p.column} {p.path}" for p in document.problems] == ["1:4 a", "3:1 b", "5:3 c.<<", "7:1 "]
    assert document.problems[1].message == "the key stands twice, first at 2:1; delete one"


def test_a_tag_constructs_nothing(tmp_path):
    target = tmp_path / "made"
    text = f"a: !!python/object/apply:os.mkdir ['{target}']\nb: !!python/name:os.system\n"
    assert len(compose_text(text, "job.yaml").problems) == 2
    assert not target.exists()


def test_the_last_allowed_level_is_allowed():
    assert compose_text("[" * (MAX_LEVELS - 1) + "1" + "]" * (MAX_LEVELS - 1), "job.yaml").problems == ()
    said = refusal("[" * MAX_LEVELS + "1" + "]" * MAX_LEVELS)
    assert said == f"1:{MAX_LEVELS + 1}: nested deeper than 64 levels"


def test_levels_behind_aliases_count():
    chain = ["a0: &a0 [x]", *(f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 80))]
    assert refusal("\n".join(chain)) == "63:12: nested deeper than 64 levels"


def test_values_behind_aliases_count_before_anything_is_built():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 30)]
    assert refusal("\n".join(lines)).endswith(": more than 50,000 values, aliases counted by what they stand for")


def test_the_last_allowed_value_is_allowed():
    assert isinstance(compose_text("[" + "1," * (MAX_NODES - 1) + "]", "job.yaml").node, ListNode)
    assert "more than 50,000 values" in refusal("[" + "1," * MAX_NODES + "]")


def test_a_file_over_one_mebibyte_is_refused_unread():
    assert compose_bytes(b"a: 1 #" + b"x" * (MAX_BYTES - 6), "job.yaml").problems == ()
    said = refusal(b"\xff" * (MAX_BYTES + 1))
    assert said == "1:1: the file has 1,048,577 bytes; a job file may have 1,048,576"


@given(st.text(alphabet="ab:-[]{},&*!|>'\"#%@?<\t \n1.é\u2028", max_size=60))
def test_no_text_brings_the_composer_down(text):
    try:
        node = compose_text(text, "job.yaml").node
    except JobFileError as error:
        assert all(p.line >= 1 and p.column >= 1 and "\n" not in str(p) for p in error.problems)
    else:
        assert isinstance(node, Scalar | ListNode | MapNode)


@given(st.binary(max_size=60))
def test_no_bytes_bring_the_composer_down(raw):
    try:
        compose_bytes(raw, str(Path("job.yaml")))
    except JobFileError as error:
        assert len(error.problems) == 1
