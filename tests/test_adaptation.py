"""Pretraining further: on training texts alone, once, resumed after an interruption, and used by those who ask."""

import csv
import itertools
import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import results_support
import small_models
import sqlalchemy as sa
import torch
import transformers
from nights import Night, end
from results_support import running
from safetensors.torch import load_file
from scripted import Notes, Scripted, complete

import harness.checkpoints as checkpoints
from harness.adaptation import adapt, key_of
from harness.adapting import Adapting
from harness.builtin import corpus
from harness.builtin.tiny import folder as tiny
from harness.cache import Cache
from harness.configuration import TrialConfig
from harness.data import load
from harness.deadline import Deadline, Stop
from harness.encoder import Encoder
from harness.errors import DataError, SpecError
from harness.jobs import Adapted, AdaptJob
from harness.opening import Opened
from harness.records import EpochRecord, Incident, JobDone, Message, TrialOutcome
from harness.report.sections import adaptation as section
from harness.report.study_frames import opened
from harness.results import frames, schema
from harness.results.store import Store
from harness.spec import DataSpec, parse_study
from harness.tasks import base as tasks
from harness.trial import Control
from harness.unlabelled import texts_alone
from harness.warm import Warm

TASK = "sequence-classification"
CONFIG = TrialConfig.from_dict(
    {"model": "builtin:tiny", "epochs": 2, "batch_size": 16, "learning_rate": 1e-3, "max_length": 32, "dtype": "fp32"}
)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Weights are then the same to the last bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def backwards(text: str) -> str:
    """A text as the built-in model has never read one."""
    return " ".join(reversed(text.split()))


TEXTS = list(dict.fromkeys(backwards(text) for text in corpus.reviews(400, noise=0.0).column("text").to_pylist()))


def folder_of_texts(folder: Path, **splits: list[str]) -> str:
    folder.mkdir(parents=True)
    for name, texts in splits.items():
        with (folder / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("text", "label"), *((text, n % 2) for n, text in enumerate(texts))])
    return str(folder)


def data_of(folder: Path, train: list[str] = TEXTS[:96], validation: list[str] = TEXTS[200:240]) -> dict[str, object]:
    test = TEXTS[300:320]
    path = folder_of_texts(folder, train=train, validation=validation, test=test)
    return {"path": path, "validation": {"split": "validation"}, "test": {"split": "test"}}


def job_of(folder: Path, data: dict[str, object], task: str = TASK, config: TrialConfig = CONFIG) -> AdaptJob:
    return AdaptJob(task, data, 5, config, str(folder / "models"))


def events_of(job: AdaptJob, control: Control | None = None) -> list[object]:
    return list(adapt(job, Warm(small_models.CPU), control or Control()))


def weights_of(job: AdaptJob, key: str) -> dict[str, torch.Tensor]:
    found = load_file(Path(job.folder) / key / "model.safetensors")
    return {name: value.clone() for name, value in found.items()}  # which a later change of the file does not reach


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# --- what is read ---------------------------------------------------------------------------------------


def test_texts_of_validation_and_test_are_never_among_those_trained_on(tmp_path):
    shared = TEXTS[0]
    data = data_of(tmp_path / "data", [*TEXTS[:20], shared], [shared, *TEXTS[200:210]])
    splits = load(DataSpec.model_validate(data), tasks.load(TASK), 5)
    alone = texts_alone(splits)
    assert sorted(alone.train.texts) == sorted(TEXTS[:20])
    assert sorted(alone.validation.texts) == sorted(TEXTS[200:210])  # the one that is trained on is not held out
    assert alone.test is None
    assert not set(alone.train.texts) & {*TEXTS[200:210], *TEXTS[300:320]}


def test_other_validation_texts_train_the_same_weights_and_other_training_texts_do_not(tmp_path):
    once = replace(CONFIG, epochs=1)  # no choice among epochs, which is what validation texts are for
    jobs = [
        job_of(tmp_path, data_of(tmp_path / "a", TEXTS[:32], TEXTS[200:208]), config=once),
        job_of(tmp_path, data_of(tmp_path / "b", TEXTS[:32], TEXTS[240:248]), config=once),
        job_of(tmp_path, data_of(tmp_path / "c", TEXTS[100:132], TEXTS[200:208]), config=once),
    ]
    keys = [events_of(job)[-1].key for job in jobs]
    assert len(set(keys)) == 3
    first, other_validation, other_train = (weights_of(job, key) for job, key in zip(jobs, keys, strict=True))
    assert same(first, other_validation)
    assert not same(first, other_train)


def test_questions_and_contexts_are_texts_of_question_answering(tmp_path):
    rows = []
    for number in range(24):
        context = TEXTS[number // 2]
        word = context.split()[1]
        answer = {"text": [word], "answer_start": [context.index(word)]}
        rows.append({"id": str(number), "question": f"what is {number} ?", "context": context, "answers": answer})
    (tmp_path / "data").mkdir()
    for name, part in (("train", rows[:16]), ("validation", rows[16:])):
        (tmp_path / "data" / f"{name}.jsonl").write_text("\n".join(json.dumps(row) for row in part))
    data = {"path": str(tmp_path / "data"), "validation": {"split": "validation"}}
    job = job_of(tmp_path, data, "question-answering", replace(CONFIG, epochs=1))
    found = events_of(job)[-1]
    assert (found.texts, found.held_out_texts) == (16 + 8, 8 + 4)
    model = tasks.load("question-answering").model(str(Path(job.folder) / found.key), 0, dropout=None)
    assert model.fresh_parameters == {"qa_outputs.weight", "qa_outputs.bias"}


# --- one adaptation ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A job, what its adaptation told, and the weights that it left."""
    folder = tmp_path_factory.mktemp("made")
    job = job_of(folder, data_of(folder / "data"))
    events = events_of(job)
    assert isinstance(events[-1], Adapted)
    return job, events, weights_of(job, events[-1].key)


def test_it_lowers_the_perplexity_of_held_out_texts(made):
    found = made[1][-1]
    assert (found.texts, found.held_out_texts, found.epochs, found.reused) == (96, 40, 2, False)
    assert found.perplexity_after < 0.9 * found.perplexity_before
    told = [event.value("validation", "perplexity") for event in made[1] if isinstance(event, EpochRecord)]
    assert found.perplexity_after == min(told)


def test_the_kept_model_has_the_trained_encoder_and_no_head_of_its_own(made):
    job, events, weights = made
    path = str(Path(job.folder) / events[-1].key)
    original, adapted = (tasks.load(TASK).model(where, 2, dropout=None) for where in (tiny(), path))
    assert adapted.fresh_parameters == original.fresh_parameters
    assert not adapted.fresh_parameters & weights.keys()
    before = original.state_dict()
    changed = {name for name, value in weights.items() if not torch.equal(value, before[name])}
    assert {name for name in weights if ".layer." in name} <= changed
    assert checkpoints.verify(Path(path)) == ""
    assert transformers.AutoTokenizer.from_pretrained(path).mask_token_id is not None
    assert not Path(job.folder, f"{events[-1].key}-training").exists()
    assert Encoder(adapted, small_models.CPU).weights_hash == events[-1].weights_hash


def test_a_second_study_takes_what_is_there(made):
    job, events, _ = made
    again = events_of(job)
    assert again == [replace(events[-1], reused=True, spent_seconds=0.0)]


def test_another_setting_seed_or_task_is_another_model_and_another_name_for_the_same_one_is_not(made):
    job, events, _ = made
    warm = Warm(small_models.CPU)
    others = [
        replace(job, config=replace(job.config, learning_rate=2e-3)),
        replace(job, config=replace(job.config, epochs=3)),
        replace(job, seed=6),
    ]
    assert len({events[-1].key, *(key_of(other, warm) for other in others)}) == 4
    assert key_of(replace(job, config=replace(job.config, model=tiny())), warm) == events[-1].key


def test_a_damaged_model_is_found_and_made_again(made):
    job, events, weights = made
    file = Path(job.folder) / events[-1].key / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-9] ^= 1
    file.write_bytes(content)
    again = events_of(job)
    assert [event.kind for event in again if isinstance(event, Incident)] == ["adaptation_damaged"]
    assert not again[-1].reused
    assert same(weights_of(job, again[-1].key), weights)


def test_interrupted_it_goes_on_from_its_checkpoint_to_the_same_weights(made, tmp_path):
    job, events, weights = made
    job = replace(job, folder=str(tmp_path))
    asked = itertools.count()
    stopped = events_of(job, Control(interrupted=lambda: next(asked) == 8))  # in the second epoch of six steps each
    assert isinstance(stopped[-1], TrialOutcome) and stopped[-1].state == "waiting"
    assert len([event for event in stopped if isinstance(event, EpochRecord)]) == 1
    assert not (tmp_path / events[-1].key).exists()
    steps = itertools.count()
    went_on = events_of(job, Control(interrupted=lambda: next(steps) < 0))
    assert next(steps) <= 6  # those of one epoch at most
    assert same(weights_of(job, went_on[-1].key), weights)
    told = events[-1], went_on[-1]
    assert len({(each.perplexity_before, each.perplexity_after, each.best_epoch, each.steps) for each in told}) == 1


def test_whoever_comes_while_another_process_adapts_waits_and_can_be_interrupted(made, tmp_path):
    job = replace(made[0], folder=str(tmp_path))
    with Cache(tmp_path, 0).take_turn(made[1][-1].key):
        told = adapt(job, Warm(small_models.CPU), Control(interrupted=lambda: True))
        assert next(told) == TrialOutcome("waiting", message="interrupted")
    assert list(tmp_path.glob("*-training")) == []


def without_a_mask(folder: Path) -> str:
    """A small encoder whose tokeniser has no mask."""
    path = small_models.model_folder(folder)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"w{n}" for n in range(50))]
    vocabulary = {word: n for n, word in enumerate(words)}
    transformers.BertTokenizerFast(vocab=vocabulary, mask_token=None).save_pretrained(folder)
    return path


def test_a_tokeniser_without_a_mask_is_refused_by_name(made, tmp_path):
    config = replace(CONFIG, model=without_a_mask(tmp_path / "model"))
    with pytest.raises(DataError, match="no mask token"):
        events_of(replace(made[0], config=config, folder=str(tmp_path)))


# --- study files --------------------------------------------------------------------------------------------

HEAD = 'study: s\nmodel: builtin:tiny\ndata: {path: "builtin:reviews", validation: 0.2}\n'


def spec_of(text: str):
    return parse_study(HEAD + text).spec


def test_with_adapt_in_the_file_trials_are_adapted_unless_they_say_otherwise():
    assert spec_of("adapt: {}\nsearch: {epochs: [1]}").complete({}).adapt
    assert not spec_of("adapt: {}\nfixed: {adapt: false}\nsearch: {epochs: [1]}").complete({}).adapt
    explicit = spec_of("adapt: {}\nconfigurations: [{epochs: 1}, {epochs: 1, adapt: false}]").explicit()
    assert [config.adapt for config in explicit] == [True, False]
    assert spec_of("adapt: {}\nsearch: {adapt: [true, false]}").searched("adapt") == [True, False]


def test_every_model_is_adapted_once_with_the_settings_given_and_none_where_no_trial_asks():
    both = spec_of("adapt: {epochs: 7}\nsearch: {model: [builtin:tiny, other], adapt: [true, false]}").adaptations()
    assert [(config.model, config.epochs, config.batch_size) for config in both] == [
        ("builtin:tiny", 7, 32),
        ("other", 7, 32),
    ]
    assert spec_of("adapt: {}\nfixed: {adapt: false}\nsearch: {epochs: [1]}").adaptations() == ()
    assert spec_of("search: {epochs: [1]}").adaptations() == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fixed: {adapt: true}\nsearch: {epochs: [1]}", "there is no `adapt:`"),
        ("adapt: {epochs: 0}\nsearch: {epochs: [1]}", "epochs"),
        ("adapt: {freeze: head}\nsearch: {epochs: [1]}", "freeze"),
        ("task: masked-language-modeling\nadapt: {}\nsearch: {epochs: [1]}", "does anyway"),
    ],
)
def test_what_makes_no_sense_is_refused(text, message):
    with pytest.raises(SpecError, match=message):
        spec_of(text)


def test_folds_are_refused_since_their_held_out_texts_would_be_trained_on():
    text = 'study: s\nmodel: builtin:tiny\ndata: {path: "builtin:reviews", folds: 3}\nadapt: {}\nsearch: {epochs: [1]}'
    with pytest.raises(SpecError, match=r"beside data\.folds"):
        parse_study(text)


def test_a_configuration_without_adaptation_is_the_one_of_before():
    assert TrialConfig().fingerprint == TrialConfig(adapt=False).fingerprint
    assert TrialConfig().fingerprint != TrialConfig(adapt=True).fingerprint


# --- a night ----------------------------------------------------------------------------------------------

STUDY = """
study: night
model: builtin:tiny
task: sequence-classification
data: {{path: "builtin:reviews", train: 96, validation: 40}}
adapt: {{epochs: 6, batch_size: 16, max_length: 32, learning_rate: 1e-3}}
fixed: {{epochs: 1, max_length: 24, batch_size: 16, dtype: fp32, freeze: classifier}}
search: {{model: [builtin:tiny, {other}], adapt: [true, false], learning_rate: [1e-3, 1e-2]}}
"""


class Stopped(NamedTuple):
    """A night that was told to end while it adapted, and then run to its end.

    Attributes:
        code: exit code of the first process.
        left: manifests of the checkpoints that it left.
    """

    night: Night
    code: int
    left: list[Path]


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    folder = tmp_path_factory.mktemp("night")
    night = Night(folder, STUDY.format(other=without_a_mask(folder / "maskless")))
    process = night.forked("run", "night.yaml")
    models = folder / "results.files" / "models"
    night.wait_for(process, lambda: bool(list(models.glob("*-training"))))
    code = end(process, signal.SIGTERM)
    left = list(models.glob("*-training/checkpoints/*/manifest.json"))
    again, output = night.run()
    assert again == 0, output
    assert "perplexity" in output
    return Stopped(night, code, left)


@pytest.fixture
def night(stopped):
    return stopped.night


def asked(night: Night) -> list[tuple[dict, dict, str, str, dict]]:
    rows = night.rows("SELECT asked, done, state, reason, shared_work FROM harness_trial ORDER BY number")
    return [(json.loads(a), json.loads(d or "{}"), state, why, json.loads(w or "{}")) for a, d, state, why, w in rows]


def test_a_model_that_cannot_be_adapted_fails_the_trials_that_ask_for_it_and_no_others(night):
    told = {(config["model"], config["adapt"], state, why) for config, _, state, why, _ in asked(night)}
    maskless = str(night.folder / "maskless")
    assert told == {
        ("builtin:tiny", True, "complete", None),
        ("builtin:tiny", False, "complete", None),
        (maskless, False, "complete", None),
        (maskless, True, "failed", "data"),
    }
    (message,) = night.rows("SELECT message FROM harness_incident WHERE kind = 'adaptation_failed'")[0]
    assert "no mask token" in message
    assert [model for (model,) in night.rows("SELECT model FROM harness_adaptation")] == ["builtin:tiny"]


def test_adapted_trials_begin_from_other_weights_and_share_with_each_other_alone(night):
    of_tiny = [row for row in asked(night) if row[0]["model"] == "builtin:tiny"]
    hashes = {adapted: {done["weights_hash"] for config, done, *_ in of_tiny if config["adapt"] is adapted}
              for adapted in (True, False)}  # fmt: skip
    assert len(hashes[True]) == len(hashes[False]) == 1 and hashes[True] != hashes[False]
    assert all(work["fused"] == {"trials": 2} for *_, work in of_tiny)
    filled = {config["adapt"] for config, _, _, _, work in of_tiny if work["prefix"]["computed_rows"]}
    assert filled == {True, False}  # each worked out the states of its own weights
    notes = {
        config["adapt"]: any("pretrained further" in note for note in done["notes"]) for config, done, *_ in of_tiny
    }
    assert notes == {True: True, False: False}


def test_the_report_tells_perplexity_cost_and_what_changed(night):
    content = section.build(opened(night.db, "night"))
    told = " ".join(content.findings)
    assert "perplexity of 40 held-out texts" in told
    assert "Over 2 pairs of trials that differ in adaptation alone" in told
    assert "One by one, " in told and " of 2 configurations" in told
    assert [table.name for table in content.tables] == ["adaptation", "adaptation-pairs", "adaptation-compared"]


def test_another_study_uses_what_is_there_and_an_ended_one_asks_for_nothing(night):
    text = STUDY.format(other="builtin:tiny").replace("study: night", "study: second")
    text = text.replace("[builtin:tiny, builtin:tiny]", "[builtin:tiny]").replace("[1e-3, 1e-2]", "[1e-3]")
    (night.folder / "second.yaml").write_text(text)
    code, output = night.harness("run", "second.yaml")
    assert code == 0, output
    rows = night.rows(
        "SELECT reused, spent_seconds, seconds, perplexity_after FROM harness_adaptation ORDER BY study_id"
    )
    assert rows[0][0] == 0 and rows[1][:2] == (1, 0.0)
    assert rows[0][2:] == rows[1][2:]


def test_a_night_that_is_stopped_while_it_adapts_goes_on_with_it(stopped):
    assert stopped.code == 143
    assert len(stopped.left) == 1
    assert list(stopped.night.folder.glob("results.files/models/*-training")) == []
    assert stopped.night.rows("SELECT epochs, reused FROM harness_adaptation WHERE study_id = 1") == [(6, 0)]
    assert len(stopped.night.rows("SELECT 1 FROM harness_session")) >= 2


# --- the record --------------------------------------------------------------------------------------------


class Answers(Scripted):
    """A worker that has adapted a model to given weights."""

    def __init__(self, weights: str) -> None:
        super().__init__(complete)
        self.weights = weights
        self.events: list[Adapted | JobDone] = []

    def submit(self, slot, job):
        key = job.config.model
        self.events = [Adapted(key, "k", 10, 5, 2, 1, 4, 9.5, 8.0, True, 3.0, 3.0, False, self.weights), JobDone()]

    def messages(self, timeout):
        return [(0, Message(None, self.events.pop(0)))]


def test_a_study_that_has_begun_goes_on_from_the_adapted_weights_that_it_began_with(tmp_path):
    spec = parse_study(STUDY.format(other="builtin:tiny").replace("[builtin:tiny, builtin:tiny]", "[builtin:tiny]"))
    notes = Notes()

    def adapted_to(store: Store, weights: str) -> dict[str, str]:
        row = store.studies()[0]
        opened = Opened(1, {}, {})
        return Adapting(store, row, spec.spec, Answers(weights), notes, Stop(), Deadline()).all(opened)

    with Store.open(tmp_path / "results.db") as store:
        key = store.create_study(spec)
        with store.hold(key):
            assert adapted_to(store, "w1") == adapted_to(store, "w2")  # no trial has begun
            plain = running(store, key, model="builtin:tiny", adapt=False)
            store.record_facts(plain.id, results_support.facts(plain.config))
            assert adapted_to(store, "w1")
            begun = running(store, key, model="builtin:tiny", adapt=True)
            store.record_facts(begun.id, replace(results_support.facts(begun.config), weights_hash="w1"))
            assert adapted_to(store, "w1")
            with pytest.raises(DataError, match=r"weights w2, recorded w1\. Restore .*models/k, or start another"):
                adapted_to(store, "w2")


def test_a_database_of_before_adaptations_gets_their_table_and_keeps_its_rows(tmp_path):
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'results.db'}")
    with engine.begin() as connection:
        schema.upgrade(connection, "0005")
        values = "1, 'old', 'own', 'sequence-classification', 'text', '{}', 'f', '[]', 'then'"
        connection.exec_driver_sql(f"INSERT INTO harness_study VALUES ({values})")
    engine.dispose()
    found = Adapted("m", "k", 10, 5, 2, 1, 4, 9.5, None, True, 3.0, 3.0, False, "w")
    with Store.open(tmp_path / "results.db") as store:
        store.record_adaptation(1, found, CONFIG)
        store.record_adaptation(1, replace(found, reused=True, spent_seconds=0.0), CONFIG)  # a later night
        row = frames.adaptations(store.engine, "old").iloc[0]
    assert (row["model"], row["texts"], row["perplexity_before"], row["reused"]) == ("m", 10, 9.5, 0)
    assert np.isnan(row["perplexity_after"])
    assert row["spent_seconds"] == 3.0
