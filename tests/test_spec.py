"""Study files: what they mean, what is refused and in which words, what counts as an extension."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import harness.reference as reference
from harness.configuration import Objective, TrialConfig, hyperparameters
from harness.errors import SpecError
from harness.jobs import Demand
from harness.spec import (
    Choice,
    DataSpec,
    Range,
    SplitSpec,
    StudySpec,
    changes,
    extends_only,
    init_template,
    parse_study,
    read_study,
)
from harness.study_file.overrides import apply
from harness.yaml_reader import read_yaml, write_yaml

DOCS = Path(__file__).parent.parent / "docs"
SMALL = """\
study: small
model: builtin:tiny
data: {path: builtin:reviews, train: 200, validation: 50}
fixed:
  epochs: 2
  max_length: 64
configurations:
  - {learning_rate: 1e-3}
search:
  batch_size: [8, 16]
  learning_rate: {low: 1e-5, high: 5e-5, log: true}
budget: {trials: 4}
"""


def spec(*overrides: str, text: str = SMALL) -> StudySpec:
    return parse_study(text, overrides, "small.yaml").spec


def refusal(*overrides: str, text: str = SMALL) -> str:
    with pytest.raises(SpecError) as error:
        parse_study(text, overrides, "small.yaml")
    return str(error.value)


def replaced(old: str, new: str) -> str:
    assert old in SMALL
    return SMALL.replace(old, new)


# --- meaning -------------------------------------------------------------------------------------------


def test_a_configuration_is_completed_from_fixed_model_and_defaults() -> None:
    expected = TrialConfig(model="builtin:tiny", epochs=2, max_length=64, learning_rate=1e-3)
    assert spec().explicit() == [expected]
    assert spec().complete({"batch_size": 8}) == TrialConfig(
        model="builtin:tiny", epochs=2, max_length=64, batch_size=8
    )


def test_search_holds_choices_and_ranges() -> None:
    found = spec("search.epochs={low: 2, high: 4}", "fixed.epochs=null", "search.dropout=[null, 0.1]").search
    assert found["batch_size"] == Choice((8, 16))
    assert found["learning_rate"] == Range(1e-5, 5e-5, log=True)
    assert found["epochs"] == Range(2, 4, integer=True)
    assert found["dropout"] == Choice((None, 0.1))


def test_whole_numbers_become_floats_only_where_floats_are_meant() -> None:
    found = spec("fixed.weight_decay=0", "search.warmup=[0, 1]", "search.batch_size={low: 2, high: 8, step: 2}")
    assert repr(found.fixed["weight_decay"]) == "0.0"
    assert repr(found.search["warmup"]) == "Choice(values=(0.0, 1.0))"
    assert repr(found.search["batch_size"]) == "Range(low=2, high=8, log=False, step=2, integer=True)"


def test_early_stopping_is_a_mapping_and_can_be_searched() -> None:
    found = spec("search.early_stopping=[null, {metric: f1, patience: 3}]")
    patient = found.complete({"early_stopping": found.search["early_stopping"].values[1]})  # type: ignore[union-attr]
    assert patient.early_stopping is not None
    assert (patient.early_stopping.metric, patient.early_stopping.patience) == ("f1", 3)


@pytest.mark.parametrize("name", [name for name, (_, manners) in hyperparameters().items() if manners.searchable])
def test_every_searchable_hyperparameter_takes_a_list_with_its_default(name: str) -> None:
    field, _ = hyperparameters()[name]
    head = "study: s\nmodel: builtin:tiny\ndata: {path: builtin:reviews}\n"
    found = spec(text=f"{head}search: {{{name}: {write_yaml([field.default])}}}")
    assert found.search[name] == Choice((field.default,))
    assert found.complete({name: field.default}) == TrialConfig(
        model=field.default if name == "model" else "builtin:tiny"
    )


def test_an_objective_may_be_a_word_and_knows_its_direction() -> None:
    assert spec().objectives == (Objective("loss", "minimize", "best"),)
    assert spec("objective=f1").objectives == (Objective("f1", "maximize", "best"),)
    assert spec("objective={metric: loss, at: last}").objectives == (Objective("loss", "minimize", "last"),)
    both = spec("objectives=[f1, train_samples_per_second]").objectives
    assert [(o.metric, o.direction) for o in both] == [("f1", "maximize"), ("train_samples_per_second", "maximize")]


def test_replicates_count_up_from_the_seed_and_a_list_is_taken_as_it_is() -> None:
    assert spec("seed=5", "replicates=3").seeds == (5, 6, 7)
    assert spec("seed=[9, 2]").seeds == (9, 2)


@pytest.mark.parametrize(
    ("given_time", "seconds"), [("8h", 28800), ("90m", 5400), ("1h30m", 5400), ("45", 45), ("2d", 172800)]
)
def test_durations_are_seconds(given_time: str, seconds: float) -> None:
    assert spec(f"budget.time={given_time}").budget.time == seconds


def test_an_unquoted_time_of_day_is_text() -> None:
    assert spec("budget.until=07:30").budget.until == "07:30"


def test_a_split_is_a_number_a_share_or_a_mapping() -> None:
    assert spec("data.validation=0.2").data.validation == 0.2
    named = spec("data.validation={split: test, size: 500, stratify: false}").data.validation
    assert named == SplitSpec(split="test", size=500, stratify=False)


def test_data_survive_the_way_to_a_worker() -> None:
    data = DataSpec(path="x.csv", positive=0, validation=SplitSpec(split="test", size=0.5))
    assert DataSpec.model_validate(data.model_dump(mode="json")) == data


def test_models_and_lengths_are_those_that_a_trial_can_have() -> None:
    found = spec("search.model=[a, b]", "configurations.0.max_length=100")
    assert found.models() == ("builtin:tiny", "a", "b")
    assert found.max_lengths() == (64, 100)


def test_demands_are_the_combinations_that_a_trial_can_have() -> None:
    overrides = ["search.model=[a, b]", "search.freeze=[head, top-2]", "fixed.max_length=null", "fixed.dtype=bf16"]
    overrides += ["search.max_length={low: 16, high: 96}", "configurations=[{max_length: 300, dtype: fp16}]"]
    explicit, *searched = spec(*overrides).demands()
    assert explicit == Demand("builtin:tiny", 300, "none", "fp16")
    assert set(searched) == {Demand(model, 96, freeze, "bf16") for model in "ab" for freeze in ("head", "top-2")}
    with_baseline = spec("confirm={baseline: {model: b, freeze: head}}").demands()
    assert ("b", "head") in {(demand.model, demand.freeze) for demand in with_baseline}


def test_a_wide_range_of_lengths_is_represented_by_a_few_with_both_ends() -> None:
    lengths = spec("fixed.max_length=null", "search.max_length={low: 16, high: 512}", "configurations=[]").max_lengths()
    assert (lengths[0], lengths[-1]) == (16, 512)
    assert len(lengths) <= 17


def test_an_empty_section_is_an_absent_section() -> None:
    assert spec(text=SMALL + "pruner:\nconfirm:\n").pruner.name == "none"


def test_confirm_is_accepted_and_checked() -> None:
    found = spec("confirm={top: 2, seeds: 3, baseline: {epochs: 1}}").confirm
    assert found is not None and (found.top, found.seeds, found.baseline) == (2, 3, {"epochs": 1})
    assert "confirm.baseline.epochs must be at least 1" in refusal("confirm={baseline: {epochs: 0}}")


def test_a_pruner_takes_its_own_options_only() -> None:
    assert spec("pruner={name: median, startup_trials: 2}").pruner.startup_trials == 2
    assert spec("pruner=median", "pruner={name: patient, patience: 1}").pruner.patience == 1
    assert "no option of hyperband" in refusal("pruner={name: hyperband, patience: 3}")


# --- refusals -------------------------------------------------------------------------------------------


def test_the_message_names_file_line_key_value_and_remedy() -> None:
    message = refusal(text=replaced("low: 1e-5", "low: -1"))
    assert message == ("small.yaml:11: search.learning_rate.low must be greater than 0, got -1; 5e-5 is usual for BERT")


def test_an_unknown_key_is_met_with_the_nearest_known_one() -> None:
    assert (
        refusal(text=replaced("epochs: 2", "epoch: 2"))
        == "small.yaml:5: fixed.epoch is no known key; did you mean epochs?"
    )
    assert "did you mean search?" in refusal(text=replaced("search:", "serch:"))
    assert "did you mean validation?" in refusal("data.validaton=3")


def test_a_hyperparameter_at_the_top_is_told_where_it_belongs() -> None:
    assert "stands under fixed" in refusal("epochs=3")


def test_every_fault_has_its_own_line() -> None:
    message = refusal(text=replaced("epochs: 2", "epochs: two").replace("[8, 16]", "[8, 0]"))
    assert [line.split(" ")[0] for line in message.splitlines()] == ["small.yaml:5:", "small.yaml:10:"]


def test_many_faults_are_cut_off_with_their_number() -> None:
    strange = "".join(f"strange{i}: 1\n" for i in range(30))
    assert refusal(text=SMALL + strange).splitlines()[-1] == "... and 20 more"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("study=../up", "study must be letters"),
        ("study=CON", "study must be letters"),
        ("study=" + "x" * 65, "at most 64"),
        ("study=2024", "study must be text, got 2024; put it in quotes"),
        ("task=sequence-clasification", "did you mean sequence-classification?"),
        ("model=builtin:small", "builtin:tiny"),
        ("seed=-1", "seed must be at least 0"),
        ("seed=true", "seed must be a whole number or a list"),
        ("seed=[1, 1]", "every seed once"),
        ("replicates=0", "at least 1"),
        ("data.path=builtin:tweets", "builtin:reviews"),
        ("data.text_pair=text", "another column"),
        ("data.label=text", "another column"),
        ("data.validation=1.0", "less than 1"),
        ("data.validation=0", "at least 1"),
        ("data.validation=lots", "a number of rows"),
        ("data.folds=1", "at least 2"),
        ("data.positive=true", "a label as the data hold it"),
        ("data.on_bad_row=drp", "did you mean drop?"),
        ("data.rows=100", "at least 250"),
        ("fixed.epochs=2.5", "a whole number, got 2.5"),
        ("fixed.epochs=true", "a whole number, got true"),
        ("fixed.weight_decay=-0.1", "at least 0"),
        ("fixed.dropout=none", "write null"),
        ("fixed.dtype=fp8", "fp32"),
        ("fixed.freeze=top2", "did you mean top-2?"),
        ("fixed.freeze=top-0", "one of none"),
        ("fixed.train=300", "at most 200"),
        ("fixed.model=x", "top level"),
        ("fixed.early_stopping={metric: acc}", "did you mean accuracy?"),
        ("fixed.early_stopping={patience: 0}", "at least 1"),
        ("fixed.batch_size=16", "stands under fixed too"),
        ("search.batch_size=16", "a single value stands under fixed"),
        ("search.batch_size=[]", "at least 1"),
        ("search.batch_size=[8, 8]", "stands twice"),
        ("search.frozen_mode=[eval]", "no known key"),
        ("search.learning_rate={low: 1e-4, high: 1e-5}", "low < high"),
        ("search.learning_rate={low: 1e-5}", "high is missing"),
        ("search.learning_rate={low: 1e-5, high: 1e-4, log: true, step: 1e-5}", "log or step"),
        ("search.weight_decay={low: 0, high: 0.1, log: true}", "low > 0"),
        ("search.weight_decay={low: 0, high: 0.1, step: 0.2}", "step that fits"),
        ("search.batch_size={low: 2, high: 8, step: 0.5}", "a whole number"),
        ("search.train=[100, 400]", "at most 200"),
        ("search.freeze={low: 1, high: 2}", "a list"),
        ("configurations=[{epochs: 3}, {epochs: 3}]", "the same trial as configurations.0"),
        ("configurations=[{lr: 3}]", "no known key"),
        ("objective=f2", "a known metric"),
        ("objective={metric: f1, direction: up}", "minimize"),
        ("objectives=[f1, f1]", "every metric once"),
        ("budget.trials=0", "at least 1"),
        ("budget.time=8 hours", "a duration"),
        ("budget.time=-5", "a duration"),
        ("budget.until=25:00", "time of day"),
        ("budget=null", "search has no end"),
        ("sampler=grid", "sampler: grid"),
        ("sampler=tpr", "did you mean tpe?"),
        ("pruner=medain", "did you mean median?"),
        ("keep=-1", "at least 0"),
        ("watchdog=0", "greater than 0"),
        ("store_texts=no", "true or false"),
        ("frozen_mode=none", "eval"),
        ("model=null", "model is missing"),
        ("fixed.epochs=1e400", "too large"),
        ("data.train.size.x=3", "set data.train.size as a whole"),
        ("search.batch_size.5=3", "positions are 0 to 1"),
        ("nonsense", "key=value"),
        ("a..b=1", "key=value"),
        ("fixed=[", "--set"),
    ],
)
def test_a_contradiction_is_refused_before_anything_trains(override: str, words: str) -> None:
    message = refusal(override)
    assert words in message
    assert "Traceback" not in message and "pydantic" not in message


def test_an_override_is_named_in_its_error() -> None:
    assert refusal("keep=-1").startswith("--set keep=-1: keep must be at least 0")


def test_several_objectives_or_a_cost_leave_nothing_to_prune_by() -> None:
    assert "pruner must be none" in refusal("objectives=[f1, loss]", "pruner=median")
    assert "pruner must be none" in refusal("objective=train_seconds", "pruner=median")
    assert "keep one" in refusal("objective=f1", "objectives=[f1, loss]")


def test_a_study_without_trials_is_refused() -> None:
    assert "asks for no trial" in refusal("search=null", "configurations=null")


def test_a_finite_search_needs_no_budget() -> None:
    assert spec("search.learning_rate=null", "budget=null").budget.limitless


def test_noise_belongs_to_the_builtin_reviews() -> None:
    assert "belongs to builtin:reviews alone" in refusal("data.path=x.csv", "data.noise=0.1")
    assert spec("data.noise=0.1").data.noise == 0.1


def test_an_unreadable_file_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "quickstart.yaml").write_bytes(b"study: \xff")
    with pytest.raises(SpecError, match="UTF-8"):
        read_study(tmp_path / "quickstart.yaml")
    with pytest.raises(SpecError, match="did you mean .*quickstart.yaml"):
        read_study(tmp_path / "quikstart.yaml")
    with pytest.raises(SpecError, match="is no file"):
        read_study(tmp_path)


@pytest.mark.parametrize("text", ["", "# nothing\n", "- 1\n", "just words\n"])
def test_a_text_without_keys_is_no_study(text: str) -> None:
    assert "begin with `study: NAME`" in refusal(text=text)


# --- overrides and kept texts ---------------------------------------------------------------------------


def test_the_exact_text_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(SMALL + "# a comment\n")
    file = read_study(path)
    assert (file.text, file.path) == (SMALL + "# a comment\n", path)


def test_with_overrides_the_kept_text_says_the_same_study_and_lists_them() -> None:
    overrides = [
        "study=other",
        "data.train=100",
        "search.freeze=[none, top-2]",
        "fixed.dropout=null",
        'data.text="1e-5"',
    ]
    file = parse_study(SMALL, overrides)
    assert file.spec.study == "other"
    assert all(f"--set {override}" in file.text for override in overrides)
    assert parse_study(file.text).spec == file.spec
    assert parse_study(file.text).spec.fingerprint == file.spec.fingerprint


def test_an_override_cannot_smuggle_lines_into_the_kept_text() -> None:
    file = parse_study(SMALL, ["data.text=a\n\nb"])
    assert parse_study(file.text).spec == file.spec


def test_overrides_reach_into_lists_and_short_forms() -> None:
    assert spec("configurations.0.learning_rate=2e-3").explicit()[0].learning_rate == 2e-3
    assert spec("data.validation.stratify=false").data.validation == SplitSpec(size=50, stratify=False)
    assert spec("objective=f1", "objective.at=last").objectives == (Objective("f1", "maximize", "last"),)


def test_null_takes_a_key_out_unless_null_is_a_value() -> None:
    assert spec("fixed.max_grad_norm=null").complete({}).max_grad_norm is None
    assert "epochs" not in spec("fixed.epochs=null").fixed
    assert spec("budget.time=8h", "budget.time=null").budget.time is None


# --- comparing ------------------------------------------------------------------------------------------


def test_changes_are_readable_lines() -> None:
    assert changes(spec(), spec("budget.trials=60", "fixed.epochs=null", "fixed.dropout=null")) == [
        "fixed.epochs: 2 -> (nothing)",
        "budget.trials: 4 -> 60",
        "fixed.dropout: (nothing) -> null",
    ]
    assert changes(spec(), spec()) == []


def test_how_a_thing_is_written_is_no_change() -> None:
    assert changes(spec("objective=loss"), spec("objectives=[{metric: loss}]")) == []
    assert spec("budget.time=1h").fingerprint == spec("budget.time=3600").fingerprint


@pytest.mark.parametrize(
    "override",
    [
        "budget.trials=5",
        "budget.trials=null",
        "budget.until=07:30",
        "replicates=2",
        "keep=1",
        "watchdog=5",
        "confirm.top=2",
    ],
)
def test_more_of_the_same_extends(override: str) -> None:
    with_time = "budget.time=9h"
    assert extends_only(spec(with_time), spec(with_time, override))


@pytest.mark.parametrize(
    "override",
    [
        "budget.trials=3",
        "budget.time=1h",
        "seed=1",
        "fixed.epochs=3",
        "search.batch_size=[8, 16, 32]",
        "data.train=100",
    ],
)
def test_anything_else_does_not_extend(override: str) -> None:
    assert not extends_only(spec(), spec(override))


def test_time_may_grow_and_not_shrink() -> None:
    assert extends_only(spec("budget.time=1h"), spec("budget.time=2h"))
    assert not extends_only(spec("budget.time=2h"), spec("budget.time=1h"))


# --- documentation --------------------------------------------------------------------------------------


def test_the_pages_in_docs_say_what_the_code_says() -> None:
    assert reference.differing(DOCS) == [], "run `make docs`"


def test_a_stale_page_is_found_and_written_anew(tmp_path: Path) -> None:
    reference.write(tmp_path)
    (tmp_path / "study-file.md").write_text("old")
    assert reference.differing(tmp_path) == ["study-file.md"]
    reference.write(tmp_path)
    assert reference.differing(tmp_path) == []


def test_the_schema_describes_every_key() -> None:
    whole = reference.schema()
    sections = [whole, *(whole["$defs"][name] for name in ("DataSpec", "SplitSpec", "Configuration", "Search"))]
    for section in sections:
        for key, field in section["properties"].items():
            assert field.get("description"), key


@pytest.mark.parametrize(
    "text", [SMALL, init_template("x"), SMALL + "pruner: median\nobjectives: [f1, {metric: loss}]\nseed: [1, 2]\n"]
)
def test_the_schema_accepts_what_the_code_accepts(text: str) -> None:
    jsonschema.Draft202012Validator(reference.schema()).validate(read_yaml(text, "").value)


@pytest.mark.parametrize(
    "override", ["fixed.epochs=0", "fixed.epoch=1", "search.batch_size=8", "fixed.freeze=top2", "sampler=x", "task=x"]
)
def test_the_schema_refuses_what_the_code_refuses(override: str) -> None:
    refusal(override)
    values = read_yaml(SMALL, "").value
    apply(values, [override])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(reference.schema()).validate(values)


def test_the_reference_names_every_hyperparameter() -> None:
    page = reference.study_file_reference()
    assert all(f"| `{name}` |" in page for name in hyperparameters())


@pytest.mark.parametrize("name", ["my-study", "my study", "../../x", "", "émile", "a" * 100, "x.", "{name}"])
def test_the_template_is_a_valid_study_for_any_file_name(name: str) -> None:
    assert spec(text=init_template(name)).search


# --- fuzzing --------------------------------------------------------------------------------------------

PIECES = st.sampled_from(
    "- : [ ] { } , # & * ! | > ' \" % @ ` ? ~ 1 -1 0 1e-5 .inf .nan null true no study data search fixed epochs top-2 "
    "a: b: low: high: log: loss f1 9999999999999999999 \t \x00 é".split(" ")
) | st.text(max_size=5)


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """A valid study file with a few characters or words put in, taken out or doubled."""
    text = draw(st.sampled_from([SMALL, init_template("x")]))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 12)))
        text = text[:start] + draw(PIECES | st.just(text[start:end] * 2)) + text[end:]
    return text


def accepted_or_refused(text: str, overrides: list[str]) -> None:
    start = time.perf_counter()
    try:
        file = parse_study(text, overrides, "f.yaml")
    except SpecError as error:
        assert str(error).startswith(("f.yaml", "--set")), str(error)
    else:
        assert parse_study(file.text, (), "f.yaml").spec == file.spec
        assert len(file.spec.explicit()) == len(file.spec.configurations)
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize(
    "added",
    [
        "".join(f"strange{i}: 1\n" for i in range(40_000)),
        "x" * 900_000 + ": 1\n",
        "replicates: 1\nseed: [" + "1, " * 200_000 + "2]\n",
    ],
)
def test_a_huge_study_file_is_refused_within_seconds(added: str) -> None:
    start = time.perf_counter()
    message = refusal(text=SMALL + added)
    assert time.perf_counter() - start < 10
    assert len(message) < 3000


def test_a_huge_range_of_lengths_is_no_long_wait() -> None:
    start = time.perf_counter()
    spec("fixed.max_length=null", "search.max_length={low: 4, high: 131072}").max_lengths()
    assert time.perf_counter() - start < 5


def test_a_key_with_control_characters_is_shown_escaped() -> None:
    assert "\x1b" not in refusal(text=SMALL + '"\\e[31m": 1\n')


@given(damaged())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_damaged_study_file_is_a_study_or_a_spec_error(text: str) -> None:
    accepted_or_refused(text, [])


def paths(value: Any, above: str = "") -> list[str]:
    """Every dotted key of a study file."""
    found = [above] if above else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in items:
        found += paths(below, f"{above}.{key}" if above else str(key))
    return found


KEYS = sorted(set(paths(read_yaml(SMALL, "").value)) | set(reference.schema()["properties"]))
ODD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from(["top-2", "f1", "8h"]),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.sampled_from(["low", "name", "epochs"]), below),
    max_leaves=5,
)


@given(st.lists(st.tuples(st.sampled_from(KEYS), ODD), min_size=1, max_size=3))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_value_at_any_key_is_a_study_or_a_spec_error(changed: list[tuple[str, Any]]) -> None:
    accepted_or_refused(SMALL, [f"{key}={write_yaml(value)}" for key, value in changed])


def test_an_override_keeps_the_question_that_opens_the_file() -> None:
    text = "# Which rate suits?\n# And why?\nstudy: s\nmodel: m\ndata: {path: p.csv}\nconfigurations: [{epochs: 1}]\n"
    merged = parse_study(text, ["data.train=50"]).text
    assert merged.startswith("# Which rate suits?\n# And why?\n\n# Written out with these values")
    assert parse_study(merged, ["data.train=60"]).text.count("Which rate suits?") == 1


# --- hyperparameters of one task ------------------------------------------------------------------------

QUESTIONS = """\
study: questions
task: question-answering
model: builtin:tiny
data: {path: squad, train: 200, validation: 50}
configurations:
  - {max_length: 64, stride: 32}
search:
  max_length: [64, 128]
  stride: [16, 32]
budget: {trials: 4}
"""


def test_windows_may_share_half_of_what_they_read():
    assert spec(text=QUESTIONS).strides() == (32, 16)
    assert "search.stride.1 must be at most 32, half of max_length 64, got 33" in refusal(
        "search.stride=[16, 33]", text=QUESTIONS
    )
    assert "configurations.0.stride must be at most 32" in refusal("configurations.0.stride=40", text=QUESTIONS)


def test_a_hyperparameter_of_another_task_is_refused():
    assert "fixed.stride is read by question-answering alone, and task is sequence-classification" in refusal(
        "fixed.stride=16"
    )
    assert "fixed.class_weights is read by sequence-classification alone" in refusal(
        "fixed={class_weights: balanced}", text=QUESTIONS
    )


def test_what_one_task_alone_reads_leaves_the_identity_of_other_configurations_as_it_was():
    assert TrialConfig().fingerprint == "2f5ed653417adae9"  # as before there was a second task
    assert TrialConfig(stride=64).fingerprint != TrialConfig().fingerprint
