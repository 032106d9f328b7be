"""Figures are equal for equal frames, legible in a column and without colour, and honest about what is missing."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from payloads import PAYLOADS

from harness.report import figures
from harness.report.charts import bars, curves, scatter

CHARTS = "multiples overlay heat dots stacked counts against front history lines".split()


@pytest.fixture(autouse=True)
def styled() -> Iterator[None]:
    with figures.style():
        yield


def losses(trials: int, epochs: int = 4) -> pd.DataFrame:
    rows = [
        {"trial": t, "epoch": e, "train_loss": 0.6 / e, "validation_loss": 0.5 + 0.02 * abs(e - 2 - t % 2)}
        for t in range(trials)
        for e in range(1, epochs + 1)
    ]
    return pd.DataFrame(rows)


def multiples(trials: int) -> Figure:
    return curves.small_multiples(losses(trials), range(trials), {t: f"{t}: healthy" for t in range(trials)})


def front() -> pd.DataFrame:
    return pd.DataFrame(
        {"x": [1.0, 2.0, 3.0], "y": [0.5, 0.4, 0.6], "front": [True, True, False], "n": ["0", "1", "2"]}
    )


def every_chart(text: str = "batch 16") -> dict[str, Figure]:
    """One of each, with a foreign text wherever a text can come from outside."""
    frame = pd.DataFrame({"name": [text, "b"], "v": [1.0, 2.0], "v_low": [0.5, 1.5], "v_high": [1.5, 2.5]})
    wide = pd.DataFrame([[0.1, math.nan], [0.3, -0.2]], index=pd.Index([text, "b"], name=text), columns=[1e-5, 2e-5])
    history = pd.DataFrame(
        {"trial": [0, 1, 2], "state": ["complete", "pruned", "failed"], "objective": [0.5, 0.6, math.nan], "best": 0.5}
    )
    size = pd.DataFrame({"x": [100, 200], "y": [0.5, 0.4], "y_low": [0.4, 0.3], "y_high": [0.6, 0.5], "group": text})
    chance = frame.assign(bound=[1.5, 1.5])
    return {
        "multiples": curves.small_multiples(losses(1), [0], {0: figures.label(text, 24)}),
        "overlay": curves.overlay(losses(2), {0: figures.label(text), 1: "b"}),  # type: ignore[dict-item]
        "heat": curves.heat_map(wide, "gap"),
        "dots": bars.dots(frame, "name", "v", "samples/s"),
        "stacked": bars.stacked(frame, "name", {"v": "train", "v_low": "load"}, "seconds"),
        "counts": bars.counts([text, "b"], {"train": [1, 2], "validation": [2, 1]}, "examples"),
        "against": bars.against(chance, "name", "v", "bound", "share (%)"),
        "front": scatter.front(front().assign(n=text), "x", "y", "front", "time (s)", "loss", "n"),
        "history": scatter.history(history, "best", "validation loss", [2]),
        "lines": scatter.lines(size, "x", "y", "group", "training rows", "loss"),
    }


@pytest.mark.parametrize("name", CHARTS)
def test_equal_frames_give_equal_bytes(name: str) -> None:
    assert figures.svg(every_chart()[name]) == figures.svg(every_chart()[name])
    assert figures.png(every_chart()[name]) == figures.png(every_chart()[name])


@pytest.mark.parametrize("name", CHARTS)
def test_letters_are_seven_points_or_more_at_a_paper_column(name: str) -> None:
    figure = every_chart()[name]
    assert figure.get_figwidth() in (figures.SINGLE, figures.DOUBLE)
    sizes = [text.get_fontsize() for text in figure.findobj(Text) if text.get_text().strip()]
    assert sizes and min(sizes) >= 7


@pytest.mark.parametrize("name", [name for name in CHARTS if name != "heat"])
def test_axes_are_named(name: str) -> None:
    figure = every_chart()[name]
    named = [axes.get_xlabel() for axes in figure.axes] + [figure.get_supxlabel()]
    assert any(named)


def test_files_carry_no_date_and_no_maker() -> None:
    written = figures.svg(multiples(2))
    assert b"<dc:date>" not in written and b"<dc:creator>" not in written
    assert b"Software" not in figures.png(multiples(2))


def test_small_multiples_share_one_axis_of_losses() -> None:
    figure = multiples(7)
    assert len({axes.get_ylim() for axes in figure.axes if axes.lines}) == 1


def test_the_ring_marks_the_epoch_of_the_lowest_validation_loss() -> None:
    axes = multiples(1).axes[0]
    rings = [line for line in axes.lines if line.get_markerfacecolor() == "none"]
    assert [list(ring.get_xdata()) for ring in rings] == [[2]]


def test_a_trial_without_a_finite_loss_says_so() -> None:
    empty = losses(1).assign(train_loss=math.nan, validation_loss=math.nan)
    axes = curves.small_multiples(empty, [0], {}).axes[0]
    assert "no finite loss" in [text.get_text() for text in axes.texts]


def test_one_exploding_trial_does_not_flatten_the_others() -> None:
    exploded = pd.concat(
        [losses(10), pd.DataFrame({"trial": [10], "epoch": [1], "train_loss": 1e6, "validation_loss": 1e6})]
    )
    figure = curves.small_multiples(exploded, range(11), {})
    assert figure.axes[0].get_ylim()[1] < 5


def test_training_and_validation_differ_in_line_and_marker_not_in_colour_alone() -> None:
    train, validation = multiples(1).axes[0].lines[:2]
    assert train.get_linestyle() != validation.get_linestyle()
    assert train.get_marker() != validation.get_marker()


def test_an_empty_cell_of_the_heat_map_has_no_number() -> None:
    axes = every_chart()["heat"].axes[0]
    assert len(axes.texts) == 3


def test_the_size_of_a_figure_does_not_depend_on_a_long_name() -> None:
    assert every_chart("x" * 3000)["dots"].get_size_inches()[0] == figures.DOUBLE


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_label_is_one_short_line_of_glyphs_that_exist(payload: str) -> None:
    text = figures.label(payload)
    assert len(text) <= 40 and "\n" not in text
    assert all(ord(c) in figures._charmap() for c in text)


@pytest.mark.parametrize(
    "payload", ["$x^2$ and $$y$$", "\\input{/etc/passwd}", "😀 日本語", "a_b^c $\\foo$ %", "<b>&amp;"]
)
def test_every_chart_draws_foreign_text_as_it_is(payload: str) -> None:
    for figure in every_chart(payload).values():
        figures.png(figure, dpi=50)


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (16, "16"), (2e-5, "2e-5"), (1.5e-6, "1.5e-6"), (0.01, "0.01"), (200000, "2e5")]
)
def test_tick_labels_are_plain(value: float, text: str) -> None:
    assert figures.number(value) == text


def test_a_style_leaves_the_readers_settings_alone() -> None:
    with matplotlib.rc_context({"font.size": 31}):
        with figures.style():
            figures.png(multiples(1), dpi=50)
        assert matplotlib.rcParams["font.size"] == 31


def test_drawing_needs_no_pyplot() -> None:
    code = (
        "import sys\nfrom harness.report import figures, build\n"
        "with figures.style():\n    figures.png(figures.new())\n"
        "heavy = {'matplotlib.pyplot', 'torch', 'transformers', 'datasets', 'tokenizers'} & set(sys.modules)\n"
        "print(heavy)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_log_axes_show_the_values_that_were_tried() -> None:
    axes = every_chart()["lines"].axes[0]
    assert list(axes.get_xticks()) == [100, 200]
    assert np.all(np.isfinite(axes.get_xlim()))
