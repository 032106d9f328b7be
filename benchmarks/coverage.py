"""How often the tests of `harness.analysis` reject wrongly and their intervals hold, where the truth is known.

`python -m benchmarks.coverage --write docs/statistics.md` measures (about three minutes on one core) and puts the table
into the page. Every study is drawn so that there is no difference at all: a p value at or below 0.05 is a wrong one.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from harness.analysis.crossed import crossed_t, hierarchical_bootstrap, pigeonhole_means
from harness.analysis.families import Comparison, at_look, corrected, over_seeds
from harness.analysis.paired import discordant, mcnemar, paired_t, sign_flip_p
from harness.analysis.statistics import Difference, paired_bootstrap, resampled_means, simultaneous_differences
from harness.analysis.unpaired import shares, welch_t

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Draw = Callable[[np.random.Generator, int, int], tuple[Floats, Floats]]

BEGIN, END = "<!-- measured by benchmarks/coverage.py -->", "<!-- end of what was measured -->"


# --- studies without a difference ----------------------------------------------------------------------


def bell_shaped(rng: np.random.Generator, studies: int, seeds: int) -> tuple[Floats, Floats]:
    """Metrics as a normal distribution has them, part of the seed's luck shared by both sides."""
    shared = rng.normal(0, 0.01, (studies, seeds))
    return shared + rng.normal(0, 0.01, (studies, seeds)), shared + rng.normal(0, 0.01, (studies, seeds))


def counted(rng: np.random.Generator, studies: int, seeds: int) -> tuple[Floats, Floats]:
    """Accuracies on 500 examples: whole examples, each side its own."""
    return rng.binomial(500, 0.88, (studies, seeds)) / 500, rng.binomial(500, 0.88, (studies, seeds)) / 500


def unlike_spreads(rng: np.random.Generator, studies: int, seeds: int) -> tuple[Floats, Floats]:
    """One side four times as restless as the other."""
    return rng.normal(0, 0.02, (studies, seeds)), rng.normal(0, 0.005, (studies, seeds))


def collapsing(rng: np.random.Generator, studies: int, seeds: int) -> tuple[Floats, Floats]:
    """One run in ten collapses to chance, as fine-tuning sometimes does."""
    a, b = bell_shaped(rng, studies, seeds)
    fallen = rng.random((2, studies, seeds)) < 0.1
    return a - 0.35 * fallen[0], b - 0.35 * fallen[1]


SCENARIOS: dict[str, Draw] = {each.__name__: each for each in (bell_shaped, counted, unlike_spreads, collapsing)}


def family_of_seeds(rng: np.random.Generator, studies: int, compared: int, seeds: int) -> Iterator[list[Comparison]]:
    """Families of several configurations against one baseline, on the same seeds."""
    for _ in range(studies):
        runs = rng.normal(0, 0.01, (compared + 1, seeds)) + rng.normal(0, 0.01, seeds)
        yield [over_seeds(str(i), "baseline", "f1", runs[i], runs[0]) for i in range(1, compared + 1)]


def paired_answers(
    rng: np.random.Generator, studies: int, examples: int, right: float, alike: float
) -> Iterator[tuple[Bools, Bools]]:
    """Right or wrong of two equally good classifiers that, on a share of the examples, answer as one."""
    for _ in range(studies):
        a, b = rng.random((2, examples)) < right
        yield a, np.where(rng.random(examples) < alike, a, b)


def equal_configurations(
    rng: np.random.Generator, studies: int, configurations: int, examples: int
) -> Iterator[Floats]:
    """Right or wrong of equally good configurations that answer much alike, shape (examples, configurations)."""
    for _ in range(studies):
        shared, own = rng.random((examples, 1)), rng.random((examples, configurations))
        alike = rng.random((examples, configurations)) < 0.5
        yield (np.where(alike, shared, own) < 0.8).astype(np.float64)


def chosen_is_told_apart(scores: Floats, resamples: int, seed: int) -> bool:
    """Whether the best of equal configurations, chosen by these very examples, is told apart from any other."""
    means, draws = scores.mean(axis=0), resampled_means(scores, resamples, seed)
    found = simultaneous_differences(means, draws, to=int(means.argmax()))
    return bool((found.high < 0).any())


def first_rejection(differences: Floats, looks: Sequence[int]) -> bool:
    """Whether someone who tests after so many seeds, then after more, and stops when told apart, ever is."""
    return any(
        at_look(paired_t(differences[:many], np.zeros(many)).p_value, look) <= 0.05
        for look, many in enumerate(looks, start=1)
    )


CROSSED = {
    "seeds": (0.02, 0.0, 0.25),
    "seeds alone": (0.02, 0.0, 0.02),
    "examples": (0.004, 0.3, 0.25),
    "both": (0.015, 0.15, 0.25),
    "neither": (0.0, 0.0, 0.25),
}
"""Standard deviations of a difference between seeds, between examples, and from cell to cell."""


def crossed_tables(rng: np.random.Generator, studies: int, seeds: int, examples: int, kind: str) -> Iterator[Floats]:
    """Differences of scores, shape (seeds, examples); `kind` says what they vary with (CROSSED)."""
    of_seed, of_example, of_cell = CROSSED[kind]
    for _ in range(studies):
        noise = rng.normal(0, of_cell, (seeds, examples))
        yield rng.normal(0, of_seed, (seeds, 1)) + rng.normal(0, of_example, examples) + noise


# --- measuring -----------------------------------------------------------------------------------------


class Row(NamedTuple):
    """What one method did on many studies of one kind."""

    method: str
    studies_of: str
    drawn: int
    rejected: float
    held: float | None


def row(method: str, studies_of: str, found: Iterable[Difference]) -> Row:
    """Share of wrong rejections and of intervals that hold the true difference of 0."""
    all_of_them = list(found)
    rejected = np.mean([each.p_value <= 0.05 for each in all_of_them])
    held = np.mean([each.low <= 0 <= each.high for each in all_of_them])
    return Row(method, studies_of, len(all_of_them), float(rejected), float(held))


def percentile(table: Floats, seed: int) -> Difference:
    """The plain percentile interval of the hierarchical bootstrap, which is not offered; for comparison."""
    draws = pigeonhole_means(table, 500, seed)
    low, high = np.quantile(draws, [0.025, 0.975])
    beyond = min((draws <= 0).mean(), (draws >= 0).mean())
    return Difference(float(table.mean()), float(low), float(high), float(2 * beyond), len(table))


def measured() -> Iterator[Row]:
    """Every row of the table."""
    for name, draw in SCENARIOS.items():
        for seeds in (3, 5, 10):
            pairs = zip(*draw(np.random.default_rng(0), 10_000, seeds), strict=True)
            yield row("paired t", f"{seeds} seeds, {name.replace('_', ' ')}", (paired_t(a, b) for a, b in pairs))
    rng = np.random.default_rng(1)
    flips = np.mean([sign_flip_p(values, np.zeros(8)) <= 0.05 for values in rng.standard_t(3, (5000, 8))])
    yield Row("sign flips", "8 seeds, heavy tails", 5000, float(flips), None)
    sides = zip(rng.normal(0, 1, (10_000, 5)), rng.normal(0, 2, (10_000, 7)), strict=True)
    yield row("Welch's t", "5 and 7 seeds, unlike spreads", (welch_t(a, b) for a, b in sides))
    for examples, alike in ((200, 0.5), (500, 0.8), (1000, 0.5)):
        answers = paired_answers(rng, 5000, examples, 0.85, alike)
        found = (mcnemar(discordant(a, b)) for a, b in answers)
        yield row("exact McNemar", f"{examples:,} examples, {alike:.0%} answered as one", found)
    for examples in (200, 500):
        right = rng.binomial(examples, 0.85, (3000, 2)).tolist()
        yield row(
            "Fisher, Newcombe", f"{examples} examples a side", (shares(a, examples, b, examples) for a, b in right)
        )
    for examples in (100, 300, 1000):
        losses = rng.gamma(0.5, 1.0, (2000, 1, examples)) * rng.lognormal(0, 0.5, (2000, 2, examples))
        found = (paired_bootstrap(a, b, 1000) for a, b in losses)
        yield row("paired bootstrap", f"skewed losses of {examples:,} examples", found)
    for seeds in (3, 5, 10):
        families = family_of_seeds(rng, 10_000, 4, seeds)
        wrong = np.mean([any(each.told_apart for each in corrected(family)) for family in families])
        yield Row("paired t and Holm", f"family of 4, {seeds} seeds: any rejection", 10_000, float(wrong), None)
    for looks in ((5, 10), (3, 5, 10), (5, 10, 20, 40)):
        wrong = np.mean([first_rejection(each, looks) for each in np.random.default_rng(4).normal(size=(10_000, 40))])
        of = f"{len(looks)} looks, after {', '.join(map(str, looks))} seeds: any rejection"
        yield Row("paired t, p times look squared", of, 10_000, float(wrong), None)
    yield from chosen_rows()
    yield from crossed_rows()


def chosen_rows() -> Iterator[Row]:
    """The best of a search against all others, on the examples that chose it."""
    for configurations in (5, 10, 30):
        drawn = enumerate(equal_configurations(np.random.default_rng(configurations), 1000, configurations, 300))
        wrong = np.mean([chosen_is_told_apart(scores, 2000, i) for i, scores in drawn])
        of = f"the best of {configurations} on the 300 examples that chose it: any rejection"
        yield Row("max-t over all pairs", of, 1000, float(wrong), None)


def crossed_rows() -> Iterator[Row]:
    """The three ways to speak of further seeds and examples, and the plain percentiles for comparison."""
    methods: Sequence[tuple[str, Callable[[Floats, int], Difference], int]] = (
        ("paired t", lambda table, i: paired_t(table.mean(axis=1), np.zeros(len(table))), 2000),
        ("crossed t", lambda table, i: crossed_t(table, np.zeros_like(table)), 2000),
        ("hierarchical bootstrap", lambda table, i: hierarchical_bootstrap(table, np.zeros_like(table), 500, i), 400),
        ("its plain percentiles", percentile, 400),
    )
    words = {"seeds": "the seed", "seeds alone": "the seed alone", "examples": "the example"}
    for kind in CROSSED:
        for seeds in (3, 5, 10):
            for method, compare, count in methods:
                tables = crossed_tables(np.random.default_rng(2), count, seeds, 300, kind)
                found = (compare(table, i) for i, table in enumerate(tables))
                yield row(method, f"{seeds} seeds x 300 examples, varying with {words.get(kind, kind)}", found)


def table(rows: Iterable[Row]) -> str:
    """The rows as Markdown; what is outside of its promise by more than chance is in bold."""
    lines = ["| method | studies without a difference | studies | wrong rejections | intervals that hold |"]
    lines.append("|---|---|--:|--:|--:|")
    for each in rows:
        held = "" if each.held is None else _share(each.held, each.held < 0.93)
        chance = 3 * np.sqrt(0.05 * 0.95 / each.drawn)
        rejected = _share(each.rejected, each.rejected > 0.05 + chance)
        lines.append(f"| {each.method} | {each.studies_of} | {each.drawn:,} | {rejected} | {held} |")
    return "\n".join(lines)


def _share(value: float, marked: bool) -> str:
    return f"**{value:.1%}**" if marked else f"{value:.1%}"


def main() -> None:
    """Measure, and print the table or write it into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, help="Markdown page that holds the table between its two marks")
    page: Path | None = parser.parse_args().write
    measured_table = table(measured())
    if page is None:
        print(measured_table)
        return
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    page.write_text(f"{before}{BEGIN}\n\n{measured_table}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
