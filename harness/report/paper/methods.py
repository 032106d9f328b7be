"""The methods of a study in words, from the record alone: model, data, search, training, statistics, machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.analysis import parameters
from harness.configuration import hyperparameters
from harness.report import best, confirmed
from harness.report.cells import duration, is_missing, significant
from harness.report.confirmed import Confirmed
from harness.report.naming import listed, plural, value
from harness.report.paper import conditions, references
from harness.report.paper.prose import Paragraph, Sentence
from harness.report.paper.space import dimension
from harness.report.study_frames import StudyFrames

ADAMW = "AdamW (beta 0.9 and 0.999, epsilon 1e-8)"
PUBLISHED = (
    "These runs were made elsewhere and their figures copied: how they were trained, on which machine and with which "
    "versions is not recorded."
)
_TASKS = {
    "sequence-classification": "sequence classification",
    "question-answering": "extractive question answering",
    "masked-language-modeling": "masked language modelling",
}
_SAMPLERS = {
    "tpe": ("Optuna's tree-structured Parzen estimator", ("akiba2019", "bergstra2011")),
    "random": ("random points", ()),
    "grid": ("every point of a grid once", ()),
    "gp": ("Optuna's Gaussian process with expected improvement", ("akiba2019",)),
    "qmc": ("Optuna's scrambled Sobol sequence", ("akiba2019",)),
}
_PRUNERS = {
    "median": ("Trials worse than the median of earlier ones at the same epoch were stopped (Optuna).", ("akiba2019",)),
    "hyperband": ("Trials were stopped early by Hyperband (Optuna).", ("akiba2019", "li2018")),
    "patient": ("Trials that had not improved for some epochs were stopped (Optuna).", ("akiba2019",)),
    "wilcoxon": (
        "A configuration got no further folds once a Wilcoxon signed-rank test on scores paired by fold found it worse "
        "than the best one (the rule of Optuna's pruner).",
        ("akiba2019",),
    ),
}


def paragraphs(study: StudyFrames) -> list[Paragraph]:
    """Model and data, search, training, statistics, machine and versions; of published runs that they are."""
    if str(study.row["source"]) == "published":
        return [[Sentence(PUBLISHED)]]
    return [_models_and_data(study), _search(study), _training(study), statistics(study), _machine(study)]


def _models_and_data(study: StudyFrames) -> Paragraph:
    cited = references.models(study)
    task = _TASKS.get(str(study.row["task"]), str(study.row["task"]))
    sentences = []
    rows: Sequence[Mapping[Any, Any]] = study.models.to_dict("records")
    for row in rows:
        size = f"{row['layers']} layers, {row['total_parameters']:,} parameters"
        what = f"{references.called(str(row['name']))} ({row['architecture']}, {size})"
        sentences.append(Sentence(f"We fine-tuned {what} for {task}.", (cited[str(row["name"])].key,)))
    further: Sequence[Mapping[Any, Any]] = study.adaptations.to_dict("records")
    for row in further:
        how = f"for {plural(int(row['best_epoch']), 'epoch')} on {int(row['texts']):,} training texts"
        words = (
            f"{references.called(str(row['model']))} was first pretrained further by masked language modelling {how}."
        )
        sentences.append(Sentence(words, ("gururangan2020",)))
    data = study.spec.get("data") or {}
    source = references.called(str(data.get("path") or ""))
    sentences.append(Sentence(f"The data are {source}.", (references.data(study).key,)))
    if len(study.data):
        sentences += _splits(study.data.iloc[0].to_dict(), data)
    return sentences


def _splits(used: Mapping[Any, Any], data: Mapping[str, Any]) -> Paragraph:
    splits = used["splits"]
    known = [name for name in ("train", "validation", "test") if name in splits]
    rows = listed([f"{splits[name]['rows']:,} {name}" for name in known])
    apart = "; no trial of the search looked at the test rows" if "test" in splits else "; no test rows were set aside"
    sentences = [Sentence(f"We used {rows} rows{apart}.")]
    if data.get("folds"):
        sentences.append(Sentence(f"Every configuration was cross-validated with {data['folds']} folds."))
    if len(used["label_names"]):
        sentences.append(Sentence(f"The labels are {listed(list(used['label_names']))}."))
    dropped = {why: n for split in splits.values() for why, n in (split.get("dropped") or {}).items() if n}
    if dropped:
        sentences.append(Sentence(f"Rows were dropped for: {listed(list(dropped))}."))
    return sentences


def _search(study: StudyFrames) -> Paragraph:
    searched: Mapping[str, Any] = study.spec.get("search") or {}
    sentences = []
    if searched:
        over = "; ".join(f"{name.replace('_', ' ')}, {dimension(asked)}" for name, asked in searched.items())
        grid = "grid" in study.trials["origin"].tolist()
        words, cites = _SAMPLERS.get("grid" if grid else str(study.spec.get("sampler")), ("", ()))
        sentences.append(Sentence(f"We searched {over}{', with ' if words else ''}{words}.", cites))
    written = study.trials.loc[study.trials["origin"] == "explicit", "configuration"].nunique()
    if written:
        given = plural(int(written), "configuration")
        sentences.append(
            Sentence(f"{given[:1].upper()}{given[1:]} {'was' if written == 1 else 'were'} given beforehand.")
        )
    sentences.append(Sentence(_budget(study)))
    pruner = study.spec.get("pruner") or {}
    words, cites = _PRUNERS.get(str(pruner.get("name")), ("No trial was stopped by a pruner.", ()))
    sentences.append(Sentence(words, cites))
    objective = study.objective
    epoch = "best" if objective.at == "best" else "last"
    many = f" (the first of {len(study.objectives)} objectives)" if len(study.objectives) > 1 else ""
    rule = f"The objective{many} was the {best.words_of(objective)} at the {epoch} epoch, {best.aim(objective)}"
    return [*sentences, Sentence(f"{rule}, on the validation rows.")]


def _budget(study: StudyFrames) -> str:
    budget = study.spec.get("budget") or {}
    limits = [plural(int(budget["trials"]), "trial")] if budget.get("trials") else []
    limits += [duration(float(budget["time"]))] if budget.get("time") else []
    limits += [f"the time of day {budget['until']}"] if budget.get("until") else []
    counts = study.trials["state"].value_counts()
    ended = listed([f"{int(counts[state])} {state}" for state in counts.index])
    limit = f"The budget was {listed(limits)}" if limits else "No budget was set"
    again = "" if confirmed.of(study) is None else ", those that confirm included"
    return f"{limit}; {plural(len(study.trials), 'trial')} ran{again}: {ended}."


def _training(study: StudyFrames) -> Paragraph:
    run = _alike(study)
    sentences = [Sentence(f"Every trial trained with {ADAMW}, without decay of biases and normalisations.",
                          ("loshchilov2019",))]  # fmt: skip
    said = [f"{name.replace('_', ' ')} {value(number)}" for name, number in run.items()]
    if said:
        sentences.append(Sentence(f"All trials shared {listed(said, 20)}."))
    differing = [name.replace("_", " ") for name in parameters.varied(study.trials)]
    if differing:
        sentences.append(Sentence(f"They differed in {listed(differing, 20)}."))
    seeds = conditions.seeds(study)
    sentences.append(Sentence(f"{'Seeds' if len(seeds) > 1 else 'The only seed'}: {listed(seeds, 20)}."))
    return sentences


def _alike(study: StudyFrames) -> dict[str, Any]:
    """Hyperparameters with one value in all trials, as run; those at null or false say nothing."""
    varied = {*parameters.varied(study.trials), "model"}
    if study.trials.empty:
        return {}
    task, found = str(study.row["task"]), {}
    for name, (_, manners) in hyperparameters().items():
        if name in study.trials and name not in varied and (not manners.tasks or task in manners.tasks):
            found[name] = study.trials[name].tolist()[0]
    return {name: number for name, number in found.items() if not is_missing(number) and str(number) != "False"}


# --- statistics -------------------------------------------------------------------------------------------


def statistics(study: StudyFrames) -> Paragraph:
    """How configurations were confirmed and compared, with sources."""
    found = confirmed.of(study)
    return _unconfirmed(study) if found is None else _confirmed(found)


def _unconfirmed(study: StudyFrames) -> Paragraph:
    first = Sentence(
        "The numbers of this study are not confirmed: the rows that they are measured on chose the best, and no "
        "configuration ran again with new seeds after the search."
    )
    if best.several(study):
        words = (
            "Configurations are compared by two-sided paired t tests over common seeds, corrected by Holm's procedure."
        )
        return [first, Sentence(words, ("student1908", "bouthillier2021", "holm1979"))]
    words = (
        "Where the best configuration is compared with others over the validation examples, bounds and p values are "
        "those of a bootstrap that holds for all pairs of configurations at once (max-t), since the same rows chose "
        "the best."
    )
    return [first, Sentence(words, ("westfall1993", "romano2005")), Sentence("They say nothing of other seeds.")]


def _confirmed(found: Confirmed) -> Paragraph:
    again = plural(len(found.best), "best configuration")
    beside = " and the baseline" if found.baseline is not None else ""
    rows = f"the {found.examples:,} {found.split} rows" if found.examples else f"the {found.split} rows"
    seeds = plural(len(found.choice.replicates), "new seed")
    sentences = [Sentence(f"After the search the {again}{beside} ran again with {seeds}, measured on {rows}.")]
    if found.lost_words:
        sentences.append(Sentence(found.lost_words))
    if found.split == "test":
        opened = "once" if found.times_opened == 1 else f"{found.times_opened} times"
        sentences.append(Sentence(f"The test rows were opened {opened}."))
    sentences += [
        Sentence("Means over seeds are given with Student's 95% interval.", ("student1908",)),
        Sentence(
            f"Of pairs settled before anything was measured ({len(found.pairs)}), each was compared by a two-sided "
            "paired t test over the seeds' means.",
            ("student1908", "bouthillier2021"),
        ),
        Sentence("It speaks of further runs on these rows, not of further examples."),
    ]
    if len(found.pairs) > 1:
        sentences.append(Sentence("p values are corrected by Holm's procedure; intervals are not.", ("holm1979",)))
    if found.looks > 1:
        times = f"The same was tested {found.looks} times on growing data"
        sentences.append(Sentence(f"{times}: p values are multiplied by {found.looks**2}.", ("lan1983",)))
    sentences.append(
        Sentence(
            "Effect sizes are mean differences in standard deviations over seeds, with Hedges' correction.",
            ("lakens2013",),
        )  # fmt: skip
    )
    sentences.append(Sentence("Seeds needed and differences detectable are for 80% power.", ("card2020",)))
    if found.further:
        sentences.append(
            Sentence(
                "For further examples as well as further seeds, crossed t tests are given where two common seeds have "
                "scores of every example, with Satterthwaite's degrees of freedom, and a hierarchical bootstrap beside "
                "them.",
                ("clark1973", "satterthwaite1946", "owen2007"),
            )
        )
    return sentences


def _machine(study: StudyFrames) -> Paragraph:
    sentences = [Sentence(conditions.hardware(study))]
    used = conditions.versions(study)
    if used:
        sentences.append(Sentence(f"Software: {used}.", ("paszke2019", "wolf2020")))
    total = float(study.trials["total_seconds"].sum())
    if total:
        sentences.append(Sentence(f"All trials together took {duration(total)}."))
    return [*sentences, *_energy(study)]


def _energy(study: StudyFrames) -> Paragraph:
    """Nothing where no device told it."""
    joules = study.summary["energy_joules"].dropna()
    if joules.empty:
        return []
    told = f"The device used {significant(float(joules.sum()) / 3.6e6)} kWh in training and evaluating"
    of = "all trials" if len(joules) == len(study.summary) else f"the {len(joules)} trials whose energy is known"
    sources = study.epoch_records["energy_source"].dropna()
    shared = "; other processes used it too" if sources.str.contains("shared").any() else ""
    return [Sentence(f"{told} {of}{shared}.")]


def cited(study: StudyFrames) -> list[references.Reference]:
    """Everything that the paragraphs cite."""
    own = {each.key: each for each in (*references.models(study).values(), references.data(study))}
    known = {**references.FIXED, **own}
    return [known[key] for paragraph in paragraphs(study) for sentence in paragraph for key in sentence.cites]
