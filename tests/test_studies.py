"""The study files in the repository mean what their comments say."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.spec import SplitSpec, StudySpec, parse_study, read_study

STUDIES = Path(__file__).parent.parent / "studies"


def study(name: str) -> StudySpec:
    return read_study(STUDIES / f"{name}.yaml").spec


@pytest.mark.parametrize("path", sorted(STUDIES.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_study_file_parses_and_is_named_after_its_study(path: Path) -> None:
    assert read_study(path).spec.study == path.stem


@pytest.mark.parametrize("path", sorted(STUDIES.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_study_file_opens_with_its_question(path: Path) -> None:
    opening = path.read_text("utf-8").partition("study:")[0]
    assert all(line.startswith("#") for line in opening.splitlines())
    assert "?" in opening


@pytest.mark.parametrize("path", sorted(STUDIES.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_study_file_runs_on_local_files_too(path: Path) -> None:
    overrides = ["data.path=/data/local", "data.revision=null", "data.noise=null", "data.rows=null"]
    spec = read_study(path, [*overrides, "model=/models/local", "study=local"]).spec
    assert spec.data.path == "/data/local"
    assert spec.data.revision is None
    assert spec.model == "/models/local"


def test_imdb_has_the_five_published_models_and_the_refined_run() -> None:
    spec = study("imdb-five-models")
    rows = [(c.epochs, c.batch_size, c.max_length, c.train) for c in spec.explicit()]
    assert [rows[i] for i in (0, 1, 2, 4, 5)] == [
        (3, 16, 128, 2000),
        (2, 16, 128, 2000),
        (2, 32, 128, 2000),
        (2, 32, 100, 2000),
        (3, 32, 100, 3000),
    ]
    assert all((c.learning_rate, c.weight_decay) == (2e-5, 0.01) for c in spec.explicit())
    assert spec.budget.trials == 6
    assert spec.max_lengths() == (100, 128)


def test_tweets_score_the_negative_class_at_70_tokens() -> None:
    spec = study("tweets")
    assert (spec.data.label, spec.data.positive) == ("sentiment", 0)
    assert spec.max_lengths() == (70,)
    published = spec.explicit()[0]
    assert (published.epochs, published.batch_size, published.learning_rate) == (2, 16, 2e-5)


def test_frozen_reviews_set_the_head_beside_one_two_and_all_layers() -> None:
    trials = [(c.freeze, c.epochs) for c in study("reviews-frozen").explicit()]
    assert trials[:2] == [("head", 10), ("head", 20)]
    assert {freeze for freeze, _ in trials} == {"head", "top-1", "top-2", "none"}


def test_full_reviews_accumulate_to_the_same_effective_batch() -> None:
    whole, accumulated = study("reviews-full").explicit()
    assert whole.effective_batch_size == accumulated.effective_batch_size == 32
    assert accumulated.batch_size == 8
    assert whole.early_stopping is not None and whole.early_stopping.patience == 2


def test_squad_is_the_published_run_and_a_search_around_it() -> None:
    spec = study("squad-subset")
    (published,) = spec.explicit()
    assert (published.epochs, published.batch_size, published.learning_rate) == (3, 16, 3e-5)
    assert (published.max_length, published.stride, published.weight_decay, published.warmup) == (384, 128, 0.01, 0.0)
    assert (published.freeze, published.lr_schedule, spec.seed) == ("none", "linear", 42)
    assert spec.data.train == SplitSpec(size=3000, stratify=False, shuffle=False)
    assert spec.data.validation == SplitSpec(split="validation", size=500, stratify=False, shuffle=False)
    assert {"freeze", "max_length", "stride"} <= set(spec.search)
    assert spec.max_lengths() == (256, 384)
    assert [objective.metric for objective in spec.objectives] == ["f1"]  # losses of other windows do not compare


def test_the_comments_on_local_files_can_be_typed_as_they_stand() -> None:
    for path in STUDIES.glob("*.yaml"):
        text = path.read_text("utf-8")
        comment = " ".join(line.lstrip("#").strip().rstrip("\\") for line in text.splitlines() if line.startswith("#"))
        words = comment.split()
        overrides = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
        assert parse_study(text, overrides).spec.study
