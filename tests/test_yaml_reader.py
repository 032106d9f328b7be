"""YAML is read as YAML 1.2, with line numbers, and nothing dangerous or ambiguous gets through."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harness.errors import SpecError
from harness.yaml_reader import MAX_BYTES, read_yaml, shown, write_yaml


def value(text: str) -> Any:
    return read_yaml(text, "f.yaml").value


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("1e-5", 1e-5),
        ("1.5e3", 1500.0),
        (".5", 0.5),
        ("3.10", 3.1),
        ("010", 10),
        ("0x10", 16),
        ("0o17", 15),
        ("-7", -7),
        ("1_000", "1_000"),
        ("no", "no"),
        ("off", "off"),
        ("y", "y"),
        ("true", True),
        ("False", False),
        ("12:30:00", "12:30:00"),
        ("2024-01-01", "2024-01-01"),
        ("~", None),
        ("null", None),
        ("", None),
        ("none", "none"),
        ("'1'", "1"),
        ('"null"', "null"),
        ("top-2", "top-2"),
    ],
)
def test_a_scalar_means_what_yaml_1_2_says(text: str, meaning: Any) -> None:
    found = value(f"key: {text}")["key"]
    assert found == meaning
    assert type(found) is type(meaning)


def test_keys_are_text_whatever_they_look_like() -> None:
    assert value("no: 1\n1: 2\n<<: {a: 3}") == {"no": 1, "1": 2, "<<": {"a": 3}}


def test_every_value_knows_its_line() -> None:
    lines = read_yaml("a: 1\nb:\n  c: 2\n  d:\n    - 3\n    - {e: 4}\n", "f.yaml").lines
    assert lines[("b",)] == 2
    assert lines[("b", "d", 0)] == 5
    assert lines[("b", "d", 1, "e")] == 6


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: 1\nb: 2\na: 3", 3, "'a' stands twice, first in line 1"),
        ("a: {b: 1,\n b: 2}", 2, "'b' stands twice"),
        ("a: &x 1\nb: *x", 1, "anchor &x"),
        ("a: 1\nb: *x", 2, "alias *x"),
        ("a: .inf", 1, "no finite number"),
        ("a: .NaN", 1, "no finite number"),
        ("a: 1e999", 1, "too large"),
        ("a: " + "9" * 5000, 1, "too large"),
        ("a: !!python/object:os.system x", 1, "tag"),
        ("a: 1\n---\nb: 2", 2, "second document"),
        ("? [a]\n: 1", 1, "key must be a word"),
        ("a:\n\t- b", 2, "not tabs"),
        ("a: b: c", 1, "colon"),
        ("a: [1, 2", 1, "brackets"),
        ("[" * 3000, 1, "nested deeper than 50"),
        ("{a: " * 3000, 1, "nested deeper than 50"),
        ("- " * 3000, 1, "nested deeper than 50"),
    ],
)
def test_what_is_refused_is_refused_with_its_line(text: str, line: int, words: str) -> None:
    with pytest.raises(SpecError) as error:
        value(text)
    assert words in str(error.value)
    reported = int(str(error.value).split(":")[1])
    assert abs(reported - line) <= 1


@pytest.mark.parametrize("text", ["a: \x00", "a: \ud800", "\ud800"])
def test_control_characters_and_half_characters_are_refused(text: str) -> None:
    with pytest.raises(SpecError, match="UTF-8"):
        value(text)


def test_fifty_levels_are_allowed_and_one_more_is_not() -> None:
    value("[" * 50 + "]" * 50)
    with pytest.raises(SpecError):
        value("[" * 51 + "]" * 51)


def test_a_file_larger_than_a_megabyte_is_refused() -> None:
    assert value("# " + "x" * (MAX_BYTES - 10) + "\na: 1") == {"a": 1}
    with pytest.raises(SpecError, match="larger than"):
        value("# " + "x" * MAX_BYTES)


def test_an_alias_bomb_is_refused_at_its_first_anchor() -> None:
    bomb = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))
    with pytest.raises(SpecError, match=":1: the anchor &a"):
        value(bomb)


def test_a_full_megabyte_is_read_within_seconds() -> None:
    start = time.perf_counter()
    value("a:\n" + "".join(f"  k{i}: [1, 2.5, abc]\n" for i in range(40_000)))
    assert time.perf_counter() - start < 10


def test_long_values_are_shown_short_and_escaped() -> None:
    assert len(shown("x" * 500)) == 60
    assert "\x1b" not in shown("\x1b[31m")


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), max_size=20)
    | st.sampled_from(["1e-5", "no", "010", "null", "~", "12:30", "0x1", "- a", "a: b", "#", "[", "'", '"', "1.", "&a"])
)
VALUES = st.recursive(
    SCALARS,
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text("ab1-:# \"'", max_size=4), below, max_size=4),
    max_leaves=12,
)


@given(VALUES)
@example("\x85")
@example("a\u2028b")
@settings(max_examples=300, deadline=None)
def test_what_is_written_reads_back_the_same(given_value: Any) -> None:
    found = value(write_yaml(given_value))
    assert found == given_value
    assert repr(found) == repr(given_value)
