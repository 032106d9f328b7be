"""The page of an audit draws its lengths and labels, says what they recommend, and shows hostile names as text."""

from __future__ import annotations

from pathlib import Path

from payloads import PAYLOADS, without_script

from harness.jobs import AuditCounts, SplitSummary, TokenLengths, Truncation
from harness.report import audit


def counts(labels: tuple[str, ...] = ("negative", "positive"), model: str = "builtin:tiny") -> AuditCounts:
    histogram = ((1, 10, 30), (11, 20, 60), (21, 30, 10))
    cuts = (Truncation(10, 0.7, 0.4), Truncation(20, 0.1, 0.02), Truncation(30, 0.0, 0.0))
    return AuditCounts(
        fingerprint="f" * 16,
        label_names=labels,
        positive=labels[-1],
        splits={
            "train": SplitSummary(100, {"empty text": 3}, {labels[0]: 60, labels[1]: 40}),
            "validation": SplitSummary(20, {}, {labels[0]: 10, labels[1]: 10}),
        },
        lengths=tuple(
            TokenLengths(model, split, 100, {"0.5": 14, "1": 30}, histogram, cuts) for split in ("train", "validation")
        ),
        duplicates={"train": 3, "validation": 0},
        conflicts={"train": 1, "validation": 0},
        overlap={("validation", "train"): 2},
        recommended={model: 20},
        rule="the smallest max_length that truncates at most a tenth of the examples",
        warnings=("2 texts stand in both train and validation",),
    )


def test_an_audit_draws_lengths_truncation_and_balance(tmp_path: Path) -> None:
    paths = audit.draw_audit(counts(), tmp_path)
    names = {path.name for path in paths}
    assert names >= {"audit.html", "audit-lengths.png", "audit-truncation.svg", "audit-labels.png"}
    assert all(path.stat().st_size > 0 for path in paths)


def test_the_findings_recommend_a_length_and_count_the_overlap() -> None:
    said = audit.content(counts()).findings
    assert said[0] == "Recommended max_length for builtin:tiny: 20."
    assert "Examples of validation whose text is also in train: 2; its metrics flatter." in said
    assert "Guessing negative always would be right in 60.0% of train." in said


def test_the_truncation_table_has_a_row_for_every_length_of_every_split() -> None:
    table = next(table for table in audit.content(counts()).tables if table.name == "audit-truncation").frame
    assert len(table) == 6
    assert table.loc[table["max_length"] == 10, "examples_truncated_share"].tolist() == [0.7, 0.7]


def test_every_max_length_is_marked_in_the_histogram() -> None:
    drawing = next(each for each in audit.content(counts()).drawings if each.name == "audit-lengths")
    texts = [text.get_text() for text in drawing.figure.axes[0].texts]
    assert {"10", "20", "30"} <= set(texts)


def test_an_audit_of_hostile_labels_stays_text(tmp_path: Path) -> None:
    hostile = counts(labels=(PAYLOADS[0], PAYLOADS[1]), model=PAYLOADS[2])
    html = without_script(audit.draw_audit(hostile, tmp_path)[0].read_text())
    assert "<script" not in html and "<img src=x" not in html and "&lt;img src=x" in html
