"""What stays between trials, and what is cut from it."""

import numpy as np
import pytest
import small_models

from harness.configuration import Objective, TrialConfig
from harness.errors import TrialFailure
from harness.jobs import TrialJob
from harness.kept_models import deserves, objective_value
from harness.model_card import EpochChoice, render
from harness.records import EpochRecord, MetricValue, TrialFacts
from harness.warm import Encoded, Shelf, first_rows, probe_rows, take


def encoded(rows, seed=1):
    split = small_models.split(rows, seed)
    return Encoded(split.examples, split.features)


def test_a_shelf_makes_a_value_once_and_drops_the_one_used_longest_ago():
    made, shelf = [], Shelf(2)

    def get(key):
        return shelf.get(key, lambda: made.append(key) or key.upper())

    assert [get(key) for key in "aabacb"] == list("AABACB")
    assert made == ["a", "b", "c", "b"]


def test_taken_rows_keep_their_features_and_order():
    whole = encoded(10)
    part = take(whole, np.array([7, 2]))
    assert part.examples.texts == [whole.examples.texts[7], whole.examples.texts[2]]
    assert [ids.tolist() for ids in part.features.input_ids] == [whole.features.input_ids[i].tolist() for i in (7, 2)]
    assert part.features.labels.tolist() == whole.features.labels[[7, 2]].tolist()
    assert part.features.example.tolist() == [0, 1]


def test_features_of_one_example_stay_together():
    whole = encoded(4)
    whole.features.example[:] = [0, 0, 1, 2]
    part = take(Encoded(whole.examples, whole.features), np.array([2, 0]))
    assert part.features.example.tolist() == [0, 1, 1]


def test_of_the_rows_taken_alone_the_truncated_ones_are_counted_each_once():
    whole = encoded(5)
    whole.features.example[:] = [0, 0, 1, 2, 3]  # the last example has no feature
    whole.features.truncated[:] = [True, True, False, True, False]
    assert whole.features.truncated_examples == 2
    assert take(whole, np.array([0, 1])).features.truncated_examples == 1
    assert take(whole, np.array([1, 3])).features.truncated_examples == 0


def test_the_first_rows_are_those_of_the_file():
    assert first_rows(encoded(10), 3).examples.rows.tolist() == [0, 1, 2]
    assert len(first_rows(encoded(10), None).examples) == 10
    with pytest.raises(TrialFailure, match="11 rows were asked for, data.train has 10"):
        first_rows(encoded(10), 11)


def test_the_probe_is_fixed_by_the_studys_seed_and_no_larger_than_validation():
    rows = [probe_rows(encoded(40), 12, seed).examples.rows.tolist() for seed in (1, 1, 2)]
    assert rows[0] == rows[1] != rows[2]
    assert len(set(rows[0])) == 12
    assert len(probe_rows(encoded(700), 900, 1).examples) == 512


def record(epoch, loss, f1):
    metrics = tuple(
        MetricValue(split, name, value)
        for split in ("train", "probe", "validation")
        for name, value in (("loss", loss), ("f1", f1))
    )
    return EpochRecord(epoch, epoch, 0.1, metrics, 1.0, 1.0, 0.0, 0.5, 10)


def job(objective, bar=None, **config):
    return TrialJob(1, "sequence-classification", {"path": "a|b\n<i>"}, 1, TrialConfig(**config), 1, None,
                    objective, "", True, bar)  # fmt: skip


RECORDS = [record(1, 0.5, 0.6), record(2, 0.3, 0.8), record(3, 0.4, 0.7)]


def test_the_objective_is_read_at_the_best_or_at_the_last_epoch():
    assert objective_value(job(Objective("f1", "maximize")), RECORDS) == 0.8
    assert objective_value(job(Objective("f1", "maximize", "last")), RECORDS) == 0.7
    assert objective_value(job(Objective("loss")), RECORDS) == 0.3
    assert np.isnan(objective_value(job(Objective("mcc", "maximize")), RECORDS))


def test_a_model_deserves_its_place_only_when_strictly_better():
    assert deserves(job(Objective("f1", "maximize"), 0.79), RECORDS)
    assert not deserves(job(Objective("f1", "maximize"), 0.8), RECORDS)
    assert not deserves(job(Objective("mcc", "maximize"), 0.0), RECORDS)
    assert deserves(job(Objective("train_seconds"), 0.0), RECORDS)


def test_the_card_tells_data_configuration_metrics_and_curve_and_passes_no_markup_on():
    asked = job(Objective("f1", "maximize"), batch_size=16)
    done = TrialConfig(batch_size=8, gradient_accumulation=2)
    facts = TrialFacts(done, "cpu", "bf16", "sdpa", 1, 9, 40, 10, "fingerprint", None, "hash", 1000, 100)
    card = render(asked, facts, RECORDS, EpochChoice(2, "f1"), ["no", "<b>yes"])
    assert "Weights of epoch 2 of 3, chosen by validation f1." in card
    assert "| batch_size | 16 | 8 |" in card
    assert "| dtype | auto | bf16 |" in card
    assert "| validation | f1 |  | 0.8000 |" in card
    assert "| 3 | 0.4000 | 0.4000 | 0.4000 | 0.7000 |" in card
    assert "`a\\|b &lt;i>`" in card and "<b>" not in card
    assert "0 = no, 1 = &lt;b>yes" in card
