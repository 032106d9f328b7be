"""The audit drawn: how long texts are, what each max_length cuts off, how labels are balanced."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from harness.jobs import AuditCounts, Windows
from harness.report import figures, page
from harness.report.cells import points
from harness.report.charts import bars, lengths, scatter
from harness.report.pieces import piece
from harness.report.section import Content, Drawing, Table


def draw_audit(counts: AuditCounts, folder: str | Path) -> tuple[Path, ...]:
    """Write `audit.html` and `figures/audit-*.png` and `.svg` below `folder`; returns their paths."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with figures.style():
        drawn = piece("audit", "Audit", content(counts))
    path = folder / "audit.html"
    path.write_text(page.render("Audit of the data", counts.rule, [drawn]), encoding="utf-8", errors="replace")
    return (path, *(file for each in drawn.drawn for file in each.save(folder / "figures")))


def content(counts: AuditCounts) -> Content:
    """Findings, figures and tables of an audit; no text of the data is in them."""
    drawings = [_labels(counts)] if counts.label_names else []
    if counts.lengths:
        drawings = [_lengths(counts), *_truncations(counts), *drawings]
    return Content(_findings(counts), (), drawings, _tables(counts), counts.warnings)


def _findings(counts: AuditCounts) -> list[str]:
    sentences = [f"Recommended max_length for {model}: {length}." for model, length in counts.recommended.items()]
    for (split, other), rows in counts.overlap.items():
        if rows:
            sentences.append(f"Examples of {split} whose text is also in {other}: {rows}; its metrics flatter.")
    repeated = {split: rows for split, rows in counts.duplicates.items() if rows}
    sentences += [f"Examples of {split} that repeat an earlier text: {rows}." for split, rows in repeated.items()]
    disputed = {split: rows for split, rows in counts.conflicts.items() if rows}
    sentences += [f"Texts of {split} with more than one label: {rows}." for split, rows in disputed.items()]
    for each in counts.windows:
        if each.lost:
            share = points(each.lost / each.examples)
            sentences.append(
                f"Windows of {each.max_length} tokens with stride {each.stride} ({each.model}) lose {each.lost} of the "
                f"{each.examples} answers of {each.split} ({share}%): no window holds them whole."
            )
    if counts.texts is not None:
        trained, held_out = counts.texts
        sentences.append(f"adapt reads {trained} different training texts; {held_out} texts are held out of it.")
    for split, summary in counts.splits.items():
        if summary.labels and summary.rows:
            name, most = max(summary.labels.items(), key=lambda item: item[1])
            sentences.append(f"Guessing {name} always would be right in {points(most / summary.rows)}% of {split}.")
    return sentences


def _lengths(counts: AuditCounts) -> Drawing:
    figure = lengths.histograms(counts.lengths, counts.recommended)
    caption = (
        "Tokens of each example, special tokens included, by model and split; thin lines are the max_lengths of the "
        "search, the dashed one is recommended."
    )
    return Drawing("audit-lengths", figure, caption)


def _truncations(counts: AuditCounts) -> list[Drawing]:
    frame = _truncation(counts)
    if frame.empty:
        return []
    shown = frame.assign(
        truncated=100 * frame["examples_truncated_share"], group=frame["model"] + ", " + frame["split"]
    )
    figure = scatter.lines(shown, "max_length", "truncated", "group", "max_length (tokens)", "examples truncated (%)")
    return [Drawing("audit-truncation", figure, "Share of examples that lose tokens at each max_length of the search.")]


def _truncation(counts: AuditCounts) -> pd.DataFrame:
    rows = [
        {
            "model": found.model,
            "split": found.split,
            "max_length": cut.max_length,
            "examples_truncated_share": cut.examples,
            "tokens_lost_share": cut.tokens,
        }
        for found in counts.lengths
        for cut in found.truncation
    ]
    columns = ["model", "split", "max_length", "examples_truncated_share", "tokens_lost_share"]
    return pd.DataFrame(rows, columns=columns)


def _labels(counts: AuditCounts) -> Drawing:
    names = list(counts.label_names)
    groups = {split: [100 * s.labels.get(n, 0) / max(s.rows, 1) for n in names] for split, s in counts.splits.items()}
    figure = bars.counts(names, groups, "examples (%)")
    return Drawing("audit-labels", figure, "Share of each label by split, of the rows that passed validation.")


def _tables(counts: AuditCounts) -> list[Table]:
    splits = pd.DataFrame(
        [
            {
                "split": name,
                "rows": summary.rows,
                "dropped": sum(summary.dropped.values()),
                "duplicates": counts.duplicates.get(name),
                "conflicts": counts.conflicts.get(name),
            }
            for name, summary in counts.splits.items()
        ]
    )
    tables = [Table("audit-splits", splits, "Rows of each split: used, dropped, repeated, labelled in two ways.")]
    truncation = _truncation(counts)
    if len(truncation):
        tables.append(Table("audit-truncation", truncation, "What each max_length cuts off."))
    if counts.windows:
        windows = pd.DataFrame(counts.windows, columns=list(Windows._fields))
        tables.append(Table("audit-windows", windows, "Windows, answers that no window holds, and questions cut."))
    return tables
