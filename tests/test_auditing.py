"""An audit counts what each length would cut off, and recommends the shortest that is enough."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import transformers

from harness.auditing import audit, describe, histogram, recommend, truncation
from harness.builtin.tiny import folder
from harness.jobs import AuditJob


def test_truncation_counts_examples_and_tokens_that_are_cut_off():
    cut = truncation(np.array([4, 6, 10, 20]), 8)
    assert cut == (8, pytest.approx(2 / 4), pytest.approx((2 + 12) / 40))


def test_nothing_is_cut_off_at_the_longest_text():
    assert truncation(np.array([4, 20]), 20)[1:] == (0.0, 0.0)


def test_every_example_is_in_one_bin_and_bins_have_no_gaps():
    for tokens in (np.array([7]), np.arange(5, 200), np.array([3, 3, 1000])):
        bins = histogram(tokens)
        assert sum(count for *_, count in bins) == len(tokens)
        assert all(last + 1 == first for (_, last, _), (first, _, _) in zip(bins, bins[1:], strict=False))
        assert bins[0][0] == tokens.min() and bins[-1][1] >= tokens.max()
        assert len(bins) <= 20


def test_quantiles_are_lengths_that_occur():
    lengths = describe("m", "train", np.array([2, 4, 6, 100]), (8,))
    assert lengths.quantiles["0"] == 2
    assert lengths.quantiles["0.5"] == 4
    assert lengths.quantiles["1"] == 100


def test_the_smallest_multiple_of_eight_that_cuts_less_than_one_in_a_hundred_is_recommended():
    tokens = np.array([10] * 150 + [30] * 49 + [500])
    assert recommend(tokens, [], 512) == 32
    assert recommend(tokens, [30], 512) == 30  # a length of the search may come sooner
    assert recommend(np.array([10] * 99 + [500]), [], 512) == 504  # one in a hundred is not less than that


def test_where_every_length_cuts_too_much_the_models_limit_is_recommended():
    assert recommend(np.array([900] * 10), [128], 509) == 509


def test_counts_agree_with_the_tokeniser_and_with_the_rows(tmp_path: Path):
    texts = [f"The lid is {'very ' * i}good." for i in range(40)]
    lines = [f"{text},{i % 2}" for i, text in enumerate(texts)]
    (tmp_path / "train.csv").write_text("\n".join(["text,label", *lines, f"{texts[0]},1"]))
    (tmp_path / "test.csv").write_text(f"text,label\n{texts[0].upper()},0\nA new one.,1\n")
    data = {"path": str(tmp_path), "validation": {"split": "test"}}
    counts = audit(AuditJob("sequence-classification", data, 1, ["builtin:tiny"], [16, 32]))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder())
    longest = max(len(tokenizer(text)["input_ids"]) for text in texts)
    train = next(entry for entry in counts.lengths if entry.split == "train")
    assert train.quantiles["1"] == longest
    assert [entry.max_length for entry in train.truncation] == sorted({16, 32, counts.recommended["builtin:tiny"]})
    assert counts.duplicates == {"train": 1, "validation": 0}
    assert counts.conflicts["train"] == 1
    assert counts.overlap == {("validation", "train"): 1}
    assert counts.splits["validation"].labels == {"0": 1, "1": 1}
    assert counts.positive == "1"


def test_a_text_longer_than_the_model_is_counted_in_full(tmp_path: Path):
    (tmp_path / "train.csv").write_text(f"text,label\n{'good ' * 2000},0\nbad,1\nfine,0\nweak,1\n")
    data = {"path": str(tmp_path / "train.csv"), "validation": {"size": 2}}
    counts = audit(AuditJob("sequence-classification", data, 1, ["builtin:tiny"], [64]))
    assert max(entry.quantiles["1"] for entry in counts.lengths) == 2002


def test_answers_that_no_window_holds_are_counted_by_length_and_stride(tmp_path: Path):
    context = "The red lid is good and the blue lid is bad and the old kettle is very slow to boil but cheap and quiet."
    answers = ["blue lid", "very slow to boil but cheap and quiet"]  # the second is longer than a small window shares
    rows = [
        {"id": str(n), "question": "Which ?", "context": context, "answers": [{"text": a, "answer_start": start}]}
        for n, (a, start) in enumerate((a, context.index(a)) for a in answers)
    ]
    for split in ("train", "test"):
        (tmp_path / f"{split}.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    data = {"path": str(tmp_path), "validation": {"split": "test"}}
    counts = audit(AuditJob("question-answering", data, 1, ["builtin:tiny"], [16, 64], [4, 2]))
    found = {(each.split, each.max_length, each.stride): each for each in counts.windows}
    assert set(found) == {
        (split, n, stride) for split in ("train", "validation") for n in (16, 64) for stride in (4, 2)
    }
    small, large = found["train", 16, 2], found["train", 64, 4]
    assert (large.examples, large.features, large.lost, large.cut) == (2, 2, 0, 0)
    assert small.lost >= 1 and small.features > found["train", 64, 2].features


def test_a_classification_has_no_windows(tmp_path: Path):
    (tmp_path / "train.csv").write_text("text,label\n" + "\n".join(f"text {n},{n % 2}" for n in range(20)))
    data = {"path": str(tmp_path), "validation": 4}
    assert audit(AuditJob("sequence-classification", data, 1, ["builtin:tiny"], [16])).windows == ()
