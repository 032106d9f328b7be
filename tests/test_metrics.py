"""Metrics of labels are those of scikit-learn, and what no row defines is undefined instead of zero."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator

import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn import metrics as twin

import harness.metrics as metrics
from harness.metrics import accuracy, evaluate, f1, macro_f1, mcc, metric, precision, recall
from harness.metrics.registry import _registry

REFERENCES = [1, 1, 1, 0, 0]
PREDICTIONS = [1, 1, 0, 1, 0]  # two hits of three predicted and of three true


@pytest.fixture
def registry() -> Iterator[None]:
    """Whatever a test registers is gone after it."""
    before = dict(_registry)
    yield
    _registry.clear()
    _registry.update(before)


def scores(predictions, references, positive=1, num_labels=2):
    return evaluate("labels", predictions, references, positive=positive, num_labels=num_labels)


def test_five_rows_by_hand():
    assert scores(PREDICTIONS, REFERENCES) == pytest.approx(
        {
            "accuracy": 3 / 5,
            "precision": 2 / 3,
            "recall": 2 / 3,
            "f1": 2 / 3,
            "macro_f1": (2 / 3 + 1 / 2) / 2,
            "mcc": (2 * 1 - 1 * 1) / math.sqrt(3 * 3 * 2 * 2),
        }
    )


def test_the_positive_class_decides_what_binary_f1_speaks_of():
    assert f1(PREDICTIONS, REFERENCES, positive=0, num_labels=2) == pytest.approx(1 / 2)
    assert f1(PREDICTIONS, REFERENCES, positive=1, num_labels=2) == pytest.approx(2 / 3)


def test_without_a_positive_class_the_highest_is_meant():
    assert scores(PREDICTIONS, REFERENCES, positive=None) == scores(PREDICTIONS, REFERENCES, positive=1)


@pytest.mark.parametrize("num_labels", [2, 3, 6])
def test_scores_agree_with_scikit_learn(num_labels):
    rng = np.random.default_rng(num_labels)
    for _ in range(20):
        references = np.concatenate([np.arange(num_labels), rng.integers(num_labels, size=60)])
        predictions = np.where(
            rng.random(references.size) < 0.6, references, rng.integers(num_labels, size=60 + num_labels)
        )
        predictions[:num_labels] = np.arange(num_labels)  # every class predicted, so that nothing is undefined
        average = {"average": "binary", "pos_label": 0} if num_labels == 2 else {"average": "macro"}
        expected = {
            "accuracy": twin.accuracy_score(references, predictions),
            "precision": twin.precision_score(references, predictions, **average),
            "recall": twin.recall_score(references, predictions, **average),
            "f1": twin.f1_score(references, predictions, **average),
            "macro_f1": twin.f1_score(references, predictions, average="macro"),
            "mcc": twin.matthews_corrcoef(references, predictions),
        }
        assert scores(predictions, references, positive=0, num_labels=num_labels) == pytest.approx(expected, abs=1e-12)


def test_beyond_two_classes_f1_is_macro_f1():
    rng = np.random.default_rng(0)
    predictions, references = rng.integers(6, size=(2, 50))
    assert f1(predictions, references, positive=3, num_labels=6) == macro_f1(predictions, references, num_labels=6)


def test_no_rows_leave_every_metric_undefined():
    assert all(math.isnan(value) for value in scores([], []).values())


def test_one_row_scores():
    assert accuracy([1], [1], num_labels=2) == 1.0


def test_precision_of_a_class_never_predicted_is_undefined_and_its_f1_is_zero():
    predictions, references = [0, 0, 0], [1, 0, 0]
    assert math.isnan(precision(predictions, references, positive=1, num_labels=2))
    assert recall(predictions, references, positive=1, num_labels=2) == 0.0
    assert f1(predictions, references, positive=1, num_labels=2) == 0.0


def test_recall_of_a_class_that_does_not_occur_is_undefined():
    assert math.isnan(recall([0, 1], [0, 0], positive=1, num_labels=2))


def test_macro_precision_is_undefined_when_a_class_is_ignored():
    assert math.isnan(precision([0, 1, 0], [0, 1, 2], positive=None, num_labels=3))


def test_a_class_without_rows_and_predictions_is_left_out_of_the_mean():
    assert macro_f1([0, 1], [0, 1], num_labels=5) == 1.0
    assert precision([0, 1], [0, 1], positive=None, num_labels=5) == 1.0


def test_macro_recall_is_balanced_accuracy():
    predictions, references = [0, 2, 1, 0], [0, 0, 1, 1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns of the class that is only predicted
        expected = twin.balanced_accuracy_score(references, predictions)
    assert recall(predictions, references, positive=None, num_labels=3) == pytest.approx(expected)


@pytest.mark.parametrize(("predictions", "references"), [([1, 1, 1], [1, 0, 1]), ([1, 0, 1], [1, 1, 1])])
def test_mcc_with_a_constant_is_undefined_not_zero(predictions, references):
    assert math.isnan(mcc(predictions, references, num_labels=2))


def test_mcc_reaches_its_ends():
    assert mcc([0, 1, 2], [0, 1, 2], num_labels=3) == 1.0
    assert mcc([0, 1], [1, 0], num_labels=2) == -1.0


def test_mcc_of_many_rows_does_not_overflow():
    references = np.tile([0, 1], 5_000_000)
    assert mcc(references, references, num_labels=2) == pytest.approx(1.0)


def test_ids_outside_the_classes_are_refused():
    with pytest.raises(ValueError, match=r"predictions must lie in 0 \.\. 1, got 0 \.\. 2"):
        scores([0, 2], [0, 1])
    with pytest.raises(ValueError, match=r"references must lie in 0 \.\. 1, got -1"):
        scores([0, 1], [0, -1])


def test_lengths_that_differ_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        scores([0, 1, 1], [0, 1])


def test_directions_of_losses_scores_and_costs():
    assert metrics.direction("loss") == "minimize"
    assert metrics.direction("f1") == "maximize"
    assert metrics.direction("train_seconds") == metrics.direction("peak_memory_bytes") == "minimize"
    assert metrics.direction("train_samples_per_second") == metrics.direction("tokens_per_second") == "maximize"


def test_an_unknown_metric_is_named_with_the_known_ones():
    with pytest.raises(KeyError, match="unknown metric 'acuracy'; known are .*accuracy"):
        metrics.direction("acuracy")


def test_an_objective_may_be_the_loss_a_metric_of_the_output_or_a_cost():
    assert {"loss", "accuracy", "mcc", "train_samples_per_second"} <= set(metrics.known("labels"))
    assert "accuracy" not in metrics.known("spans")
    assert len(set(metrics.known())) == len(metrics.known())


def test_every_metric_has_a_line_of_documentation_and_a_unit():
    for name in metrics.known():
        assert metrics.lookup(name).doc.endswith("."), name
        assert metrics.lookup(name).unit, name


def test_a_new_metric_is_one_function(registry):
    @metric(output="labels", higher_is_better=False, unit="fraction")
    def error_rate(predictions, references):
        """Share of examples labelled wrongly."""
        return float(np.mean(np.asarray(predictions) != np.asarray(references)))

    assert scores(PREDICTIONS, REFERENCES)["error_rate"] == pytest.approx(2 / 5)
    assert metrics.direction("error_rate") == "minimize"


def test_one_name_has_one_direction_in_all_outputs(registry):
    def accuracy(predictions, references):
        """Of another kind of output."""
        return 0.0

    with pytest.raises(ValueError, match="differ in direction"):
        metric(output="spans", higher_is_better=False, unit="fraction")(accuracy)
    with pytest.raises(ValueError, match="registered already"):
        metric(output="labels", higher_is_better=True, unit="fraction")(accuracy)


def test_cross_entropy_of_each_example_is_that_of_scipy_and_survives_large_logits():
    logits = np.array([[2.0, 0.0], [0.0, 0.0], [-800.0, 800.0]])
    expected = -log_softmax(logits, axis=1)[np.arange(3), [0, 1, 0]]
    assert metrics.cross_entropy(logits, [0, 1, 0]) == pytest.approx(expected)
    assert metrics.cross_entropy(logits, [0, 1, 0])[1:] == pytest.approx([math.log(2), 1600.0])


def test_cross_entropy_of_nothing_is_nothing():
    assert metrics.cross_entropy(np.zeros((0, 2)), []).shape == (0,)
