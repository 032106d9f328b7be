"""What would go wrong without a word: each trap is an error before the first trial, or a count in the record."""

from __future__ import annotations

import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

import hub_cache
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from forked_nights import STUDY, ForkedNight
from forking import Zygote
from hub_cache import FIRST
from nights import Night

from harness.data import Splits, fold, load
from harness.errors import DataError, SpecError
from harness.jobs import Demand, PrepareJob
from harness.metrics.labels import f1, mcc, recall
from harness.preparation import prepare
from harness.spec import DataSpec
from harness.tasks import base as tasks

WORDS = ["one", "two", "three", "four"]


def splits(path: Path, **data: Any) -> Splits:
    spec = DataSpec.model_validate({"path": str(path), "validation": 4, **data})
    return load(spec, tasks.load("sequence-classification"), seed=1)


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Rows as the ending says."""
    if path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row) for row in rows))
    elif path.suffix == ".csv":
        lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
        path.write_text("\n".join(lines))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def rows(count: int = 20, **last: Any) -> list[dict[str, Any]]:
    """Good rows, of which the last one is changed."""
    made: list[dict[str, Any]] = [{"text": f"text {n}", "label": n % 2} for n in range(count)]
    made[-1] |= last
    return made


# --- rows that are read as something else (F18) ----------------------------------------------------------------------


@pytest.mark.parametrize("word", ["NA", "null", "None", "nan", "N/A", "#N/A", "-nan", "1e5", "007", "True", "1.0"])
def test_a_text_that_looks_like_nothing_stays_a_text(word: str, tmp_path: Path) -> None:
    found = splits(written(tmp_path / "rows.csv", rows(text=word)))
    assert word in (*found.train.texts, *found.validation.texts)
    assert {type(text) for text in found.train.texts} == {str}


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize(("column", "words"), [("label", "missing label"), ("text", "(empty|missing) text")])
def test_one_empty_cell_is_told_with_its_row_and_turns_no_column_into_numbers(
    ending: str, column: str, words: str, tmp_path: Path
) -> None:
    nothing = "" if ending == ".csv" else None
    path = written(tmp_path / f"rows{ending}", rows(**{column: nothing}))
    with pytest.raises(DataError, match=rf"row 19 \(counted from 0\): {words}"):
        splits(path)
    kept = splits(path, on_bad_row="drop")
    assert kept.label_names == ("0", "1") and sum(sum(part.dropped.values()) for part in kept.parts().values()) == 1


@pytest.mark.parametrize("value", ["seven", {"a": 1}, [1], 0.5, True])
def test_a_label_of_another_type_is_refused(value: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="row 19"):
        splits(written(tmp_path / "rows.jsonl", rows(label=value)))


def test_a_text_of_another_type_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="row 19"):
        splits(written(tmp_path / "rows.jsonl", rows(text=7)))


@pytest.mark.parametrize("label", [7, -1, -100])
def test_a_label_outside_of_the_declared_classes_is_refused(label: int, tmp_path: Path) -> None:
    said = json.dumps({"info": {"features": {"label": {"names": ["bad", "good"], "_type": "ClassLabel"}}}}).encode()
    table = pa.Table.from_pylist(rows(label=label)).replace_schema_metadata({b"huggingface": said})
    pq.write_table(table, tmp_path / "rows.parquet")
    with pytest.raises(DataError, match="row 19 .* label outside the declared classes"):
        splits(tmp_path / "rows.parquet")


def test_a_label_that_training_does_not_know_is_refused(tmp_path: Path) -> None:
    written(tmp_path / "train.jsonl", rows())
    written(tmp_path / "test.jsonl", rows(label=2))
    with pytest.raises(DataError, match="row 19 .* label unknown in the training split"):
        splits(tmp_path, validation={"split": "test"})


def test_a_file_that_was_edited_at_equal_size_and_time_is_read_anew(tmp_path: Path) -> None:
    path = written(tmp_path / "rows.csv", rows(text="was"))
    state, before = path.stat(), splits(path).fingerprint
    path.write_text(path.read_text().replace("was", "now"))
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (state.st_size, state.st_mtime_ns)
    assert splits(path).fingerprint != before


def test_a_night_does_not_go_on_with_other_data(parent: Zygote, tmp_path: Path) -> None:
    written(tmp_path / "rows.csv", rows(60))
    text = STUDY.replace('"builtin:reviews", rows: 64', "rows.csv")
    night = ForkedNight(tmp_path, parent, text)
    assert night.through() == 0, night.output
    recorded = night.rows("SELECT fingerprint FROM harness_data")
    written(tmp_path / "rows.csv", rows(60, text="edited"))
    night.file.write_text(text + "replicates: 2\n")
    assert night.through() == 65 and "changed: fingerprint" in night.output
    assert night.rows("SELECT fingerprint FROM harness_data") == recorded


# --- texts without words (F19) ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", " ", "\t\n", "\u2003"])
def test_an_empty_text_is_refused_or_dropped_and_counted(text: str, tmp_path: Path) -> None:
    path = written(tmp_path / "rows.jsonl", rows(text=text))
    with pytest.raises(DataError, match="row 19 .* empty text"):
        splits(path)
    kept = splits(path, on_bad_row="drop")
    assert len(kept.train) + len(kept.validation) == 19
    assert [part.dropped for part in kept.parts().values() if part.dropped] == [{"empty text": 1}]
    assert any("1 empty text" in warning for warning in kept.warnings)


# --- splits that cannot be judged (F20, F21) -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["train", "validation", "test"])
@pytest.mark.parametrize("kind", ["empty", "one row", "one class"])
def test_a_split_that_cannot_be_judged_is_refused_by_name(name: str, kind: str, tmp_path: Path) -> None:
    for split in ("train", "validation", "test"):
        written(tmp_path / f"{split}.jsonl", rows())
    bad = {"empty": [], "one row": rows(1), "one class": [row | {"label": 0} for row in rows()]}[kind]
    written(tmp_path / f"{name}.jsonl", bad)
    with pytest.raises(DataError, match=name):
        splits(tmp_path, validation={"split": "validation"}, test={"split": "test"})


def test_a_fold_that_lacks_a_class_is_refused(tmp_path: Path) -> None:
    made = splits(written(tmp_path / "rows.jsonl", [row | {"label": int(n < 6)} for n, row in enumerate(rows(20))]))
    with pytest.raises(DataError, match="validation"):
        for number in range(8):
            fold(made, number, 8, seed=1)


def test_what_one_class_leaves_undefined_is_not_zero() -> None:
    alike = np.zeros(4, np.int64)
    assert math.isnan(mcc(alike, alike, num_labels=2))
    assert math.isnan(f1(alike, alike, positive=1, num_labels=2))
    assert math.isnan(recall(alike, alike, positive=1, num_labels=2))


# --- labels that a loss takes without a word (F22) -------------------------------------------------------------------


@pytest.mark.parametrize("label", [-100, 0])
def test_labels_that_are_all_alike_are_refused(label: int, tmp_path: Path) -> None:
    """All -100 would be a loss of 0.0, all 0 a regression on one output."""
    with pytest.raises(DataError, match="single class"):
        splits(written(tmp_path / "rows.jsonl", [row | {"label": label} for row in rows()]))


def test_labels_become_ids_from_zero_whatever_their_numbers(tmp_path: Path) -> None:
    found = splits(written(tmp_path / "rows.jsonl", [row | {"label": row["label"] * 900 - 100} for row in rows()]))
    assert found.label_names == ("-100", "800") and set(found.train.labels.tolist()) == {0, 1}


# --- texts longer than the model (F23) -------------------------------------------------------------------------------


def test_what_is_cut_off_is_counted_as_by_hand(parent: Zygote, tmp_path: Path) -> None:
    made = [{"text": " ".join(["the"] * (3 + n)), "label": n % 2} for n in range(40)]
    written(tmp_path / "rows.jsonl", made)
    night = ForkedNight(tmp_path, parent, STUDY.replace('"builtin:reviews", rows: 64', "rows.jsonl"))
    assert night.through() == 0, night.output
    (done,) = {row[0] for row in night.rows("SELECT json_extract(done, '$.truncated') FROM harness_trial")}
    by_hand = {"train": 0, "validation": 0}
    taken = splits(tmp_path / "rows.jsonl", validation=16, train=None)
    assert len(taken.train) == 24
    for name, part in taken.parts().items():
        by_hand[name] = sum(len(text.split()) + 2 > 16 for text in part.texts)  # [CLS], [SEP], one a word
    assert sum(by_hand.values()) == sum(3 + n + 2 > 16 for n in range(40))
    assert json.loads(done).keys() == by_hand.keys()
    assert sum(json.loads(done).values()) == sum(by_hand.values())


def test_a_length_beyond_the_model_is_refused() -> None:
    job = PrepareJob(
        "sequence-classification", {"path": "builtin:reviews", "rows": 60, "validation": 20}, 1, ["builtin:tiny"],
        [Demand("builtin:tiny", 100_000, "none", "fp32")], ["loss"], False, {},
    )  # fmt: skip
    with pytest.raises(SpecError, match="max_length 100000 is more than"):
        prepare(job)


# --- the network goes away (F15, F32) --------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_night_without_any_network_is_a_night_like_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("unshare") is None or os.system("unshare -rn true 2>/dev/null") != 0:
        pytest.skip("no network name spaces here: that a night needs no network was NOT tested (F32)")
    cache = tmp_path / "home" / "hub"
    hub_cache.lay_out(cache, "someone/tiny", {FIRST: hub_cache.model_folder(tmp_path / "model")})
    hub_cache.point(cache, "someone/tiny", "main", FIRST)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    night = Night(tmp_path, STUDY.replace("builtin:tiny", f"someone/tiny@{FIRST}"))
    night.within = ["unshare", "-rn"]
    code, output = night.run()
    assert code == 0, output
    assert night.rows("SELECT state FROM harness_trial") == [("complete",)] * 2


def test_an_absent_model_is_refused_before_the_first_trial_of_any(parent: Zygote, tmp_path: Path) -> None:
    text = STUDY.replace("freeze: top-2", "model: someone/absent")
    night = ForkedNight(tmp_path, parent, text)
    assert night.through() == 69 and "someone/absent" in night.output
    assert night.rows("SELECT count(*) FROM harness_trial") == [(0,)]
