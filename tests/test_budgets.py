"""Equal budgets: energy and tokens as they are recorded, scores read off at a budget, and what the report says."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import report_study
import torch
from counting import calls_of
from report_study import VALIDATION_ROWS, study_file
from small_models import CPU

from harness.analysis import budgets
from harness.configuration import Objective, TrialConfig
from harness.energy import Energy, EnergyMeter, nvml_reader, reader_of
from harness.records import EpochRecord, MetricValue, SpeedWindow, TrialOutcome
from harness.report import spent
from harness.report.paper.methods import paragraphs
from harness.report.pieces import Piece, assemble
from harness.report.section import sections
from harness.report.study_frames import StudyFrames, opened
from harness.results.engine import open_engine
from harness.results.frames import epochs, summary
from harness.results.invariants import violations
from harness.results.store import Store
from harness.training import with_energy

ACCURACY = Objective("accuracy", "maximize")

# --- energy -------------------------------------------------------------------------------------------


class Device:
    """A device of which a test says what it tells."""

    def __init__(
        self, joules: Sequence[float | None], watts: Sequence[float | None] = (None,), processes: int | None = 1
    ) -> None:
        self.joules, self.watts, self.using = list(joules), list(watts), processes

    def counted(self) -> float | None:
        return self.joules.pop(0) if len(self.joules) > 1 else self.joules[0]

    def power(self) -> float | None:
        return self.watts.pop(0) if len(self.watts) > 1 else self.watts[0]

    def processes(self) -> int | None:
        return self.using


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_counter_gives_the_joules_between_two_readings():
    assert EnergyMeter(Device([1000.5, 1250.0])).read() == Energy(249.5, "counter")


def test_without_a_counter_the_power_is_summed_over_time():
    clock = Clock()
    meter = EnergyMeter(Device([None], [100.0, 200.0, 200.0, 100.0]), clock)
    for clock.now in (0.05, 1.0, 3.0):  # the first comes too early to be read
        meter.sample()
    clock.now = 4.0
    found = meter.read()
    # 1 s at 150 W, 2 s at 200 W, 1 s at 150 W
    assert found is not None
    assert found.joules == pytest.approx(700.0)
    assert found.source == "power samples"


def test_a_shared_device_says_so():
    found = EnergyMeter(Device([10.0, 30.0], processes=2)).read()
    assert found == Energy(20.0, "counter, shared device")


@pytest.mark.parametrize(
    "device",
    [
        None,
        Device([None]),
        Device([500.0, 3.0]),  # the driver was restarted
        Device([500.0, None], [100.0]),  # the counter has gone away
        Device([None], [100.0, None]),
    ],
)
def test_what_is_not_told_is_absent_and_never_zero(device: Device | None):
    clock = Clock()
    meter = EnergyMeter(device, clock)
    clock.now = 5.0
    assert meter.read() is None


def test_a_machine_without_the_device_has_no_reader():
    assert reader_of(CPU) is None
    assert nvml_reader("GPU-00000000-0000-0000-0000-000000000000") is None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_real_device_uses_more_energy_at_work_than_none():
    device = torch.device("cuda", 0)
    meter = EnergyMeter(reader_of(device))
    table = torch.ones(4096, 4096, device=device)
    for _ in range(2000):
        table = (table @ table).clamp(max=1.0)
        meter.sample()
    torch.cuda.synchronize(device)
    found = meter.read()
    assert found is not None
    assert 1.0 < found.joules < 1e6


def test_trials_that_train_together_share_the_energy():
    record = report_study.epoch(1, 0.5, 0.6, TrialConfig())
    found = with_energy(record, Energy(9.0, "counter"), group=3)
    assert (found.energy_joules, found.energy_source) == (3.0, "counter")
    assert with_energy(record, None).energy_joules is None


# --- a study whose curves cross -----------------------------------------------------------------------

FAST = {1: (50, 500.0), 2: (51, 500.0)}  # epoch -> right answers of 60, joules
SLOW = {1: (30, 200.0), 2: (40, 200.0), 3: (54, 200.0), 4: (58, 200.0)}


def epoch(number: int, config: TrialConfig, right: int, joules: float | None) -> EpochRecord:
    """400 rows in 50 steps of 8, of which the windows of the first epoch leave 5 out; 30 tokens a row."""
    gold = np.arange(VALIDATION_ROWS) % 2
    wrong = np.arange(VALIDATION_ROWS) >= right
    logits = np.zeros((VALIDATION_ROWS, 2), dtype=np.float32)
    logits[np.arange(VALIDATION_ROWS), np.where(wrong, 1 - gold, gold)] = 2.0
    accuracy = right / VALIDATION_ROWS
    steps = 45 if number == 1 else 50
    return dataclasses.replace(
        report_study.epoch(number, 0.5, 0.6, config),
        steps=50 * number,
        metrics=(
            MetricValue("train", "loss", 0.5),
            MetricValue("validation", "loss", 0.6),
            MetricValue("validation", "accuracy", accuracy),
        ),
        windows=(SpeedWindow(1.0, steps, 8 * steps, 240 * steps, 300 * steps),),
        train_seconds=2.0,
        outputs={"logits": logits},
        energy_joules=joules,
        energy_source=None if joules is None else "counter",
    )


def make(path: Path, joules: bool = True) -> Path:
    with Store.open(path) as store:
        study = store.create_study(study_file("crossing", [ACCURACY]))
        store.record_prepared(study, report_study.prepared())
        with store.hold(study):
            for curve in (FAST, SLOW):
                config = TrialConfig(epochs=len(curve), batch_size=8)
                trial = store.add_trial(study, config, 42, 0, None, "sampled")
                store.start_trial(trial.id, "local-0", store.record_environment({"python": "3.12"}))
                store.record_facts(trial.id, report_study.facts(config))
                for number, (right, used) in curve.items():
                    store.record_epoch(trial.id, epoch(number, config, right, used if joules else None))
                store.finish_trial(trial.id, TrialOutcome("complete", seconds={"total": 9.0}), [ACCURACY])
    return path


@pytest.fixture(scope="module")
def crossing(tmp_path_factory: pytest.TempPathFactory) -> StudyFrames:
    return opened(make(tmp_path_factory.mktemp("crossing") / "r.db"), "crossing")


def test_the_record_holds_energy_and_the_views_show_it(crossing: StudyFrames):
    assert epochs(crossing.engine, "crossing")["energy_joules"].tolist() == [500.0] * 2 + [200.0] * 4
    assert summary(crossing.engine, "crossing")["energy_joules"].tolist() == [1000.0, 800.0]


def test_energy_that_one_epoch_lacks_is_missing_of_the_whole_trial(tmp_path: Path):
    path = make(tmp_path / "r.db", joules=False)
    engine = open_engine(path, read_only=True)
    assert summary(engine, "crossing")["energy_joules"].isna().all()
    with Store.open(path) as store, store.transaction() as connection:
        query = "SELECT count(*) FROM harness_epoch_record WHERE energy_joules IS NULL AND energy_source IS NULL"
        assert connection.exec_driver_sql(query).scalar() == 6
    assert not [each for each in violations(engine) if each.invariant in ("I1", "I2", "I4")]


def test_tokens_of_steps_that_no_window_holds_are_counted_too(crossing: StudyFrames):
    curves = spent.curves(crossing, ACCURACY)
    assert curves["tokens"].tolist() == [12_000 * n for n in (1, 2, 1, 2, 3, 4)]
    assert curves["seconds"].tolist() == pytest.approx([2.5, 5.0, 2.5, 5.0, 7.5, 10.0])
    assert curves["joules"].tolist() == [500, 1000, 200, 400, 600, 800]


# --- reading off --------------------------------------------------------------------------------------


def drawn(seed: int, trials: int = 4) -> pd.DataFrame:
    """Curves with uneven epochs; some scores are missing."""
    random = np.random.default_rng(seed)
    rows = []
    for trial in range(trials):
        used = np.zeros(3)
        for number in range(1, int(random.integers(1, 6)) + 1):
            used = used + random.uniform(1, 3, 3)
            value = np.nan if random.random() < 0.1 else random.random()
            rows.append((trial, number, value, *used))
    return pd.DataFrame(rows, columns=budgets.CURVES)


@pytest.mark.parametrize("at", ["best", "last"])
@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_a_score_at_a_budget_is_that_of_the_epochs_that_were_over(at, direction):
    objective = Objective("loss", direction, at)
    for seed in range(30):
        curves, budget = drawn(seed), float(np.random.default_rng(seed).uniform(0, 12))
        found = budgets.reached(curves, {t: [t] for t in range(4)}, "tokens", budget, objective)
        for row in found.to_dict("records"):
            scores = []  # the slow twin: walk through the epochs while the budget lasts
            for each in curves.to_dict("records"):
                if each["trial"] == row["configuration"] and each["tokens"] <= budget and not np.isnan(each["value"]):
                    scores.append(each["value"])
            best = {"minimize": min, "maximize": max}[direction]
            expected = np.nan if not scores else scores[-1] if at == "last" else best(scores)
            assert row["value"] == pytest.approx(expected, nan_ok=True)


def test_the_mean_over_seeds_needs_a_score_of_every_seed():
    curves = pd.DataFrame(
        [(0, 1, 0.5, 1.0, 1, 1), (1, 1, 0.7, 3.0, 1, 1), (2, 1, 0.4, 1.0, 1, 1)], columns=budgets.CURVES
    )
    objective, groups = Objective("accuracy", "maximize"), {0: [0, 1], 1: [2]}
    assert np.isnan(budgets.reached(curves, groups, "tokens", 1.0, objective)["value"].iloc[-1])
    found = budgets.reached(curves, groups, "tokens", 3.0, objective)
    assert found["value"].tolist() == pytest.approx([0.6, 0.4])


def test_the_equal_budget_is_the_smallest_total_and_none_where_one_ends_before_another_begins(crossing: StudyFrames):
    curves, groups = spent.curves(crossing, ACCURACY), {0: [0], 1: [1]}
    assert budgets.equal(curves, groups, "tokens") == (12_000, 24_000)
    assert budgets.equal(curves, groups, "joules") == (500, 800)
    assert (
        budgets.equal(curves.assign(tokens=curves["tokens"].where(curves["trial"] == 0, 99_000)), groups, "tokens")
        is None
    )
    assert budgets.equal(curves.assign(joules=np.nan), groups, "joules") is None


def test_the_lead_changes_where_the_curves_cross(crossing: StudyFrames):
    curves, groups = spent.curves(crossing, ACCURACY), {0: [0], 1: [1]}
    assert budgets.leaders(curves, groups, "tokens", ACCURACY) == [(12_000, 0)]
    assert budgets.leaders(curves, groups, "joules", ACCURACY) == [(500, 0), (600, 1)]


def test_what_shared_work_in_other_ways_is_left_out():
    groups = {0: [0, 1], 1: [2], 2: [3], 3: [4, 5]}
    kinds = {0: "", 1: "", 2: "prefix at 6", 3: "", 4: "", 5: "prefix at 6"}
    assert budgets.alike(groups, kinds) == {0: [0, 1], 2: [3]}


# --- the report ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def piece(crossing: StudyFrames) -> Piece:
    (found,) = [each for each in sections() if each.name == "budgets"]
    made = assemble(found, crossing)
    assert not made.failure
    return made


def test_the_report_says_who_leads_at_which_budget_and_whether_that_is_sure(piece: Piece):
    said = "\n".join(piece.content.findings)
    assert "At 12,000 training tokens each, the first budget at which all have a score, trial 0" in said
    assert "At 24,000 training tokens each, the most that each of the 2 has spent, trial 0" in said
    assert "best accuracy 85.0%, and beats every other of the 2 as far as these examples go." in said
    assert "the lead changes with the budget: trial 0 from 500 joules and 1 from 600 joules" in said
    assert "At the end, whatever each has spent, trial 1" in said


def test_a_lead_within_chance_is_not_told_as_one(piece: Piece):
    # 51 of 60 right against 58: at 800 joules trial 1 leads, of whom the test may or may not be sure
    (table,) = [table for table, _ in piece.tables if table.name == "budgets"]
    rows = table.frame[table.frame["budget"] == "500 joules"]
    told = rows["told_apart_from_the_best"].tolist()
    words = next(each for each in piece.content.findings if each.startswith("At 500 joules"))
    assert told[0] == "the best"
    assert ("cannot be told apart" in words) == (told[1] == "no")


def test_no_energy_is_said_and_not_drawn(tmp_path: Path):
    study = opened(make(tmp_path / "r.db", joules=False), "crossing")
    (found,) = [each for each in sections() if each.name == "budgets"]
    made = assemble(found, study)
    assert "Energy is not in the record: the device does not tell it." in made.content.notes
    assert "joules" not in "\n".join(made.content.findings)
    (fronts,) = [table for table, _ in made.tables if table.name == "fronts"]
    assert "energy_joules" not in fronts.frame


def test_compare_puts_trials_beside_each_other_at_equal_budgets(crossing: StudyFrames):
    table = spent.at_equal_budgets([("crossing:0", crossing, 0), ("crossing:1", crossing, 1)])
    assert table is not None
    rows = table.frame[table.frame["budget"] == "24,000 training tokens"]
    assert rows["trial"].tolist() == ["crossing:0", "crossing:1"]
    assert rows["accuracy"].tolist() == pytest.approx([51 / 60, 40 / 60])


def test_a_paper_says_what_energy_was_used(crossing: StudyFrames, tmp_path: Path):
    words = [sentence.text for paragraph in paragraphs(crossing) for sentence in paragraph]
    assert "The device used 5e-4 kWh in training and evaluating all trials." in words
    without = opened(make(tmp_path / "r.db", joules=False), "crossing")
    assert "kWh" not in " ".join(sentence.text for paragraph in paragraphs(without) for sentence in paragraph)


# --- very many trials -------------------------------------------------------------------------------------


def measured(trials: int) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Values, records and windows of trials of one to four epochs; the energy of some epochs is not known."""
    rng = np.random.default_rng(trials)
    rows = [(trial, epoch) for trial in range(trials) for epoch in range(1, 2 + trial % 4)]
    keys = pd.DataFrame(rows, columns=["trial", "epoch"])
    seconds = {f"{phase}_seconds": rng.random(len(keys)) for phase in ("train", "evaluate", "save")}
    joules = pd.Series(rng.random(len(keys))).mask(rng.random(len(keys)) < 0.1)
    records = keys.assign(steps=10 * keys["epoch"], **seconds, energy_joules=joules)
    return keys.assign(value=0.5), records, keys.assign(steps=10, tokens=rng.integers(1, 100, len(keys)))


def test_what_was_spent_is_each_trials_own_running_sum_and_missing_from_the_first_missing_epoch_on() -> None:
    values, records, windows = measured(60)
    found = budgets.curves(values, records, windows).set_index(["trial", "epoch"])
    assert found["joules"].isna().sum() > records["energy_joules"].isna().sum() > 0
    for trial, own in records.groupby("trial"):
        np.testing.assert_array_equal(found.loc[trial, "joules"], own["energy_joules"].to_numpy().cumsum())
        each = own[["train_seconds", "evaluate_seconds", "save_seconds"]].sum(axis=1).to_numpy()
        np.testing.assert_array_equal(found.loc[trial, "seconds"], each.cumsum())


def test_no_call_is_made_for_each_of_very_many_trials() -> None:
    few, many = measured(400), measured(800)
    budgets.curves(*few)  # what is made once is there now
    assert 0 < calls_of(lambda: budgets.curves(*many)) < calls_of(lambda: budgets.curves(*few)) + 800
