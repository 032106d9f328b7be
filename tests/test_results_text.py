"""Texts lose secrets, what no database takes and what a spreadsheet would obey, and ordinary words stay."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.results.text import guard, normalise, plain, scrub


@pytest.mark.parametrize(
    ("text", "scrubbed"),
    [
        ("HF_TOKEN=hf_abcdefghijklmnopqrstuvwxyz", "HF_TOKEN=***"),
        ("https://me:s3cr3t@example.org/x", "https://me:***@example.org/x"),
        ("Authorization: Bearer abcdef0123456789abcdef", "Authorization: Bearer ***"),
        ("aws_secret_access_key = wJalrXUtnFEMI/K7MDENG", "aws_secret_access_key = ***"),
        ('{"password": "correct horse"}', '{"password": "*** horse"}'),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----", "private key ***"),
    ],
)
def test_what_looks_like_a_secret_is_replaced(text, scrubbed):
    assert scrub(text) == scrubbed


@pytest.mark.parametrize(
    "text",
    [
        "The token is valid, the password was wrong and the key did not fit.",
        "pad_token_id=0, max_tokens=128",
        "huggingface.co/bert-base-uncased: https://example.org:8080/a@b",
        "RuntimeError: expected 3 tokens: got 4",
        "hf_model",
    ],
)
def test_ordinary_words_stay(text):
    assert scrub(text) == text


@given(st.text(st.characters(codec=None)))
def test_any_text_becomes_one_that_both_databases_take(text):
    normal = normalise(text)
    assert "\x00" not in normal
    assert normal.encode("utf-8").decode("utf-8") == normal
    assert normalise(normal) == normal


def test_json_holds_no_non_finite_number():
    value = {"a": [math.nan, np.float32(1.5), np.int64(2)], "b": (math.inf, np.bool_(True)), 3: {"x"}}
    assert json.dumps(plain(value), allow_nan=False) == '{"a": [null, 1.5, 2], "b": [null, true], "3": ["x"]}'


def test_json_refuses_what_it_cannot_say():
    with pytest.raises(TypeError, match="cannot store a object"):
        plain({"a": object()})


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@a", "\tx", " =1", "\n=1", "\r=1", "\0=1"])
def test_a_text_that_a_spreadsheet_takes_for_a_formula_gets_an_apostrophe(text):
    assert guard(text) == "'" + text.replace("\r", "\n").replace("\0", "")


@pytest.mark.parametrize("text", ["", "a=1", "1-1", "two words", "two\nlines"])
def test_other_text_goes_to_a_spreadsheet_as_it_is(text):
    assert guard(text) == text
