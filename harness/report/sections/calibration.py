"""Calibration: whether the probabilities of the best trial mean what they say."""

from __future__ import annotations

import math

import pandas as pd

from harness.analysis import calibration
from harness.analysis.calibration import BINS, Expected, Summary
from harness.report import answered
from harness.report.answered import Answered
from harness.report.cells import points, signed, significant
from harness.report.charts import reliability
from harness.report.naming import plural
from harness.report.section import Content, Drawing, Table, section
from harness.report.study_frames import StudyFrames


@section(order=38, title="Calibration")
def build(study: StudyFrames) -> Content:
    """Whether the best trial's probabilities hold: reliability diagram, calibration error, Brier score, temperature."""
    given = answered.of(study)
    if given.frame is None or given.probabilities is None:
        told = f"The calibration of {given.trial or 'the best trial'} cannot be told: {given.lacking}."
        return Content(findings=[told]) if given.lacking else Content()
    spans = study.row["task"] == answered.SPANS
    found = calibration.summary(given.probabilities)
    sure, right = given.probabilities.confidence, given.probabilities.right
    cut = {
        f"{BINS} bins of one width": calibration.reliability(sure, right, calibration.equal_width()),
        f"{BINS} bins of as many examples": calibration.reliability(sure, right, calibration.equal_mass(sure)),
    }
    return Content(
        findings=_findings(found, given, spans),
        drawings=[_drawing(cut, found, given, spans)],
        tables=[_measures(found, given), _bins(cut, spans)],
        notes=_notes(given, spans),
    )


def _findings(found: Summary, given: Answered, spans: bool) -> list[str]:
    right = "exactly right" if spans else "right"
    said = [
        f"{given.trial[:1].upper()}{given.trial[1:]} is {_words(found)}: on {found.examples:,} validation examples its "
        f"answers have a mean probability of {points(found.confidence)}%, and {points(found.right.estimate)}% are "
        f"{right}: a difference of {_signed_points(found.over.estimate)} points (95% interval "
        f"{_signed_points(found.over.low)} to {_signed_points(found.over.high)}).",
        f"The expected calibration error in {BINS} bins of one width is {_beside_chance(found.ece)}.",
        f"In bins of as many examples it is {_beside_chance(found.adaptive_ece)}.",
    ]
    if math.isnan(found.temperature):
        return [*said, "No temperature gives the smallest NLL: every answer is right, or none better than guessing."]
    return [
        *said,
        f"Dividing the {'log odds' if spans else 'logits'} by a temperature of {significant(found.temperature)}, "
        f"fitted on these same examples, would bring the NLL from {found.nll.estimate:.4f} to {found.cooled_nll:.4f} "
        f"and the calibration error to {points(found.cooled_ece)} points; on other examples expect less of a gain.",
    ]


def _words(found: Summary) -> str:
    if found.over.low > 0:
        return "too sure of itself"
    if found.over.high < 0:
        return "not sure enough of itself"
    return "neither clearly too sure nor too unsure on the whole"


def _signed_points(value: float) -> str:
    return signed(100 * value, 1)


def _beside_chance(found: Expected) -> str:
    return (
        f"{points(found.error)} points, {'more than' if found.beyond_chance else 'within'} chance: a perfectly "
        f"calibrated model with these probabilities shows {points(found.chance)} on average and at most "
        f"{points(found.bound)} in 95% of draws"
    )


def _drawing(cut: dict[str, pd.DataFrame], found: Summary, given: Answered, spans: bool) -> Drawing:
    figure = reliability.diagrams(cut, "exact match (%)" if spans else "right (%)")
    caption = (
        f"Reliability diagram of {given.trial} over {found.examples:,} validation examples. A mark is a bin of "
        "answers: how "
        f"sure they are and how many of them are {'exactly ' if spans else ''}right, with a 95% Wilson interval; "
        f"hollow marks stand for fewer than {reliability.FEW} examples. Marks below the dashed line are too sure. The "
        "bars count the examples of each bin."
    )
    return Drawing("calibration-reliability", figure, caption)


def _measures(found: Summary, given: Answered) -> Table:
    rows = [
        ("ECE, bins of one width (points)", 100 * found.ece.error, math.nan, math.nan, 100 * found.ece.bound),
        ("ECE, bins of as many examples (points)", 100 * found.adaptive_ece.error, math.nan, math.nan,
         100 * found.adaptive_ece.bound),
        ("mean probability minus share right (points)", *(100 * value for value in found.over[:3]), math.nan),
        ("Brier score (0 to 2)", *found.brier[:3], math.nan),
        ("NLL (nats)", *found.nll[:3], math.nan),
        ("temperature fitted on these examples", found.temperature, math.nan, math.nan, math.nan),
        ("NLL at that temperature (nats)", found.cooled_nll, math.nan, math.nan, math.nan),
        ("ECE at that temperature (points)", 100 * found.cooled_ece, math.nan, math.nan, math.nan),
    ]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["measure", "result", "from", "to", "by_chance_at_most"])
    caption = (
        f"Measures of calibration of {given.trial} over {plural(found.examples, 'validation example')}. From and to "
        "are 95% t intervals of means; by chance at most is what 95% of simulated perfectly calibrated models stay "
        "below."
    )
    return Table("calibration", frame.assign(examples=found.examples), caption)


def _bins(cut: dict[str, pd.DataFrame], spans: bool) -> Table:
    parts = [frame.assign(bins=name) for name, frame in cut.items()]
    frame = pd.concat(parts, ignore_index=True)
    frame = frame[frame["examples"] > 0]
    named = {"low": "from_share", "high": "to_share", "confidence": "mean_probability_share", "right": "right_share"}
    named |= {"right_low": "right_share_low", "right_high": "right_share_high"}
    order = ["bins", "bin", "low", "high", "examples", "confidence", "right", "right_low", "right_high"]
    what = "answered exactly" if spans else "right"
    caption = (
        "The bins of the reliability diagram, empty ones left out, with the mean probability of the answers and the "
        f"share {what} with its 95% Wilson interval."
    )
    return Table("calibration-bins", frame[order].rename(columns=named), caption)


def _notes(given: Answered, spans: bool) -> list[str]:
    said = [
        "ECE: mean distance between how sure answers are and how many are right, over bins, weighted by their examples "
        "(Guo et al., 2017, arXiv:1706.04599); bins of as many examples after Nixon et al., 2019, arXiv:1904.01685. "
        "With few examples a bin it is above zero by chance alone, hence the comparison.",
        "Brier score: squared distance of the probabilities from the truth, summed over classes. NLL: minus the "
        "log-probability of the right class.",
    ]
    if spans:
        said.append(
            "An answer is one question of yes or no here: exactly right or not, with the probability of the best span "
            "among the best 20; Brier score, NLL and temperature are those of its log odds."
        )
    if given.left_out:
        said.append(f"{plural(given.left_out, 'example')} without finite outputs left out.")
    return said
