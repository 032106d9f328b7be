"""Texts are tokenised once a night, and every max_length is cut out of that as the tokeniser would have cut it."""

from __future__ import annotations

import numpy as np
import pytest
import small_models
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from harness.configuration import TrialConfig
from harness.hub import locate
from harness.shortening import special_tokens
from harness.tasks.base import UNCUT, Examples, Task
from harness.tasks.question_answering import QuestionAnswering
from harness.tasks.sequence_classification import SequenceClassification
from harness.warm import Warm

TASK = SequenceClassification()
WORDS = {word: n for n, word in enumerate(["<pad>", "<unk>", "<s>", "</s>", *(f"w{n}" for n in range(20))])}
TEMPLATES = {
    "as BERT": ("<s> $A </s>", (1, 1)),
    "as RoBERTa's, twice at the end": ("<s> $A </s> </s>", (1, 2)),
    "as T5": ("$A </s>", (0, 1)),
    "none": ("$A", (0, 0)),
}


def tokenizer_of(template: str, side: str) -> transformers.PreTrainedTokenizerFast:
    made = Tokenizer(models.WordLevel(WORDS, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    special = [(name, WORDS[name]) for name in ("<s>", "</s>") if name in template]
    made.post_processor = processors.TemplateProcessing(single=template, special_tokens=special)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", unk_token="<unk>", truncation_side=side
    )


def examples(count: int = 40, pairs: bool = False) -> Examples:
    random = np.random.default_rng(7)
    texts = [" ".join(f"w{n}" for n in random.integers(0, 25, random.integers(0, 30))) for _ in range(count)]
    labels = np.zeros(count, dtype=np.int64)
    return Examples(np.arange(count), texts, texts[::-1] if pairs else None, labels, ("a", "b"))


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("name", TEMPLATES)
def test_what_is_cut_out_is_what_the_tokeniser_makes(name, side):
    template, specials = TEMPLATES[name]
    tokenizer = tokenizer_of(template, side)
    assert special_tokens(tokenizer) == specials
    compare(tokenizer)


def test_the_built_in_tokeniser_and_its_types_are_cut_as_well():
    tokenizer = transformers.AutoTokenizer.from_pretrained(locate("builtin:tiny", None).path)
    assert special_tokens(tokenizer) == (1, 1)
    compare(tokenizer)


def compare(tokenizer) -> None:
    whole = TASK.encode(examples(), tokenizer, TrialConfig(max_length=UNCUT))
    for length in (4, 8, 9, 16, 40):
        config = TrialConfig(max_length=length)
        found = TASK.shortened(lambda: whole, examples(), tokenizer, config)
        expected = TASK.encode(examples(), tokenizer, config)
        for name in ("input_ids", "token_type_ids"):
            ours, theirs = getattr(found, name), getattr(expected, name)
            assert (ours is None) == (theirs is None)
            for row, known in zip(ours or (), theirs or (), strict=True):
                np.testing.assert_array_equal(row, known)
                assert row.dtype == known.dtype
        np.testing.assert_array_equal(found.truncated, expected.truncated)
        assert found.truncated.any() == (length < 30)
    assert whole.truncated.sum() == 0


def untouched():
    raise AssertionError("nothing is cut out here")


def test_pairs_and_windows_are_made_anew():
    tokenizer = tokenizer_of("<s> $A </s>", "right")
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=[("<s>", 2), ("</s>", 3)]
    )
    config = TrialConfig(max_length=12)
    found = TASK.shortened(untouched, examples(pairs=True), tokenizer, config)
    assert max(found.lengths) == 12
    assert QuestionAnswering.shortened is Task.shortened


def test_a_worker_tokenises_a_split_once_for_all_lengths(tmp_path, monkeypatch):
    path = small_models.model_folder(tmp_path)
    asked = []
    plain = SequenceClassification.encode

    def counted(task, rows, tokenizer, config):
        asked.append(config.max_length)
        return plain(task, rows, tokenizer, config)

    monkeypatch.setattr(SequenceClassification, "encode", counted)
    warm, rows = Warm(small_models.CPU), examples()
    made = [warm.encoded(TASK, path, TrialConfig(max_length=n), "train", rows, "same") for n in (8, 12, 8, 16)]
    assert asked == [UNCUT] and made[0] is made[2]
    assert [max(each.features.lengths) for each in made] == [8, 12, 8, 16]
    warm.encoded(TASK, path, TrialConfig(max_length=8), "validation", rows, "same")
    warm.encoded(TASK, path, TrialConfig(max_length=8), "train", rows, "other data")
    assert asked == [UNCUT] * 3
