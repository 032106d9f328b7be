"""What a write-up cites, as BibTeX: statistics, software, and the model and data where their paper is known.

A paper is known by the Hub name of what came from the Hub. Anything else becomes a @misc with its name and where it
lay; nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.report.cells import is_missing
from harness.report.study_frames import StudyFrames
from harness.report.tables import latex_text


@dataclass(frozen=True)
class Reference:
    r"""One entry of a bibliography.

    Attributes:
        key: what \cite names.
        kind: of the entry: article, inproceedings, misc, ...
        fields: as BibTeX writes them; those of a foreign thing are escaped.
    """

    key: str
    kind: str
    fields: Mapping[str, str]

    def bibtex(self) -> str:
        """The entry as text."""
        lines = [f"  {name} = {{{value}}}," for name, value in self.fields.items()]
        return "\n".join([f"@{self.kind}{{{self.key},", *lines, "}"]) + "\n"


def _article(key: str, author: str, title: str, journal: str, year: int, **more: str) -> Reference:
    fields = {"author": author, "title": title, "journal": journal, "year": str(year), **more}
    return Reference(key, "article", fields)


def _paper(key: str, author: str, title: str, booktitle: str, year: int, **more: str) -> Reference:
    fields = {"author": author, "title": title, "booktitle": booktitle, "year": str(year), **more}
    return Reference(key, "inproceedings", fields)


STATISTICS = (
    _article(
        "student1908", "{Student}", "The Probable Error of a Mean", "Biometrika", 1908,
        volume="6", number="1", pages="1--25", doi="10.1093/biomet/6.1.1",
    ),
    _paper(
        "bouthillier2021", "Bouthillier, Xavier and others",
        "Accounting for Variance in Machine Learning Benchmarks", "Proceedings of Machine Learning and Systems", 2021,
        volume="3", doi="10.48550/arXiv.2103.03098",
    ),
    _article(
        "holm1979", "Holm, Sture", "A Simple Sequentially Rejective Multiple Test Procedure",
        "Scandinavian Journal of Statistics", 1979,
        volume="6", number="2", pages="65--70", url="https://www.jstor.org/stable/4615733",
    ),
    _article(
        "clark1973", "Clark, Herbert H.",
        "The Language-as-Fixed-Effect Fallacy: A Critique of Language Statistics in Psychological Research",
        "Journal of Verbal Learning and Verbal Behavior", 1973,
        volume="12", number="4", pages="335--359", doi="10.1016/S0022-5371(73)80014-3",
    ),
    _article(
        "satterthwaite1946", "Satterthwaite, F. E.", "An Approximate Distribution of Estimates of Variance Components",
        "Biometrics Bulletin", 1946, volume="2", number="6", pages="110--114", doi="10.2307/3002019",
    ),
    _article(
        "owen2007", "Owen, Art B.", "The Pigeonhole Bootstrap", "The Annals of Applied Statistics", 2007,
        volume="1", number="2", pages="386--411", doi="10.1214/07-AOAS122",
    ),
    _article(
        "lakens2013", "Lakens, Dani{\\\"e}l",
        "Calculating and Reporting Effect Sizes to Facilitate Cumulative Science: A Practical Primer for t-Tests and "
        "{ANOVAs}", "Frontiers in Psychology", 2013, volume="4", pages="863", doi="10.3389/fpsyg.2013.00863",
    ),
    _paper(
        "card2020",
        "Card, Dallas and Henderson, Peter and Khandelwal, Urvashi and Jia, Robin and Mahowald, Kyle and "
        "Jurafsky, Dan", "With Little Power Comes Great Responsibility",
        "Proceedings of the 2020 Conference on Empirical Methods in Natural Language Processing", 2020,
        pages="9263--9274", doi="10.18653/v1/2020.emnlp-main.745",
    ),
    _article(
        "lan1983", "Lan, K. K. Gordon and DeMets, David L.", "Discrete Sequential Boundaries for Clinical Trials",
        "Biometrika", 1983, volume="70", number="3", pages="659--663", doi="10.1093/biomet/70.3.659",
    ),
    Reference(
        "westfall1993", "book",
        {
            "author": "Westfall, Peter H. and Young, S. Stanley", "publisher": "Wiley", "year": "1993",
            "isbn": "978-0-471-55761-6",
            "title": "Resampling-Based Multiple Testing: Examples and Methods for p-Value Adjustment",
        },
    ),
    _article(
        "romano2005", "Romano, Joseph P. and Wolf, Michael",
        "Exact and Approximate Stepdown Methods for Multiple Hypothesis Testing",
        "Journal of the American Statistical Association", 2005,
        volume="100", number="469", pages="94--108", doi="10.1198/016214504000000539",
    ),
)  # fmt: skip
"""Tests, intervals and corrections that a write-up may name."""

SOFTWARE = (
    _paper(
        "loshchilov2019", "Loshchilov, Ilya and Hutter, Frank", "Decoupled Weight Decay Regularization",
        "International Conference on Learning Representations", 2019, doi="10.48550/arXiv.1711.05101",
    ),
    _paper(
        "akiba2019",
        "Akiba, Takuya and Sano, Shotaro and Yanase, Toshihiko and Ohta, Takeru and Koyama, Masanori",
        "Optuna: A Next-generation Hyperparameter Optimization Framework",
        "Proceedings of the 25th ACM SIGKDD International Conference on Knowledge Discovery and Data Mining", 2019,
        pages="2623--2631", doi="10.1145/3292500.3330701",
    ),
    _paper(
        "bergstra2011", "Bergstra, James and Bardenet, R{\\'e}mi and Bengio, Yoshua and K{\\'e}gl, Bal{\\'a}zs",
        "Algorithms for Hyper-Parameter Optimization", "Advances in Neural Information Processing Systems", 2011,
        volume="24", pages="2546--2554",
    ),
    _article(
        "li2018",
        "Li, Lisha and Jamieson, Kevin and DeSalvo, Giulia and Rostamizadeh, Afshin and Talwalkar, Ameet",
        "Hyperband: A Novel Bandit-Based Approach to Hyperparameter Optimization",
        "Journal of Machine Learning Research", 2018, volume="18", number="185", pages="1--52",
        url="https://jmlr.org/papers/v18/16-558.html",
    ),
    _paper(
        "gururangan2020",
        "Gururangan, Suchin and Marasovi{\\'c}, Ana and Swayamdipta, Swabha and Lo, Kyle and Beltagy, Iz and "
        "Downey, Doug and Smith, Noah A.", "Don't Stop Pretraining: Adapt Language Models to Domains and Tasks",
        "Proceedings of the 58th Annual Meeting of the Association for Computational Linguistics", 2020,
        pages="8342--8360", doi="10.18653/v1/2020.acl-main.740",
    ),
    _paper(
        "wolf2020", "Wolf, Thomas and others", "Transformers: State-of-the-Art Natural Language Processing",
        "Proceedings of the 2020 Conference on Empirical Methods in Natural Language Processing: System "
        "Demonstrations", 2020, pages="38--45", doi="10.18653/v1/2020.emnlp-demos.6",
    ),
    _paper(
        "paszke2019", "Paszke, Adam and others",
        "{PyTorch}: An Imperative Style, High-Performance Deep Learning Library",
        "Advances in Neural Information Processing Systems", 2019,
        volume="32", pages="8024--8035", doi="10.48550/arXiv.1912.01703",
    ),
)  # fmt: skip
"""Optimiser, search and libraries."""

_BERT = _paper(
    "devlin2019", "Devlin, Jacob and Chang, Ming-Wei and Lee, Kenton and Toutanova, Kristina",
    "{BERT}: Pre-training of Deep Bidirectional Transformers for Language Understanding",
    "Proceedings of the 2019 Conference of the North {A}merican Chapter of the Association for Computational "
    "Linguistics", 2019, pages="4171--4186", doi="10.18653/v1/N19-1423",
)  # fmt: skip
_DISTILBERT = _article(
    "sanh2019", "Sanh, Victor and Debut, Lysandre and Chaumond, Julien and Wolf, Thomas",
    "{DistilBERT}, a Distilled Version of {BERT}: Smaller, Faster, Cheaper and Lighter", "arXiv:1910.01108", 2019,
    doi="10.48550/arXiv.1910.01108",
)  # fmt: skip
_ROBERTA = _article(
    "liu2019", "Liu, Yinhan and others", "{RoBERTa}: A Robustly Optimized {BERT} Pretraining Approach",
    "arXiv:1907.11692", 2019, doi="10.48550/arXiv.1907.11692",
)  # fmt: skip
MODELS: Mapping[str, Reference] = {
    **dict.fromkeys(("bert-base-uncased", "bert-base-cased", "bert-large-uncased", "bert-large-cased"), _BERT),
    **dict.fromkeys(("distilbert-base-uncased", "distilbert-base-cased"), _DISTILBERT),
    **dict.fromkeys(("roberta-base", "roberta-large"), _ROBERTA),
}
"""Name on the Hub, without its owner -> the paper that describes the model."""
_OWNERS_OF_MODELS = ("google-bert/", "distilbert/", "FacebookAI/")

_IMDB = _paper(
    "maas2011",
    "Maas, Andrew L. and Daly, Raymond E. and Pham, Peter T. and Huang, Dan and Ng, Andrew Y. and Potts, Christopher",
    "Learning Word Vectors for Sentiment Analysis",
    "Proceedings of the 49th Annual Meeting of the Association for Computational Linguistics: Human Language "
    "Technologies", 2011, pages="142--150", url="https://aclanthology.org/P11-1015",
)  # fmt: skip
_SQUAD = _paper(
    "rajpurkar2016", "Rajpurkar, Pranav and Zhang, Jian and Lopyrev, Konstantin and Liang, Percy",
    "{SQuAD}: 100,000+ Questions for Machine Comprehension of Text",
    "Proceedings of the 2016 Conference on Empirical Methods in Natural Language Processing", 2016,
    pages="2383--2392", doi="10.18653/v1/D16-1264",
)  # fmt: skip
_SQUAD2 = _paper(
    "rajpurkar2018", "Rajpurkar, Pranav and Jia, Robin and Liang, Percy",
    "Know What You Don't Know: Unanswerable Questions for {SQuAD}",
    "Proceedings of the 56th Annual Meeting of the Association for Computational Linguistics", 2018,
    pages="784--789", doi="10.18653/v1/P18-2124",
)  # fmt: skip
_TREC = _paper(
    "li2002", "Li, Xin and Roth, Dan", "Learning Question Classifiers",
    "Proceedings of the 19th International Conference on Computational Linguistics", 2002,
    doi="10.3115/1072228.1072378",
)  # fmt: skip
DATA: Mapping[str, Reference] = {
    "imdb": _IMDB,
    "stanfordnlp/imdb": _IMDB,
    "squad": _SQUAD,
    "rajpurkar/squad": _SQUAD,
    "squad_v2": _SQUAD2,
    "rajpurkar/squad_v2": _SQUAD2,
    "trec": _TREC,
    "CogComp/trec": _TREC,
}
"""Name on the Hub -> the paper that describes the data."""

FIXED: Mapping[str, Reference] = {each.key: each for each in (*STATISTICS, *SOFTWARE)}


def models(study: StudyFrames) -> dict[str, Reference]:
    """Model as in the study file -> its reference."""
    rows: Sequence[Mapping[Any, Any]] = study.models.to_dict("records")
    return {str(row["name"]): _model(row, place) for place, row in enumerate(rows, start=1)}


def data(study: StudyFrames) -> Reference:
    """The data's reference."""
    path = str((study.spec.get("data") or {}).get("path") or "")
    used: Mapping[Any, Any] = study.data.iloc[0].to_dict() if len(study.data) else {}
    revision = used.get("revision")
    if _given(revision) and path in DATA:
        return DATA[path]
    fingerprint = str(used["fingerprint"])[:16] if used else "not recorded"
    return _misc("data", "Data set", path, revision, f"Rows used: fingerprint {fingerprint}")


def _model(row: Mapping[Any, Any], place: int) -> Reference:
    name, revision = str(row["name"]), row["revision"]
    known = name.partition("@")[0]
    for owner in _OWNERS_OF_MODELS:
        known = known.removeprefix(owner)
    if _given(revision) and known in MODELS:
        return MODELS[known]
    weights = f"{row['architecture']}, weights with SHA-256 {str(row['weights_hash'])[:16]}"
    return _misc(f"model{place}", "Pretrained encoder", name, revision, weights)


def _misc(key: str, title: str, path: str, revision: Any, note: str) -> Reference:
    if path.startswith("builtin:"):
        where = "Part of harness"
    else:
        where = f"Hub, revision {revision}" if _given(revision) else "Local files"
    name = f"{{{_plain(called(path))}}}"  # in braces of its own it is no person's name
    return Reference(key, "misc", {"author": name, "title": title, "howpublished": _plain(where), "note": _plain(note)})


def _given(value: Any) -> bool:
    return not is_missing(value) and bool(value)


def called(path: str) -> str:
    """The last part of a folder's full path, which is nobody else's; names of the Hub as they are."""
    return (Path(path).name if Path(path).is_absolute() else path) or "not recorded"


def _plain(text: str) -> str:
    """Foreign text for a field: BibTeX counts braces, escaped ones too."""
    return latex_text(text).replace(r"\{", r"\textbraceleft{}").replace(r"\}", r"\textbraceright{}")


def bibtex(references: Iterable[Reference]) -> str:
    """The bibliography, each entry once, by key."""
    found = {each.key: each for each in references}
    return "\n".join(found[key].bibtex() for key in sorted(found))
